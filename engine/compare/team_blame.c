/* As in blame.c, values that were compared bound a region of values that were not. Here a region
 * reaches over ranks: behind a collective is what all its members brought. States are not compared
 * where a step begins: they are what the step before made them, and were compared there. */
#include "engine/compare/team_blame.h"

#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "engine/compare/team_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REGIONS = 1000, MAX_KERNELS = 64 };

struct node {
    int rank, value, parent;
};

struct region {
    struct node *nodes; /* nearest to the start first */
    int count, capacity;
    unsigned char **seen; /* [ranks][values] */
    struct node worst;    /* the worst diverged value at the border; value -1: none diverged */
    double worst_ratio;
    struct node *states; /* that it was computed from, parents as nodes */
    int state_count, state_capacity;
};

static const struct program *program_of(const struct team *team, int rank)
{
    return team->pairs[rank]->test->program;
}

static const struct instruction *producer_of(const struct team *team, int rank, int value)
{
    int producer = program_of(team, rank)->values[value].producer;
    return producer < 0 ? NULL : &program_of(team, rank)->instructions[producer];
}

static void region_free(const struct team *team, struct region *region)
{
    for (int rank = 0; rank < team->world->size; rank++)
        free(region->seen[rank]);
    free(region->seen);
    free(region->nodes);
    free(region->states);
}

static void add_node(struct region *region, int rank, int value, int parent)
{
    struct node node = {rank, value, parent};
    if (region->seen[rank][value])
        return;
    region->seen[rank][value] = 1;
    ARRAY_PUSH(region->nodes, region->count, region->capacity, node);
}

static void add_state(struct region *region, int rank, int value, int parent)
{
    struct node node = {rank, value, parent};
    if (region->seen[rank][value])
        return;
    region->seen[rank][value] = 1;
    ARRAY_PUSH(region->states, region->state_count, region->state_capacity, node);
}

/* An input: at the border if it was compared or given, else a part of the region. */
static void look_at(const struct team *team, struct region *region, int rank, int value, int parent)
{
    const struct pair *pair = team->pairs[rank];
    struct value_error error = value_error_of(pair, value);
    double ratio = error.diverged ? pair->results[value].verdict.worst : 0;
    if (program_of(team, rank)->values[value].kind == VALUE_STATE)
        add_state(region, rank, value, parent);
    if (!error.known && producer_of(team, rank, value))
        add_node(region, rank, value, parent);
    else if (error.diverged && (region->worst.value < 0 || ratio > region->worst_ratio)) {
        region->worst = (struct node){rank, value, parent};
        region->worst_ratio = ratio;
    }
}

static void look_behind_collective(const struct team *team, struct region *region, int n,
                                   int instruction, int *members)
{
    int rank = region->nodes[n].rank;
    int count = team_members(team, rank, instruction, members);
    for (int i = 0; i < count; i++) {
        int there = team_meeting(team, rank, instruction, members[i]);
        const struct instruction *in =
            there < 0 ? NULL : &program_of(team, members[i])->instructions[there];
        if (in && in->input_count > 0)
            look_at(team, region, members[i], in->inputs[0], n);
    }
}

static struct region region_behind(const struct team *team, int rank, int value)
{
    struct region region = {.worst = {.value = -1}};
    int *members = memory_zeroed((size_t)team->world->size, sizeof(*members));
    region.seen = memory_zeroed((size_t)team->world->size, sizeof(*region.seen));
    for (int r = 0; r < team->world->size; r++)
        region.seen[r] = memory_zeroed((size_t)program_of(team, r)->value_count, 1);
    add_node(&region, rank, value, -1);
    for (int n = 0; n < region.count; n++) {
        const struct node node = region.nodes[n];
        const struct instruction *in = producer_of(team, node.rank, node.value);
        if (op_is_collective(in->op))
            look_behind_collective(team, &region, n,
                                   program_of(team, node.rank)->values[node.value].producer,
                                   members);
        else
            for (int i = 0; i < in->input_count; i++)
                look_at(team, &region, node.rank, in->inputs[i], n);
    }
    free(members);
    return region;
}

typedef bool check(struct team *team, int rank, int instruction, struct suspect *suspect);

static bool check_layout(struct team *team, int rank, int instruction, struct suspect *suspect)
{
    return team_check_layout(team, rank, instruction, suspect);
}

static bool check_structure(struct team *team, int rank, int instruction, struct suspect *suspect)
{
    return team_check_structure(team, rank, instruction, suspect);
}

/* The first node that a check accuses; -1: none. What the program shows comes before what numbers
 * show, and a collective before the kernels behind it. */
static int find_guilty(struct team *team, const struct region *region, bool diverged,
                       struct suspect *suspect)
{
    static check *const checks[] = {check_layout, check_structure, team_check_collective,
                                    team_check_kernel};
    for (int c = 0; c < ARRAY_LENGTH(checks); c++)
        for (int n = 0; n < region->count && (c < 3 || n < MAX_KERNELS); n++) {
            const struct node *node = &region->nodes[n];
            int producer = program_of(team, node->rank)->values[node->value].producer;
            *suspect = (struct suspect){.counterpart = -1};
            if (checks[c](team, node->rank, producer, suspect))
                return n;
        }
    *suspect = (struct suspect){.rank = region->nodes[0].rank, .counterpart = -1};
    suspect->instruction = program_of(team, suspect->rank)->values[region->nodes[0].value].producer;
    suspect->suspicion = diverged ? SUSPICION_PLACE : SUSPICION_NONE;
    snprintf(suspect->why, sizeof(suspect->why),
             "%s; layouts, structure and kernels behind it raise no suspicion",
             region->count == 1 ? "all that it computes from is within limits"
                                : "the compared values that it comes from are within limits");
    return -1;
}

static struct team_link link_of(const struct team *team, int rank, int value)
{
    struct value_error error = value_error_of(team->pairs[rank], value);
    return (struct team_link){.step = team->step,
                              .rank = rank,
                              .instruction = program_of(team, rank)->values[value].producer,
                              .value = value,
                              .error = error.relative,
                              .diverged = error.diverged};
}

static void add_link(struct team_blame *blame, const struct team_link *link)
{
    ARRAY_PUSH(blame->links, blame->count, blame->capacity, *link);
}

/* One link for each node, as it is now: results are of the step where the team is. */
static struct team_link *links_of(const struct team *team, const struct region *region)
{
    struct team_link *links = memory_zeroed((size_t)region->count, sizeof(*links));
    for (int n = 0; n < region->count; n++)
        links[n] = link_of(team, region->nodes[n].rank, region->nodes[n].value);
    return links;
}

/* The links from the start of the region, without it, to node `n`. */
static void add_path(struct team_blame *blame, const struct region *region,
                     const struct team_link *links, int n)
{
    if (n <= 0)
        return;
    add_path(blame, region, links, region->nodes[n].parent);
    add_link(blame, &links[n]);
}

/* ---- earlier steps ---- */

/* The new version of a state, which its step's update makes; -1: nothing does. */
static int updated_of(const struct program *program, int state)
{
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state == state)
            return v;
    return -1;
}

/* Relative errors up to this may be nothing but rounding. */
static double noise_of(const struct value *value)
{
    return 64 * dtype_epsilon(value->dtype == DTYPE_F64 ? DTYPE_F32 : value->dtype);
}

/* Of the states of a region, at the end of the step that updated them: the worst diverged one, else
 * the one with the largest error that is more than rounding; -1: they are right. */
static int worst_state(const struct team *team, const struct region *region)
{
    int worst = -1;
    bool diverged = false;
    double most = 0;
    for (int i = 0; i < region->state_count; i++) {
        const struct node *state = &region->states[i];
        const struct program *program = program_of(team, state->rank);
        int updated = updated_of(program, state->value);
        struct value_error error = {.known = false};
        if (updated >= 0)
            error = value_error_of(team->pairs[state->rank], updated);
        if (!error.known || error.diverged < diverged ||
            (!error.diverged && error.relative <= noise_of(&program->values[updated])))
            continue;
        if (error.diverged > diverged || error.relative > most) {
            worst = i;
            diverged = error.diverged;
            most = error.relative;
        }
    }
    return worst;
}

/* Goes to the end of the step before. */
static bool go_back(struct team *team, struct team_blame *blame)
{
    struct status status = STATUS_NONE;
    struct team_place end = team_end_of(team, team->step - 1);
    bool ok = team_go_to(team, &end, &status);
    free(end.next);
    if (!ok)
        snprintf(blame->stayed, sizeof(blame->stayed), "step %d cannot be looked at: %.240s",
                 end.step + 1, status.text);
    return ok;
}

struct walk {
    struct team *team;
    struct team_blame *blame;
    struct suspect place; /* as far as the walk got where values diverged; SUSPICION_NONE */
    int place_step, place_count;
};

static bool is_explained(const struct suspect *suspect)
{
    return suspect->suspicion != SUSPICION_NONE && suspect->suspicion != SUSPICION_PLACE;
}

/* Nothing in this step explains the error: whether the step before left states that do. Then the
 * team is there, and the walk goes on from `next`. */
static bool goes_on_before(struct walk *walk, const struct region *region,
                           const struct team_link *links, struct node *next)
{
    struct team_blame *blame = walk->blame;
    if (is_explained(&blame->guilty) || region->state_count == 0 || walk->team->step == 0)
        return false;
    if (blame->guilty.suspicion == SUSPICION_PLACE) {
        walk->place = blame->guilty;
        walk->place_step = walk->team->step;
        walk->place_count = blame->count;
    }
    int worst = go_back(walk->team, blame) ? worst_state(walk->team, region) : -1;
    if (worst < 0)
        return false;
    *next = region->states[worst];
    add_path(blame, region, links, next->parent);
    next->value = updated_of(program_of(walk->team, next->rank), next->value);
    return true;
}

/* One region; false at the end of the walk. `node` is the value that the walk has come to. */
static bool walk_region(struct walk *walk, struct node *node)
{
    struct team_blame *blame = walk->blame;
    struct team_link start = link_of(walk->team, node->rank, node->value);
    add_link(blame, &start);
    struct region region = region_behind(walk->team, node->rank, node->value);
    struct team_link *links = links_of(walk->team, &region);
    bool goes_on = region.worst.value >= 0;
    if (goes_on) {
        *node = region.worst;
        add_path(blame, &region, links, node->parent);
    } else {
        blame->guilty_step = walk->team->step;
        int n = find_guilty(walk->team, &region, start.diverged, &blame->guilty);
        goes_on = goes_on_before(walk, &region, links, node);
        if (!goes_on)
            add_path(blame, &region, links, n);
    }
    free(links);
    region_free(walk->team, &region);
    return goes_on;
}

bool team_blame_walk(struct team *team, int rank, int value, struct team_blame *blame,
                     struct status *status)
{
    struct walk walk = {.team = team, .blame = blame};
    struct node node = {rank, value, -1};
    *blame = (struct team_blame){.guilty.counterpart = -1};
    if (!producer_of(team, rank, value))
        return status_fail(status, STATUS_INVALID, "no instruction writes it: it is given");
    struct team_place place = team_where(team);
    for (int i = 0; i < MAX_REGIONS && producer_of(team, node.rank, node.value); i++)
        if (!walk_region(&walk, &node))
            break;
    /* an error that grew from below the limits, of which an earlier step shows no cause */
    if (walk.place.suspicion && !blame->guilty.suspicion) {
        blame->guilty = walk.place;
        blame->guilty_step = walk.place_step;
        blame->count = walk.place_count;
    }
    bool moved = team->step != place.step || blame->stayed[0];
    bool ok = !moved || team_go_to(team, &place, status);
    free(place.next);
    if (!ok)
        team_blame_free(blame);
    return ok;
}

void team_blame_free(struct team_blame *blame)
{
    free(blame->links);
    blame->links = NULL;
    blame->count = blame->capacity = 0;
}
