#include "tests/unit/engine_compare/helper_naive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct shape shapes[] = {
    {1, {0}},       {1, {1}},       {1, {3}},        {2, {5, 7}},       {2, {17, 31}},
    {1, {2048}},    {2, {3, 2047}}, {2, {2049, 1}},  {3, {4, 33, 129}}, {4, {2, 3, 5, 7}},
    {2, {1, 6000}}, {1, {70001}},   {2, {700, 301}}, {1, {15}},         {1, {17}},
};

static void compare(struct random *random, enum dtype reference_dtype, enum dtype test_dtype,
                    struct shape shape, double scale)
{
    int gap = random_integer(random, 0, 1) ? (int)random_integer(random, 1, 9) : 0;
    struct tensor reference = random_tensor(random, reference_dtype, shape, gap);
    struct tensor test = random_tensor(random, test_dtype, shape, random_integer(random, 0, 1) * 3);
    random_nudge(random, &reference, &test, 0x1p-8, scale);
    /* 16-bit distances at the scale of the side that is stored in that type, others as compared. */
    bool at_test =
        dtype_epsilon(reference_dtype) <= dtype_epsilon(test_dtype) && dtype_size(test_dtype) == 2;
    struct metrics expected =
        naive_metrics(&reference, &test, scale, at_test ? scale : 1, at_test ? 1 : 1 / scale);
    struct metrics found;
    metrics_compute(&reference, &test, scale, (int)random_integer(random, 0, 3), &found);
    assert_metrics_equal(&found, &expected);
    free(reference.data);
    free(test.data);
}

/* Every pair of float dtypes, every shape, rows with gaps, with and without a scale. */
static void test_against_definition(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    struct random random = random_start("metrics against their definition");
    for (int i = 0; i < 16; i++)
        for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
            enum dtype reference = dtypes[i / 4], test = dtypes[i % 4];
            compare(&random, reference, test, shapes[s], 1);
            if (reference != DTYPE_F16 && test != DTYPE_F16)
                compare(&random, reference, test, shapes[s], 65536);
            compare(&random, reference, test, shapes[s], random_uniform(&random, 0.3, 3));
        }
}

static void test_integers(void **state)
{
    (void)state;
    struct random random = random_start("metrics of integers");
    for (int dtype = DTYPE_I32; dtype < DTYPE_COUNT; dtype++)
        compare(&random, (enum dtype)dtype, (enum dtype)dtype, shape_of2(41, 77), 1);
    compare(&random, DTYPE_I32, DTYPE_F32, shape_of1(5000), 1);
    int64_t big[2] = {INT64_C(1) << 60, -3}, other[2] = {(INT64_C(1) << 60) + 1, 4};
    struct tensor reference = tensor_of(big, DTYPE_I64, shape_of1(1));
    struct tensor test = tensor_of(other, DTYPE_I64, shape_of1(1));
    struct metrics found;
    metrics_compute(&reference, &test, 1, 1, &found);
    assert_int_equal(found.different, 1); /* beyond the 53 bits of a double */
    assert_int_equal(found.max_ulp, 1);
}

static void spoil(struct random *random, struct tensor *tensor, int64_t count)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int64_t i = 0; i < count; i++)
        tensor_store(tensor, random_integer(random, 0, shape_elements(tensor->shape) - 1),
                     bad[random_integer(random, 0, 2)]);
}

static void test_not_finite(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    struct random random = random_start("NaN and infinities");
    for (int round = 0; round < 64; round++) {
        struct shape shape = round % 2 ? shape_of1(9001) : shape_of2(9, 250);
        struct tensor reference = random_tensor(&random, dtypes[round % 4], shape, 0);
        struct tensor test = random_tensor(&random, dtypes[round / 4 % 4], shape, 0);
        random_nudge(&random, &reference, &test, 1e-3, 1);
        spoil(&random, &reference, random_integer(&random, 0, 3));
        spoil(&random, &test, random_integer(&random, 0, round < 60 ? 5 : 20000));
        struct metrics expected = naive_metrics(&reference, &test, 1, 1, 1), found;
        metrics_compute(&reference, &test, 1, 2, &found);
        assert_metrics_equal(&found, &expected);
        free(reference.data);
        free(test.data);
    }
}

static void test_nothing_finite(void **state)
{
    (void)state;
    float nans[20], ones[20];
    for (int i = 0; i < 20; i++) {
        nans[i] = NAN;
        ones[i] = 1;
    }
    struct tensor reference = tensor_of(ones, DTYPE_F32, shape_of1(20));
    struct tensor test = tensor_of(nans, DTYPE_F32, shape_of1(20));
    struct metrics found;
    metrics_compute(&reference, &test, 1, 1, &found);
    assert_int_equal(found.nan_test, 20);
    assert_int_equal(found.max_index, -1);
    assert_int_equal(found.different, 20);
    assert_true(found.rms_difference == 0 && found.max_ulp == UINT64_MAX);
    metrics_compute(&test, &test, 1, 1, &found);
    assert_int_equal(found.different, 0); /* the same bits, and yet no pass */
    assert_int_equal(found.nan_reference, 20);
}

static void test_threads_give_the_same_bits(void **state)
{
    (void)state;
    struct random random = random_start("threads");
    struct shape shape = shape_of2(1000, 1003);
    struct tensor reference = random_tensor(&random, DTYPE_F32, shape, 0);
    struct tensor test = random_tensor(&random, DTYPE_F32, shape, 0);
    random_nudge(&random, &reference, &test, 1e-6, 1);
    struct metrics one, found;
    memset(&one, 0, sizeof(one));
    metrics_compute(&reference, &test, 1, 1, &one);
    for (int threads = 0; threads <= 7; threads++) {
        memset(&found, 0, sizeof(found));
        metrics_compute(&reference, &test, 1, threads, &found);
        assert_memory_equal(&one, &found, sizeof(one));
    }
    metrics_compute(&reference, &reference, 1, 3, &found);
    assert_true(found.different == 0 && found.max_ulp == 0 && found.rms_difference == 0);
    assert_true(fabs(found.cosine - 1) < 1e-15 && found.max_index == 0);
    free(reference.data);
    free(test.data);
}

static struct metrics of_pair(enum dtype dtype, double a, double b)
{
    double memory[2] = {0};
    struct tensor reference = tensor_of(&memory[0], dtype, shape_of1(1));
    struct tensor test = tensor_of(&memory[1], dtype, shape_of1(1));
    tensor_store(&reference, 0, a);
    tensor_store(&test, 0, b);
    struct metrics metrics;
    metrics_compute(&reference, &test, 1, 1, &metrics);
    return metrics;
}

static void assert_ulp(enum dtype dtype, double a, double b, uint64_t ulp, int64_t different)
{
    struct metrics there = of_pair(dtype, a, b), back = of_pair(dtype, b, a);
    if (there.max_ulp != ulp || back.max_ulp != ulp || there.different != different)
        fail_msg("%s %.9g, %.9g: %llu and %llu ulp, expected %llu; different %d", dtype_name(dtype),
                 a, b, (unsigned long long)there.max_ulp, (unsigned long long)back.max_ulp,
                 (unsigned long long)ulp, (int)there.different);
}

/* Known distances: across zero, across signs, at powers of two, into infinity. */
static void test_units_of_the_last_place(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        double least, largest; /* the smallest subnormal and the largest number */
        uint64_t one;          /* the number of steps from 0 to 1 */
    } kinds[] = {{DTYPE_F32, 0x1p-149, 0x1.fffffep127, 0x3f800000},
                 {DTYPE_BF16, 0x1p-133, 0x1.fep127, 0x3f80},
                 {DTYPE_F16, 0x1p-24, 65504, 0x3c00},
                 {DTYPE_F64, 0x1p-1074, 0x1.fffffffffffffp1023, UINT64_C(0x3ff0000000000000)}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        enum dtype dtype = kinds[i].dtype;
        double epsilon = dtype_epsilon(dtype);
        assert_ulp(dtype, 1, 1, 0, 0);
        assert_ulp(dtype, 1, 1 + epsilon, 1, 1);
        assert_ulp(dtype, 1, 1 - epsilon / 2, 1, 1);
        assert_ulp(dtype, 0.0, -0.0, 0, 1);
        assert_ulp(dtype, 0.0, kinds[i].least, 1, 1);
        assert_ulp(dtype, -kinds[i].least, kinds[i].least, 2, 1);
        assert_ulp(dtype, 0, 1, kinds[i].one, 1);
        assert_ulp(dtype, -1, 1, 2 * kinds[i].one, 1);
        assert_ulp(dtype, kinds[i].largest, INFINITY, 1, 1);
        assert_ulp(dtype, 1, NAN, UINT64_MAX, 1);
    }
}

/* What the test has rounded differs nowhere in its type, and is not the same all the same. */
static void test_same(void **state)
{
    (void)state;
    struct random random = random_start("same");
    struct shape shape = shape_of2(60, 101);
    struct tensor reference = random_tensor(&random, DTYPE_F32, shape, 0);
    struct tensor test = tensor_of(malloc(60 * 101 * 2), DTYPE_BF16, shape);
    struct metrics metrics;
    tensor_store(&reference, 0, 1 + 0x1p-20);
    for (int64_t i = 0; i < shape_elements(shape); i++)
        tensor_store(&test, i, tensor_load(&reference, i));
    metrics_compute(&reference, &test, 1, 1, &metrics);
    assert_true(metrics.different == 0 && metrics.max_difference > 0 && !metrics_same(&metrics));
    metrics_compute(&test, &test, 1, 1, &metrics);
    assert_true(metrics_same(&metrics));
    free(reference.data);
    free(test.data);
}

static void test_worst_elements(void **state)
{
    (void)state;
    struct random random = random_start("worst elements");
    struct shape shape = shape_of2(60, 101);
    struct tensor reference = random_tensor(&random, DTYPE_F32, shape, 5);
    struct tensor test = random_tensor(&random, DTYPE_BF16, shape, 0);
    random_nudge(&random, &reference, &test, 0.01, 2);
    tensor_store(&test, 4321, NAN);
    enum { CAPACITY = 12 };
    struct worst_element found[CAPACITY];
    int count = metrics_worst(&reference, &test, 2, found, CAPACITY);
    assert_int_equal(count, CAPACITY);
    assert_int_equal(found[0].index, 4321);
    double last = INFINITY;
    for (int i = 1; i < count; i++) {
        int64_t index = found[i].index;
        assert_true(found[i].reference == tensor_load(&reference, index));
        assert_true(found[i].test == tensor_load(&test, index) / 2);
        double difference = fabs(found[i].reference - found[i].test);
        assert_true(difference <= last);
        last = difference;
    }
    int larger = 0;
    for (int64_t i = 0; i < shape_elements(shape); i++)
        larger += fabs(tensor_load(&reference, i) - tensor_load(&test, i) / 2) > last;
    assert_true(larger <= CAPACITY - 2); /* none was left out: NaN is not counted here */
    assert_int_equal(metrics_worst(&reference, &test, 2, found, 0), 0);
    free(reference.data);
    free(test.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_definition),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_nothing_finite),
        cmocka_unit_test(test_threads_give_the_same_bits),
        cmocka_unit_test(test_units_of_the_last_place),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_worst_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
