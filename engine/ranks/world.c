/* What is the same for all worlds. */
#include "engine/ranks/world_internal.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "starting", ... static */
static const char *rank_state_name(enum rank_state state)
{
    static const char *const names[] = {"starting", "stopped", "running",
                                        "waiting",  "failed",  "lost"};
    return names[state];
}

/* ---- who has come ---- */

/* One group of ranks: "data", of which rank 3 is the lowest. */
struct gathering {
    int come;
    int first;   /* one of those who have come */
    bool differ; /* they have not all come for the same */
};

struct arrival {
    int group; /* index of its gathering; -1: it has come to none */
    struct comm_descriptor what;
};

struct gatherings {
    struct gathering *groups; /* [COMM_GROUP_COUNT * size]: by kind and lowest rank */
    struct arrival *arrivals; /* [size] */
    int differing;
};

static struct gatherings *gatherings_create(int size)
{
    struct gatherings *all = memory_zeroed(1, sizeof(*all));
    all->groups = memory_zeroed((size_t)size * COMM_GROUP_COUNT, sizeof(*all->groups));
    all->arrivals = memory_zeroed((size_t)size, sizeof(*all->arrivals));
    for (int rank = 0; rank < size; rank++)
        all->arrivals[rank].group = -1;
    return all;
}

static void gatherings_free(struct gatherings *all)
{
    free(all->groups);
    free(all->arrivals);
    free(all);
}

static void come(struct gatherings *all, int rank, int group, const struct comm_descriptor *what)
{
    struct gathering *gathering = &all->groups[group];
    all->arrivals[rank] = (struct arrival){group, *what};
    if (gathering->come++ == 0)
        gathering->first = rank;
    else if (!gathering->differ &&
             !comm_descriptor_equal(what, &all->arrivals[gathering->first].what)) {
        gathering->differ = true;
        all->differing++;
    }
}

/* It is seldom that somebody goes while others stay: then the gathering is made anew. */
static void go(struct gatherings *all, int size, int rank)
{
    int group = all->arrivals[rank].group;
    struct gathering *gathering = &all->groups[group];
    int others = gathering->come - 1;
    all->arrivals[rank].group = -1;
    if (others > 0 && gathering->first != rank && !gathering->differ) {
        gathering->come = others;
        return;
    }
    all->differing -= gathering->differ;
    *gathering = (struct gathering){0};
    for (int other = 0; others > 0 && other < size; other++)
        if (all->arrivals[other].group == group)
            come(all, other, group, &all->arrivals[other].what);
}

/* The gathering to which a rank has come, or -1. */
static int group_come_to(const struct world *world, int rank)
{
    const struct instruction *standing =
        world->ranks[rank].run ? world_standing(world, rank) : NULL;
    if (!standing || world->ranks[rank].state != RANK_WAITING || standing->op == OP_RECEIVE ||
        !world_is_meeting(world, rank))
        return -1;
    const struct seat *seat = &world->ranks[rank].run->program->seat;
    int group = (int)standing->parameters.group;
    return group * world->size + mesh_first(&seat->mesh, rank, (enum comm_group)group);
}

static struct comm_descriptor describe(const struct world *world, int rank)
{
    const struct run *run = world->ranks[rank].run;
    struct op_call call;
    program_call(run->program, run->executor->next, &call);
    struct comm_descriptor what = comm_describe(&call);
    what.place = program_place(run->program, run->executor->next);
    return what;
}

void world_note(struct world *world, int rank)
{
    struct gatherings *all = world->gatherings;
    int group = group_come_to(world, rank);
    if (group < 0 && all->arrivals[rank].group < 0)
        return;
    if (all->arrivals[rank].group >= 0)
        go(all, world->size, rank);
    if (group >= 0) {
        struct comm_descriptor what = describe(world, rank);
        come(all, rank, group, &what);
    }
}

bool world_has_disagreement(const struct world *world)
{
    return world->gatherings->differing > 0;
}

/* ---- worlds ---- */

struct world *world_start(const struct config *config, const struct world_ops *ops, void *context)
{
    struct world *world = memory_zeroed(1, sizeof(*world));
    world->config = config;
    world->size = config->distributed.world_size;
    world->ranks = memory_zeroed((size_t)world->size, sizeof(*world->ranks));
    world->gatherings = gatherings_create(world->size);
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
    gatherings_free(world->gatherings);
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

bool world_run_at_end(const struct run *run)
{
    return run->executor->next >= run->program->instruction_count;
}

bool world_has_ended(const struct world *world, int rank)
{
    return world->ranks[rank].state == RANK_FAILED || world->ranks[rank].state == RANK_LOST;
}

const struct instruction *world_standing(const struct world *world, int rank)
{
    const struct run *run = world->ranks[rank].run;
    return world_run_at_end(run) ? NULL : &run->program->instructions[run->executor->next];
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

int world_waits_for(const struct world *world, int rank, bool *for_ranks)
{
    const struct instruction *standing = world_standing(world, rank);
    int *members = memory_zeroed((size_t)world->size, sizeof(int)), found = 0;
    for (int i = 0; i < world->size; i++)
        for_ranks[i] = false;
    int count = world->ranks[rank].state == RANK_WAITING && world_is_meeting(world, rank)
                    ? members_of(world, rank, standing, members)
                    : 0;
    const struct arrival *arrivals = world->gatherings->arrivals;
    for (int i = 0; i < count; i++) {
        bool here = standing->op == OP_RECEIVE ? world->ops->has_message(world, rank)
                                               : arrivals[members[i]].group == arrivals[rank].group;
        for_ranks[members[i]] = !here;
        found += !here;
    }
    free(members);
    return found;
}

bool world_is_complete(const struct world *world, int rank)
{
    const struct instruction *standing = world_standing(world, rank);
    int group = world->gatherings->arrivals[rank].group;
    if (group < 0)
        return world->ranks[rank].state == RANK_WAITING && standing && standing->op == OP_RECEIVE &&
               world->ops->has_message(world, rank);
    const struct seat *seat = &world->ranks[rank].run->program->seat;
    return world->gatherings->groups[group].come ==
           mesh_members(&seat->mesh, rank, (enum comm_group)standing->parameters.group, NULL);
}

bool world_disagrees(const struct world *world, int rank)
{
    int group = world->gatherings->arrivals[rank].group;
    return group >= 0 && world->gatherings->groups[group].differ;
}

/* A rank that stands in another collective of the same group than `rank`, or -1. */
static int disagreeing(const struct world *world, int rank)
{
    const struct arrival *arrivals = world->gatherings->arrivals;
    for (int other = 0; world_disagrees(world, rank) && other < world->size; other++)
        if (arrivals[other].group == arrivals[rank].group &&
            !comm_descriptor_equal(&arrivals[other].what, &arrivals[rank].what))
            return other;
    return -1;
}

/* "all_reduce(tensor, 65536 x f32) at decoder.1.mlp.layer_2" */
static void place_text(const struct world *world, int rank, char *buffer, int size)
{
    const struct instruction *standing = world_standing(world, rank);
    char what[120] = "the end of the step", path[256];
    if (!standing) {
        snprintf(buffer, (size_t)size, "%s", what);
        return;
    }
    snprintf(what, sizeof(what), "%s", op_name(standing->op));
    if (op_is_collective(standing->op)) {
        struct comm_descriptor descriptor = describe(world, rank);
        comm_descriptor_text(&descriptor, what, sizeof(what));
    }
    snprintf(buffer, (size_t)size, "%s at %s", what,
             origin_path(&standing->origin, path, sizeof(path)));
}

/* " (backward, micro-batch 2/4)": what tells two visits of one layer apart. */
static void visit_text(const struct world *world, int rank, char *buffer, size_t size)
{
    char visit[120];
    origin_visit(&world_standing(world, rank)->origin, visit, sizeof(visit));
    snprintf(buffer, size, " (%s)", visit);
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
        char when[2][160] = {"", ""};
        place_text(world, other, theirs, sizeof(theirs));
        if (strcmp(mine, theirs) == 0) {
            visit_text(world, rank, when[0], sizeof(when[0]));
            visit_text(world, other, when[1], sizeof(when[1]));
        }
        snprintf(buffer, (size_t)size, "rank %d is in %s%s, but rank %d in %s%s", rank, mine,
                 when[0], other, theirs, when[1]);
    } else if (count == 0) {
        snprintf(buffer, (size_t)size, "rank %d stands before %s", rank, mine);
    } else {
        place_text(world, first, theirs, sizeof(theirs));
        enum rank_state state = world->ranks[first].state;
        bool alive = !world_has_ended(world, first);
        char more[32] = "";
        if (count > 1)
            snprintf(more, sizeof(more), " and %d more", count - 1);
        snprintf(buffer, (size_t)size, "rank %d waits in %s for rank %d%s, which %s %s", rank, mine,
                 first, more,
                 state == RANK_WAITING ? "is in"
                 : alive               ? "stands before"
                                       : rank_state_name(state),
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

int world_common_point(const struct world *world, int step)
{
    for (int rank = 0; rank < world->size; rank++) {
        int before = run_point_before(world->ranks[rank].run, step);
        if (before < step) {
            step = before;
            rank = -1;
        }
    }
    return step;
}
