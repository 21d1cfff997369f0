/* An order in which all ranks can run a step, found without running it. */
#include "engine/base/memory.h"
#include "engine/ranks/world_internal.h"

#include <stdlib.h>

struct march {
    const struct world *world;
    struct march_rank {
        int next;
        bool came;                   /* to the collective that it stands before */
        int times[COMM_GROUP_COUNT]; /* it came to one of its groups */
    } * ranks;                       /* [size] */
    int *come; /* [COMM_GROUP_COUNT * size]: how often ranks came to a group, by its lowest rank */
    int *messages; /* [size * size]: sent by the first to the second, and not received yet */
};

static int *messages_of(const struct march *march, int from, int to)
{
    return &march->messages[(size_t)from * (size_t)march->world->size + (size_t)to];
}

static const struct instruction *standing(const struct march *march, int rank)
{
    const struct program *program = march->world->ranks[rank].run->program;
    int next = march->ranks[rank].next;
    return next < program->instruction_count ? &program->instructions[next] : NULL;
}

/* The group that a rank meets before its next instruction can run, with the count of those who came
 * to it; NULL: it meets nobody. */
static int *meeting(struct march *march, int rank, int *group, int *members)
{
    const struct instruction *next = standing(march, rank);
    const struct mesh *mesh = &march->world->ranks[rank].run->program->seat.mesh;
    if (!next || !op_is_collective(next->op) || next->op == OP_SEND || next->op == OP_RECEIVE)
        return NULL;
    *group = (int)next->parameters.group;
    *members = mesh_members(mesh, rank, (enum comm_group) * group, NULL);
    if (*members < 2)
        return NULL;
    return &march->come[*group * march->world->size +
                        mesh_first(mesh, rank, (enum comm_group) * group)];
}

static void arrive(struct march *march, int rank)
{
    struct march_rank *own = &march->ranks[rank];
    int group, members, *come = meeting(march, rank, &group, &members);
    if (!come || own->came)
        return;
    own->came = true;
    own->times[group]++;
    ++*come;
}

/* Whether the next instruction can run: all members have come as often as this rank, or the message
 * was sent. */
static bool is_ready(struct march *march, int rank)
{
    const struct instruction *next = standing(march, rank);
    int group, members, *come = meeting(march, rank, &group, &members);
    if (come)
        return *come >= march->ranks[rank].times[group] * members;
    return next && (next->op != OP_RECEIVE || *messages_of(march, next->parameters.peer, rank) > 0);
}

static void advance(struct march *march, int rank)
{
    const struct instruction *next = standing(march, rank);
    if (next->op == OP_RECEIVE)
        --*messages_of(march, next->parameters.peer, rank);
    else if (next->op == OP_SEND)
        ++*messages_of(march, rank, next->parameters.peer);
    march->ranks[rank].came = false;
    march->ranks[rank].next++;
}

/* All who can go on do so, after all have arrived: members of a group go on together. */
static int do_round(struct march *march, struct world_place **order, int *count, int *capacity)
{
    int before = *count;
    for (int rank = 0; rank < march->world->size; rank++)
        arrive(march, rank);
    for (int rank = 0; rank < march->world->size; rank++) {
        struct world_place place = {rank, march->ranks[rank].next};
        if (!is_ready(march, rank))
            continue;
        ARRAY_PUSH(*order, *count, *capacity, place);
        advance(march, rank);
    }
    return *count - before;
}

int world_order(const struct world *world, struct world_place **order)
{
    size_t size = (size_t)world->size;
    struct march march = {.world = world,
                          .ranks = memory_zeroed(size, sizeof(*march.ranks)),
                          .come = memory_zeroed(size * COMM_GROUP_COUNT, sizeof(*march.come)),
                          .messages = memory_zeroed(size * size, sizeof(*march.messages))};
    int count = 0, capacity = 0;
    *order = NULL;
    while (do_round(&march, order, &count, &capacity) > 0)
        ;
    free(march.ranks);
    free(march.come);
    free(march.messages);
    return count;
}
