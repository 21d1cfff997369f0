/* The reference's tensor in place of a team's. */
#include "engine/base/memory.h"
#include "engine/compare/team_internal.h"

#include <stdlib.h>

static bool graft_one(struct pair *pair, int value, struct status *status)
{
    if (executor_holds(pair->test->executor, value))
        return pair_graft(pair, value, status);
    pair_graft_later(pair, value);
    return true;
}

static bool is_meant(const struct team_tensor *tensor, int rank, int other, bool whole)
{
    return tensor->values[other] >= 0 && (whole || tensor->same_as[other] == tensor->same_as[rank]);
}

bool team_graft(struct team *team, int rank, int value, bool whole, int *parts,
                struct status *status)
{
    int index = team_tensor_of(team, rank, value), size = team->world->size;
    int *before = memory_zeroed((size_t)size, sizeof(*before));
    bool ok = true;
    *parts = 0;
    for (int other = 0; other < size; other++)
        before[other] = team->pairs[other]->graft_count;
    for (int other = 0; ok && other < size; other++) {
        const struct team_tensor *tensor = index >= 0 ? &team->tensors[index] : NULL;
        if (tensor ? !is_meant(tensor, rank, other, whole) : other != rank)
            continue;
        ok = graft_one(team->pairs[other], tensor ? tensor->values[other] : value, status);
        *parts += ok;
    }
    for (int other = 0; !ok && other < size; other++) /* all of them or none */
        team->pairs[other]->graft_count = before[other];
    free(before);
    return ok;
}
