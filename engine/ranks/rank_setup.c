/* A rank process makes what it runs: the same program as its twin in the engine. */
#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/ranks/rank_internal.h"
#include "engine/train/schedule.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void rank_tear_down(struct rank_process *rank)
{
    executor_free(rank->executor);
    comm_close(rank->recorded);
    rank_close_collectives(rank);
    device_close(rank->memory_device);
    rank_memory_close(&rank->memory);
    program_free(rank->program);
    config_free(rank->config);
    setup_free(&rank->setup);
    rank->executor = NULL;
    rank->recorded = NULL;
    rank->memory_device = NULL;
    rank->program = NULL;
    rank->config = NULL;
}

static bool load_config(struct rank_process *rank, struct status *status)
{
    const struct setup *setup = &rank->setup;
    struct config_search search = {
        .directories = (const char *const *)setup->directories,
        .directory_count = setup->directory_count,
        .overrides = (const char *const *)setup->overrides,
        .override_count = setup->override_count,
    };
    if (setup->folder[0] && chdir(setup->folder) != 0)
        return status_fail(status, STATUS_IO, "%s: %s", setup->folder, strerror(errno));
    rank->config = config_load(&search, setup->name, status);
    if (!rank->config)
        return false;
    if (rank->config->hash == setup->config_hash)
        return true;
    return status_fail(status, STATUS_INVALID,
                       "%s has other settings in this process than in the engine: the "
                       "configuration files differ",
                       setup->name);
}

bool rank_open_device(struct rank_process *rank, int index, struct status *status)
{
    const struct setup *setup = &rank->setup;
    /* What has run is done: a rank says so, and names the operation that takes its GPU with it. */
    struct device_options options = {
        .threads = setup->threads, .index = index, .counts_round = true, .blocking = true};
    if (rank->device && rank->device_threads == setup->threads && rank->device_index == index &&
        strcmp(rank->device_name, setup->device) == 0)
        return true;
    rank_forget_nccl(rank);
    device_close(rank->device);
    free(rank->device_name);
    rank->device_name = memory_string(setup->device);
    rank->device_threads = setup->threads;
    rank->device_index = index;
    rank->device = device_open(setup->device, &options, status);
    return rank->device != NULL;
}

static bool open_device(struct rank_process *rank, struct status *status)
{
    bool opened = rank->comm != rank->messenger && rank->messenger; /* for its collectives */
    return opened || rank_open_device(rank, rank->setup.worker, status);
}

static bool open_comm(struct rank_process *rank, struct status *status)
{
    rank->hooks = rank_hooks(rank);
    if (!rank_open_collectives(rank, status))
        return false;
    rank->recorded = rank_recorded_comm(rank);
    memset(rank->meetings, 0, sizeof(rank->meetings));
    rank->generation = rank->setup.generation;
    comm_begin_anew(rank->comm, (int)(rank->generation & INT32_MAX));
    return true;
}

static bool compile(struct rank_process *rank, struct status *status)
{
    const struct setup *setup = &rank->setup;
    rank->program = schedule_compile_rank(rank->config, rank->hello.rank, status);
    return rank->program &&
           (!setup->fault[0] || faults_change(rank->program, setup->fault, status));
}

/* The descriptors of the memory that the engine has made for this rank. */
static bool take_memory(struct rank_process *rank, struct status *status)
{
    struct frame frame;
    struct arenas arenas;
    for (int i = 0; i < PROTOCOL_ARENAS; i++)
        rank->memory.arenas[i] = (struct arena){.fd = -1};
    if (rank->setup.shares_memory) {
        if (channel_next(&rank->control, true, &frame) != CHANNEL_FRAME)
            rank_leave();
        if (frame.kind == FRAME_QUIT)
            rank_leave();
        if (frame.kind != FRAME_MEMORY || !arenas_read(frame.body, frame.length, &arenas))
            return status_fail(status, STATUS_INTERNAL, "no memory came from the engine");
        for (int i = 0; i < arenas.count; i++)
            rank->memory.arenas[i] = (struct arena){.bytes = (size_t)arenas.bytes[i],
                                                    .fd = channel_descriptor(&rank->control)};
    }
    rank->memory_device = rank_memory_take(&rank->memory, rank->device);
    return true;
}

static void begin_epoch(struct rank_process *rank)
{
    struct board_rank *own = &rank->board.page->ranks[rank->hello.rank];
    rank->halted = false;
    rank->busy = 0;
    if (rank->board.link) {
        board_begin_anew(&rank->board, rank->setup.generation);
        atomic_store(&own->command, board_pair(rank->setup.epoch, 0));
    }
    atomic_store(&own->state, BOARD_IDLE);
    board_set_position(&rank->board, rank->hello.rank, rank->epoch, 0);
}

static void say_ready(struct rank_process *rank)
{
    struct text body = {0};
    struct ready ready = {
        .program_hash = program_hash(rank->program),
        .epoch = rank->epoch,
        .instructions = (uint32_t)rank->program->instruction_count,
        .arenas = rank_memory_arenas(&rank->memory),
    };
    snprintf(ready.carrier, sizeof(ready.carrier), "%s", rank->carrier);
    ready_write(&body, &ready);
    rank_send(rank, FRAME_READY, &body);
    text_free(&body);
}

/* The communicator comes first: all ranks make it together, and what can fail for one of them alone
 * must not keep the others waiting. */
static bool make_run(struct rank_process *rank, struct status *status)
{
    bool ok = open_comm(rank, status) && load_config(rank, status) && open_device(rank, status) &&
              compile(rank, status);
    if (!take_memory(rank, ok ? status : NULL) || !ok)
        return false;
    rank->executor = executor_create(rank->program, rank->memory_device, rank->recorded,
                                     (enum plan_mode)rank->setup.plan, status);
    return rank->executor != NULL;
}

void rank_set_up(struct rank_process *rank, const struct frame *frame)
{
    struct status status = STATUS_NONE;
    rank_tear_down(rank);
    bool ok = setup_read(frame->body, frame->length, &rank->setup);
    rank->epoch = rank->setup.epoch;
    if (!ok || rank->setup.world > rank->welcome.size || rank->hello.rank >= rank->setup.world) {
        rank_send_failure(rank, true, "what the engine asks for makes no sense");
        return;
    }
    if (make_run(rank, &status)) {
        begin_epoch(rank);
        say_ready(rank);
        return;
    }
    rank_send_failure(rank, device_lost(rank->device), status.text);
    rank_tear_down(rank);
}
