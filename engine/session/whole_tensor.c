#include "engine/session/whole_tensor.h"

#include "engine/base/memory.h"
#include "engine/session/describe.h"

#include <math.h>

enum { PIECE = 1 << 12 }; /* elements between looks at the interrupt: each may ask all ranks */

struct whole_tensor whole_tensor_of(const struct debugger *debugger, int value,
                                    const struct pair_sides *sides)
{
    return (struct whole_tensor){debugger->target->team, describe_whole(debugger, value),
                                 sides->sampling_step > 0 ? sides->sampling_step : 1};
}

bool whole_tensor_has(const void *context, int64_t index)
{
    const struct whole_tensor *whole = context;
    return team_has_element(whole->team, whole->tensor, index * whole->step);
}

/* Room for as many elements as `like` has; a failure leaves nothing. */
static bool make_room(const struct tensor *like, struct tensor *made, void **buffer,
                      struct status *status)
{
    int64_t elements = shape_elements(like->shape);
    *buffer = memory_try((size_t)elements, dtype_size(like->dtype));
    if (!*buffer)
        return status_fail(status, STATUS_MEMORY, "no memory for the parts that are computed");
    *made = tensor_of(*buffer, like->dtype, shape_of1(elements));
    return true;
}

static bool take(const struct whole_tensor *whole, const struct interrupt *interrupt,
                 const struct pair_sides *sides, struct pair_sides *computed, struct status *status)
{
    bool is_float = dtype_is_float(sides->test.dtype); /* only these can be NaN */
    int64_t elements = shape_elements(sides->test.shape), count = 0;
    for (int64_t i = 0; i < elements; i++) {
        if (i % PIECE == 0 && interrupt_asked(interrupt))
            return interrupt_fail(status);
        double number = tensor_load(&sides->test, i);
        if ((!is_float || isnan(number)) && !whole_tensor_has(whole, i))
            continue;
        tensor_store(&computed->test, count, number);
        if (computed->reference_buffer)
            tensor_store(&computed->reference, count, tensor_load(&sides->reference, i));
        count++;
    }
    if (count == 0)
        return status_fail(status, STATUS_NOT_FOUND,
                           "none of its samples is in a part that is computed");
    computed->test.shape = shape_of1(count);
    if (computed->reference_buffer)
        computed->reference.shape = shape_of1(count);
    return true;
}

bool whole_tensor_computed(const struct whole_tensor *whole, const struct interrupt *interrupt,
                           const struct pair_sides *sides, struct pair_sides *computed,
                           struct status *status)
{
    *computed = *sides;
    computed->test_buffer = computed->reference_buffer = NULL;
    if (sides->absent == 0)
        return true;
    bool alike = sides->has_reference && shape_equal(sides->test.shape, sides->reference.shape);
    bool ok = make_room(&sides->test, &computed->test, &computed->test_buffer, status) &&
              (!alike || make_room(&sides->reference, &computed->reference,
                                   &computed->reference_buffer, status)) &&
              take(whole, interrupt, sides, computed, status);
    if (!ok)
        pair_sides_free(computed);
    return ok;
}
