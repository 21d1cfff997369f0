/* Metrics straight from their definitions: long double, one element after the other, distances by
 * walking ordered integers of the dtype. Shares nothing with the code under test but dtype_load. */
#ifndef TESTS_UNIT_ENGINE_COMPARE_HELPER_NAIVE_H
#define TESTS_UNIT_ENGINE_COMPARE_HELPER_NAIVE_H

#include "engine/compare/compare.h"
#include "tests/unit/random.h"

/* The coarser dtype's distance of two numbers and whether their bits differ. */
uint64_t naive_distance(enum dtype dtype, double a, double b, bool *different);

/* metrics_compute by definition. `key_reference_scale`, `key_test_scale`: what the two sides are
 * multiplied by before distances are taken. */
struct metrics naive_metrics(const struct tensor *reference, const struct tensor *test,
                             double scale, double key_reference_scale, double key_test_scale);

/* Random numbers of the dtype's range, with some zeros of both signs and some equal pairs. Rows lie
 * `gap` elements apart. The memory is freed by free(tensor.data). */
struct tensor random_tensor(struct random *random, enum dtype dtype, struct shape shape, int gap);
void random_nudge(struct random *random, const struct tensor *from, struct tensor *to,
                  double relative, double factor);

/* Fails the running test if the two are not the same within rounding. */
void assert_metrics_equal(const struct metrics *found, const struct metrics *expected);

#endif
