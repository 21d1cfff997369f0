#include "engine/compare/team_desync.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One rank's part, as it lies on the host. */
struct side {
    int rank;
    struct tensor part;
    void *buffer; /* owned */
};

static bool view_side(const struct team *team, const struct team_tensor *tensor, struct side *side)
{
    struct executor *executor = team->pairs[side->rank]->test->executor;
    int value = tensor->values[side->rank];
    struct status unreadable = STATUS_NONE;
    return executor_holds(executor, value) &&
           executor_view(executor, value, &side->buffer, &side->part, &unreadable);
}

/* Bits, as the comparison itself: NaN is the same as itself, -0 is not 0. */
static bool same_bits(const struct tensor *a, const struct tensor *b, int64_t index)
{
    size_t size = dtype_size(a->dtype);
    const char *x = a->data, *y = b->data;
    return memcmp(x + (size_t)index * size, y + (size_t)index * size, size) == 0;
}

static void compare_sides(const struct side *a, const struct side *b,
                          struct team_difference *difference)
{
    const struct shape *shape = &a->part.shape;
    int64_t count = shape_elements(*shape), first = -1;
    for (int64_t i = count - 1; i >= 0; i--)
        if (!same_bits(&a->part, &b->part, i)) {
            difference->different++;
            first = i;
        }
    if (first < 0)
        return; /* it has been written to since */
    int64_t columns = shape->rank == 2 ? shape->dims[1] : count;
    if (shape->rank == 2)
        snprintf(difference->index, TEAM_DESYNC_INDEX, "[%" PRId64 ",%" PRId64 "]", first / columns,
                 first % columns);
    else
        snprintf(difference->index, TEAM_DESYNC_INDEX, "[%" PRId64 "]", first);
    difference->elements = count;
    difference->first = tensor_load(&a->part, first);
    difference->second = tensor_load(&b->part, first);
}

bool team_difference(const struct team *team, int tensor, int first, int second,
                     struct team_difference *difference)
{
    const struct team_tensor *of = &team->tensors[tensor];
    struct side a = {.rank = first}, b = {.rank = second};
    *difference = (struct team_difference){0};
    if (view_side(team, of, &a) && view_side(team, of, &b))
        compare_sides(&a, &b, difference);
    free(a.buffer);
    free(b.buffer);
    return difference->different > 0;
}

/* Ranks with the same bits: `count` of them, from `first` on. */
struct alike {
    uint64_t hash;
    int first, count;
};

static int compare_hashes(const void *left, const void *right)
{
    const struct alike *a = left, *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->first < b->first ? -1 : 1;
}

static int compare_counts(const void *left, const void *right)
{
    const struct alike *a = left, *b = right;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return a->first < b->first ? -1 : 1;
}

static bool has_same_part(const struct team_tensor *tensor, int rank, int other)
{
    return tensor->arrived[other] && tensor->same_as[other] == tensor->same_as[rank];
}

/* The largest group first; of groups of one size that with the lowest rank. Returns how many. */
static int find_alike(const struct team *team, const struct team_tensor *tensor, int rank,
                      struct alike *groups)
{
    int ranks = 0, count = 0;
    for (int other = 0; other < team->world->size; other++)
        if (has_same_part(tensor, rank, other))
            groups[ranks++] = (struct alike){tensor->hashes[other], other, 1};
    qsort(groups, (size_t)ranks, sizeof(*groups), compare_hashes);
    for (int i = 0; i < ranks; i++)
        if (count > 0 && groups[count - 1].hash == groups[i].hash)
            groups[count - 1].count++;
        else
            groups[count++] = groups[i];
    qsort(groups, (size_t)count, sizeof(*groups), compare_counts);
    return count;
}

void team_unlike(const struct team *team, int tensor, int rank, int *against)
{
    const struct team_tensor *of = &team->tensors[tensor];
    struct alike *groups = memory_zeroed((size_t)team->world->size, sizeof(*groups));
    int count = find_alike(team, of, rank, groups);
    bool divided = count > 1 && groups[1].count == groups[0].count;
    for (int other = 0; count > 0 && other < team->world->size; other++) {
        if (!has_same_part(of, rank, other))
            continue;
        if (of->hashes[other] != groups[0].hash)
            against[other] = groups[0].first;
        else
            against[other] = divided ? groups[1].first : -1;
    }
    free(groups);
}

const char *team_desync_text(const struct team *team, const struct team_event *event, int which,
                             char buffer[TEAM_DESYNC_TEXT])
{
    const struct team_desync *desync = &event->desynchronised[which];
    const struct team_tensor *tensor = &team->tensors[desync->tensor];
    bool in_order = desync->against < event->rank;
    int first = in_order ? desync->against : event->rank;
    int second = in_order ? event->rank : desync->against;
    struct team_difference difference;
    char some[32], all[32];
    int length = snprintf(buffer, TEAM_DESYNC_TEXT,
                          "%.200s differs between ranks %d and %d, which hold the same",
                          tensor->name, first, second);
    if (team_difference(team, desync->tensor, first, second, &difference))
        snprintf(buffer + length, (size_t)(TEAM_DESYNC_TEXT - length),
                 ": %s of %s elements, the first at %s: %.9g and %.9g",
                 text_thousands(difference.different, some),
                 text_thousands(difference.elements, all), difference.index, difference.first,
                 difference.second);
    return buffer;
}
