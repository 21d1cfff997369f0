/* As in blame.c, values that were compared bound a region of values that were not. Here a region
 * reaches over ranks: behind a collective is what all its members brought. */
#include "engine/compare/team_blame.h"

#include "engine/base/memory.h"
#include "engine/compare/check.h"

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
}

static void add_node(struct region *region, int rank, int value, int parent)
{
    struct node node = {rank, value, parent};
    if (region->seen[rank][value])
        return;
    region->seen[rank][value] = 1;
    ARRAY_PUSH(region->nodes, region->count, region->capacity, node);
}

/* An input: at the border if it was compared or given, else a part of the region. */
static void look_at(const struct team *team, struct region *region, int rank, int value, int parent)
{
    const struct pair *pair = team->pairs[rank];
    struct value_error error = value_error_of(pair, value);
    double ratio = error.diverged ? pair->results[value].verdict.worst : 0;
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

static void add_link(const struct team *team, struct team_blame *blame, int rank, int value)
{
    struct value_error error = value_error_of(team->pairs[rank], value);
    struct team_link link = {.rank = rank,
                             .instruction = program_of(team, rank)->values[value].producer,
                             .value = value,
                             .error = error.relative,
                             .diverged = error.diverged};
    ARRAY_PUSH(blame->links, blame->count, blame->capacity, link);
}

/* The links from the start of the region, without it, to node `n`. */
static void add_path(const struct team *team, struct team_blame *blame, const struct region *region,
                     int n)
{
    if (n <= 0)
        return;
    add_path(team, blame, region, region->nodes[n].parent);
    add_link(team, blame, region->nodes[n].rank, region->nodes[n].value);
}

bool team_blame_walk(struct team *team, int rank, int value, struct team_blame *blame,
                     struct status *status)
{
    *blame = (struct team_blame){.guilty.counterpart = -1};
    if (!producer_of(team, rank, value))
        return status_fail(status, STATUS_INVALID, "no instruction writes it: it is given");
    for (int i = 0; i < MAX_REGIONS && producer_of(team, rank, value); i++) {
        add_link(team, blame, rank, value);
        struct region region = region_behind(team, rank, value);
        bool inherited = region.worst.value >= 0;
        int n = inherited ? region.worst.parent
                          : find_guilty(team, &region, blame->links[blame->count - 1].diverged,
                                        &blame->guilty);
        add_path(team, blame, &region, n);
        rank = region.worst.rank;
        value = region.worst.value;
        region_free(team, &region);
        if (!inherited)
            return true;
    }
    return true;
}

void team_blame_free(struct team_blame *blame)
{
    free(blame->links);
    blame->links = NULL;
    blame->count = blame->capacity = 0;
}
