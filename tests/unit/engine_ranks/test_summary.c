/* What is taken of the parts of a tensor, each by itself and in any order, is what the whole has:
 * the same samples bit by bit, the same counts and extremes, mean and deviation but for rounding.
 */
#include "engine/base/memory.h"
#include "engine/ranks/summary.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 60, MOST_PIECES = 4 };

static struct tensor random_tensor(struct random *random, int rows, int columns)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    enum dtype dtype = dtypes[random_integer(random, 0, 2)];
    int64_t count = (int64_t)rows * columns;
    double *numbers = memory_zeroed((size_t)count, sizeof(*numbers));
    double mean = random_integer(random, 0, 1) ? 100 : 0, scale = random_uniform(random, 0.1, 3);
    bool odd = random_integer(random, 0, 1);
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = mean + scale * random_normal(random);
        if (odd && random_integer(random, 0, 20) == 0)
            numbers[i] = random_integer(random, 0, 1) ? NAN : -INFINITY;
    }
    struct tensor tensor =
        tensor_of(memory_zeroed((size_t)count, dtype_size(dtype)), dtype, shape_of2(rows, columns));
    dtype_convert(tensor.data, dtype, numbers, DTYPE_F64, (size_t)count);
    free(numbers);
    return tensor;
}

/* The careful way: two passes in long double. */
static struct device_statistics naive(const struct tensor *tensor)
{
    struct device_statistics found = {.minimum = INFINITY, .maximum = -INFINITY};
    int64_t count = shape_elements(tensor->shape);
    long double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(tensor, i);
        found.nans += isnan(number) != 0;
        found.infinities += isinf(number) != 0;
        if (!isfinite(number))
            continue;
        found.finite++;
        sum += number;
        found.minimum = number < found.minimum ? number : found.minimum;
        found.maximum = number > found.maximum ? number : found.maximum;
    }
    long double mean = found.finite ? sum / found.finite : 0;
    for (int64_t i = 0; i < count; i++) {
        long double difference = tensor_load(tensor, i) - mean;
        squares += isfinite(tensor_load(tensor, i)) ? difference * difference : 0;
    }
    found.mean = (double)mean;
    found.squares = (double)squares;
    return found;
}

static void check_near(double got, double right, double scale)
{
    if (!(fabs(got - right) <= 1e-12 * scale))
        fail_msg("%.17g, not %.17g", got, right);
}

static void check_statistics(const struct device_statistics *got, const struct tensor *whole)
{
    struct device_statistics right = naive(whole);
    assert_int_equal(got->finite, right.finite);
    assert_int_equal(got->nans, right.nans);
    assert_int_equal(got->infinities, right.infinities);
    assert_memory_equal(&got->minimum, &right.minimum, sizeof(double));
    assert_memory_equal(&got->maximum, &right.maximum, sizeof(double));
    check_near(got->mean, right.mean, fabs(right.mean) + sqrt(right.squares) + 1e-300);
    check_near(got->squares, right.squares, right.squares + 1e-300);
}

/* Cuts over rows or columns in `parts` blocks, or over both. */
struct way {
    int first, first_parts, first_pieces, second_pieces;
};

static struct shard shard_of(const struct way *way, struct shape shape, int part)
{
    struct shard shard = shard_whole(shape);
    assert_true(shard_cut(&shard, way->first, way->first_parts, way->first_pieces,
                          part / way->second_pieces));
    assert_true(
        shard_cut(&shard, 1 - way->first, 1, way->second_pieces, part % way->second_pieces));
    return shard;
}

static void check_parts(struct random *random, const struct tensor *whole, const struct way *way)
{
    int count = way->first_pieces * way->second_pieces, start = (int)random_integer(random, 0, 99);
    int64_t elements = shape_elements(whole->shape);
    size_t size = dtype_size(whole->dtype);
    struct sampling sampling = {.step = random_integer(random, 1, 9)};
    sampling.count = random_integer(random, 1, (elements + sampling.step - 1) / sampling.step);
    char *samples = memory_zeroed((size_t)sampling.count, size);
    struct device_statistics all = {0};
    for (int i = 0; i < count; i++) {
        struct shard shard = shard_of(way, whole->shape, (i + start) % count);
        struct tensor part = tensor_of(NULL, whole->dtype, shard_local_shape(&shard));
        struct text taken = {0};
        part.data = memory_zeroed((size_t)shape_elements(part.shape), size);
        shard_copy_out(&shard, whole, &part);
        struct device_statistics statistics = summary_statistics(&part);
        if (i == 0)
            all = statistics;
        else
            summary_add(&all, &statistics);
        summary_take(&part, &shard, &sampling, &taken);
        assert_true(
            summary_put(taken.data, taken.length, &shard, whole->dtype, &sampling, samples));
        assert_false(
            summary_put(taken.data, taken.length + size, &shard, whole->dtype, &sampling, samples));
        if (taken.length > 0)
            assert_false(summary_put(taken.data, taken.length - size, &shard, whole->dtype,
                                     &sampling, samples));
        free(part.data);
        text_free(&taken);
    }
    check_statistics(&all, whole);
    for (int64_t i = 0; i < sampling.count; i++)
        assert_memory_equal(samples + (size_t)i * size,
                            (const char *)whole->data + (size_t)(i * sampling.step) * size, size);
    free(samples);
}

static void test_parts(void **state)
{
    (void)state;
    struct random random = random_start("parts");
    for (int round = 0; round < ROUNDS; round++) {
        struct way way = {.first = (int)random_integer(&random, 0, 1),
                          .first_parts = (int)random_integer(&random, 1, 3),
                          .first_pieces = (int)random_integer(&random, 1, MOST_PIECES),
                          .second_pieces = (int)random_integer(&random, 1, MOST_PIECES)};
        int first = way.first_parts * way.first_pieces * (int)random_integer(&random, 1, 30);
        int second = way.second_pieces * (int)random_integer(&random, 1, 60);
        struct tensor whole = way.first == 0 ? random_tensor(&random, first, second)
                                             : random_tensor(&random, second, first);
        check_parts(&random, &whole, &way);
        /* of one that is not cut, a shard need not be known */
        struct device_statistics statistics = summary_statistics(&whole);
        check_statistics(&statistics, &whole);
        struct text taken = {0};
        struct sampling every = {1, shape_elements(whole.shape)};
        summary_take(&whole, &(struct shard){0}, &every, &taken);
        assert_int_equal(taken.length, (size_t)every.count * dtype_size(whole.dtype));
        assert_memory_equal(taken.data, whole.data, taken.length);
        text_free(&taken);
        free(whole.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
