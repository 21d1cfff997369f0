#include "engine/ranks/rank.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/guardian.h"
#include "engine/ranks/launch.h"
#include "engine/ranks/rank_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In one piece, as several ranks may print at once. */
static void __attribute__((noreturn)) leave_as(const char *why)
{
    char words[160];
    int length = snprintf(words, sizeof(words), "lockstep rank: %s\n", why);
    signal(SIGPIPE, SIG_IGN);
    ssize_t written = write(STDERR_FILENO, words, (size_t)length);
    (void)written; /* who listens if the engine is gone? */
    _exit(PROTOCOL_LEFT);
}

void rank_leave(void)
{
    leave_as("the connection with the engine is closed");
}

void rank_send(struct rank_process *rank, enum frame_kind kind, const struct text *body)
{
    if (!channel_send(&rank->control, kind, body, NULL, 0, RANK_SEND_SECONDS, NULL))
        rank_leave();
}

void rank_send_failure(struct rank_process *rank, bool broken, const char *reason)
{
    struct text body = {0};
    struct failure failure = {.epoch = rank->epoch, .broken = broken};
    snprintf(failure.reason, sizeof(failure.reason), "%s", reason);
    failure_write(&body, &failure);
    rank_send(rank, FRAME_FAILED, &body);
    text_free(&body);
}

/* ---- running ---- */

static struct board_rank *own_page(struct rank_process *rank)
{
    return &rank->board.page->ranks[rank->hello.rank];
}

static void begin_epoch(struct rank_process *rank, uint32_t epoch)
{
    uint32_t generation = atomic_load(&own_page(rank)->generation);
    if (generation != rank->generation) {
        rank->generation = generation;
        memset(rank->meetings, 0, sizeof(rank->meetings));
        comm_begin_anew(rank->comm, (int)(generation & INT32_MAX));
    }
    executor_rewind(rank->executor);
    rank->epoch = epoch;
    rank->busy = 0;
    rank->halted = false;
    atomic_store(&own_page(rank)->busy, 0);
    board_set_position(&rank->board, rank->hello.rank, epoch, 0);
}

static void set_state(struct rank_process *rank, enum board_state state)
{
    if (atomic_load(&own_page(rank)->state) != (uint32_t)state)
        board_set_state(&rank->board, rank->hello.rank, state);
}

static void fail_instruction(struct rank_process *rank, const struct status *failure)
{
    bool moving = atomic_load(&own_page(rank)->state) == BOARD_MOVING;
    rank->halted = true;
    if (failure->code == STATUS_CANCELLED && !moving)
        return; /* asked for */
    /* A process whose GPU is lost is of no use to the next run either. */
    rank_send_failure(rank, moving || device_lost(rank->device), failure->text);
    set_state(rank, BOARD_FAILED);
}

static void run_instruction(struct rank_process *rank)
{
    struct status status = STATUS_NONE;
    int64_t start = clock_nanoseconds();
    set_state(rank, BOARD_RUNNING);
    rank_carry_on(rank);
    bool ok = executor_run_one(rank->executor, &status) &&
              device_synchronize(rank->memory_device, &status);
    rank->busy += (uint64_t)(clock_nanoseconds() - start);
    atomic_store(&own_page(rank)->busy, rank->busy);
    if (ok)
        board_set_position(&rank->board, rank->hello.rank, rank->epoch, rank->executor->next);
    else
        fail_instruction(rank, &status);
}

/* Runs what it may; returns when it has to wait for the engine's word. */
static void run_allowed(struct rank_process *rank)
{
    while (rank->executor) {
        uint64_t command = atomic_load(&own_page(rank)->command);
        rank_listen(rank, 0); /* what the engine has written comes before what it lets run */
        if (!rank->executor)
            return;
        if (command != atomic_load(&own_page(rank)->command))
            continue;
        if (board_epoch(command) != rank->epoch)
            begin_epoch(rank, board_epoch(command));
        if (rank->halted || rank->executor->next >= board_number(command) ||
            rank->executor->next >= rank->program->instruction_count)
            return;
        run_instruction(rank);
    }
}

/* Whether the engine has said something since the rank last looked at its page. */
static bool may_run(struct rank_process *rank)
{
    uint64_t command = atomic_load(&own_page(rank)->command);
    if (!rank->executor)
        return false;
    return board_epoch(command) != rank->epoch ||
           (!rank->halted && rank->executor->next < board_number(command) &&
            rank->executor->next < rank->program->instruction_count);
}

static void serve(struct rank_process *rank)
{
    for (;;) {
        struct frame frame;
        run_allowed(rank);
        /* said before the last look: the engine writes its word, then looks at the state */
        if (atomic_load(&own_page(rank)->state) != BOARD_FAILED)
            set_state(rank, BOARD_IDLE);
        uint32_t order = board_order(&rank->board, rank->hello.rank);
        if (may_run(rank))
            continue;
        board_obey(&rank->board, rank->hello.rank, order);
        while (rank_carry_on(rank) && !channel_wait(&rank->control, 1))
            continue;
        if (channel_next(&rank->control, true, &frame) != CHANNEL_FRAME)
            rank_leave();
        rank_handle(rank, &frame);
    }
}

/* ---- what the engine asks for ---- */

static void take_order(struct rank_process *rank, const struct frame *frame)
{
    struct order order;
    struct board_rank *own = own_page(rank);
    if (!rank->board.link || !order_read(frame->body, frame->length, &order))
        return; /* on the engine's machine the page says it all: this only wakes */
    if (order.generation != atomic_load(&own->generation))
        board_begin_anew(&rank->board, order.generation);
    atomic_store(&own->cancelled, order.cancelled);
    atomic_store(&own->step, order.step);
    atomic_store(&own->command, order.command);
    atomic_store(&own->order, order.number);
}

static void take_arrival(struct rank_process *rank, const struct frame *frame)
{
    struct update update;
    if (!update_read(frame->body, frame->length, rank->board.size, &update) || update.group < 0)
        return;
    int *members = memory_zeroed((size_t)rank->board.size, sizeof(*members));
    int count =
        mesh_members(&rank->setup.mesh, rank->hello.rank, (enum comm_group)update.group, members);
    for (int m = 0; m < count; m++) {
        struct board_meeting *meeting = &rank->board.page->ranks[members[m]]
                                             .meetings[update.group][update.meeting_sequence & 1];
        meeting->what = update.meeting;
        atomic_store(&meeting->sequence, update.meeting_sequence);
    }
    free(members);
}

static bool find_bytes(const struct rank_process *rank, const struct extent *extent, char **bytes)
{
    const struct arena *arena = &rank->memory.arenas[extent->arena];
    if ((int)extent->arena >= rank->memory.count || extent->bytes > arena->bytes ||
        extent->offset > arena->bytes - extent->bytes)
        return false;
    *bytes = arena->address + extent->offset;
    return true;
}

static void read_memory(struct rank_process *rank, const struct frame *frame)
{
    struct text body = {0};
    struct status status = STATUS_NONE;
    struct extent extent;
    const void *data;
    char *bytes, *copy = NULL;
    bool ok = extent_read(frame->body, frame->length, &extent, &data) &&
              find_bytes(rank, &extent, &bytes) && (copy = memory_try((size_t)extent.bytes, 1)) &&
              device_download(rank->memory_device, copy, bytes, (size_t)extent.bytes, &status);
    if (ok)
        text_add_part(&body, copy, (size_t)extent.bytes);
    rank_send(rank, FRAME_DATA, &body); /* an empty one: it could not be read */
    free(copy);
    text_free(&body);
}

static void write_memory(struct rank_process *rank, const struct frame *frame)
{
    struct extent extent;
    const void *data;
    char *bytes;
    struct status status = STATUS_NONE;
    if (!rank->executor)
        return; /* it could not be set up, and has said why */
    if (!extent_read(frame->body, frame->length, &extent, &data) ||
        !find_bytes(rank, &extent, &bytes) ||
        !device_upload(rank->memory_device, bytes, data, (size_t)extent.bytes, &status))
        rank_send_failure(rank, false, "memory could not be written");
}

static void quit(struct rank_process *rank)
{
    rank_tear_down(rank);
    rank_forget_nccl(rank);
    comm_engine_finish(rank->engine);
    _exit(0);
}

void rank_handle(struct rank_process *rank, const struct frame *frame)
{
    /* Only of a rank that has been given up the engine asks so while it waits for others. */
    if (rank->inside && (frame->kind == FRAME_SETUP || frame->kind == FRAME_FORGET))
        leave_as("the engine has given it up while it waited for others");
    switch (frame->kind) {
    case FRAME_SETUP:
        rank_set_up(rank, frame);
        break;
    case FRAME_FORGET:
        rank_tear_down(rank);
        break;
    case FRAME_RUN:
        take_order(rank, frame);
        break;
    case FRAME_ARRIVED:
        take_arrival(rank, frame);
        break;
    case FRAME_READ:
        read_memory(rank, frame);
        break;
    case FRAME_WRITE:
        write_memory(rank, frame);
        break;
    case FRAME_ASK:
        rank_answer(rank, frame);
        break;
    case FRAME_QUIT:
        quit(rank);
        break;
    default:
        leave_as("the engine has sent what is not for a rank");
    }
}

/* ---- beginning ---- */

static int number_of(const char *name, int most)
{
    const char *text = name ? getenv(name) : NULL;
    char *end;
    long number = text ? strtol(text, &end, 10) : -1;
    return text && *text && !*end && number >= 0 && number <= most ? (int)number : -1;
}

/* The number that the launcher gave to this process, -1: none did; and how many it says there are.
 */
static void find_launched(struct hello *hello)
{
    static const struct {
        const char *rank, *size; /* of the same launcher: others may stand around it */
    } names[] = {{LAUNCH_RANK, NULL},
                 {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                 {"PMIX_RANK", NULL},
                 {"PMI_RANK", "PMI_SIZE"},
                 {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};
    hello->rank = -1;
    for (int i = 0; i < ARRAY_LENGTH(names) && hello->rank < 0; i++) {
        hello->rank = number_of(names[i].rank, MESH_MAX_RANKS - 1);
        int size = number_of(names[i].size, INT32_MAX);
        hello->launched = hello->rank >= 0 && size > 0 ? size : 0;
    }
}

static int connect_as(struct rank_process *rank, const char *address, enum hello_role role,
                      struct status *status)
{
    struct channel channel = {.fd = channel_connect(address, status)};
    struct text body = {0};
    if (channel.fd < 0)
        return -1;
    rank->hello.role = role;
    rank->hello.pid = getpid();
    hello_write(&body, &rank->hello);
    bool ok = channel_send(&channel, FRAME_HELLO, &body, NULL, 0, RANK_SEND_SECONDS, status);
    text_free(&body);
    if (!ok)
        channel_close(&channel);
    return channel.fd;
}

/* What this process prints goes to the engine, and passes no launcher, which would mix it. */
static bool redirect(struct rank_process *rank, const char *address, enum hello_role role,
                     int descriptor, struct status *status)
{
    int fd = connect_as(rank, address, role, status);
    if (fd < 0)
        return false;
    dup2(fd, descriptor);
    close(fd);
    return true;
}

static bool open_board(struct rank_process *rank, struct status *status)
{
    struct frame frame;
    enum channel_result result = channel_next(&rank->control, true, &frame);
    if (result == CHANNEL_CLOSED)
        rank_leave();
    if (result != CHANNEL_FRAME || frame.kind != FRAME_WELCOME ||
        !welcome_read(frame.body, frame.length, &rank->welcome) ||
        rank->hello.rank >= rank->welcome.size)
        return status_fail(status, STATUS_IO, "the engine does not know this rank");
    if (rank->welcome.shared) {
        int page = channel_descriptor(&rank->control), wake = channel_descriptor(&rank->control);
        return board_map(&rank->board, page, wake, rank->welcome.size, status);
    }
    if (!board_create(&rank->board, rank->welcome.size, status))
        return false;
    rank->link = rank_link(rank);
    rank->board.link = &rank->link;
    return true;
}

static bool begin(struct rank_process *rank, const char *address, struct status *status)
{
    if (!guardian_split(address, &rank->hello, status) ||
        !redirect(rank, address, ROLE_STDOUT, STDOUT_FILENO, status) ||
        !redirect(rank, address, ROLE_STDERR, STDERR_FILENO, status))
        return false;
    setvbuf(stdout, NULL, _IOLBF, 0); /* lines are seen when they are whole */
    rank->control = (struct channel){.fd = connect_as(rank, address, ROLE_CONTROL, status),
                                     .most = PROTOCOL_MOST_BODY};
    return rank->control.fd >= 0 && open_board(rank, status);
}

bool rank_serve(struct status *status)
{
    struct rank_process rank = {0};
    find_launched(&rank.hello);
    const char *address = getenv(LAUNCH_ADDRESS), *token = getenv(LAUNCH_TOKEN);
    if (!address || !token || rank.hello.rank < 0)
        return status_fail(status, STATUS_INVALID,
                           "a rank is started by the engine, through mpirun or the like");
    rank.hello.host[0] = '\0';
    gethostname(rank.hello.host, sizeof(rank.hello.host) - 1);
    snprintf(rank.hello.token, sizeof(rank.hello.token), "%s", token);
    if (!begin(&rank, address, status))
        return false;
    unsetenv(LAUNCH_TOKEN);
    if (rank.welcome.size > 1 && !(rank.engine = comm_engine_start("mpi", status))) {
        rank_send_failure(&rank, true, status->text);
        return false;
    }
    rank.board.meanwhile = rank_meanwhile;
    rank.board.meanwhile_context = &rank;
    serve(&rank);
    return true;
}
