#include "bench/simulate.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/comm/comm.h"
#include "engine/program/memory_plan.h"
#include "engine/ranks/channel.h"
#include "engine/ranks/launch.h"
#include "engine/train/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SEND_SECONDS = 60, MOST_EVENTS = 256, LINE_BYTES = 160 };

struct actor {
    struct stage *stage;
    int rank;
    struct channel guardian, control;
    int output[2];
    struct board board; /* the common page, or one of its own */
    struct board_link link;
    struct setup setup;
    struct program *program;
    uint32_t epoch, generation;
    int next;
    uint64_t meetings[COMM_GROUP_COUNT], record;
    bool waits; /* has come to the collective that it stands before */
    int *sent;  /* [ranks]: messages to them that they have not received yet */
    int64_t printed;
    bool told;    /* that it hangs */
    bool present; /* it has a program, and runs what it is allowed to */
};

struct stage {
    struct simulation what;
    struct actor *actors;
    int *crowds; /* [COMM_GROUP_COUNT * ranks], by kind and lowest rank of a group: how many have
                    come to its next meeting */
    uint32_t generation;
    struct config *config;
    struct device *device;
    struct board board; /* of this machine */
    int epoll;
    bool shared, over, failed;
    struct status status;
};

bool simulation_read(struct simulation *simulation, int count, char **words)
{
    if (count < 4)
        return false;
    *simulation =
        (struct simulation){atoi(words[0]), atoi(words[1]), atoi(words[2]), atoi(words[3])};
    return simulation->ranks > 0 && simulation->ranks <= MESH_MAX_RANKS;
}

char *simulation_line(int rank, int64_t line, char *buffer, int size)
{
    int64_t time = clock_nanoseconds();
    snprintf(buffer, (size_t)size, "rank %d line %lld of nothing but words at %lld.%09lld", rank,
             (long long)line, (long long)(time / 1000000000), (long long)(time % 1000000000));
    return buffer;
}

/* ---- what a rank says ---- */

static struct board_rank *page_of(const struct actor *actor)
{
    return &actor->board.page->ranks[actor->rank];
}

static void say(struct actor *actor, enum frame_kind kind, const struct text *body)
{
    if (!channel_send(&actor->control, kind, body, NULL, 0, SEND_SECONDS, NULL))
        actor->stage->over = true;
}

/* As a rank on another machine does: engine/ranks/rank_comm.c. */
static void publish(void *context, int group)
{
    struct actor *actor = context;
    struct update update;
    update_of_page(page_of(actor), actor->rank, group, actor->meetings, &update);
    struct text body = {0};
    update_write(&body, &update);
    say(actor, FRAME_UPDATE, &body);
    text_free(&body);
}

static void set_state(struct actor *actor, enum board_state state)
{
    if (atomic_load(&page_of(actor)->state) != (uint32_t)state)
        board_set_state(&actor->board, actor->rank, state);
}

static void print_lines(struct actor *actor)
{
    char line[LINE_BYTES];
    int lines = actor->stage->what.lines, count = actor->program->instruction_count;
    int64_t from = (int64_t)lines * (actor->next - 1) / count;
    for (int64_t until = (int64_t)lines * actor->next / count; from < until; from++) {
        int64_t number = actor->printed++;
        simulation_line(actor->rank, number, line, sizeof(line) - 1);
        size_t length = strlen(line);
        line[length++] = '\n';
        for (size_t sent = 0; sent < length;) {
            ssize_t bytes =
                send(actor->output[number & 1], line + sent, length - sent, MSG_NOSIGNAL);
            if (bytes < 0 && errno != EINTR) {
                actor->stage->over = true;
                return;
            }
            sent += bytes > 0 ? (size_t)bytes : 0;
        }
    }
}

/* ---- running ---- */

static int *crowd_of(const struct actor *actor, enum comm_group group)
{
    return &actor->stage->crowds[(int)group * actor->stage->what.ranks +
                                 mesh_first(&actor->setup.mesh, actor->rank, group)];
}

static void finish_instruction(struct actor *actor)
{
    actor->next++;
    actor->waits = false;
    board_set_position(&actor->board, actor->rank, actor->epoch, actor->next);
    print_lines(actor);
}

static void advance(struct actor *actor);

/* The last one has come: all have what they came for. */
static void finish_meeting(struct actor *actor, enum comm_group group)
{
    struct stage *stage = actor->stage;
    int *members = memory_zeroed((size_t)stage->what.ranks, sizeof(*members));
    int count = mesh_members(&actor->setup.mesh, actor->rank, group, members);
    *crowd_of(actor, group) = 0;
    for (int m = 0; m < count; m++) {
        struct actor *member = &stage->actors[members[m]];
        set_state(member, BOARD_MOVING);
        board_record_leave(&member->board, member->rank, member->record);
        set_state(member, BOARD_RUNNING);
        finish_instruction(member);
    }
    for (int m = 0; m < count; m++)
        if (members[m] != actor->rank)
            advance(&stage->actors[members[m]]);
    free(members);
}

static void receive(struct actor *actor, int from)
{
    struct actor *sender = &actor->stage->actors[from];
    actor->waits = !sender->sent || sender->sent[actor->rank] == 0;
    if (actor->waits) {
        atomic_store(&page_of(actor)->waiting_since, (uint64_t)clock_nanoseconds());
        atomic_store(&page_of(actor)->waiting_group, -1);
        set_state(actor, BOARD_WAITING);
        return;
    }
    sender->sent[actor->rank]--;
    board_record_leave(&actor->board, actor->rank, actor->record);
    finish_instruction(actor);
}

static void send_to(struct actor *actor, int peer)
{
    struct actor *to = &actor->stage->actors[peer];
    actor->sent[peer]++;
    board_record_leave(&actor->board, actor->rank, actor->record);
    finish_instruction(actor);
    if (to->waits && to->program->instructions[to->next].op == OP_RECEIVE)
        advance(to);
}

/* Does the collective that it stands before, or waits in it. */
static void take_part(struct actor *actor)
{
    struct op_call call;
    program_call(actor->program, actor->next, &call);
    struct comm_descriptor what = comm_describe(&call);
    actor->record = board_record_enter(&actor->board, actor->rank, &what,
                                       (int)atomic_load(&page_of(actor)->step), actor->next);
    if (what.op == OP_SEND) {
        send_to(actor, what.peer);
    } else if (what.op == OP_RECEIVE) {
        receive(actor, what.peer);
    } else {
        int count = mesh_members(&actor->setup.mesh, actor->rank, what.group, NULL);
        board_come(&actor->board, actor->rank, &what, ++actor->meetings[what.group]);
        actor->waits = true;
        if (++*crowd_of(actor, what.group) == count)
            finish_meeting(actor, what.group);
    }
}

/* All ranks do before any of them goes on. */
static void begin_generation(struct actor *actor, uint32_t generation)
{
    struct stage *stage = actor->stage;
    if (generation != stage->generation)
        memset(stage->crowds, 0, (size_t)stage->what.ranks * COMM_GROUP_COUNT * sizeof(int));
    stage->generation = generation;
    if (generation == actor->generation)
        return;
    actor->generation = generation;
    memset(actor->meetings, 0, sizeof(actor->meetings));
    memset(actor->sent, 0, (size_t)stage->what.ranks * sizeof(*actor->sent));
}

static void begin_epoch(struct actor *actor, uint32_t epoch)
{
    uint32_t generation = atomic_load(&page_of(actor)->generation);
    begin_generation(actor, generation);
    actor->epoch = epoch;
    actor->next = 0;
    actor->waits = false;
    actor->present = true;
    atomic_store(&page_of(actor)->busy, 0);
    board_set_position(&actor->board, actor->rank, epoch, 0);
}

static bool is_missing(const struct actor *actor)
{
    const struct simulation *what = &actor->stage->what;
    return actor->rank == what->missing_rank && actor->next == what->missing_instruction;
}

static void say_missing(struct actor *actor)
{
    char line[64];
    int length = snprintf(line, sizeof(line), "rank %d hangs\n", actor->rank);
    if (!actor->told && send(actor->output[1], line, (size_t)length, MSG_NOSIGNAL) != length)
        actor->stage->over = true;
    actor->told = true;
}

/* Whether a rank that waits goes on, as its message is there; or gives up. */
static bool wakes_up(struct actor *actor)
{
    const struct instruction *standing = &actor->program->instructions[actor->next];
    if (board_is_cancelled(&actor->board, actor->rank))
        actor->waits = actor->present = false; /* until its next epoch */
    else if (standing->op == OP_RECEIVE)
        receive(actor, standing->parameters.peer);
    return !actor->waits;
}

/* Whether the instruction that it stands before brings it together with others. */
static bool meets(const struct actor *actor)
{
    const struct instruction *standing = &actor->program->instructions[actor->next];
    if (!op_is_collective(standing->op))
        return false;
    return standing->op == OP_SEND || standing->op == OP_RECEIVE ||
           mesh_members(&actor->setup.mesh, actor->rank,
                        (enum comm_group)standing->parameters.group, NULL) > 1;
}

static bool may_run(const struct actor *actor)
{
    uint64_t command = atomic_load(&page_of(actor)->command);
    return board_epoch(command) != actor->epoch ||
           (actor->present && actor->next < board_number(command) &&
            actor->next < actor->program->instruction_count);
}

/* Runs what it may; true when it then waits for the engine's word alone. */
static bool run_allowed(struct actor *actor)
{
    while (!actor->stage->over) {
        uint32_t epoch = board_epoch(atomic_load(&page_of(actor)->command));
        if (epoch != actor->epoch) {
            begin_epoch(actor, epoch);
        } else if (actor->waits) {
            if (!wakes_up(actor))
                return false;
        } else if (!may_run(actor)) {
            return true;
        } else {
            set_state(actor, BOARD_RUNNING);
            if (is_missing(actor)) {
                say_missing(actor);
                return false;
            }
            if (meets(actor))
                take_part(actor);
            else
                finish_instruction(actor);
        }
    }
    return true;
}

static void advance(struct actor *actor)
{
    while (actor->program && !actor->stage->over) {
        bool idle = run_allowed(actor);
        if (is_missing(actor) && !idle)
            return; /* it says no more, as one that hangs */
        /* said before the last look: the engine writes its word, then looks at the state */
        if (idle)
            set_state(actor, BOARD_IDLE);
        uint32_t order = board_order(&actor->board, actor->rank);
        if (idle && may_run(actor))
            continue;
        board_obey(&actor->board, actor->rank, order);
        return;
    }
}

/* ---- what the engine says ---- */

static bool compile(struct actor *actor)
{
    struct stage *stage = actor->stage;
    const struct setup *setup = &actor->setup;
    struct config_search search = {
        .directories = (const char *const *)setup->directories,
        .directory_count = setup->directory_count,
        .overrides = (const char *const *)setup->overrides,
        .override_count = setup->override_count,
    };
    if (stage->config && stage->config->hash != setup->config_hash) {
        config_free(stage->config);
        stage->config = NULL;
    }
    if (!stage->config)
        stage->config = config_load(&search, setup->name, &stage->status);
    if (!stage->device)
        stage->device =
            device_open(setup->device, &(struct device_options){.threads = 1}, &stage->status);
    if (stage->config && stage->device)
        actor->program = schedule_compile_rank(stage->config, actor->rank, &stage->status);
    return actor->program != NULL;
}

static bool answer_setup(struct actor *actor)
{
    struct stage *stage = actor->stage;
    struct memory_plan *plan = memory_plan_create(
        actor->program, stage->device, (enum plan_mode)actor->setup.plan, &stage->status);
    struct text body = {0};
    if (!plan)
        return false;
    struct ready ready = {
        .program_hash = program_hash(actor->program),
        .epoch = actor->epoch,
        .instructions = (uint32_t)actor->program->instruction_count,
        .arenas = {2, {(uint64_t)plan->step_bytes, (uint64_t)plan->persistent_bytes}}};
    memory_plan_free(plan);
    ready_write(&body, &ready);
    say(actor, FRAME_READY, &body);
    text_free(&body);
    return true;
}

static void forget(struct actor *actor)
{
    program_free(actor->program);
    setup_free(&actor->setup);
    free(actor->sent);
    actor->program = NULL;
    actor->sent = NULL;
}

static bool set_up(struct actor *actor, const struct frame *frame)
{
    forget(actor);
    if (!setup_read(frame->body, frame->length, &actor->setup) || !compile(actor))
        return false;
    actor->epoch = actor->setup.epoch;
    actor->next = 0;
    actor->waits = false;
    actor->present = true;
    actor->sent = memory_zeroed((size_t)actor->stage->what.ranks, sizeof(*actor->sent));
    begin_generation(actor, actor->setup.generation);
    if (actor->board.link)
        atomic_store(&page_of(actor)->command, board_pair(actor->epoch, 0));
    board_set_position(&actor->board, actor->rank, actor->epoch, 0);
    return answer_setup(actor);
}

static void take_order(struct actor *actor, const struct frame *frame)
{
    struct order order;
    struct board_rank *own = page_of(actor);
    if (!actor->board.link || !order_read(frame->body, frame->length, &order))
        return;
    atomic_store(&own->generation, order.generation);
    atomic_store(&own->cancelled, order.cancelled);
    atomic_store(&own->step, order.step);
    atomic_store(&own->command, order.command);
    atomic_store(&own->order, order.number);
}

static bool open_board(struct actor *actor, const struct frame *frame)
{
    struct stage *stage = actor->stage;
    struct welcome welcome;
    if (!welcome_read(frame->body, frame->length, &welcome) || welcome.size != stage->what.ranks)
        return false;
    stage->shared = welcome.shared;
    if (!welcome.shared) {
        if (!board_create(&actor->board, stage->what.ranks, &stage->status))
            return false;
        actor->link = (struct board_link){.publish = publish, .context = actor};
        actor->board.link = &actor->link;
    } else {
        int page = channel_descriptor(&actor->control);
        int wake = channel_descriptor(&actor->control);
        if (stage->board.page) {
            close(page);
            close(wake);
        } else if (!board_map(&stage->board, page, wake, welcome.size, &stage->status)) {
            return false;
        }
        actor->board = stage->board;
    }
    board_set_state(&actor->board, actor->rank, BOARD_IDLE);
    return true;
}

static void answer_read(struct actor *actor, const struct frame *frame)
{
    struct extent extent;
    struct text body = {0};
    const void *data;
    char zeros[4096] = "";
    if (extent_read(frame->body, frame->length, &extent, &data))
        for (uint64_t left = extent.bytes; left > 0;) {
            size_t part = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
            text_add_part(&body, zeros, part);
            left -= part;
        }
    say(actor, FRAME_DATA, &body);
    text_free(&body);
}

static bool handle(struct actor *actor, const struct frame *frame)
{
    switch (frame->kind) {
    case FRAME_WELCOME:
        return open_board(actor, frame);
    case FRAME_SETUP:
        return set_up(actor, frame);
    case FRAME_MEMORY:
        for (int fd; (fd = channel_descriptor(&actor->control)) >= 0;)
            close(fd); /* nothing is computed */
        return true;
    case FRAME_RUN:
        take_order(actor, frame);
        return true;
    case FRAME_READ:
        answer_read(actor, frame);
        return true;
    case FRAME_FORGET:
        forget(actor);
        return true;
    case FRAME_QUIT:
        actor->stage->over = true;
        return true;
    default:
        return true; /* writes and arrivals change nothing here */
    }
}

/* ---- connections ---- */

static int connect_as(struct actor *actor, const char *address, const char *token,
                      enum hello_role role)
{
    struct stage *stage = actor->stage;
    struct channel channel = {.fd = channel_connect(address, &stage->status)};
    struct hello hello = {.role = role, .rank = actor->rank, .pid = getpid(), .host = "simulated"};
    struct text body = {0};
    if (channel.fd < 0)
        return -1;
    snprintf(hello.token, sizeof(hello.token), "%s", token);
    hello_write(&body, &hello);
    bool ok = channel_send(&channel, FRAME_HELLO, &body, NULL, 0, SEND_SECONDS, &stage->status);
    text_free(&body);
    return ok ? channel.fd : -1;
}

static bool connect_actor(struct actor *actor, const char *address, const char *token)
{
    int fds[ROLE_COUNT];
    for (int role = 0; role < ROLE_COUNT; role++)
        if ((fds[role] = connect_as(actor, address, token, (enum hello_role)role)) < 0)
            return false;
    actor->guardian = (struct channel){.fd = fds[ROLE_GUARDIAN]};
    actor->control = (struct channel){.fd = fds[ROLE_CONTROL], .most = PROTOCOL_MOST_BODY};
    actor->output[0] = fds[ROLE_STDOUT];
    actor->output[1] = fds[ROLE_STDERR];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = actor};
    return epoll_ctl(actor->stage->epoll, EPOLL_CTL_ADD, actor->control.fd, &event) == 0;
}

static bool open_stage(struct stage *stage)
{
    const char *address = getenv(LAUNCH_ADDRESS), *token = getenv(LAUNCH_TOKEN);
    struct rlimit limit;
    if (!address || !token)
        return status_fail(&stage->status, STATUS_INVALID, "it is started by an engine");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    stage->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int rank = 0; rank < stage->what.ranks; rank++) {
        stage->actors[rank] = (struct actor){.stage = stage, .rank = rank};
        if (!connect_actor(&stage->actors[rank], address, token))
            return false;
    }
    return true;
}

static void take(struct actor *actor)
{
    struct frame frame;
    enum channel_result result;
    struct stage *stage = actor->stage;
    while ((result = channel_next(&actor->control, false, &frame)) == CHANNEL_FRAME)
        if (!handle(actor, &frame)) {
            stage->failed = stage->over = true;
            return;
        }
    if (result != CHANNEL_NOTHING)
        stage->over = true;
    if (!stage->over)
        advance(actor);
}

/* Those that wait on this machine are not sent a message when they are to look. */
static bool look_at_waiting(struct stage *stage)
{
    bool any = false;
    for (int rank = 0; rank < stage->what.ranks; rank++) {
        struct actor *actor = &stage->actors[rank];
        if (!actor->waits || !actor->program)
            continue;
        any = true;
        if (!board_has_seen(&actor->board, rank) || board_is_cancelled(&actor->board, rank))
            advance(actor);
    }
    return any;
}

static void play(struct stage *stage)
{
    struct epoll_event events[MOST_EVENTS];
    while (!stage->over) {
        bool waiting = stage->shared && look_at_waiting(stage);
        int count = epoll_wait(stage->epoll, events, MOST_EVENTS, waiting ? 1 : -1);
        for (int i = 0; i < count && !stage->over; i++)
            take(events[i].data.ptr);
    }
}

static void end_actor(struct actor *actor)
{
    struct text body = {0};
    number_write(&body, 0);
    channel_send(&actor->guardian, FRAME_EXITED, &body, NULL, 0, SEND_SECONDS, NULL);
    text_free(&body);
    forget(actor);
    channel_close(&actor->guardian);
    channel_close(&actor->control);
    close(actor->output[0]);
    close(actor->output[1]);
    if (actor->board.link)
        board_close(&actor->board);
}

bool simulation_serve(const struct simulation *simulation, struct status *status)
{
    struct stage stage = {.what = *simulation, .epoll = -1};
    stage.actors = memory_zeroed((size_t)simulation->ranks, sizeof(*stage.actors));
    stage.crowds = memory_zeroed((size_t)simulation->ranks * COMM_GROUP_COUNT, sizeof(int));
    bool opened = open_stage(&stage);
    if (opened)
        play(&stage);
    for (int rank = 0; opened && rank < simulation->ranks; rank++)
        end_actor(&stage.actors[rank]);
    if (stage.shared)
        board_close(&stage.board);
    config_free(stage.config);
    device_close(stage.device);
    free(stage.actors);
    free(stage.crowds);
    if (stage.epoll >= 0)
        close(stage.epoll);
    if (opened && !stage.failed)
        return true;
    return status_fail(status, STATUS_IO, "the simulated ranks failed: %s", stage.status.text);
}
