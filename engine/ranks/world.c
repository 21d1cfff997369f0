/* What is the same for all worlds. */
#include "engine/ranks/world_internal.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>

const char *rank_state_name(enum rank_state state)
{
    static const char *const names[] = {"starting", "stopped", "running",
                                        "waiting",  "failed",  "lost"};
    return names[state];
}

struct world *world_start(const struct config *config, const struct world_ops *ops, void *context)
{
    struct world *world = memory_zeroed(1, sizeof(*world));
    world->config = config;
    world->size = config->distributed.world_size;
    world->ranks = memory_zeroed((size_t)world->size, sizeof(*world->ranks));
    world->ops = ops;
    world->context = context;
    return world;
}

void world_free(struct world *world)
{
    if (!world)
        return;
    world->ops->free(world);
    for (int rank = 0; rank < world->size; rank++)
        run_free(world->ranks[rank].run);
    free(world->ranks);
    free(world);
}

bool world_allow(struct world *world, int rank, int limit, struct status *status)
{
    return world->ops->allow(world, rank, limit, status);
}

void world_hold(struct world *world, int rank)
{
    world->ops->hold(world, rank);
}

bool world_next(struct world *world, double seconds, struct world_event *event)
{
    return world->ops->next(world, seconds, event);
}

bool world_is_quiet(const struct world *world)
{
    return world->ops->is_quiet(world);
}

bool world_go_to_step(struct world *world, int step, struct status *status)
{
    if (step < 0 || step >= world->config->train_iterations)
        return status_fail(status, STATUS_INVALID, "there is no step %d", step + 1);
    return world->ops->go_to_step(world, step, status);
}

const struct instruction *world_standing(const struct world *world, int rank)
{
    const struct run *run = world->ranks[rank].run;
    return run->executor->next < run->program->instruction_count
               ? &run->program->instructions[run->executor->next]
               : NULL;
}

/* The ranks that an instruction of `rank` brings together; their number. */
static int members_of(const struct world *world, int rank, const struct instruction *instruction,
                      int *members)
{
    const struct seat *seat = &world->ranks[rank].run->program->seat;
    if (instruction->op != OP_RECEIVE)
        return mesh_members(&seat->mesh, rank, (enum comm_group)instruction->parameters.group,
                            members);
    members[0] = instruction->parameters.peer;
    return 1;
}

bool world_is_meeting(const struct world *world, int rank)
{
    const struct instruction *standing = world_standing(world, rank);
    if (!standing || !op_is_collective(standing->op) || standing->op == OP_SEND)
        return false;
    if (standing->op == OP_RECEIVE)
        return true;
    const struct seat *seat = &world->ranks[rank].run->program->seat;
    return mesh_members(&seat->mesh, rank, (enum comm_group)standing->parameters.group, NULL) > 1;
}

/* Whether `member` waits in a collective of the group that brings it together with the ranks of
 * `instruction`, a collective of another rank. */
static bool has_come(const struct world *world, int member, const struct instruction *instruction)
{
    const struct instruction *standing = world_standing(world, member);
    return world->ranks[member].state == RANK_WAITING && world_is_meeting(world, member) &&
           standing->op != OP_RECEIVE &&
           standing->parameters.group == instruction->parameters.group;
}

int world_waits_for(const struct world *world, int rank, bool *for_ranks)
{
    const struct instruction *standing = world_standing(world, rank);
    int *members = memory_zeroed((size_t)world->size, sizeof(int)), found = 0;
    for (int i = 0; i < world->size; i++)
        for_ranks[i] = false;
    int count = world->ranks[rank].state == RANK_WAITING && world_is_meeting(world, rank)
                    ? members_of(world, rank, standing, members)
                    : 0;
    for (int i = 0; i < count; i++) {
        bool here = standing->op == OP_RECEIVE
                        ? world->ops->has_message(world, rank)
                        : members[i] == rank || has_come(world, members[i], standing);
        for_ranks[members[i]] = !here;
        found += !here;
    }
    free(members);
    return found;
}

bool world_is_complete(const struct world *world, int rank)
{
    bool *for_ranks = memory_zeroed((size_t)world->size, sizeof(bool));
    bool complete = world->ranks[rank].state == RANK_WAITING && world_is_meeting(world, rank) &&
                    world_waits_for(world, rank, for_ranks) == 0;
    free(for_ranks);
    return complete;
}

static struct comm_descriptor describe(const struct world *world, int rank)
{
    const struct run *run = world->ranks[rank].run;
    struct op_call call;
    program_call(run->program, run->executor->next, &call);
    return comm_describe(&call);
}

/* A rank that stands in another collective of the same group than `rank`, or -1. */
static int disagreeing(const struct world *world, int rank)
{
    const struct instruction *standing = world_standing(world, rank);
    if (!standing || !world_is_meeting(world, rank) || standing->op == OP_RECEIVE)
        return -1;
    struct comm_descriptor mine = describe(world, rank);
    int *members = memory_zeroed((size_t)world->size, sizeof(int)), other = -1;
    int count = members_of(world, rank, standing, members);
    for (int i = 0; i < count && other < 0; i++) {
        if (members[i] == rank || !has_come(world, members[i], standing))
            continue;
        struct comm_descriptor theirs = describe(world, members[i]);
        if (!comm_descriptor_equal(&mine, &theirs))
            other = members[i];
    }
    free(members);
    return other;
}

bool world_disagrees(const struct world *world, int rank)
{
    return disagreeing(world, rank) >= 0;
}

/* "all_reduce(tensor, 65536 x f32) at decoder.1.mlp.layer_2" */
static void place_text(const struct world *world, int rank, char *buffer, int size)
{
    const struct instruction *standing = world_standing(world, rank);
    char what[120] = "the end of the step";
    if (!standing) {
        snprintf(buffer, (size_t)size, "%s", what);
        return;
    }
    const struct origin *origin = &standing->origin;
    snprintf(what, sizeof(what), "%s", op_name(standing->op));
    if (op_is_collective(standing->op)) {
        struct comm_descriptor descriptor = describe(world, rank);
        comm_descriptor_text(&descriptor, what, sizeof(what));
    }
    snprintf(buffer, (size_t)size, "%s at %s%s%s", what, origin->layer,
             origin->layer[0] && origin->part[0] ? "." : "", origin->part);
}

const char *world_waiting_text(const struct world *world, int rank, char *buffer, int size)
{
    char mine[256], theirs[256];
    bool *for_ranks = memory_zeroed((size_t)world->size, sizeof(bool));
    int count = world_waits_for(world, rank, for_ranks), first = 0;
    int other = disagreeing(world, rank);
    place_text(world, rank, mine, sizeof(mine));
    while (count && !for_ranks[first])
        first++;
    if (other >= 0) {
        place_text(world, other, theirs, sizeof(theirs));
        snprintf(buffer, (size_t)size, "rank %d is in %s, but rank %d in %s", rank, mine, other,
                 theirs);
    } else if (count == 0) {
        snprintf(buffer, (size_t)size, "rank %d stands before %s", rank, mine);
    } else {
        place_text(world, first, theirs, sizeof(theirs));
        enum rank_state state = world->ranks[first].state;
        bool alive = state != RANK_LOST && state != RANK_FAILED;
        char more[32] = "";
        if (count > 1)
            snprintf(more, sizeof(more), " and %d more", count - 1);
        snprintf(buffer, (size_t)size, "rank %d waits in %s for rank %d%s, which %s %s", rank, mine,
                 first, more, alive ? "stands before" : rank_state_name(state),
                 alive ? theirs : world->ranks[first].reason);
    }
    free(for_ranks);
    return buffer;
}

bool world_report(const struct world *world, int step, struct step_report *report)
{
    for (int rank = 0; rank < world->size; rank++) {
        const struct run *run = world->ranks[rank].run;
        if (!run || step < 0 || step >= run->reported)
            return false;
        const struct step_report *own = &run->reports[step];
        double loss = rank ? report->loss : 0, seconds = rank ? report->seconds : 0;
        *report = *own;
        report->loss = loss + own->loss;
        report->seconds = own->seconds > seconds ? own->seconds : seconds;
    }
    return true;
}
