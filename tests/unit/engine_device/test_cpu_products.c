/* Matrix products of the CPU device, in vectors and on matrix units where the processor has them:
 * accuracy beside a plain float32 sum, what is not finite, subnormals, types, parts of products. */
#include "engine/base/memory.h"
#include "engine/device/cpu/cpu.h"

#include "../random.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* What LOCKSTEP_CPU may name; without matrix units the last is the same as the one before. */
static const char *const sets[] = {"generic", "avx2", "avx512", "amx"};

/* A product of dense matrices, and its operands. */
struct example {
    int64_t rows, columns, depth;
    bool transpose_a, transpose_b;
    float *a, *b, *bias, *out; /* bias may be NULL */
};

static float *numbers(int64_t count)
{
    return memory_zeroed((size_t)count, sizeof(float));
}

static struct example example_make(int64_t rows, int64_t depth, int64_t columns,
                                   struct random *random)
{
    struct example it = {.rows = rows, .depth = depth, .columns = columns};
    it.transpose_a = random_bits(random) & 1;
    it.transpose_b = random_bits(random) & 1;
    it.a = numbers(rows * depth);
    it.b = numbers(depth * columns);
    it.out = numbers(rows * columns);
    return it;
}

static void example_free(struct example *it)
{
    free(it->a);
    free(it->b);
    free(it->bias);
    free(it->out);
}

static float *a_at(const struct example *it, int64_t row, int64_t k)
{
    return it->a + (it->transpose_a ? k * it->rows + row : row * it->depth + k);
}

static float *b_at(const struct example *it, int64_t k, int64_t column)
{
    return it->b + (it->transpose_b ? column * it->depth + k : k * it->columns + column);
}

static struct shape shape_stored(bool transposed, int64_t rows, int64_t columns)
{
    return transposed ? shape_of2(columns, rows) : shape_of2(rows, columns);
}

/* The example as a call, without memory for 16-bit operands. */
static struct op_call call_of(const struct example *it, enum dtype a, enum dtype b, enum dtype out)
{
    struct op_call call = {.op = OP_MATMUL, .input_count = it->bias ? 3 : 2, .output_count = 1};
    call.parameters.transpose_a = it->transpose_a;
    call.parameters.transpose_b = it->transpose_b;
    call.inputs[0] = tensor_of(it->a, a, shape_stored(it->transpose_a, it->rows, it->depth));
    call.inputs[1] = tensor_of(it->b, b, shape_stored(it->transpose_b, it->depth, it->columns));
    if (it->bias)
        call.inputs[2] = tensor_of(it->bias, DTYPE_F32, shape_of1(it->columns));
    call.outputs[0] = tensor_of(it->out, out, shape_of2(it->rows, it->columns));
    return call;
}

static void run_call(struct op_call *call, const char *set, int threads)
{
    struct status status = STATUS_NONE;
    const struct tensor *out = &call->outputs[0];
    void *context;
    memset(out->data, 0xff, (size_t)shape_elements(out->shape) * dtype_size(out->dtype));
    assert_int_equal(setenv("LOCKSTEP_CPU", set, 1), 0);
    assert_true(device_cpu.open(&context, &(struct device_options){.threads = threads}, &status));
    assert_int_equal(unsetenv("LOCKSTEP_CPU"), 0);
    size_t bytes = device_cpu.workspace(context, call);
    assert_true(device_cpu.allocate(context, bytes, &call->workspace, &status));
    memset(call->workspace, 0xff, bytes);
    if (!device_cpu.run(context, call, &status))
        fail_msg("%s", status.text);
    device_cpu.release(context, call->workspace, bytes);
    device_cpu.close(context);
}

static void run(const struct example *it, const char *set)
{
    struct op_call call = call_of(it, DTYPE_F32, DTYPE_F32, DTYPE_F32);
    run_call(&call, set, 2);
}

/* Signed numbers of 2^-range to 2^range. */
static void fill(float *to, int64_t count, double range, struct random *random)
{
    for (int64_t i = 0; i < count; i++) {
        double size = exp2(random_uniform(random, -range, range));
        to[i] = (float)(random_bits(random) & 1 ? size : -size);
    }
}

/* The second half of each sum takes back the first but for some thousandth. */
static void cancel(struct example *it, struct random *random)
{
    for (int64_t k = 0; k < it->depth / 2; k++) {
        int64_t other = it->depth / 2 + k;
        for (int64_t i = 0; i < it->rows; i++)
            *a_at(it, i, other) = *a_at(it, i, k);
        for (int64_t j = 0; j < it->columns; j++)
            *b_at(it, other, j) =
                (float)(*b_at(it, k, j) * (-1 + random_uniform(random, -1e-3, 1e-3)));
    }
}

/* Of a result beside float64, in parts of the sum of all |products|. */
struct errors {
    double square, largest;
};

static void add_error(struct errors *errors, double got, double exact, double size)
{
    double error = size > 0 ? fabs(got - exact) / size : 0;
    errors->square += error * error;
    errors->largest = error > errors->largest ? error : errors->largest;
}

/* Errors of `out`, and of a plain float32 sum. */
static void measure(const struct example *it, struct errors *ours, struct errors *plain)
{
    *ours = *plain = (struct errors){0};
    for (int64_t i = 0; i < it->rows; i++)
        for (int64_t j = 0; j < it->columns; j++) {
            double exact = 0, size = 0;
            float sum = 0;
            for (int64_t k = 0; k < it->depth; k++) {
                float x = *a_at(it, i, k), y = *b_at(it, k, j), product = x * y;
                exact += (double)x * y;
                size += fabs((double)x * y);
                sum += product;
            }
            add_error(ours, it->out[i * it->columns + j], exact, size);
            add_error(plain, sum, exact, size);
        }
}

/* Beside float64, the root of the mean square of errors is no larger than that of a plain sum;
 * where few products count, all of them differ by what chance does, and parts of them are rounded
 * too. */
static void test_accuracy(void **state)
{
    (void)state;
    static const int depths[] = {1, 2, 7, 32, 100, 700, 1024, 1500, 4096};
    enum { ROWS = 45, COLUMNS = 37, ALIKE, WIDE, CANCELLING, KINDS };
    struct random random = random_start("accuracy");
    for (int s = 0; s < ARRAY_LENGTH(sets); s++)
        for (int d = 0; d < ARRAY_LENGTH(depths); d++)
            for (int kind = ALIKE; kind < KINDS; kind++) {
                struct example it = example_make(ROWS, depths[d], COLUMNS, &random);
                struct errors ours, plain;
                fill(it.a, it.rows * it.depth, kind == WIDE ? 20 : 1, &random);
                fill(it.b, it.depth * it.columns, kind == WIDE ? 20 : 1, &random);
                if (kind == CANCELLING)
                    cancel(&it, &random);
                run(&it, sets[s]);
                measure(&it, &ours, &plain);
                double ratio = sqrt(ours.square / plain.square);
                if (!(ratio <= (depths[d] >= 700 ? 0.9 : 1.15)) ||
                    !(ours.largest <= (depths[d] + 4) * 0x1p-24))
                    fail_msg("%s, depth %d, kind %d: %g of a plain sum's error, at most %g",
                             sets[s], depths[d], kind - ALIKE, ratio, ours.largest);
                example_free(&it);
            }
}

/* The numbers rounded to a type, and their values in `wide`. */
static void *rounded(enum dtype dtype, float *wide, int64_t count)
{
    void *narrow = memory_zeroed((size_t)count, dtype_size(dtype));
    for (int64_t i = 0; i < count; i++) {
        dtype_store(dtype, narrow, (size_t)i, wide[i]);
        wide[i] = (float)dtype_load(dtype, narrow, (size_t)i);
    }
    return narrow;
}

/* A product has the same bits whatever types hold its operands, and is rounded once. */
static void check_types(const char *set, enum dtype a, enum dtype b, enum dtype out, bool bias,
                        struct random *random)
{
    int64_t rows = random_integer(random, 1, 100), columns = random_integer(random, 1, 100);
    struct example it = example_make(rows, random_integer(random, 1, 1300), columns, random);
    fill(it.a, rows * it.depth, 3, random);
    fill(it.b, it.depth * columns, 3, random);
    if (bias) {
        it.bias = numbers(columns);
        fill(it.bias, columns, 3, random);
    }
    void *narrow_a = rounded(a, it.a, rows * it.depth);
    void *narrow_b = rounded(b, it.b, it.depth * columns);
    void *narrow_out = memory_zeroed((size_t)(rows * columns), dtype_size(out));
    struct op_call call = call_of(&it, a, b, out);
    call.inputs[0].data = narrow_a;
    call.inputs[1].data = narrow_b;
    call.outputs[0].data = narrow_out;
    run_call(&call, set, 3);
    run(&it, set);
    for (int64_t i = 0; i < rows * columns; i++) {
        double got = dtype_load(out, narrow_out, (size_t)i), wanted;
        dtype_store(out, narrow_out, (size_t)i, it.out[i]);
        wanted = dtype_load(out, narrow_out, (size_t)i);
        if (got != wanted)
            fail_msg("%s, %s x %s to %s, %lld x %lld x %lld, element %lld: %.9g instead of %.9g",
                     set, dtype_name(a), dtype_name(b), dtype_name(out), (long long)rows,
                     (long long)it.depth, (long long)columns, (long long)i, got, wanted);
    }
    free(narrow_a);
    free(narrow_b);
    free(narrow_out);
    example_free(&it);
}

static void test_types(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    struct random random = random_start("types");
    for (int s = 0; s < ARRAY_LENGTH(sets); s++)
        for (int i = 0; i < 27; i++)
            check_types(sets[s], dtypes[i % 3], dtypes[i / 3 % 3], dtypes[i / 9],
                        random_bits(&random) & 1, &random);
}

/* Sets one number of some rows of a and of some columns of b to something large or not finite. */
static void spoil(const struct example *it, bool *rows, bool *columns, struct random *random)
{
    const float values[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -3.39e38f, 3e38f, -1e38f, NAN};
    for (int64_t i = 0; i < it->rows; i++)
        if ((rows[i] = random_integer(random, 0, 9) == 0))
            *a_at(it, i, random_integer(random, 0, it->depth - 1)) =
                values[random_integer(random, 0, 7)];
    for (int64_t j = 0; j < it->columns; j++)
        if ((columns[j] = random_integer(random, 0, 9) == 0))
            *b_at(it, random_integer(random, 0, it->depth - 1), j) =
                values[random_integer(random, 0, 7)];
}

/* An expert without tokens: all sums are empty. */
static void test_no_depth(void **state)
{
    (void)state;
    struct random random = random_start("no depth");
    for (int i = 0; i < ARRAY_LENGTH(sets); i++) {
        struct example it = example_make(70, 0, 90, &random);
        run(&it, sets[i]);
        for (int64_t k = 0; k < it.rows * it.columns; k++)
            if (it.out[k] != 0)
                fail_msg("%s: element %lld is %g", sets[i], (long long)k, (double)it.out[k]);
        example_free(&it);
    }
}

/* Infinity and NaN come out as float32 arithmetic gives them, large numbers are not lost, and what
 * is not summed with them keeps its bits. */
static void test_not_finite(void **state)
{
    (void)state;
    enum { ROWS = 75, COLUMNS = 70, DEPTH = 1100 };
    struct random random = random_start("not finite");
    float *vectors = numbers(ROWS * COLUMNS), *clean = numbers(ROWS * COLUMNS);
    bool rows[ROWS], columns[COLUMNS];
    for (int repeat = 0; repeat < 4; repeat++) {
        struct example it = example_make(ROWS, repeat < 2 ? DEPTH : 20, COLUMNS, &random);
        fill(it.a, it.rows * it.depth, 1, &random);
        fill(it.b, it.depth * it.columns, 1, &random);
        run(&it, "amx");
        memcpy(clean, it.out, ROWS * COLUMNS * sizeof(float));
        spoil(&it, rows, columns, &random);
        run(&it, "avx512");
        memcpy(vectors, it.out, ROWS * COLUMNS * sizeof(float));
        run(&it, "amx");
        for (int i = 0; i < ROWS * COLUMNS; i++) {
            float got = it.out[i], wanted = vectors[i];
            bool same = isfinite(wanted)
                            ? fabsf(got - wanted) <= 1e-4f * (1 + fabsf(wanted))
                            : isnan(got) == isnan(wanted) && (isnan(got) || got == wanted);
            bool spoiled = rows[i / COLUMNS] || columns[i % COLUMNS];
            if (!same || (!spoiled && memcmp(&got, &clean[i], sizeof(got)) != 0))
                fail_msg("element %d: %g, in vectors %g, without what is not finite %g", i, got,
                         wanted, clean[i]);
        }
        example_free(&it);
    }
    free(vectors);
    free(clean);
}

/* Matrix units take subnormal parts of numbers as 0, which is off by less than 2^-125. */
static void test_subnormals(void **state)
{
    (void)state;
    struct random random = random_start("subnormals");
    for (int s = 0; s < ARRAY_LENGTH(sets); s++) {
        struct example it = example_make(40, random_integer(&random, 1, 200), 35, &random);
        for (int64_t i = 0; i < it.rows * it.depth; i++)
            it.a[i] = (float)(exp2(random_uniform(&random, -150, -100)) *
                              (random_bits(&random) & 1 ? 1 : -1));
        fill(it.b, it.depth * it.columns, 20, &random);
        run(&it, sets[s]);
        for (int64_t i = 0; i < it.rows; i++)
            for (int64_t j = 0; j < it.columns; j++) {
                double exact = 0, limit = 0;
                for (int64_t k = 0; k < it.depth; k++) {
                    double x = *a_at(&it, i, k), y = *b_at(&it, k, j);
                    exact += x * y;
                    limit +=
                        fabs(y) * 0x1p-125 + 0x1p-123 + fabs(x * y) * (double)it.depth * 0x1p-24;
                }
                double error = fabs(it.out[i * it.columns + j] - exact);
                if (!(error <= limit))
                    fail_msg("%s: %g off by %g, more than %g", sets[s], exact, error, limit);
            }
        example_free(&it);
    }
}

static void test_unknown_set(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    void *context = NULL;
    assert_int_equal(setenv("LOCKSTEP_CPU", "avx1024", 1), 0);
    assert_false(device_cpu.open(&context, NULL, &status));
    assert_int_equal(unsetenv("LOCKSTEP_CPU"), 0);
    assert_int_equal(status.code, STATUS_INVALID);
    assert_non_null(strstr(status.text, "avx1024"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),   cmocka_unit_test(test_types),
        cmocka_unit_test(test_no_depth),   cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_subnormals), cmocka_unit_test(test_unknown_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
