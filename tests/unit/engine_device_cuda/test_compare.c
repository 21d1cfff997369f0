/* Metrics computed on the device against those of the host, on random tensors with all that is
 * special: strides, mixed types, scales, NaN, infinities, equal and signed zeros. */
/* link: lockstep_engine_compare */
#include "engine/base/memory.h"
#include "engine/compare/metrics_device.h"
#include "helper_module.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { CASES = 150, TYPES = 3 };
static const enum dtype types[TYPES] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};

static struct device *open_device(void)
{
    struct status status = STATUS_NONE;
    module_choose();
    struct device *device = device_open("cuda", NULL, &status);
    if (!device)
        print_message("%s\n", status.text);
    return device;
}

/* The reference with some noise; now and then something that is no number. */
static double test_value(struct random *random, double reference, double noise, int odd)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0};
    if (odd > 0 && random_integer(random, 0, odd) == 0)
        return special[random_integer(random, 0, 4)];
    return reference * (1 + noise * random_normal(random));
}

struct sides {
    struct tensor reference, test; /* on the host */
    size_t bytes[2];
    double scale;
};

static struct tensor make_tensor(struct random *random, enum dtype dtype, struct shape shape,
                                 size_t *bytes)
{
    struct tensor tensor = tensor_of(NULL, dtype, shape);
    if (random_integer(random, 0, 1))
        tensor.row_stride += random_integer(random, 1, 7);
    *bytes = (size_t)(tensor.row_stride * shape.dims[0]) * dtype_size(dtype);
    tensor.data = memory_zeroed(*bytes, 1);
    memset(tensor.data, 0xff, *bytes);
    return tensor;
}

static struct sides make_sides(struct random *random)
{
    bool large = random_integer(random, 0, 9) == 0;
    struct shape shape = shape_of2(random_integer(random, 1, large ? 150 : 20),
                                   random_integer(random, 1, large ? 300 : 40));
    int odd = random_integer(random, 0, 1) ? 0 : (int)random_integer(random, 2, 500);
    double noise = random_integer(random, 0, 4) ? 0.01 : 0;
    struct sides sides = {
        .scale = random_integer(random, 0, 1) ? 1 : 1 << random_integer(random, 1, 16)};
    sides.reference =
        make_tensor(random, types[random_integer(random, 0, 2)], shape, &sides.bytes[0]);
    sides.test = make_tensor(random, types[random_integer(random, 0, 2)], shape, &sides.bytes[1]);
    for (int64_t i = 0; i < shape_elements(shape); i++) {
        tensor_store(&sides.reference, i, test_value(random, random_normal(random), 0, odd));
        tensor_store(&sides.test, i,
                     sides.scale *
                         test_value(random, tensor_load(&sides.reference, i), noise, odd));
    }
    return sides;
}

static struct tensor upload(struct device *device, struct tensor tensor, size_t bytes)
{
    struct status status = STATUS_NONE;
    void *memory;
    if (!device_allocate(device, MEMORY_INPUTS, bytes, &memory, &status) ||
        !device_upload(device, memory, tensor.data, bytes, &status))
        fail_msg("%s", status.text);
    tensor.data = memory;
    return tensor;
}

/* Sums of the same terms in another order. */
static void assert_near(const char *what, double got, double wanted)
{
    if (fabs(got - wanted) > 1e-12 * fabs(wanted) + 1e-300)
        fail_msg("%s is %.17g, on the host %.17g", what, got, wanted);
}

static void assert_same(const struct metrics *got, const struct metrics *wanted)
{
    assert_int_equal(got->count, wanted->count);
    assert_near("rms of the difference", got->rms_difference, wanted->rms_difference);
    assert_near("rms of the reference", got->rms_reference, wanted->rms_reference);
    assert_near("rms of the test", got->rms_test, wanted->rms_test);
    assert_near("cosine", got->cosine, wanted->cosine);
    assert_near("largest difference", got->max_difference, wanted->max_difference);
    assert_near("reference there", got->max_reference, wanted->max_reference);
    assert_near("test there", got->max_test_value, wanted->max_test_value);
    assert_int_equal(got->max_index, wanted->max_index);
    assert_int_equal(got->nan_reference, wanted->nan_reference);
    assert_int_equal(got->nan_test, wanted->nan_test);
    assert_int_equal(got->infinity_reference, wanted->infinity_reference);
    assert_int_equal(got->infinity_test, wanted->infinity_test);
    assert_int_equal(got->different, wanted->different);
    assert_true(got->max_ulp == wanted->max_ulp);
}

static void *on_device(struct device *device, size_t bytes)
{
    struct status status = STATUS_NONE;
    void *memory;
    if (!device_allocate(device, MEMORY_WORKSPACE, bytes, &memory, &status))
        fail_msg("%s", status.text);
    return memory;
}

/* Fetches what was put there, and gives the memory back. */
static void take(struct device *device, void *host, void *there, size_t bytes)
{
    struct status status = STATUS_NONE;
    if (!device_download(device, host, there, bytes, &status))
        fail_msg("%s", status.text);
    device_release(device, MEMORY_WORKSPACE, there, bytes);
}

static void check_statistics(const struct device_statistics *got, const struct tensor *here)
{
    int64_t count = shape_elements(here->shape), finite = 0, nans = 0;
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(here, i);
        nans += isnan(number) != 0;
        if (!isfinite(number))
            continue;
        finite++;
        sum += number;
        low = fmin(low, number);
        high = fmax(high, number);
    }
    double mean = finite ? sum / (double)finite : 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(tensor_load(here, i)))
            squares += pow(tensor_load(here, i) - mean, 2);
    assert_int_equal(got->finite, finite);
    assert_int_equal(got->nans, nans);
    assert_int_equal(got->infinities, count - finite - nans);
    assert_true(got->minimum == low && got->maximum == high);
    assert_true(fabs(got->mean - mean) <= 1e-12 * (sqrt(squares) + fabs(mean)));
    assert_near("squares", got->squares * 1e-3, squares * 1e-3);
}

static void check_samples(struct random *random, struct device *device, const struct tensor *there,
                          const struct tensor *here)
{
    struct status status = STATUS_NONE;
    int64_t step = random_integer(random, 1, 60);
    int64_t count = (shape_elements(here->shape) + step - 1) / step;
    size_t bytes = (size_t)count * dtype_size(here->dtype);
    void *samples = memory_zeroed(bytes, 1), *put = on_device(device, bytes);
    struct device_statistics found, *statistics = on_device(device, sizeof(found));
    if (!device_sample(device, there, step, count, put, statistics, &status))
        fail_msg("%s", status.text);
    take(device, samples, put, bytes);
    take(device, &found, statistics, sizeof(found));
    check_statistics(&found, here);
    struct tensor got = tensor_of(samples, here->dtype, shape_of1(count));
    for (int64_t i = 0; i < count; i++) {
        double a = tensor_load(&got, i), b = tensor_load(here, i * step);
        assert_true(a == b || (isnan(a) && isnan(b)));
    }
    free(samples);
}

static bool compare(struct device *device, const struct tensor *reference,
                    const struct tensor *test, double scale, struct metrics *metrics,
                    struct status *status)
{
    struct device_sums sums, *there = on_device(device, sizeof(sums));
    bool ok = device_compare(device, reference, test, scale, there, status);
    take(device, &sums, there, sizeof(sums));
    if (ok)
        *metrics = metrics_of_sums(&sums, shape_elements(reference->shape));
    return ok;
}

static void test_metrics(void **state)
{
    struct random random = random_start("compare");
    struct device *device = *state;
    for (int i = 0; i < CASES; i++) {
        struct sides sides = make_sides(&random);
        struct status status = STATUS_NONE;
        struct metrics got, wanted;
        metrics_compute(&sides.reference, &sides.test, sides.scale, 1, &wanted);
        struct tensor reference = upload(device, sides.reference, sides.bytes[0]);
        struct tensor test = upload(device, sides.test, sides.bytes[1]);
        if (!compare(device, &reference, &test, sides.scale, &got, &status))
            fail_msg("%s", status.text);
        assert_same(&got, &wanted);
        check_samples(&random, device, &test, &sides.test);
        device_release(device, MEMORY_INPUTS, reference.data, sides.bytes[0]);
        device_release(device, MEMORY_INPUTS, test.data, sides.bytes[1]);
        free(sides.reference.data);
        free(sides.test.data);
    }
}

enum edge { TOO_LARGE = 0, APART_IN_DOUBLE, SUBNORMAL, SIGNED_ZERO, EDGES };

/* Both sides of an element; one, `chosen`, has the largest difference, by little. */
static void put_edge(enum edge edge, bool chosen, float *reference, float *test)
{
    *reference = edge == APART_IN_DOUBLE ? 1 : edge == TOO_LARGE ? 3e38f : 0;
    *test = edge == TOO_LARGE         ? chosen ? -3e38f : 1e38f
            : edge == APART_IN_DOUBLE ? chosen ? -0x1p-29f : -0x1p-30f
            : edge == SUBNORMAL       ? chosen ? 0x3p-149f : 0x1p-148f
                                      : -0.0f;
}

/* Differences that float32 has no number for, or does not tell apart. */
static void test_edges(void **state)
{
    enum { COUNT = 301 };
    struct random random = random_start("compare edges");
    struct device *device = *state;
    for (int edge = 0; edge < EDGES; edge++) {
        struct status status = STATUS_NONE;
        struct metrics got, wanted;
        float sides[2][COUNT];
        int chosen = (int)random_integer(&random, 0, COUNT - 1);
        for (int i = 0; i < COUNT; i++)
            put_edge((enum edge)edge, i == chosen, &sides[0][i], &sides[1][i]);
        struct tensor reference = tensor_of(sides[0], DTYPE_F32, shape_of1(COUNT));
        struct tensor test = tensor_of(sides[1], DTYPE_F32, shape_of1(COUNT));
        metrics_compute(&reference, &test, 1, 1, &wanted);
        assert_int_equal(wanted.max_index, edge == SIGNED_ZERO ? 0 : chosen);
        reference = upload(device, reference, sizeof(sides[0]));
        test = upload(device, test, sizeof(sides[1]));
        if (!compare(device, &reference, &test, 1, &got, &status))
            fail_msg("%s", status.text);
        assert_same(&got, &wanted);
        device_release(device, MEMORY_INPUTS, reference.data, sizeof(sides[0]));
        device_release(device, MEMORY_INPUTS, test.data, sizeof(sides[1]));
    }
}

static void test_refusals(void **state)
{
    struct device *device = *state;
    struct status status = STATUS_NONE;
    struct metrics metrics;
    double numbers[4] = {0};
    struct tensor host = tensor_of(numbers, DTYPE_F64, shape_of1(4));
    struct tensor wide = upload(device, host, sizeof(numbers));
    assert_false(compare(device, &wide, &wide, 1, &metrics, &status));
    assert_int_equal(status.code, STATUS_UNSUPPORTED);
    status = STATUS_NONE;
    struct tensor narrow = wide;
    narrow.dtype = DTYPE_F32;
    assert_false(compare(device, &narrow, &narrow, 3, &metrics, &status));
    assert_int_equal(status.code, STATUS_UNSUPPORTED);
    device_release(device, MEMORY_INPUTS, wide.data, sizeof(numbers));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"metrics", test_metrics, NULL, NULL, NULL},
        {"edges", test_edges, NULL, NULL, NULL},
        {"refusals", test_refusals, NULL, NULL, NULL},
    };
    struct device *device = open_device();
    if (!device)
        return module_is_emulated() && !module_table() ? 0 : 1;
    struct CMUnitTest with_device[ARRAY_LENGTH(tests)];
    for (int i = 0; i < ARRAY_LENGTH(tests); i++) {
        with_device[i] = tests[i];
        with_device[i].initial_state = device;
    }
    int failed = cmocka_run_group_tests_name("cuda compare", with_device, NULL, NULL);
    device_close(device);
    return failed;
}
