/* The reference against numbers that can be checked by hand, and against formulas written here
 * a second time, in another way. */
#include "helper_calls.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NUMBERS(...) ((const double[]){__VA_ARGS__})
#define INDICES(...) ((const int32_t[]){__VA_ARGS__})

static void expect_numbers(const struct tensor *got, const double *want, double bound)
{
    for (int64_t i = 0; i < shape_elements(got->shape); i++)
        if (!(fabs(tensor_load(got, i) - want[i]) <= bound * fmax(1, fabs(want[i]))))
            fail_msg("element %lld: %.17g instead of %.17g", (long long)i, tensor_load(got, i),
                     want[i]);
}

/* Runs, compares each result with its numbers, and frees inputs and results. */
static void expect(struct op_call *call, const double *const *want)
{
    struct tensor results[OP_MAX_OUTPUTS];
    helper_run(call, results);
    for (int i = 0; i < call->output_count; i++)
        expect_numbers(&results[i], want[i], 1e-14);
    helper_free(results, call->output_count);
    helper_free(call->inputs, call->input_count);
}

static void test_matmul(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_MATMUL, .parameters.transpose_b = true};
    helper_input(&call, helper_numbers(shape_of2(2, 3), NUMBERS(1, 2, 3, 4, 5, 6)));
    helper_input(&call, helper_numbers(shape_of2(2, 3), NUMBERS(1, 0, -1, 2, 1, 0)));
    helper_input(&call, helper_numbers(shape_of1(2), NUMBERS(10, 20)));
    helper_output(&call, DTYPE_F32, shape_of2(2, 2));
    expect(&call, (const double *[]){NUMBERS(8, 24, 8, 33)});
}

/* Sizes beyond the blocks of the reference, against the definition. */
static void test_large_matmul(void **state)
{
    (void)state;
    struct random random = random_start("large matmul");
    int64_t m = random_integer(&random, 5, 40), k = random_integer(&random, 30, 70), n = 513 + k;
    struct tensor results[OP_MAX_OUTPUTS];
    struct op_call call = {.op = OP_MATMUL, .parameters = {.transpose_a = true}};
    helper_input(&call, helper_normal(&random, shape_of2(k, m)));
    helper_input(&call, helper_normal(&random, shape_of2(k, n)));
    helper_output(&call, DTYPE_F32, shape_of2(m, n));
    helper_run(&call, results);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += tensor_load(&call.inputs[0], p * m + i) *
                       tensor_load(&call.inputs[1], p * n + j);
            assert_true(fabs(sum - tensor_load(&results[0], i * n + j)) < 1e-11);
        }
    helper_free(results, 1);
    helper_free(call.inputs, 2);
}

static void test_norms(void **state)
{
    (void)state;
    struct op_call layer = {.op = OP_LAYER_NORM}, rms = {.op = OP_RMS_NORM};
    rms.parameters.epsilon = 7.5; /* mean(x^2) = 17.5 */
    helper_input(&layer, helper_numbers(shape_of2(1, 4), NUMBERS(1, 3, 1, 3)));
    helper_input(&layer, helper_numbers(shape_of1(4), NUMBERS(1, 2, 3, 4)));
    helper_input(&layer, helper_numbers(shape_of1(4), NUMBERS(0, 0, 10, 10)));
    helper_output(&layer, DTYPE_F32, shape_of2(1, 4));
    helper_output(&layer, DTYPE_F32, shape_of1(1));
    helper_output(&layer, DTYPE_F32, shape_of1(1));
    expect(&layer, (const double *[]){NUMBERS(-1, 2, 7, 14), NUMBERS(2), NUMBERS(1)});
    helper_input(&rms, helper_numbers(shape_of2(1, 2), NUMBERS(5, sqrt(10))));
    helper_input(&rms, helper_numbers(shape_of1(2), NUMBERS(1, -2)));
    helper_output(&rms, DTYPE_F32, shape_of2(1, 2));
    helper_output(&rms, DTYPE_F32, shape_of1(1));
    expect(&rms, (const double *[]){NUMBERS(1, -2 * sqrt(10) / 5), NUMBERS(0.2)});
}

/* A quarter turn of the pair (1, 3) and none of (2, 4); the fifth column is not turned. */
static void test_rotary(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_ROTARY,
                           .parameters = {.heads = 1, .head_size = 4, .first_row = 1}};
    helper_input(&call, helper_numbers(shape_of2(1, 5), NUMBERS(1, 2, 3, 4, 5)));
    helper_input(&call, helper_numbers(shape_of2(2, 4), NUMBERS(9, 9, 9, 9, 0, 1, 1, 0)));
    helper_output(&call, DTYPE_F32, shape_of2(1, 5));
    expect(&call, (const double *[]){NUMBERS(-3, 2, 1, 4, 5)});
}

static void test_embedding(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_EMBEDDING, .parameters.first_row = 10};
    helper_input(&call, helper_indices(shape_of1(4), INDICES(11, -1, 10, 12)));
    helper_input(&call, helper_numbers(shape_of2(2, 2), NUMBERS(1, 2, 3, 4)));
    helper_output(&call, DTYPE_BF16, shape_of2(4, 2));
    expect(&call, (const double *[]){NUMBERS(3, 4, 0, 0, 1, 2, 0, 0)});
}

static void test_cross_entropy(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_CROSS_ENTROPY, .parameters.factor = 2};
    double log3 = log(3.0);
    helper_input(&call, helper_numbers(shape_of2(2, 2), NUMBERS(0, log3 / 2, 7, 7)));
    helper_input(&call, helper_indices(shape_of1(2), INDICES(0, -1)));
    helper_input(&call, helper_numbers(shape_of1(1), NUMBERS(4)));
    helper_output(&call, DTYPE_F32, shape_of1(1));
    helper_output(&call, DTYPE_F32, shape_of1(2));
    expect(&call, (const double *[]){NUMBERS(log(4) / 4), NUMBERS(log(4), 14 + log(2))});
}

/* Ties go to the lower expert; the pairs of an expert keep their order; an expert has none. */
static void test_router(void **state)
{
    (void)state;
    struct op_call top = {.op = OP_TOP_K}, route = {.op = OP_ROUTE_ROWS};
    helper_input(&top, helper_numbers(shape_of2(2, 4), NUMBERS(1, 5, 5, 0, 0, 0, 0, log(3))));
    helper_output(&top, DTYPE_I32, shape_of2(2, 2));
    helper_output(&top, DTYPE_F32, shape_of2(2, 2));
    expect(&top, (const double *[]){NUMBERS(1, 2, 3, 0), NUMBERS(0.5, 0.5, 0.75, 0.25)});
    helper_input(&route, helper_indices(shape_of2(3, 2), INDICES(3, 0, 0, 1, 3, 1)));
    helper_output(&route, DTYPE_I32, shape_of1(6));
    helper_output(&route, DTYPE_I32, shape_of1(4));
    expect(&route, (const double *[]){NUMBERS(1, 2, 3, 5, 0, 4), NUMBERS(2, 4, 4, 6)});
}

/* Two tokens over three experts, equal logits: the loss is sum_e 1/3 load_e = k / 3. */
static void test_load_balance(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_LOAD_BALANCE};
    helper_input(&call, helper_numbers(shape_of2(2, 3), NUMBERS(1, 1, 1, 2, 2, 2)));
    helper_input(&call, helper_indices(shape_of2(2, 2), INDICES(0, 1, 0, 2)));
    helper_output(&call, DTYPE_F32, shape_of1(1));
    expect(&call, (const double *[]){NUMBERS(2.0 / 3)});
}

static void test_experts(void **state)
{
    (void)state;
    struct op_call grouped = {.op = OP_GROUPED_MATMUL}, combine = {.op = OP_COMBINE_ROWS};
    helper_input(&grouped, helper_numbers(shape_of2(3, 1), NUMBERS(1, 2, 3)));
    helper_input(&grouped, helper_numbers(shape_of2(3, 2), NUMBERS(1, 10, 2, 20, 3, 30)));
    helper_input(&grouped, helper_indices(shape_of1(3), INDICES(1, 1, 3)));
    helper_output(&grouped, DTYPE_F32, shape_of2(3, 2));
    expect(&grouped, (const double *[]){NUMBERS(1, 10, 6, 60, 9, 90)});
    helper_input(&combine, helper_numbers(shape_of2(4, 1), NUMBERS(1, 2, 3, 4)));
    helper_input(&combine, helper_numbers(shape_of2(2, 2), NUMBERS(1, 10, 100, 1000)));
    helper_input(&combine, helper_indices(shape_of1(4), INDICES(2, 1, 0, 3)));
    helper_output(&combine, DTYPE_F32, shape_of2(2, 1));
    expect(&combine, (const double *[]){NUMBERS(3 + 20, 100 + 4000)});
}

/* A dense mask and a whole row of probabilities, the way the reference does not do it. */
static void naive_attention(const struct op_call *call, double *o, double *lse)
{
    const struct op_parameters *by = &call->parameters;
    const double *q = call->inputs[0].data, *kv = call->inputs[1].data;
    const int32_t *starts = call->inputs[2].data;
    int64_t keys = call->inputs[1].shape.dims[0], d = by->head_size, width = by->heads * d;
    for (int64_t t = 0; t < call->inputs[0].shape.dims[0]; t++)
        for (int64_t h = 0; h < by->heads; h++) {
            const double *k = kv + h * by->head_groups / by->heads * d;
            const double *v = k + by->head_groups * d;
            double total = 0, sums[16] = {0};
            for (int64_t j = 0; j < keys; j++) {
                int64_t distance = by->first_row + t - j;
                bool seen = starts[j] == starts[by->first_row + t];
                if (by->causal)
                    seen = seen && distance >= 0 && (!by->window || distance < by->window);
                double score = 0;
                for (int64_t i = 0; i < d; i++)
                    score += q[t * width + h * d + i] * k[j * 2 * by->head_groups * d + i];
                double weight = seen ? exp(by->scale * score) : 0;
                total += weight;
                for (int64_t i = 0; i < d; i++)
                    sums[i] += weight * v[j * 2 * by->head_groups * d + i];
            }
            for (int64_t i = 0; i < d; i++)
                o[t * width + h * d + i] = sums[i] / total;
            lse[t * by->heads + h] = log(total);
        }
}

static void test_attention(void **state)
{
    (void)state;
    struct random random = random_start("attention");
    for (int round = 0; round < 60; round++) {
        int groups = (int)random_integer(&random, 1, 3);
        int heads = groups * (int)random_integer(&random, 1, 3);
        int size = (int)random_integer(&random, 1, 16);
        int64_t first = random_integer(&random, 0, 5), tokens = random_integer(&random, 1, 20);
        bool causal = round % 2;
        struct op_call call = {.op = OP_ATTENTION,
                               .parameters = {.scale = 1 / sqrt(size),
                                              .first_row = first,
                                              .window = causal ? random_integer(&random, 0, 8) : 0,
                                              .heads = heads,
                                              .head_groups = groups,
                                              .head_size = size,
                                              .causal = causal}};
        struct tensor results[OP_MAX_OUTPUTS], starts;
        double *o = memory_zeroed((size_t)(tokens * heads * size), sizeof(double));
        double *lse = memory_zeroed((size_t)(tokens * heads), sizeof(double));
        starts = helper_indices(shape_of1(first + tokens), NULL);
        for (int32_t i = 1; i < first + tokens; i++)
            ((int32_t *)starts.data)[i] =
                random_integer(&random, 0, 4) ? ((int32_t *)starts.data)[i - 1] : i;
        helper_input(&call, helper_normal(&random, shape_of2(tokens, heads * size)));
        helper_input(&call, helper_normal(&random, shape_of2(first + tokens, 2 * groups * size)));
        helper_input(&call, starts);
        helper_output(&call, DTYPE_F32, call.inputs[0].shape);
        helper_output(&call, DTYPE_F32, shape_of2(tokens, heads));
        helper_run(&call, results);
        naive_attention(&call, o, lse);
        expect_numbers(&results[0], o, 1e-11);
        expect_numbers(&results[1], lse, 1e-11);
        helper_free(results, 2);
        helper_free(call.inputs, 3);
        free(o);
        free(lse);
    }
}

/* Two steps of one weight, by hand: b1 = 0.5, b2 = 0.75, lr = 0.1, rate = 2, decay = 0.25,
 * epsilon = 1, gradients 4 and -8 at a multiplier of 0.5; then one that is skipped. */
static void test_adamw(void **state)
{
    (void)state;
    const struct op_parameters parameters = {
        .beta1 = 0.5, .beta2 = 0.75, .factor = 2, .decay = 0.25, .epsilon = 1};
    const double factors[3][5] = {
        {0.5, 0, 0.1, 0.5, 0.25}, {0.5, 0, 0.1, 0.75, 0.4375}, {0.5, 1, 0.1, 0.75, 0.4375}};
    const double gradients[3] = {4, -8, NAN};
    /* m: 1, then 0.5 - 2; v: 1, then 0.75 + 4 */
    const double p1 = 1 - 0.2 * (2.0 / 3 + 0.25);
    const double p2 = p1 - 0.2 * (-1.5 / 0.75 / (sqrt(4.75 / 0.4375) + 1) + 0.25 * p1);
    const double want[3][3] = {{p1, 1, 1}, {p2, -1.5, 4.75}, {p2, -1.5, 4.75}};
    double p = 1, m = 0, v = 0;
    for (int step = 0; step < 3; step++) {
        struct op_call call = {.op = OP_ADAMW, .parameters = parameters};
        helper_input(&call, helper_numbers(shape_of1(1), &p));
        helper_input(&call, helper_numbers(shape_of1(1), &gradients[step]));
        helper_input(&call, helper_numbers(shape_of1(1), &m));
        helper_input(&call, helper_numbers(shape_of1(1), &v));
        helper_input(&call, helper_numbers(shape_of1(5), factors[step]));
        for (int i = 0; i < 3; i++)
            helper_output(&call, DTYPE_F32, shape_of1(1));
        expect(&call, (const double *[]){&want[step][0], &want[step][1], &want[step][2]});
        p = want[step][0];
        m = want[step][1];
        v = want[step][2];
    }
}

/* The loss scale: each line is what one step is given and what it must leave. Window 2, hysteresis
 * 3, but for the start. */
static void test_loss_scale(void **state)
{
    (void)state;
    const double bad = INFINITY;
    const struct {
        double squares, scaler[4], norm, skip;
    } steps[] = {
        {64, {4, 1, 2, 1}, 2, 0},     /* from {4, 0, 2, 0} */
        {256, {8, 0, 3, 2}, 4, 0},    /* two good steps: doubled, all failures may come again */
        {64, {8, 1, 3, 3}, 1, 0},     /**/
        {bad, {8, 0, 2, 3}, bad, 1},  /* one failure is borne */
        {bad, {8, 0, 1, 3}, bad, 1},  /* and another */
        {NAN, {4, 0, 0, 3}, NAN, 1},  /* the third halves */
        {bad, {2, 0, -1, 3}, bad, 1}, /* and so does the next */
        {4, {2, 1, -1, 4}, 1, 0},     /**/
        {bad, {1, 0, -2, 4}, bad, 1}, /**/
        {bad, {1, 0, -3, 4}, bad, 1}, /* not below 1 */
        {9, {1, 1, -3, 5}, 3, 0},     /**/
        {9, {2, 0, 3, 6}, 3, 0},      /* growth restores the hysteresis */
    };
    double scaler[4] = {4, 0, 2, 0};
    for (int i = 0; i < ARRAY_LENGTH(steps); i++) {
        struct op_call call = {.op = OP_OPTIMIZER_FACTORS,
                               .parameters = {.dynamic = true,
                                              .window = 2,
                                              .hysteresis = 3,
                                              .beta1 = 0.5,
                                              .beta2 = 0.9,
                                              .factor = 2}};
        struct tensor results[OP_MAX_OUTPUTS];
        helper_input(&call, helper_numbers(shape_of1(1), &steps[i].squares));
        helper_input(&call, helper_numbers(shape_of1(1), NUMBERS(0.125)));
        helper_input(&call, helper_numbers(shape_of1(4), scaler));
        helper_output(&call, DTYPE_F64, shape_of1(5));
        helper_output(&call, DTYPE_F64, shape_of1(4));
        helper_output(&call, DTYPE_F32, shape_of1(1));
        helper_run(&call, results);
        double norm = steps[i].norm, step = steps[i].scaler[3];
        double clip = fmin(1, 2 / (norm + 1e-6)) / scaler[0];
        if (!steps[i].skip)
            expect_numbers(&results[0],
                           NUMBERS(clip, 0, 0.125, 1 - pow(0.5, step), 1 - pow(0.9, step)), 1e-14);
        assert_true(tensor_load(&results[0], 1) == steps[i].skip);
        expect_numbers(&results[1], steps[i].scaler, 0);
        if (isfinite(norm))
            expect_numbers(&results[2], &norm, 1e-14);
        else
            assert_false(isfinite(tensor_load(&results[2], 0)));
        memcpy(scaler, steps[i].scaler, sizeof(scaler));
        helper_free(results, 3);
        helper_free(call.inputs, 3);
    }
}

/* Without `dynamic` nothing is skipped, and a bound of 0 does not clip. */
static void test_fixed_loss_scale(void **state)
{
    (void)state;
    struct op_call call = {.op = OP_OPTIMIZER_FACTORS, .parameters = {.beta1 = 0.5, .beta2 = 0.5}};
    helper_input(&call, helper_numbers(shape_of1(1), NUMBERS(1e6)));
    helper_input(&call, helper_numbers(shape_of1(1), NUMBERS(3)));
    helper_input(&call, helper_numbers(shape_of1(4), NUMBERS(8, 5, 2, 1)));
    helper_output(&call, DTYPE_F64, shape_of1(5));
    helper_output(&call, DTYPE_F64, shape_of1(4));
    helper_output(&call, DTYPE_F32, shape_of1(1));
    expect(&call,
           (const double *[]){NUMBERS(0.125, 0, 3, 0.75, 0.75), NUMBERS(8, 5, 2, 2), NUMBERS(125)});
}

static void expect_failure(struct op_call *call, enum status_code code, const char *text)
{
    struct status status = STATUS_NONE;
    struct tensor results[OP_MAX_OUTPUTS];
    assert_false(reference_run(call, results, &status));
    assert_int_equal(status.code, code);
    if (!strstr(status.text, text))
        fail_msg("\"%s\" does not say \"%s\"", status.text, text);
    helper_free(call->inputs, call->input_count);
}

/* What a broken program may hand over is refused, not followed out of bounds. */
static void test_refusals(void **state)
{
    (void)state;
    struct op_call loss = {.op = OP_CROSS_ENTROPY}, route = {.op = OP_ROUTE_ROWS};
    helper_input(&loss, helper_numbers(shape_of2(1, 2), NUMBERS(1, 2)));
    helper_input(&loss, helper_indices(shape_of1(1), INDICES(2)));
    helper_input(&loss, helper_numbers(shape_of1(1), NUMBERS(1)));
    helper_output(&loss, DTYPE_F32, shape_of1(1));
    helper_output(&loss, DTYPE_F32, shape_of1(1));
    expect_failure(&loss, STATUS_INVALID, "label 2 of row 0");
    helper_input(&route, helper_indices(shape_of2(1, 1), INDICES(3)));
    helper_output(&route, DTYPE_I32, shape_of1(1));
    helper_output(&route, DTYPE_I32, shape_of1(3));
    expect_failure(&route, STATUS_INVALID, "expert 3 of 3");
    struct op_call reduce = {.op = OP_ALL_REDUCE}, scale = {.op = OP_SCALE};
    helper_input(&reduce, helper_numbers(shape_of1(1), NUMBERS(1)));
    helper_output(&reduce, DTYPE_F32, shape_of1(1));
    expect_failure(&reduce, STATUS_UNSUPPORTED, "all_reduce");
    struct status status = STATUS_NONE;
    float number = 1;
    helper_input(&scale, tensor_of(&number, DTYPE_F32, shape_of1(1)));
    scale.outputs[scale.output_count++] = scale.inputs[0];
    assert_false(device_reference.supports(NULL, &scale));
    assert_false(device_reference.run(NULL, &scale, &status));
    assert_non_null(strstr(status.text, "not supported on the reference device"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_large_matmul),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rotary),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_router),
        cmocka_unit_test(test_load_balance),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_loss_scale),
        cmocka_unit_test(test_fixed_loss_scale),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
