/* Scores and logits whose rounding errors are beyond the range of exponentials: a run that diverges
 * passes through such numbers, and the first NaN must not be the kernels'. One number of each row
 * is ahead of the others by more than rounding, so that its weight is 1 and theirs are 0. */
#include "engine/base/memory.h"
#include "engine/device/cpu/cpu.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOKENS = 40, SIZE = 48, COLUMNS = 9001 };

static const double FACTOR = 0.3; /* products with it are not exact */

static void run(struct op_call *call)
{
    struct status status = STATUS_NONE;
    void *context;
    assert_true(device_cpu.open(&context, &(struct device_options){.threads = 2}, &status));
    call->workspace = memory_zeroed(device_cpu.workspace(context, call), 1);
    if (!device_cpu.run(context, call, &status))
        fail_msg("%s: %s", op_name(call->op), status.text);
    free(call->workspace);
    device_cpu.close(context);
}

static struct tensor floats(float *data, int64_t rows, int64_t columns)
{
    return (struct tensor){
        .dtype = DTYPE_F32, .shape = shape_of2(rows, columns), .row_stride = columns, .data = data};
}

static struct tensor vector(enum dtype dtype, void *data, int64_t count)
{
    return (struct tensor){
        .dtype = dtype, .shape = shape_of1(count), .row_stride = 1, .data = data};
}

static void assert_near(const char *what, double found, double wanted, double error)
{
    if (!(fabs(found - wanted) <= error))
        fail_msg("%s: %g, not %g", what, found, wanted);
}

/* One document and one head. The keys are unit vectors times `large`, so that score (t, j) is large
 * * q[t][j]; q[t] is 4 at the key that wins, which is one that t sees, and 1 to 2 elsewhere. */
struct attention_data {
    float q[TOKENS][SIZE], kv[TOKENS][2 * SIZE], out[TOKENS][SIZE], lse[TOKENS];
    float dout[TOKENS][SIZE], dq[TOKENS][SIZE], dkv[TOKENS][2 * SIZE];
    int32_t starts[TOKENS], winner[TOKENS];
};

static void fill(struct attention_data *it, double large, struct random *random)
{
    for (int t = 0; t < TOKENS; t++) {
        it->winner[t] = (int32_t)random_integer(random, 0, t);
        for (int c = 0; c < SIZE; c++) {
            it->q[t][c] = (float)(c == it->winner[t] ? 4 : random_uniform(random, 1, 2));
            it->kv[t][c] = (float)(c == t ? large : 0);
            it->kv[t][SIZE + c] = (float)random_normal(random);
            it->dout[t][c] = (float)random_normal(random);
        }
    }
}

static void check_attention(struct random *random, double large)
{
    struct attention_data *it = memory_zeroed(1, sizeof(*it));
    struct op_parameters parameters = {
        .heads = 1, .head_groups = 1, .head_size = SIZE, .scale = FACTOR, .causal = true};
    struct tensor q = floats(it->q[0], TOKENS, SIZE), kv = floats(it->kv[0], TOKENS, 2 * SIZE),
                  out = floats(it->out[0], TOKENS, SIZE), lse = floats(it->lse, TOKENS, 1),
                  starts = vector(DTYPE_I32, it->starts, TOKENS);
    fill(it, large, random);
    run(&(struct op_call){.op = OP_ATTENTION,
                          .input_count = 3,
                          .output_count = 2,
                          .parameters = parameters,
                          .inputs = {q, kv, starts},
                          .outputs = {out, lse}});
    double wanted[TOKENS][SIZE] = {{0}}, lse_error = 0.01; /* of half a step of float32 */
    for (int t = 0; t < TOKENS; t++) {
        assert_near("log sum exp", (double)it->lse[t], FACTOR * 4 * large, 1e-6 * large);
        for (int c = 0; c < SIZE; c++) {
            assert_near("output", (double)it->out[t][c], (double)it->kv[it->winner[t]][SIZE + c],
                        1e-6);
            wanted[it->winner[t]][c] += (double)it->dout[t][c];
        }
    }
    run(&(struct op_call){
        .op = OP_ATTENTION_GRADIENT,
        .input_count = 6,
        .output_count = 2,
        .parameters = parameters,
        .inputs = {floats(it->dout[0], TOKENS, SIZE), q, kv, starts, out, lse},
        .outputs = {floats(it->dq[0], TOKENS, SIZE), floats(it->dkv[0], TOKENS, 2 * SIZE)}});
    for (int t = 0; t < TOKENS; t++)
        for (int c = 0; c < SIZE; c++)
            assert_near("gradient of values", (double)it->dkv[t][SIZE + c], wanted[t][c],
                        lse_error * (1 + fabs(wanted[t][c])));
    free(it);
}

static void check_cross_entropy(struct random *random, double large)
{
    float *logits = memory_zeroed(TOKENS * COLUMNS, sizeof(float)), lse[TOKENS], loss;
    float *gradient = memory_zeroed(TOKENS * COLUMNS, sizeof(float));
    int32_t labels[TOKENS], winner[TOKENS];
    double count = TOKENS, scale = 1, total = 0;
    for (int t = 0; t < TOKENS; t++) {
        for (int c = 0; c < COLUMNS; c++)
            logits[t * COLUMNS + c] = (float)random_uniform(random, large, 2 * large);
        labels[t] = (int32_t)random_integer(random, 0, COLUMNS - 1);
        winner[t] = (int32_t)random_integer(random, 0, COLUMNS - 1);
        logits[t * COLUMNS + winner[t]] = (float)(4 * large);
        total += FACTOR * (4 * large - (double)logits[t * COLUMNS + labels[t]]);
    }
    struct tensor x = floats(logits, TOKENS, COLUMNS), label = vector(DTYPE_I32, labels, TOKENS),
                  of_all = vector(DTYPE_F64, &count, 1), sums = vector(DTYPE_F32, lse, TOKENS);
    struct op_parameters parameters = {.factor = FACTOR};
    run(&(struct op_call){.op = OP_CROSS_ENTROPY,
                          .input_count = 3,
                          .output_count = 2,
                          .parameters = parameters,
                          .inputs = {x, label, of_all},
                          .outputs = {vector(DTYPE_F32, &loss, 1), sums}});
    assert_near("loss", (double)loss, total / TOKENS, 1e-5 * large);
    run(&(struct op_call){.op = OP_CROSS_ENTROPY_GRADIENT,
                          .input_count = 5,
                          .output_count = 1,
                          .parameters = parameters,
                          .inputs = {x, label, of_all, sums, vector(DTYPE_F64, &scale, 1)},
                          .outputs = {floats(gradient, TOKENS, COLUMNS)}});
    for (int t = 0; t < TOKENS; t++)
        for (int c = 0; c < COLUMNS; c++)
            assert_near("gradient of a logit", (double)gradient[t * COLUMNS + c],
                        FACTOR / TOKENS * ((c == winner[t]) - (c == labels[t])),
                        0.01 * FACTOR / TOKENS);
    free(logits);
    free(gradient);
}

static void test_large_scores(void **state)
{
    (void)state;
    static const char *const sets[] = {"generic", "avx2", "avx512", "amx"};
    struct random random = random_start("large scores");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(setenv("LOCKSTEP_CPU", sets[i], 1), 0); /* no more than the machine has */
        for (int draw = 0; draw < 8; draw++) {
            double large = exp2(random_uniform(&random, 14, 120));
            check_attention(&random, large);
            check_cross_entropy(&random, large);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_large_scores)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
