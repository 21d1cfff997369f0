/* Attention of 16-bit numbers: the matrix units must not round the weights, nor lose those of fp16
 * that are very small or large, the sums must follow maxima that grow, and what a query does not
 * see must not reach it, be it infinite. Short calls and long ones have kernels of their own.
 * LOCKSTEP_TEST_CASES sets how many cases there are of each. */
#include "engine/base/memory.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 12, HEADS = 2 };

/* One call with its operands in host memory; the document poisoned_from..poisoned_to-1 is made
 * infinite for the device. */
struct subject {
    struct op_call call;
    enum dtype dtype;
    int64_t tokens, poisoned_from, poisoned_to;
    struct random *random;
};

static struct tensor make(struct subject *it, enum dtype dtype, int64_t columns, double factor)
{
    struct tensor tensor = tensor_of(NULL, dtype, shape_of2(it->tokens, columns));
    tensor.data = memory_zeroed((size_t)(it->tokens * columns), dtype_size(dtype));
    for (int64_t i = 0; i < it->tokens * columns; i++)
        tensor_store(&tensor, i, factor * random_normal(it->random));
    return tensor;
}

/* Documents of which one, not the first, is chosen to be poisoned. */
static struct tensor make_documents(struct subject *it)
{
    struct tensor starts = tensor_of(NULL, DTYPE_I32, shape_of1(it->tokens));
    starts.data = memory_zeroed((size_t)it->tokens, sizeof(int32_t));
    it->poisoned_from = random_integer(it->random, 1, it->tokens - 2);
    it->poisoned_to = random_integer(it->random, it->poisoned_from + 1, it->tokens - 1);
    for (int64_t i = 0; i < it->tokens; i++)
        ((int32_t *)starts.data)[i] = (int32_t)(i < it->poisoned_from ? 0
                                                : i < it->poisoned_to ? it->poisoned_from
                                                                      : it->poisoned_to);
    return starts;
}

/* Inputs of ATTENTION, the last keys larger, so that maxima grow from tile to tile. */
static void make_forward(struct subject *it)
{
    static const int sizes[] = {16, 24, 64, 72, 128, 200};
    struct op_parameters *by = &it->call.parameters;
    it->dtype = random_integer(it->random, 0, 1) ? DTYPE_BF16 : DTYPE_F16;
    it->tokens = random_integer(it->random, 40, 190);
    by->heads = HEADS;
    by->head_groups = (int)random_integer(it->random, 1, 2);
    by->head_size = sizes[random_integer(it->random, 0, 5)];
    by->scale = 1 / sqrt(by->head_size);
    by->causal = random_integer(it->random, 0, 1);
    by->window =
        by->causal && random_integer(it->random, 0, 1) ? random_integer(it->random, 1, 90) : 0;
    it->call.op = OP_ATTENTION;
    it->call.input_count = 3;
    it->call.output_count = 2;
    int64_t width = (int64_t)by->head_size * HEADS, keys = (int64_t)by->head_size * by->head_groups;
    it->call.inputs[0] = make(it, it->dtype, width, 2);
    it->call.inputs[1] = make(it, it->dtype, 2 * keys, 1);
    it->call.inputs[2] = make_documents(it);
    for (int64_t i = it->tokens / 2 * 2 * keys; i < it->tokens * 2 * keys; i++)
        if (i % (2 * keys) < keys)
            tensor_store(&it->call.inputs[1], i, 3 * tensor_load(&it->call.inputs[1], i));
    it->call.outputs[0] = tensor_of(NULL, DTYPE_F32, shape_of2(it->tokens, width));
    it->call.outputs[1] = tensor_of(NULL, DTYPE_F32, shape_of2(it->tokens, HEADS));
}

static struct tensor narrowed(struct tensor wide)
{
    struct tensor tensor = tensor_of(NULL, DTYPE_F32, wide.shape);
    int64_t count = shape_elements(wide.shape);
    tensor.data = memory_zeroed((size_t)count, sizeof(float));
    for (int64_t i = 0; i < count; i++)
        tensor_store(&tensor, i, tensor_load(&wide, i));
    free(wide.data);
    return tensor;
}

/* ATTENTION becomes ATTENTION_GRADIENT. */
static void make_gradient(struct subject *it)
{
    struct status status = STATUS_NONE;
    struct tensor results[OP_MAX_OUTPUTS], forward[3];
    assert_true(reference_run(&it->call, results, &status));
    memcpy(forward, it->call.inputs, sizeof(forward));
    it->call.op = OP_ATTENTION_GRADIENT;
    it->call.input_count = 6;
    it->call.inputs[0] =
        make(it, it->dtype, forward[0].shape.dims[1], pow(10, random_integer(it->random, -3, 3)));
    memcpy(&it->call.inputs[1], forward, sizeof(forward));
    it->call.inputs[4] = narrowed(results[0]);
    it->call.inputs[5] = narrowed(results[1]);
    it->call.outputs[1] = tensor_of(NULL, DTYPE_F32, forward[1].shape);
}

/* All 16-bit inputs of the poisoned document become infinities and NaN. */
static void poison(const struct subject *it)
{
    for (int k = 0; k < it->call.input_count; k++) {
        const struct tensor *tensor = &it->call.inputs[k];
        int64_t columns = shape_columns(tensor->shape);
        if (tensor->dtype != it->dtype)
            continue;
        for (int64_t i = it->poisoned_from * columns; i < it->poisoned_to * columns; i++)
            tensor_store(tensor, i, i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY);
    }
}

static double largest_of(const struct subject *it, const struct tensor *tensor, bool poisoned)
{
    int64_t columns = shape_columns(tensor->shape);
    double largest = 0;
    for (int64_t i = 0; i < it->tokens * columns; i++)
        if (!poisoned || i / columns < it->poisoned_from || i / columns >= it->poisoned_to)
            largest = fmax(largest, fabs(tensor_load(tensor, i)));
    return largest;
}

/* What float32 may leave where all terms of a gradient cancel: of a token that sees itself alone
 * the scores' gradient is 0, the difference of two equal sums of products. */
static double residue(const struct subject *it, bool poisoned)
{
    const struct tensor *inputs = it->call.inputs;
    if (it->call.op != OP_ATTENTION_GRADIENT)
        return 0;
    double query = largest_of(it, &inputs[1], poisoned), key = largest_of(it, &inputs[2], poisoned);
    return 1e-6 * largest_of(it, &inputs[0], poisoned) * largest_of(it, &inputs[3], poisoned) *
           fmax(query, key);
}

/* Float32 sums of products with weights of 16 bits or more: bf16 weights would be wrong by 2^-9. */
static void compare(const struct subject *it, const struct tensor *wanted, const struct tensor *got,
                    bool poisoned)
{
    int64_t columns = shape_columns(got->shape), count = it->tokens * columns;
    double limit = 1e-4 * largest_of(it, wanted, false) + residue(it, poisoned);
    for (int64_t i = 0; i < count; i++) {
        int64_t token = i / columns;
        if (poisoned && token >= it->poisoned_from && token < it->poisoned_to)
            continue;
        double want = tensor_load(wanted, i), is = tensor_load(got, i);
        if (!(fabs(want - is) <= limit))
            fail_msg("%s of %s%s, heads of %d, token %lld of %lld, column %lld: %g instead of %g",
                     op_name(it->call.op), dtype_name(it->dtype),
                     poisoned ? " beside infinities" : "", it->call.parameters.head_size,
                     (long long)token, (long long)it->tokens, (long long)(i % columns), is, want);
    }
}

static void check(struct device *device, bool gradient, struct random *random)
{
    struct subject it = {.random = random};
    struct tensor wanted[OP_MAX_OUTPUTS], got[OP_MAX_OUTPUTS];
    struct status status = STATUS_NONE;
    make_forward(&it);
    if (gradient)
        make_gradient(&it);
    assert_true(reference_run(&it.call, wanted, &status));
    for (int poisoned = 0; poisoned < 2; poisoned++) {
        if (poisoned)
            poison(&it);
        module_run(device, &it.call, got);
        for (int k = 0; k < it.call.output_count; k++) {
            compare(&it, &wanted[k], &got[k], poisoned);
            free(got[k].data);
        }
    }
    for (int k = 0; k < it.call.output_count; k++)
        free(wanted[k].data);
    for (int k = 0; k < it.call.input_count; k++)
        free(it.call.inputs[k].data);
}

static void test_attention(void **state)
{
    struct random random = random_start("attention");
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    (void)state;
    const char *asked = getenv("LOCKSTEP_TEST_CASES");
    int rounds = asked ? atoi(asked) : ROUNDS;
    if (!device)
        fail_msg("%s", status.text);
    for (int round = 0; round < 2 * rounds; round++)
        check(device, round % 2, &random);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
