/* Calls on contiguous float64 tensors, and numeric differentiation of them. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_REFERENCE_HELPER_CALLS_H
#define TESTS_UNIT_ENGINE_DEVICE_REFERENCE_HELPER_CALLS_H

#include "engine/device/device.h"
#include "tests/unit/random.h"

/* New tensors; free their data. */
struct tensor helper_normal(struct random *random, struct shape shape);
struct tensor helper_numbers(struct shape shape, const double *numbers);
struct tensor helper_indices(struct shape shape, const int32_t *numbers);

/* Appends an operand to a call. Inputs stay the caller's. */
void helper_input(struct op_call *call, struct tensor tensor);
void helper_output(struct op_call *call, enum dtype dtype, struct shape shape);

/* Runs a call that must succeed; the caller frees the data of the results. */
void helper_run(const struct op_call *call, struct tensor results[OP_MAX_OUTPUTS]);
void helper_free(struct tensor *tensors, int count);

/* weights: [OP_MAX_OUTPUTS]. Fails the test unless `gradient` is d/dx <c, f(x)> for x the input
 * `input` of `forward`, by central differences, element by element. weights[i] is c for output i;
 * no data: not used. */
void helper_check_gradient(const struct op_call *forward, int input, const struct tensor *weights,
                           const struct tensor *gradient);

#endif
