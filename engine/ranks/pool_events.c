/* What comes from the processes of a pool, taken in one place. */
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/pool_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_EVENTS = 64, OUTPUT_BYTES = 1 << 16, MOST_PENDING = 4 * MESH_MAX_RANKS };

/* A source in 64 bits: 16 for what it is, 16 for the stream, 32 for the rank or the descriptor. */
static uint64_t pack(enum pool_source source, int number, int stream)
{
    return (uint64_t)source << 48 | (uint64_t)stream << 32 | (uint32_t)number;
}

void pool_watch(struct rank_pool *pool, int fd, enum pool_source source, int rank, int stream)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.u64 = pack(source, source == SOURCE_PENDING ? fd : rank, stream);
    if (epoll_ctl(pool->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        epoll_ctl(pool->epoll, EPOLL_CTL_MOD, fd, &event); /* it is there as something else */
}

/* ---- output ---- */

static void write_log(struct rank_pool *pool, struct pool_process *process, const char *bytes,
                      size_t count)
{
    while (process->log >= 0 && count > 0) {
        ssize_t written = write(process->log, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) { /* a full disk: the run goes on without its log */
            pool->log_error = errno ? errno : ENOSPC;
            close(process->log);
            process->log = -1;
            return;
        }
        bytes += written;
        count -= (size_t)written;
    }
}

static void note_output(struct rank_pool *pool, int rank, int stream, const char *bytes,
                        size_t count)
{
    struct pool_process *process = &pool->processes[rank];
    process->printed[stream] += (int64_t)count;
    pool_keep_tail(process->tail, &process->tail_length, bytes, count);
    write_log(pool, process, bytes, count);
    if (pool->options.on_output)
        pool->options.on_output(pool->options.output_context, rank, stream, bytes, count,
                                clock_nanoseconds());
}

static void take_output(struct rank_pool *pool, int rank, int stream)
{
    struct pool_process *process = &pool->processes[rank];
    char bytes[OUTPUT_BYTES];
    ssize_t count = recv(process->output[stream], bytes, sizeof(bytes), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        close(process->output[stream]);
        process->output[stream] = -1;
        return;
    }
    note_output(pool, rank, stream, bytes, (size_t)count);
}

static void take_launcher_output(struct rank_pool *pool)
{
    char bytes[4096];
    ssize_t count = read(pool->launch.output, bytes, sizeof(bytes));
    size_t first = strlen(pool->launcher_head);
    if (count > 0 && pool->launcher_tail_length < POOL_TAIL)
        snprintf(pool->launcher_head + first, sizeof(pool->launcher_head) - first, "%.*s",
                 (int)count, bytes);
    if (count > 0)
        pool_keep_tail(pool->launcher_tail, &pool->launcher_tail_length, bytes, (size_t)count);
    else if (count == 0)
        epoll_ctl(pool->epoll, EPOLL_CTL_DEL, pool->launch.output, NULL);
}

/* ---- frames ---- */

/* Whether all members of the group that `rank` has come to a meeting of are there, for the same.
 * One that was missing the last time is looked at first: most often it still is. */
static bool all_have_come(struct rank_pool *pool, int rank, const struct update *update,
                          int *members, int *count)
{
    const struct run *run = pool->world ? pool->world->ranks[rank].run : NULL;
    enum comm_group group = (enum comm_group)update->group;
    if (!run)
        return false;
    const struct mesh *mesh = &run->program->seat.mesh;
    int *missing =
        &pool->missing[update->group * pool->options.size + mesh_first(mesh, rank, group)];
    *count = mesh_members(mesh, rank, group, members);
    for (int i = 0; i < *count; i++) {
        int m = (*missing + i) % *count;
        const struct board_meeting *meeting =
            &pool->board.page->ranks[members[m]].meetings[group][update->meeting_sequence & 1];
        if (atomic_load(&meeting->sequence) == update->meeting_sequence &&
            comm_descriptor_equal(&meeting->what, &update->meeting))
            continue;
        *missing = m;
        return false;
    }
    return true;
}

/* A rank has come to a meeting: the last one of its group has all of them told. */
static void tell_members(struct rank_pool *pool, int rank, const struct update *update)
{
    int *members = memory_zeroed((size_t)pool->options.size, sizeof(*members)), count = 0;
    struct text body = {0};
    if (all_have_come(pool, rank, update, members, &count)) {
        update_write(&body, update);
        for (int m = 0; m < count; m++)
            if (!pool_has_lost(pool, members[m]))
                pool_send(pool, members[m], FRAME_ARRIVED, &body, NULL, 0);
    }
    text_free(&body);
    free(members);
}

/* Frames of a rank that keeps its page by messages: its words are written here. */
static void take_update(struct rank_pool *pool, int rank, const struct frame *frame)
{
    struct update update;
    struct board_rank *own = &pool->board.page->ranks[rank];
    if (!update_read(frame->body, frame->length, pool->options.size, &update) ||
        update.rank != rank)
        return;
    if (update.record.sequence > 0) {
        own->records[(update.record.sequence - 1) % BOARD_RECORDS] = update.record;
        atomic_store(&own->recorded, update.record.sequence);
    }
    if (update.state == BOARD_WAITING && atomic_load(&own->state) != BOARD_WAITING)
        atomic_store(&own->waiting_since, (uint64_t)clock_nanoseconds()); /* by our clock */
    if (update.group >= 0) {
        struct board_meeting *meeting = &own->meetings[update.group][update.meeting_sequence & 1];
        meeting->what = update.meeting;
        atomic_store(&meeting->sequence, update.meeting_sequence);
    }
    atomic_store(&own->waiting_group, update.waiting_group);
    atomic_store(&own->busy, update.busy);
    atomic_store(&own->position, update.position);
    atomic_store(&own->state, update.state);
    atomic_store(&own->seen, update.seen);
    board_add_news(&pool->board, rank);
    if (update.group >= 0)
        tell_members(pool, rank, &update);
}

static bool take_answer(struct pool_process *process, const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_READY:
        process->has_ready = ready_read(frame->body, frame->length, &process->ready);
        return process->has_ready;
    case FRAME_FAILED:
        process->has_failed = failure_read(frame->body, frame->length, &process->failure);
        process->broken |= process->has_failed && process->failure.broken;
        return process->has_failed;
    case FRAME_DATA:
        text_clear(&process->data);
        text_add_part(&process->data, frame->body, frame->length);
        process->has_data = true;
        return true;
    default:
        return false;
    }
}

static void take_control(struct rank_pool *pool, int rank)
{
    struct pool_process *process = &pool->processes[rank];
    struct frame frame;
    enum channel_result result;
    while ((result = channel_next(&process->control, false, &frame)) == CHANNEL_FRAME) {
        if (frame.kind == FRAME_UPDATE && !pool->shared)
            take_update(pool, rank, &frame);
        else if (!take_answer(process, &frame))
            break;
    }
    if (result == CHANNEL_NOTHING)
        return;
    if (result != CHANNEL_CLOSED)
        process->trouble = "has sent what is no message";
    else if (process->control.in_end > process->control.in_first)
        process->trouble = "has closed its connection in the middle of a message";
    channel_close(&process->control);
    process->control_closed = true;
}

static void note_end(struct rank_pool *pool, struct pool_process *process)
{
    if (!process->ended)
        process->end_number = pool->ends++;
    process->ended = true;
}

static void take_guardian(struct rank_pool *pool, int rank)
{
    struct pool_process *process = &pool->processes[rank];
    struct frame frame;
    enum channel_result result;
    uint32_t number;
    while ((result = channel_next(&process->guardian, false, &frame)) == CHANNEL_FRAME) {
        if (!number_read(frame.body, frame.length, &number))
            break;
        if (frame.kind == FRAME_EXITED) {
            note_end(pool, process);
            process->wait_status = (int)number;
        } else if (frame.kind == FRAME_HALTED) {
            process->stopped_by = (int)number;
            pool->halts++;
        }
    }
    if (result == CHANNEL_NOTHING)
        return;
    channel_close(&process->guardian);
    note_end(pool, process);
}

/* ---- connections ---- */

static struct pending *take_pending(struct rank_pool *pool, int fd)
{
    for (struct pending **place = &pool->pending; *place; place = &(*place)->next)
        if ((*place)->channel.fd == fd) {
            struct pending *found = *place;
            *place = found->next;
            return found;
        }
    return NULL;
}

static void refuse(struct pending *pending)
{
    channel_close(&pending->channel);
    free(pending);
}

static bool same_token(const char *a, const char *b)
{
    unsigned difference = strlen(a) != PROTOCOL_TOKEN;
    for (int i = 0; i < PROTOCOL_TOKEN && !difference; i++)
        difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return difference == 0;
}

static void welcome(struct rank_pool *pool, int rank)
{
    struct text body = {0};
    struct welcome greeting = {pool->options.size, pool->shared};
    int descriptors[] = {pool->board.fd, pool->board.wake};
    welcome_write(&body, &greeting);
    pool_send(pool, rank, FRAME_WELCOME, &body, descriptors, pool->shared ? 2 : 0);
    text_free(&body);
}

/* Output that came right behind the hello is in the channel's buffer. */
static void begin_output(struct rank_pool *pool, const struct hello *hello, struct pending *pending)
{
    struct pool_process *process = &pool->processes[hello->rank];
    int stream = hello->role == ROLE_STDERR;
    struct channel *channel = &pending->channel;
    process->output[stream] = channel->fd;
    pool_watch(pool, channel->fd, SOURCE_OUTPUT, hello->rank, stream);
    size_t count = channel->in_end - channel->in_first;
    if (count > 0)
        note_output(pool, hello->rank, stream, channel->in + channel->in_first, count);
    channel->fd = -1;
    refuse(pending);
}

static bool is_taken(const struct pool_process *process, enum hello_role role)
{
    switch (role) {
    case ROLE_GUARDIAN:
        return process->guardian.fd >= 0;
    case ROLE_CONTROL:
        return process->control.fd >= 0 || process->control_closed;
    default:
        return process->output[role == ROLE_STDERR] >= 0;
    }
}

static void admit(struct rank_pool *pool, const struct hello *hello, struct pending *pending)
{
    struct pool_process *process = &pool->processes[hello->rank];
    if (hello->role == ROLE_STDOUT || hello->role == ROLE_STDERR) {
        begin_output(pool, hello, pending);
        return;
    }
    bool control = hello->role == ROLE_CONTROL;
    struct channel *channel = control ? &process->control : &process->guardian;
    *channel = pending->channel;
    channel->most = PROTOCOL_MOST_BODY;
    pool_watch(pool, channel->fd, control ? SOURCE_CONTROL : SOURCE_GUARDIAN, hello->rank, 0);
    free(pending);
    /* what came right behind the hello is in the channel's buffer: nothing else may come */
    if (!control) {
        take_guardian(pool, hello->rank);
        return;
    }
    process->pid = hello->pid;
    snprintf(process->host, sizeof(process->host), "%s", hello->host);
    welcome(pool, hello->rank);
    take_control(pool, hello->rank);
}

static void take_hello(struct rank_pool *pool, int fd)
{
    struct pending *pending = take_pending(pool, fd);
    struct frame frame;
    struct hello hello;
    if (!pending)
        return;
    enum channel_result result = channel_next(&pending->channel, false, &frame);
    if (result == CHANNEL_NOTHING) {
        pending->next = pool->pending;
        pool->pending = pending;
        return;
    }
    bool is_hello = result == CHANNEL_FRAME && frame.kind == FRAME_HELLO;
    bool readable = is_hello && hello_read(frame.body, frame.length, &hello);
    bool known = readable && same_token(hello.token, pool->token);
    if (known)
        pool->launched = hello.launched;
    else if (readable || (result == CHANNEL_FRAME && !is_hello) || result == CHANNEL_WRONG)
        pool->refused++; /* the others died early, or are of another version */
    if (!known || hello.rank >= pool->options.size ||
        is_taken(&pool->processes[hello.rank], hello.role))
        refuse(pending);
    else
        admit(pool, &hello, pending);
}

static int count_pending(const struct rank_pool *pool)
{
    int count = 0;
    for (const struct pending *one = pool->pending; one; one = one->next)
        count++;
    return count;
}

/* Many ranks come at once. */
static void take_connections(struct rank_pool *pool)
{
    int count = count_pending(pool);
    for (int fd, taken = 0; taken < MOST_EVENTS && (fd = listener_accept(&pool->listener)) >= 0;
         taken++) {
        if (count++ >= MOST_PENDING) { /* somebody knocks without end */
            close(fd);
            continue;
        }
        struct pending *pending = memory_zeroed(1, sizeof(*pending));
        pending->channel.fd = fd;
        pending->next = pool->pending;
        pool->pending = pending;
        pool_watch(pool, fd, SOURCE_PENDING, 0, 0);
    }
}

void pool_close_pending(struct rank_pool *pool)
{
    while (pool->pending) {
        struct pending *pending = pool->pending;
        pool->pending = pending->next;
        refuse(pending);
    }
}

void pool_close_process(struct rank_pool *pool, int rank)
{
    struct pool_process *process = &pool->processes[rank];
    channel_close(&process->control);
    channel_close(&process->guardian);
    for (int stream = 0; stream < 2; stream++)
        if (process->output[stream] >= 0)
            close(process->output[stream]);
    if (process->log >= 0)
        close(process->log);
    text_free(&process->data);
}

static void take(struct rank_pool *pool, uint64_t packed)
{
    int number = (int)(uint32_t)packed, stream = (int)(packed >> 32 & 0xffff);
    uint64_t count;
    switch ((enum pool_source)(packed >> 48)) {
    case SOURCE_LISTENER:
        take_connections(pool);
        break;
    case SOURCE_LAUNCHER:
        if (launch_has_ended(&pool->launch))
            epoll_ctl(pool->epoll, EPOLL_CTL_DEL, pool->launch.descriptor, NULL);
        break;
    case SOURCE_LAUNCH_OUTPUT:
        take_launcher_output(pool);
        break;
    case SOURCE_WAKE:
        if (read(pool->board.wake, &count, sizeof(count)) < 0)
            break; /* somebody else's event took it */
        break;
    case SOURCE_PENDING:
        take_hello(pool, number);
        break;
    case SOURCE_CONTROL:
        take_control(pool, number);
        break;
    case SOURCE_GUARDIAN:
        take_guardian(pool, number);
        break;
    case SOURCE_OUTPUT:
        if (pool->processes[number].output[stream] >= 0)
            take_output(pool, number, stream);
        break;
    }
}

void pool_pump(struct rank_pool *pool, int milliseconds)
{
    struct epoll_event events[MOST_EVENTS];
    int count = epoll_wait(pool->epoll, events, MOST_EVENTS, milliseconds);
    for (int i = 0; i < count; i++)
        take(pool, events[i].data.u64);
}
