/* A tensor that is put together from the parts of several ranks, of which some may not have
 * computed theirs yet: what is not there is NaN among the elements, and counts nowhere. Engine
 * thread. Internal to engine/session. */
#ifndef ENGINE_SESSION_WHOLE_TENSOR_H
#define ENGINE_SESSION_WHOLE_TENSOR_H

#include "engine/compare/team.h"
#include "engine/session/debugger.h"

struct whole_tensor {
    const struct team *team;
    int tensor;
    int64_t step; /* between elements that are shown */
};

/* `sides` are those of `value` as team_view gave them, or any: where nothing is absent, nothing of
 * the rest is looked at. */
struct whole_tensor whole_tensor_of(const struct debugger *debugger, int value,
                                    const struct pair_sides *sides);

/* Whether a rank has computed an element of the sides: metrics_worst_of. */
bool whole_tensor_has(const void *whole, int64_t index);

/* Gives, in *computed, both sides of the elements that are computed, one behind the other: for what
 * does not depend on where an element is. Where nothing is absent it borrows from `sides`, and so
 * it does a reference of another shape; free with pair_sides_free. False when it was interrupted,
 * there is no memory, or no element. */
bool whole_tensor_computed(const struct whole_tensor *whole, const struct interrupt *interrupt,
                           const struct pair_sides *sides, struct pair_sides *computed,
                           struct status *status);

#endif
