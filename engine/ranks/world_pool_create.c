/* A world in the processes of a pool is made, and given back. */
#include "engine/ranks/world_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/train/schedule.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void free_runs(struct world *world)
{
    struct pool_world *context = world->context;
    for (int rank = 0; rank < world->size; rank++) {
        run_free(world->ranks[rank].run);
        world->ranks[rank].run = NULL; /* it must go before the device that it was made on */
        device_close(context->ranks[rank].device);
        rank_memory_close(&context->ranks[rank].memory);
    }
}

void world_pool_release(struct world *world)
{
    struct pool_world *context = world->context;
    struct rank_pool *pool = context->pool;
    bool runs = false;
    for (int rank = 0; rank < world->size; rank++)
        runs = runs || world->ranks[rank].run;
    /* one that is stopped may go on later, in the middle of this run */
    if (runs && !(rank_pool_is_sound(pool) && world_pool_stop(world, NULL)))
        for (int rank = 0; rank < world->size; rank++) /* started again for the next run */
            pool->processes[rank].broken = true;
    for (int rank = 0; rank < world->size; rank++)
        if (!pool_has_lost(pool, rank))
            pool_send(pool, rank, FRAME_FORGET, NULL, NULL, 0);
    pool->world = NULL;
    free_runs(world);
    free(context->queue.news);
    free(context->queue.has);
    free(context->dirty);
    free(context->ranks);
    free(context);
}

/* ---- setting up ---- */

static int threads_of_a_rank(const struct rank_pool *pool, int ranks)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (pool->options.threads > 0)
        return pool->options.threads;
    return cores > ranks ? (int)cores / ranks : 1;
}

/* A thread beside ranks that keep all cores busy takes from them what it computes, and as much
 * again while it spins for more to do. */
static int threads_beside_ranks(const struct rank_pool *pool, const struct device *device,
                                int ranks)
{
    long left = sysconf(_SC_NPROCESSORS_ONLN) - (long)ranks * threads_of_a_rank(pool, ranks);
    if (!pool->shared || !device_host_memory(device))
        return 0;
    return left > 1 ? (int)left : 1;
}

static char **copy_words(const char *const *words, int count, bool paths)
{
    char **copy = memory_zeroed((size_t)count, sizeof(*copy));
    for (int i = 0; i < count; i++) {
        char *resolved = paths ? realpath(words[i], NULL) : NULL;
        copy[i] = resolved ? resolved : memory_string(words[i]);
    }
    return copy;
}

static void describe_setup(struct world *world, const struct config_search *search,
                           const struct run_options *options, struct setup *setup)
{
    struct pool_world *context = world->context;
    const struct config *config = world->config;
    char folder[PATH_MAX] = "";
    bool changed = options->change != NULL;
    if (!getcwd(folder, sizeof(folder)))
        folder[0] = '\0';
    *setup = (struct setup){
        .generation = context->pool->generation,
        .world = world->size,
        .name = memory_string(config->name),
        .folder = memory_string(folder),
        .fault = memory_string(changed ? (const char *)options->change_context : ""),
        .device = memory_string(device_name(context->device)),
        .directories =
            search ? copy_words(search->directories, search->directory_count, true) : NULL,
        .directory_count = search ? search->directory_count : 0,
        .overrides = search ? copy_words(search->overrides, search->override_count, false) : NULL,
        .override_count = search ? search->override_count : 0,
        .plan = (int)options->plan,
        .threads = threads_of_a_rank(context->pool, world->size),
        .worker = context->pool->options.worker,
        .collectives = (int)context->pool->options.launch.collectives,
        /* less than the engine waits: the rank can still say what it was that took so long */
        .limit = (int)(context->pool->timeout * 600),
        .shares_memory = context->pool->shared && device_host_memory(context->device),
        .config_hash = config->hash,
        .mesh = schedule_mesh(config),
    };
}

static void send_setup(struct world *world, struct setup *setup)
{
    struct pool_world *context = world->context;
    for (int rank = 0; rank < world->size; rank++) {
        struct pool_rank_run *own = &context->ranks[rank];
        struct board_rank *page = world_pool_page(world, rank);
        struct pool_process *process = &context->pool->processes[rank];
        struct text body = {0};
        setup->epoch = own->epoch = ++context->pool->epoch;
        process->has_ready = process->has_failed = false;
        atomic_store(&page->step, 0);
        atomic_store(&page->command, board_pair(own->epoch, 0));
        setup_write(&body, setup);
        pool_send(context->pool, rank, FRAME_SETUP, &body, NULL, 0);
        text_free(&body);
    }
}

/* The twin of a rank's run, and the memory that both have. */
static bool make_twin(struct world *world, int rank, const struct run_options *options,
                      bool shares_memory, struct status *status)
{
    struct pool_world *context = world->context;
    struct pool_rank_run *own = &context->ranks[rank];
    struct run_options options_of_rank = *options;
    options_of_rank.rank = rank;
    own->link = (struct pool_memory){context->pool, rank};
    struct memory_link link = {pool_read_memory, pool_write_memory, &own->link};
    own->device = shares_memory ? rank_memory_make(&own->memory, context->device)
                                : rank_memory_far(&own->memory, context->device, &link);
    world->ranks[rank].run = run_create(world->config, own->device, NULL, &options_of_rank, status);
    return world->ranks[rank].run || status_context(status, "rank %d", rank);
}

static void send_memory(struct world *world, int rank)
{
    struct pool_world *context = world->context;
    const struct rank_memory *memory = &context->ranks[rank].memory;
    struct arenas arenas = rank_memory_arenas(memory);
    int descriptors[PROTOCOL_ARENAS];
    struct text body = {0};
    for (int i = 0; i < arenas.count; i++)
        descriptors[i] = memory->arenas[i].fd;
    arenas_write(&body, &arenas);
    pool_send(context->pool, rank, FRAME_MEMORY, &body, descriptors, arenas.count);
    text_free(&body);
}

/* Whether the rank has made the same program. */
static bool check_ready(const struct world *world, int rank, struct status *status)
{
    const struct pool_world *context = world->context;
    const struct ready *ready = &context->pool->processes[rank].ready;
    const struct program *program = world->ranks[rank].run->program;
    struct arenas own = rank_memory_arenas(&context->ranks[rank].memory);
    if (ready->program_hash != program_hash(program) ||
        (int)ready->instructions != program->instruction_count)
        return status_fail(status, STATUS_INTERNAL,
                           "rank %d has compiled another program: is it another lockstep?", rank);
    for (int i = 0; i < own.count; i++)
        if (ready->arenas.bytes[i] != own.bytes[i])
            return status_fail(status, STATUS_INTERNAL,
                               "rank %d has planned %" PRIu64
                               " bytes of memory, the engine %" PRIu64,
                               rank, ready->arenas.bytes[i], own.bytes[i]);
    return true;
}

static bool fail_slow(struct world *world, int rank, struct status *status)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    char stopped[100], text[800];
    int cause = pool_find_cause(pool, rank);
    pool_stopped_text(pool, cause, stopped, sizeof(stopped));
    snprintf(text, sizeof(text), "process %lld of rank %d has not set its run up within %g s%s",
             (long long)pool->processes[cause].pid, cause, pool->timeout, stopped);
    pool_add_last_words(pool, cause, text, sizeof(text));
    return status_fail(status, STATUS_IO, "%s", text);
}

/* True when the rank is ready; false with a failed status, or with none while it is not. */
static bool is_ready(struct world *world, int rank, struct status *status)
{
    struct pool_world *context = world->context;
    struct pool_process *process = &context->pool->processes[rank];
    uint32_t epoch = context->ranks[rank].epoch;
    if (process->has_failed && process->failure.epoch != epoch)
        process->has_failed = false; /* of a run before */
    if (process->has_failed || pool_has_lost(context->pool, rank))
        return pool_fail_cause(context->pool, rank, "while its run was set up", status);
    return process->has_ready && process->ready.epoch == epoch;
}

static bool wait_for_ready(struct world *world, struct status *status)
{
    struct pool_world *context = world->context;
    double deadline = clock_seconds() + context->pool->timeout;
    for (int rank = 0; rank < world->size;) {
        struct status failure = STATUS_NONE;
        if (is_ready(world, rank, &failure)) {
            rank++;
            continue;
        }
        for (int other = rank + 1; failure.code == STATUS_OK && other < world->size; other++)
            is_ready(world, other, &failure);
        if (failure.code == STATUS_OK && clock_seconds() > deadline)
            fail_slow(world, rank, &failure);
        if (failure.code != STATUS_OK) {
            context->pool->processes[rank].broken = true; /* others may wait for it in MPI */
            return status_fail(status, failure.code, "%s", failure.text);
        }
        pool_pump(context->pool, 100);
    }
    return true;
}

static bool set_up(struct world *world, const struct config_search *search,
                   const struct run_options *options, struct status *status)
{
    struct setup setup;
    struct pool_world *context = world->context;
    board_begin_anew(&context->pool->board, ++context->pool->generation);
    describe_setup(world, search, options, &setup);
    send_setup(world, &setup); /* the ranks compile while this process does */
    bool shares_memory = setup.shares_memory, ok = true;
    setup_free(&setup);
    for (int rank = 0; ok && rank < world->size; rank++) {
        ok = make_twin(world, rank, options, shares_memory, status);
        if (ok && shares_memory)
            send_memory(world, rank);
    }
    ok = ok && wait_for_ready(world, status);
    for (int rank = 0; ok && rank < world->size; rank++) {
        ok = check_ready(world, rank, status);
        world->ranks[rank].state = RANK_STOPPED;
    }
    return ok;
}

static bool check_options(const struct rank_pool *pool, const struct config *config,
                          const struct run_options *options, struct status *status)
{
    if (config->distributed.world_size > pool->options.size)
        return status_fail(status, STATUS_INVALID, "%s needs %d ranks, but %d were started",
                           config->name, config->distributed.world_size, pool->options.size);
    if (options->change && options->change != faults_change)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "only faults can change the program of rank processes");
    return !pool->world || status_fail(status, STATUS_INTERNAL, "the ranks are in use");
}

struct world *world_create_in_pool(struct rank_pool *pool, const struct config *config,
                                   const struct config_search *search, struct device *device,
                                   const struct run_options *options, struct status *status)
{
    pool_pump(pool, 0);
    if (!check_options(pool, config, options, status) ||
        (!rank_pool_is_sound(pool) && !rank_pool_restart(pool, status)))
        return NULL;
    struct pool_world *context = memory_zeroed(1, sizeof(*context));
    struct world *world = world_start(config, &world_pool_ops, context);
    *context = (struct pool_world){
        .pool = pool,
        .device = device,
        .ranks = memory_zeroed((size_t)world->size, sizeof(struct pool_rank_run)),
        .dirty = memory_zeroed((size_t)world->size, sizeof(bool)),
        .queue.news = memory_zeroed((size_t)world->size, sizeof(struct pool_news)),
        .queue.has = memory_zeroed((size_t)world->size, sizeof(bool)),
    };
    world->threads = threads_beside_ranks(pool, device, world->size);
    pool->world = world;
    if (set_up(world, search, options, status))
        return world;
    world_free(world);
    return NULL;
}
