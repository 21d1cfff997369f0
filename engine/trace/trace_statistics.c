/* Blocks of rows are gathered one by one (by any thread) and added up in order. Sums are in
 * float64, of differences from the tensor's first finite value, so that a large mean does not drown
 * a small deviation. */
#include "engine/trace/trace_statistics.h"

#include "engine/base/memory.h"
#include "engine/base/versions.h"

#include <math.h>
#include <stdlib.h>

/* A pass over every log point of a step: vectorised at every optimisation level of the build. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

enum { BLOCK = 4096, LANES = 8 };

struct sums {
    int64_t finite, nans, infinities;
    double sum, square_sum, minimum, maximum;
};

static struct sums no_sums(void)
{
    return (struct sums){.minimum = INFINITY, .maximum = -INFINITY};
}

/* The careful way, for blocks with numbers that are not finite. */
static struct sums gather_slowly(const double *numbers, int64_t count, double first)
{
    struct sums sums = no_sums();
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(numbers[i])) {
            sums.nans += isnan(numbers[i]) != 0;
            sums.infinities += isinf(numbers[i]) != 0;
            continue;
        }
        double difference = numbers[i] - first;
        sums.finite++;
        sums.sum += difference;
        sums.square_sum += difference * difference;
        sums.minimum = fmin(sums.minimum, numbers[i]);
        sums.maximum = fmax(sums.maximum, numbers[i]);
    }
    return sums;
}

/* Independent lanes, so that the compiler may use vectors without changing the order of sums. */
struct lanes {
    double sum[LANES], square[LANES], low[LANES], high[LANES];
};

VERSIONS
static void add_lanes(const double *numbers, int64_t count, double first, struct lanes *to)
{
    struct lanes lanes = *to;
    for (int64_t i = 0; i < count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double number = numbers[i + lane], difference = number - first;
            lanes.sum[lane] += difference;
            lanes.square[lane] += difference * difference;
            lanes.low[lane] = number < lanes.low[lane] ? number : lanes.low[lane];
            lanes.high[lane] = number > lanes.high[lane] ? number : lanes.high[lane];
        }
    *to = lanes;
}

static struct sums gather(const double *numbers, int64_t count, double first)
{
    struct lanes lanes = {.sum = {0}};
    int64_t whole = count / LANES * LANES;
    for (int lane = 0; lane < LANES; lane++) {
        lanes.low[lane] = INFINITY;
        lanes.high[lane] = -INFINITY;
    }
    add_lanes(numbers, whole, first, &lanes);
    struct sums sums = gather_slowly(numbers + whole, count - whole, first);
    sums.finite += whole;
    for (int lane = 0; lane < LANES; lane++) {
        sums.sum += lanes.sum[lane];
        sums.square_sum += lanes.square[lane];
        sums.minimum = fmin(sums.minimum, lanes.low[lane]);
        sums.maximum = fmax(sums.maximum, lanes.high[lane]);
    }
    return isfinite(sums.square_sum) && !sums.nans && !sums.infinities
               ? sums
               : gather_slowly(numbers, count, first);
}

static struct sums add(struct sums a, struct sums b)
{
    a.finite += b.finite;
    a.nans += b.nans;
    a.infinities += b.infinities;
    a.sum += b.sum;
    a.square_sum += b.square_sum;
    a.minimum = fmin(a.minimum, b.minimum);
    a.maximum = fmax(a.maximum, b.maximum);
    return a;
}

VERSIONS
static void widen(const float *from, int64_t count, double *numbers)
{
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (double)from[i];
}

/* Elements first .. first+count-1 of the flattened tensor as doubles. */
static void load(const struct tensor *tensor, int64_t start, int64_t count, double *numbers)
{
    if (!tensor_is_contiguous(tensor)) {
        for (int64_t i = 0; i < count; i++)
            numbers[i] = tensor_load(tensor, start + i);
        return;
    }
    if (tensor->dtype == DTYPE_F32) {
        widen((const float *)tensor->data + start, count, numbers);
        return;
    }
    dtype_convert(numbers, DTYPE_F64,
                  (const char *)tensor->data + (size_t)start * dtype_size(tensor->dtype),
                  tensor->dtype, (size_t)count);
}

static double first_finite(const struct tensor *tensor, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (isfinite(tensor_load(tensor, i)))
            return tensor_load(tensor, i);
    return 0;
}

struct trace_statistics trace_statistics_of(const struct tensor *tensor)
{
    int64_t count = shape_elements(tensor->shape), blocks = (count + BLOCK - 1) / BLOCK;
    double first = first_finite(tensor, count);
    struct sums *parts = memory_zeroed((size_t)blocks, sizeof(*parts));
#pragma omp parallel for if (blocks > 8)
    for (int64_t block = 0; block < blocks; block++) {
        double numbers[BLOCK];
        int64_t start = block * BLOCK, size = count - start < BLOCK ? count - start : BLOCK;
        load(tensor, start, size, numbers);
        parts[block] = gather(numbers, size, first);
    }
    struct sums all = no_sums();
    for (int64_t block = 0; block < blocks; block++)
        all = add(all, parts[block]);
    free(parts);
    double number = (double)all.finite, variance = NAN;
    if (all.finite > 1)
        variance = fmax(0, (all.square_sum - all.sum * all.sum / number) / (number - 1));
    return (struct trace_statistics){.finite = all.finite,
                                     .nans = all.nans,
                                     .infinities = all.infinities,
                                     .mean = all.finite ? first + all.sum / number : NAN,
                                     .deviation = sqrt(variance),
                                     .minimum = all.finite ? all.minimum : NAN,
                                     .maximum = all.finite ? all.maximum : NAN};
}
