#include "helper_calls.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct tensor helper_normal(struct random *random, struct shape shape)
{
    double *data = memory_zeroed((size_t)shape_elements(shape), sizeof(double));
    for (int64_t i = 0; i < shape_elements(shape); i++)
        data[i] = random_normal(random);
    return tensor_of(data, DTYPE_F64, shape);
}

struct tensor helper_numbers(struct shape shape, const double *numbers)
{
    size_t count = (size_t)shape_elements(shape);
    double *data = memory_zeroed(count, sizeof(double));
    memcpy(data, numbers, count * sizeof(double));
    return tensor_of(data, DTYPE_F64, shape);
}

struct tensor helper_indices(struct shape shape, const int32_t *numbers)
{
    size_t count = (size_t)shape_elements(shape);
    int32_t *data = memory_zeroed(count, sizeof(int32_t));
    if (numbers)
        memcpy(data, numbers, count * sizeof(int32_t));
    return tensor_of(data, DTYPE_I32, shape);
}

void helper_input(struct op_call *call, struct tensor tensor)
{
    call->inputs[call->input_count++] = tensor;
}

void helper_output(struct op_call *call, enum dtype dtype, struct shape shape)
{
    call->outputs[call->output_count++] = tensor_of(NULL, dtype, shape);
}

void helper_run(const struct op_call *call, struct tensor results[OP_MAX_OUTPUTS])
{
    struct status status = STATUS_NONE;
    if (!reference_run(call, results, &status))
        fail_msg("%s: %s", op_name(call->op), status.text);
}

void helper_free(struct tensor *tensors, int count)
{
    for (int i = 0; i < count; i++)
        free(tensors[i].data);
}

static double project(const struct op_call *call, const struct tensor *weights)
{
    struct tensor results[OP_MAX_OUTPUTS];
    double sum = 0;
    helper_run(call, results);
    for (int o = 0; o < call->output_count; o++)
        for (int64_t i = 0; weights[o].data && i < shape_elements(results[o].shape); i++)
            sum += tensor_load(&weights[o], i) * tensor_load(&results[o], i);
    helper_free(results, call->output_count);
    return sum;
}

/* The step of 1e-5 leaves about 1e-10 of third derivatives and, with sums of magnitude up to
 * 1e3, 1e-8 of rounding (1e-16 * 1e3 / 1e-5): the bound of 2e-6 is far above both, and far below
 * the size of a gradient that lost a term. */
void helper_check_gradient(const struct op_call *forward, int input, const struct tensor *weights,
                           const struct tensor *gradient)
{
    const double step = 1e-5, bound = 2e-6;
    const struct tensor *x = &forward->inputs[input];
    assert_true(shape_equal(x->shape, gradient->shape));
    for (int64_t i = 0; i < shape_elements(x->shape); i++) {
        double at = tensor_load(x, i), got = tensor_load(gradient, i);
        tensor_store(x, i, at + step);
        double above = project(forward, weights);
        tensor_store(x, i, at - step);
        double below = project(forward, weights);
        tensor_store(x, i, at);
        double want = (above - below) / (2 * step);
        if (!(fabs(got - want) <= bound * (1 + fabs(want))))
            fail_msg("%s: gradient of input %d, element %lld: %.12g, by differences %.12g",
                     op_name(forward->op), input, (long long)i, got, want);
    }
}
