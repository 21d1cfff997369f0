/* What the comparisons of a pair gave, and whether two ways of comparing gave the same. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_SEEN_H
#define TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_SEEN_H

#include "engine/compare/pair.h"

/* All zero: nothing yet. */
struct seen {
    struct pair_result *results; /* free() it */
    int count, capacity;
};

/* For pair_observe(); the context is a struct seen. */
void seen_observe(void *context, const struct pair *pair, int step, int value,
                  const struct pair_result *result);
/* Fails the test unless there are many, and all are the same but for the order of sums. */
void seen_assert_same(const struct seen *there, const struct seen *here);

#endif
