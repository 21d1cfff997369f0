#include "tests/unit/engine_compare/helper_naive.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* The number's bits in the dtype as sign and magnitude. */
static int64_t position(enum dtype dtype, double number, bool *negative)
{
    union {
        uint64_t word;
        unsigned char bytes[8];
    } bits = {0};
    dtype_store(dtype, bits.bytes, 0, number);
    uint64_t sign = UINT64_C(1) << (8 * dtype_size(dtype) - 1);
    *negative = (bits.word & sign) != 0;
    int64_t magnitude = (int64_t)(bits.word & ~sign);
    return *negative ? -magnitude : magnitude;
}

uint64_t naive_distance(enum dtype dtype, double a, double b, bool *different)
{
    if (!dtype_is_float(dtype)) {
        *different = a != b;
        return (uint64_t)fabs(a - b);
    }
    bool negative_a, negative_b;
    int64_t p = position(dtype, a, &negative_a), q = position(dtype, b, &negative_b);
    *different = p != q || negative_a != negative_b;
    return p > q ? (uint64_t)p - (uint64_t)q : (uint64_t)q - (uint64_t)p;
}

static enum dtype coarser(enum dtype a, enum dtype b)
{
    return dtype_epsilon(a) > dtype_epsilon(b) ? a : b;
}

struct metrics naive_metrics(const struct tensor *reference, const struct tensor *test,
                             double scale, double key_reference_scale, double key_test_scale)
{
    long double differences = 0, references = 0, tests = 0, products = 0;
    enum dtype dtype = coarser(reference->dtype, test->dtype);
    struct metrics metrics = {.count = shape_elements(reference->shape), .max_index = -1};
    int64_t finite = 0;
    double largest = -1;
    for (int64_t i = 0; i < metrics.count; i++) {
        double r = tensor_load(reference, i), stored = tensor_load(test, i), t = stored / scale;
        bool different;
        uint64_t distance =
            naive_distance(dtype, r * key_reference_scale, stored * key_test_scale, &different);
        metrics.different += different;
        metrics.max_ulp = distance > metrics.max_ulp ? distance : metrics.max_ulp;
        metrics.nan_reference += isnan(r) != 0;
        metrics.nan_test += isnan(t) != 0;
        metrics.infinity_reference += isinf(r) != 0;
        metrics.infinity_test += isinf(t) != 0;
        if (!isfinite(r) || !isfinite(t))
            continue;
        finite++;
        differences += ((long double)r - (long double)t) * ((long double)r - (long double)t);
        references += (long double)r * (long double)r;
        tests += (long double)t * (long double)t;
        products += (long double)r * (long double)t;
        if (fabs(r - t) > largest) {
            largest = fabs(r - t);
            metrics.max_index = i;
            metrics.max_reference = r;
            metrics.max_test_value = t;
        }
    }
    if (metrics.nan_reference + metrics.nan_test)
        metrics.max_ulp = UINT64_MAX;
    metrics.cosine = references == 0 && tests == 0 ? 1 : 0;
    if (references > 0 && tests > 0)
        metrics.cosine = (double)(products / (sqrtl(references) * sqrtl(tests)));
    if (finite == 0)
        return metrics;
    metrics.max_difference = largest;
    metrics.rms_difference = (double)sqrtl(differences / (long double)finite);
    metrics.rms_reference = (double)sqrtl(references / (long double)finite);
    metrics.rms_test = (double)sqrtl(tests / (long double)finite);
    return metrics;
}

static double random_number(struct random *random, enum dtype dtype)
{
    if (!dtype_is_float(dtype))
        return (double)random_integer(random, dtype == DTYPE_BOOL ? 0 : 1, 1) *
               (double)random_integer(random, 0, dtype == DTYPE_BOOL ? 1 : 100);
    if (random_integer(random, 0, 9) == 0)
        return random_integer(random, 0, 1) ? 0.0 : -0.0;
    double spread = dtype == DTYPE_F16 ? ldexp(1, (int)random_integer(random, -24, 8))
                                       : ldexp(1, (int)random_integer(random, -40, 40));
    return random_normal(random) * spread;
}

struct tensor random_tensor(struct random *random, enum dtype dtype, struct shape shape, int gap)
{
    struct tensor tensor = tensor_of(NULL, dtype, shape);
    tensor.row_stride += gap;
    size_t rows = (size_t)shape.dims[0];
    tensor.data = memory_zeroed(rows * (size_t)tensor.row_stride + 1, dtype_size(dtype));
    /* Gaps hold what would be noticed if it were read. */
    for (size_t i = 0; i < rows * (size_t)tensor.row_stride; i++)
        dtype_store(dtype, tensor.data, i, dtype_is_float(dtype) ? NAN : 77);
    for (int64_t i = 0; i < shape_elements(shape); i++)
        tensor_store(&tensor, i, random_number(random, dtype));
    return tensor;
}

void random_nudge(struct random *random, const struct tensor *from, struct tensor *to,
                  double relative, double factor)
{
    for (int64_t i = 0; i < shape_elements(from->shape); i++) {
        double noise = random_integer(random, 0, 3) ? 1 + relative * random_normal(random) : 1;
        double sign = random_integer(random, 0, 63) ? 1 : -1;
        tensor_store(to, i, tensor_load(from, i) * noise * sign * factor);
    }
}

static void assert_close(double found, double expected, double relative)
{
    if (!(fabs(found - expected) <= relative * fabs(expected)))
        fail_msg("%.17g is not %.17g within %g", found, expected, relative);
}

void assert_metrics_equal(const struct metrics *found, const struct metrics *expected)
{
    assert_int_equal(found->count, expected->count);
    assert_close(found->rms_difference, expected->rms_difference, 1e-12);
    assert_close(found->rms_reference, expected->rms_reference, 1e-12);
    assert_close(found->rms_test, expected->rms_test, 1e-12);
    assert_true(fabs(found->cosine - expected->cosine) <= 1e-12);
    assert_int_equal(found->max_index, expected->max_index);
    assert_close(found->max_difference, expected->max_difference, 0);
    assert_close(found->max_reference, expected->max_reference, 0);
    assert_close(found->max_test_value, expected->max_test_value, 0);
    assert_int_equal(found->nan_reference, expected->nan_reference);
    assert_int_equal(found->nan_test, expected->nan_test);
    assert_int_equal(found->infinity_reference, expected->infinity_reference);
    assert_int_equal(found->infinity_test, expected->infinity_test);
    assert_int_equal(found->different, expected->different);
    assert_true(found->max_ulp == expected->max_ulp);
}
