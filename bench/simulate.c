#include "bench/simulate.h"
#include "bench/simulate_actor.h"

#include "engine/base/memory.h"
#include "engine/program/memory_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_EVENTS = 256 };

bool simulation_read(struct simulation *simulation, int count, char **words)
{
    if (count < 4)
        return false;
    *simulation =
        (struct simulation){atoi(words[0]), atoi(words[1]), atoi(words[2]), atoi(words[3])};
    return simulation->ranks > 0 && simulation->ranks <= MESH_MAX_RANKS;
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
    actor_say(actor, FRAME_READY, &body);
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
    actor_begin_generation(actor, actor->setup.generation);
    if (actor->board.link)
        atomic_store(&actor_page(actor)->command, board_pair(actor->epoch, 0));
    board_set_position(&actor->board, actor->rank, actor->epoch, 0);
    return answer_setup(actor);
}

static void take_order(struct actor *actor, const struct frame *frame)
{
    struct order order;
    struct board_rank *own = actor_page(actor);
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
        actor->link = (struct board_link){.publish = actor_publish, .context = actor};
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
    actor_say(actor, FRAME_DATA, &body);
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
    bool ok =
        channel_send(&channel, FRAME_HELLO, &body, NULL, 0, SIMULATE_SEND_SECONDS, &stage->status);
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
        actor_advance(actor);
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
            actor_advance(actor);
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
    channel_send(&actor->guardian, FRAME_EXITED, &body, NULL, 0, SIMULATE_SEND_SECONDS, NULL);
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
