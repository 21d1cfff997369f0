/* Softmax of scores and logits whose rounding errors are beyond the range of exponentials, as a run
 * that diverges has them: the first NaN must not be the kernels'. One number of each row is ahead
 * of the others by far, so that its weight is 1 and theirs are 0; in a forward pass it may also be
 * two with half the weight each. LOCKSTEP_TEST_CASES sets how many cases there are. */
#include "engine/base/memory.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 24 };

struct subject {
    struct device *device;
    struct random *random;
    enum dtype dtype;
    double low,
        high;      /* the usual numbers on both sides of a product; 4 times `low` is the winner */
    double factor; /* of scores or logits: products with it are not exact */
};

static struct tensor make(enum dtype dtype, struct shape shape)
{
    struct tensor tensor = tensor_of(NULL, dtype, shape);
    tensor.data = memory_zeroed((size_t)shape_elements(shape), dtype_size(dtype));
    return tensor;
}

static struct tensor make_normal(struct random *random, enum dtype dtype, struct shape shape)
{
    struct tensor tensor = make(dtype, shape);
    for (int64_t i = 0; i < shape_elements(shape); i++)
        tensor_store(&tensor, i, random_normal(random));
    return tensor;
}

static struct tensor make_count(double count)
{
    struct tensor tensor = make(DTYPE_F64, shape_of1(1));
    tensor_store(&tensor, 0, count);
    return tensor;
}

/* Winners of 2^16 to 2^123 times the factor; of fp16 as large as its factors allow. */
static struct subject draw(struct device *device, struct random *random, enum dtype dtype)
{
    struct subject it = {.device = device, .random = random, .dtype = dtype};
    bool half = dtype == DTYPE_F16;
    it.low = half ? 4096 : 1;
    it.high = exp2(half ? random_uniform(random, 4, 14.9) : random_uniform(random, 14, 120));
    it.factor = half ? 3 : 0.3;
    return it;
}

static void check(const struct subject *it, const struct op_call *call, const struct tensor *wanted,
                  const struct tensor *got, double bound)
{
    for (int64_t i = 0; i < shape_elements(got->shape); i++) {
        double want = tensor_load(wanted, i), is = tensor_load(got, i);
        if (!(fabs(want - is) <= bound))
            fail_msg(
                "%s of %s, scores of up to %g: element %lld of %lld is %g instead of %g, bound %g",
                op_name(call->op), dtype_name(it->dtype), 8 * it->low * it->high * it->factor,
                (long long)i, (long long)shape_elements(got->shape), is, want, bound);
    }
}

/* The call on the device and by the reference. */
static void run(const struct subject *it, const struct op_call *call,
                struct tensor wanted[OP_MAX_OUTPUTS], struct tensor got[OP_MAX_OUTPUTS])
{
    struct status status = STATUS_NONE;
    if (!reference_run(call, wanted, &status))
        fail_msg("%s", status.text);
    module_run(it->device, call, got);
}

static void free_all(struct tensor *tensors, int count)
{
    for (int i = 0; i < count; i++)
        free(tensors[i].data);
}

/* One document and one head. The keys are unit vectors times `high`, so that score (t, j) is high
 * q[t][j]; q[t] is 4 to 8 low at the key that wins, which is one that t sees. */
static void fill_attention(const struct subject *it, struct tensor *q, struct tensor *kv, bool tied)
{
    int64_t tokens = q->shape.dims[0], size = q->shape.dims[1];
    for (int64_t t = 0; t < tokens; t++) {
        int64_t winner = random_integer(it->random, 0, (int)t);
        int64_t second = tied ? random_integer(it->random, 0, (int)t) : winner;
        double most = random_uniform(it->random, 4, 8) * it->low;
        for (int64_t c = 0; c < size; c++) {
            double usual = random_uniform(it->random, 1, 2) * it->low;
            tensor_store(q, t * size + c, c == winner || c == second ? most : usual);
            tensor_store(kv, t * 2 * size + c, c == t ? it->high : 0);
        }
    }
}

/* The gradient of what was computed: the reference has a log sum exp that was not rounded. */
static void check_gradient(const struct subject *it, const struct op_call *forward,
                           const struct tensor wanted[2], const struct tensor got[2])
{
    struct tensor right[OP_MAX_OUTPUTS], found[OP_MAX_OUTPUTS];
    struct status status = STATUS_NONE;
    struct op_call call = *forward;
    double most = it->factor * (it->high > 8 * it->low ? it->high : 8 * it->low);
    call.op = OP_ATTENTION_GRADIENT;
    call.input_count = 6;
    call.inputs[0] = make_normal(it->random, it->dtype, forward->inputs[0].shape);
    memcpy(&call.inputs[1], forward->inputs, 3 * sizeof(forward->inputs[0]));
    call.inputs[4] = wanted[0];
    call.inputs[5] = wanted[1];
    call.outputs[0] = tensor_of(NULL, DTYPE_F32, forward->inputs[0].shape);
    call.outputs[1] = tensor_of(NULL, DTYPE_F32, forward->inputs[1].shape);
    if (!reference_run(&call, right, &status))
        fail_msg("%s", status.text);
    call.inputs[4] = got[0];
    call.inputs[5] = got[1];
    module_run(it->device, &call, found);
    /* Slopes are differences of equal numbers; those of values are sums of outputs' gradients. */
    int64_t size = forward->parameters.head_size, tokens = forward->inputs[0].shape.dims[0];
    check(it, &call, &right[0], &found[0], 1e-3 * most);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t side = 0; side < 2; side++) {
            int64_t at = t * 2 * size + side * size;
            struct tensor want =
                tensor_of((double *)right[1].data + at, DTYPE_F64, shape_of1(size));
            struct tensor is = tensor_of((float *)found[1].data + at, DTYPE_F32, shape_of1(size));
            check(it, &call, &want, &is, side ? 0.02 * (double)tokens : 1e-3 * most);
        }
    free_all(right, 2);
    free_all(found, 2);
    free(call.inputs[0].data);
}

/* Short calls and long ones, small heads and large ones have kernels of their own. */
static void check_attention(const struct subject *it, bool tied)
{
    static const int sizes[] = {40, 64, 72, 128, 200};
    int size = sizes[random_integer(it->random, 0, 4)];
    int64_t tokens = random_integer(it->random, size < 64 ? 20 : 64, size < 100 ? size : 100);
    struct tensor wanted[OP_MAX_OUTPUTS], got[OP_MAX_OUTPUTS];
    struct op_call call = {.op = OP_ATTENTION, .input_count = 3, .output_count = 2};
    call.parameters = (struct op_parameters){
        .heads = 1, .head_groups = 1, .head_size = size, .scale = it->factor, .causal = true};
    call.inputs[0] = make(it->dtype, shape_of2(tokens, size));
    call.inputs[1] = make_normal(it->random, it->dtype, shape_of2(tokens, 2 * size));
    call.inputs[2] = make(DTYPE_I32, shape_of1(tokens));
    call.outputs[0] = tensor_of(NULL, DTYPE_F32, shape_of2(tokens, size));
    call.outputs[1] = tensor_of(NULL, DTYPE_F32, shape_of2(tokens, 1));
    fill_attention(it, &call.inputs[0], &call.inputs[1], tied);
    run(it, &call, wanted, got);
    check(it, &call, &wanted[0], &got[0], 1e-5);
    check(it, &call, &wanted[1], &got[1], 4e-6 * it->factor * it->low * it->high);
    if (!tied)
        check_gradient(it, &call, wanted, got);
    free_all(wanted, 2);
    free_all(got, 2);
    free_all(call.inputs, 3);
}

static void check_cross_entropy(const struct subject *it)
{
    enum { ROWS = 6, COLUMNS = 1501 };
    struct tensor wanted[OP_MAX_OUTPUTS], got[OP_MAX_OUTPUTS];
    struct tensor right[OP_MAX_OUTPUTS], found[OP_MAX_OUTPUTS];
    struct op_call call = {.op = OP_CROSS_ENTROPY, .input_count = 3, .output_count = 2};
    double factor = it->factor * it->low, large = it->high * factor;
    call.parameters.factor = factor;
    call.inputs[0] = make(it->dtype, shape_of2(ROWS, COLUMNS));
    call.inputs[1] = make(DTYPE_I32, shape_of1(ROWS));
    call.inputs[2] = make_count(ROWS);
    call.outputs[0] = tensor_of(NULL, DTYPE_F32, shape_of1(1));
    call.outputs[1] = tensor_of(NULL, DTYPE_F32, shape_of1(ROWS));
    for (int64_t t = 0; t < ROWS; t++) {
        int64_t winner = random_integer(it->random, 0, COLUMNS - 1);
        double most = random_uniform(it->random, 1, 2) * it->high;
        tensor_store(&call.inputs[1], t, random_integer(it->random, 0, COLUMNS - 1));
        for (int64_t c = 0; c < COLUMNS; c++)
            tensor_store(&call.inputs[0], t * COLUMNS + c,
                         c == winner ? most : random_uniform(it->random, 0.25, 0.5) * it->high);
    }
    run(it, &call, wanted, got);
    check(it, &call, &wanted[0], &got[0], 1e-6 * large);
    check(it, &call, &wanted[1], &got[1], 1e-6 * large);
    struct op_call gradient = call;
    struct status status = STATUS_NONE;
    gradient.op = OP_CROSS_ENTROPY_GRADIENT;
    gradient.input_count = 5;
    gradient.output_count = 1;
    gradient.inputs[3] = wanted[1];
    gradient.inputs[4] = make_count(1);
    gradient.outputs[0] = tensor_of(NULL, DTYPE_F32, call.inputs[0].shape);
    if (!reference_run(&gradient, right, &status))
        fail_msg("%s", status.text);
    gradient.inputs[3] = got[1];
    module_run(it->device, &gradient, found);
    check(it, &gradient, &right[0], &found[0], 0.01 * factor / ROWS);
    free_all(right, 1);
    free_all(found, 1);
    free(gradient.inputs[4].data);
    free_all(wanted, 2);
    free_all(got, 2);
    free_all(call.inputs, 3);
}

static void test_large_scores(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    struct random random = random_start("large scores");
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    const char *asked = getenv("LOCKSTEP_TEST_CASES");
    int rounds = asked ? atoi(asked) : ROUNDS;
    (void)state;
    if (!device)
        fail_msg("%s", status.text);
    for (int round = 0; round < rounds; round++) {
        struct subject it = draw(device, &random, dtypes[round % 3]);
        check_attention(&it, round % 2);
        check_cross_entropy(&it);
    }
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_large_scores)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
