/* Ranks that stand still though nothing that they wait for is missing. */
#include "engine/ranks/world_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <stdlib.h>

#define CHECK_SECONDS 0.1 /* how often ranks are looked at that do not move */
/* How long one is given that moves data with a rank that was lost: they may all have come. */
#define HELD_UP_SECONDS 0.5

bool world_pool_should_move(const struct world *world, int index)
{
    const struct world_rank *rank = &world->ranks[index];
    enum board_state state = (enum board_state)atomic_load(&world_pool_page(world, index)->state);
    if (world_run_at_end(rank->run))
        return false; /* whatever it still says */
    return state == BOARD_RUNNING || state == BOARD_MOVING ||
           (state == BOARD_IDLE && rank->run->executor->next < rank->allowed);
}

/* Whether a rank that it meets, or gets data from, was lost. */
static bool meets_lost(const struct world *world, int index)
{
    const struct instruction *standing = world_standing(world, index);
    const struct mesh *mesh = &world->ranks[index].run->program->seat.mesh;
    if (!standing || !world_is_meeting(world, index))
        return false;
    if (standing->op == OP_RECEIVE)
        return world->ranks[standing->parameters.peer].state == RANK_LOST;
    int *members = memory_zeroed((size_t)world->size, sizeof(int));
    int count = mesh_members(mesh, index, (enum comm_group)standing->parameters.group, members);
    bool lost = false;
    for (int i = 0; i < count; i++)
        lost = lost || world->ranks[members[i]].state == RANK_LOST;
    free(members);
    return lost;
}

/* Whether a rank has stood still for too long, though nothing that it waits for is missing. */
static bool is_overdue(struct world *world, int index, double time)
{
    struct pool_rank_run *own = &world_pool_context(world)->ranks[index];
    struct board_rank *page = world_pool_page(world, index);
    uint64_t position = atomic_load(&page->position);
    uint32_t state = atomic_load(&page->state);
    bool moved = position != own->seen_position || state != own->seen_state;
    bool meets = world->ranks[index].state == RANK_WAITING && world_is_complete(world, index) &&
                 !world_disagrees(world, index);
    if (moved || world_has_ended(world, index) || !(meets || world_pool_should_move(world, index)))
        own->moved = time;
    own->seen_position = position;
    own->seen_state = state;
    bool held_up = own->moved < time && meets_lost(world, index);
    if (moved || (held_up && time - own->moved >= HELD_UP_SECONDS)) {
        own->held_up = held_up;
        world_pool_touch(world, index);
    }
    return !held_up && time - own->moved >= world_pool_context(world)->pool->timeout;
}

/* Whom to blame when ranks do not move: one that was stopped (the others wait for its data), else
 * one that computes, else the first. */
static int find_culprit(const struct world *world, const bool *overdue)
{
    const struct pool_process *processes = world_pool_context(world)->pool->processes;
    int computes = -1, first = -1;
    for (int rank = world->size - 1; rank >= 0; rank--) {
        uint32_t state = atomic_load(&world_pool_page(world, rank)->state);
        if (processes[rank].stopped_by && !world_has_ended(world, rank))
            return rank;
        first = overdue[rank] ? rank : first;
        computes = overdue[rank] && state == BOARD_RUNNING ? rank : computes;
    }
    return computes >= 0 ? computes : first;
}

int world_pool_culprit(const struct world *world, const bool *overdue)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    bool *silent = memory_zeroed((size_t)world->size, sizeof(bool));
    /* what is known of a rank far away may be old, as its host may be unreachable */
    bool asked = !pool->shared && pool_find_silent(pool, overdue, world->size, silent);
    int culprit = find_culprit(world, asked ? silent : overdue);
    free(silent);
    return culprit;
}

bool world_pool_take_stuck(struct world *world, struct world_event *event)
{
    struct pool_world *context = world_pool_context(world);
    double time = clock_seconds();
    if (time < context->next_check)
        return false;
    context->next_check = time + CHECK_SECONDS;
    bool *overdue = memory_zeroed((size_t)world->size, sizeof(bool)), any = false;
    for (int rank = 0; rank < world->size; rank++)
        any |= overdue[rank] = is_overdue(world, rank, time);
    int culprit = any ? world_pool_culprit(world, overdue) : -1;
    free(overdue);
    if (culprit < 0)
        return false;
    world_pool_lose_silent(world, culprit);
    world_pool_give(world, culprit, WORLD_LOST, event);
    return true;
}
