#include "engine/compare/team_desync.h"

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

static void add_elements(const struct side *a, const struct side *b, char *text, size_t size)
{
    const struct shape *shape = &a->part.shape;
    int64_t count = shape_elements(*shape), different = 0, first = -1;
    char some[32], all[32], at[48];
    for (int64_t i = count - 1; i >= 0; i--)
        if (!same_bits(&a->part, &b->part, i)) {
            different++;
            first = i;
        }
    if (first < 0)
        return; /* it has been written to since */
    int64_t columns = shape->rank == 2 ? shape->dims[1] : count;
    if (shape->rank == 2)
        snprintf(at, sizeof(at), "[%" PRId64 ",%" PRId64 "]", first / columns, first % columns);
    else
        snprintf(at, sizeof(at), "[%" PRId64 "]", first);
    text_thousands(different, some);
    text_thousands(count, all);
    snprintf(text, size, ": %s of %s elements, the first at %s: %.9g and %.9g", some, all, at,
             tensor_load(&a->part, first), tensor_load(&b->part, first));
}

const char *team_desync_text(const struct team *team, const struct team_event *event,
                             char buffer[TEAM_DESYNC_TEXT])
{
    const struct team_tensor *tensor = &team->tensors[event->desynchronised];
    bool in_order = event->against < event->rank;
    struct side first = {.rank = in_order ? event->against : event->rank};
    struct side second = {.rank = in_order ? event->rank : event->against};
    int length = snprintf(buffer, TEAM_DESYNC_TEXT,
                          "%.200s differs between ranks %d and %d, which hold the same",
                          tensor->name, first.rank, second.rank);
    if (view_side(team, tensor, &first) && view_side(team, tensor, &second))
        add_elements(&first, &second, buffer + length, (size_t)(TEAM_DESYNC_TEXT - length));
    free(first.buffer);
    free(second.buffer);
    return buffer;
}
