/* The ranks of a pool stop, and go to the beginning of a step. */
#include "engine/ranks/world_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <stdlib.h>

static bool is_idle(const struct world *world, int rank)
{
    uint32_t state = atomic_load(&world_pool_page(world, rank)->state);
    return state == BOARD_IDLE || state == BOARD_FAILED || state == BOARD_STARTING;
}

static bool is_at_rest(const struct world *world, int rank)
{
    const struct run *run = world->ranks[rank].run;
    const struct board *board = &world_pool_context(world)->pool->board;
    if (!board_has_seen(board, rank))
        return false;
    return is_idle(world, rank) || (run && board_is_stuck(board, rank, &run->program->seat.mesh));
}

static bool fail_lost(struct world *world, int rank, struct status *status)
{
    rank = world_pool_lose_cause(world, rank);
    return status_fail(status, STATUS_IO, "%s", world->ranks[rank].reason);
}

static bool fail_silent(struct world *world, const bool *busy, struct status *status)
{
    int rank = world_pool_culprit(world, busy);
    world_pool_lose_silent(world, rank);
    return status_fail(status, STATUS_IO, "%s", world->ranks[rank].reason);
}

/* Waits until `rests` holds for all ranks at once. */
static bool wait_for_ranks(struct world *world, bool (*rests)(const struct world *, int),
                           struct status *status)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    double deadline = clock_seconds() + pool->timeout;
    bool *busy = memory_zeroed((size_t)world->size, sizeof(bool)), any = true, ok = true;
    while (ok && any) {
        any = false;
        atomic_store(&pool->board.page->engine_sleeps, 1);
        for (int rank = 0; ok && rank < world->size; rank++) {
            any |= busy[rank] = !rests(world, rank);
            if (pool_has_lost(pool, rank))
                ok = fail_lost(world, rank, status);
        }
        if (ok && any && clock_seconds() > deadline)
            ok = fail_silent(world, busy, status);
        else if (ok && any)
            pool_pump(pool, 50);
    }
    free(busy);
    return ok;
}

/* First all come to rest, as nobody may begin anything; then those that wait for others are told to
 * give up. In one go, a rank could give up that others have just found at their meeting. */
bool world_pool_stop(struct world *world, struct status *status)
{
    for (int rank = 0; rank < world->size; rank++) {
        world->ranks[rank].allowed = 0;
        world_pool_command(world, rank, 0);
    }
    if (!wait_for_ranks(world, is_at_rest, status))
        return false;
    for (int rank = 0; rank < world->size; rank++) {
        atomic_store(&world_pool_page(world, rank)->cancelled,
                     world_pool_context(world)->ranks[rank].epoch);
        world_pool_command(world, rank, 0);
    }
    return wait_for_ranks(world, is_idle, status);
}

/* Runs all ranks to the end of their step. */
static bool finish_step(struct world *world, struct status *status)
{
    struct world_event event;
    char text[600];
    for (int rank = 0; rank < world->size; rank++)
        if (!world_allow(world, rank, world->ranks[rank].run->program->instruction_count, status))
            return false;
    for (bool ended = false; !ended;) {
        ended = true;
        for (int rank = 0; rank < world->size; rank++)
            ended = ended && world_run_at_end(world->ranks[rank].run);
        if (ended)
            break;
        bool got = world_next(world, 0.5, &event);
        if (got && event.kind != WORLD_DONE)
            return status_fail(status, STATUS_INTERNAL, "%s",
                               event.kind == WORLD_MISMATCH
                                   ? world_waiting_text(world, event.rank, text, sizeof(text))
                                   : world->ranks[event.rank].reason);
        if (!got && world_is_quiet(world))
            return status_fail(status, STATUS_INTERNAL, "no rank can go on");
    }
    return true;
}

static bool restore(struct world *world, int step, struct status *status)
{
    for (int index = 0; index < world->size; index++) {
        struct world_rank *rank = &world->ranks[index];
        rank->state = RANK_STOPPED;
        rank->allowed = 0;
        rank->reason[0] = '\0';
        world_pool_context(world)->ranks[index].told_mismatch = false;
        world_pool_context(world)->ranks[index].held_up = false;
        if (!run_restore(rank->run, step, status))
            return false;
        world_pool_begin_epoch(world, index);
    }
    world_pool_forget_news(world);
    board_begin_anew(&world_pool_context(world)->pool->board,
                     ++world_pool_context(world)->pool->generation);
    for (int rank = 0; rank < world->size; rank++)
        world_pool_command(world, rank, 0);
    return true;
}

bool world_pool_go_to_step(struct world *world, int step, struct status *status)
{
    for (int rank = 0; rank < world->size; rank++)
        if (world->ranks[rank].state == RANK_LOST)
            return status_fail(status, STATUS_INVALID, "rank %d was lost: %s", rank,
                               world->ranks[rank].reason);
    int from = world_common_point(world, step);
    if (!world_pool_stop(world, status) || !restore(world, from, status))
        return false;
    for (; from < step; from++)
        if (!finish_step(world, status))
            return false;
    for (int index = 0; index < world->size; index++) {
        bool next_step = world_run_at_end(world->ranks[index].run);
        if (!run_prepare(world->ranks[index].run, status))
            return false;
        if (next_step)
            world_pool_begin_epoch(world, index);
        world->ranks[index].allowed = 0;
        world_pool_command(world, index, 0);
        world_pool_settle(world, index);
    }
    return true;
}
