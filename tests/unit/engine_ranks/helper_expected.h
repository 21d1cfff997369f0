/* The bits that a run of several ranks must have, taken from the ranks in one process. */
#ifndef TESTS_UNIT_ENGINE_RANKS_HELPER_EXPECTED_H
#define TESTS_UNIT_ENGINE_RANKS_HELPER_EXPECTED_H

#include "engine/ranks/world.h"
#include "helper_pool.h"

enum { EXPECTED_STEPS = 3, EXPECTED_RANKS = 4, EXPECTED_TOKENS = 32 };

struct expected {
    const char *variant; /* borrowed */
    /* by value, at the end of the step; 0: it is not held then */
    uint64_t *hashes[EXPECTED_STEPS][EXPECTED_RANKS];
};

/* Loads the variant and runs it. Free with expected_free. */
void expected_fill(struct expected *expected, struct pool_test *it, const char *variant);
void expected_free(struct expected *expected);
/* What each rank has computed in its present step, however far it came. Returns how many values;
 * -1, with a status, when one cannot be read. `gone`: all processes are. */
int expected_check(const struct expected *expected, const struct world *world, bool gone,
                   struct status *status);
bool rank_is_lost(const struct world *world, int rank);

#endif
