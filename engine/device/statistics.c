/* Blocks of the flattened tensor are gathered one by one (by any thread) and added up in order.
 * Sums are in float64, of differences from the tensor's first finite value, so that a large mean
 * does not drown a small deviation. */
#include "engine/device/statistics.h"

#include "engine/base/memory.h"
#include "engine/base/versions.h"

#include <math.h>
#include <stdlib.h>

/* A pass over every log point of a step: vectorised at every optimisation level of the build. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

enum { BLOCK = 4096, LANES = 16, AHEAD = 512 };

struct sums {
    int64_t finite, nans, infinities;
    double sum, square_sum, minimum, maximum;
};

static struct sums no_sums(void)
{
    return (struct sums){.minimum = INFINITY, .maximum = -INFINITY};
}

/* The careful way, for blocks with numbers that are not finite, and for those of doubles. */
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
    double sum[LANES], square[LANES];
    float low[LANES], high[LANES];
};

static struct lanes no_lanes(void)
{
    struct lanes lanes = {.sum = {0}};
    for (int lane = 0; lane < LANES; lane++) {
        lanes.low[lane] = INFINITY;
        lanes.high[lane] = -INFINITY;
    }
    return lanes;
}

/* The whole tensor is read once, and seldom from a cache: half of the time is waiting for memory.
 */
VERSIONS
static void add_lanes(const float *numbers, int64_t count, double first, struct lanes *to)
{
    struct lanes lanes = *to;
    for (int64_t i = 0; i < count; i += LANES) {
        __builtin_prefetch(numbers + i + AHEAD);
        for (int lane = 0; lane < LANES; lane++) {
            float number = numbers[i + lane];
            double difference = (double)number - first;
            lanes.sum[lane] += difference;
            lanes.square[lane] += difference * difference;
            lanes.low[lane] = number < lanes.low[lane] ? number : lanes.low[lane];
            lanes.high[lane] = number > lanes.high[lane] ? number : lanes.high[lane];
        }
    }
    *to = lanes;
}

/* Elements start .. start+count-1 of the flattened tensor, as floats or doubles. */
static void load(const struct mosaic *tensor, int64_t start, int64_t count, enum dtype as, void *to)
{
    int64_t run;
    for (char *at = to; count > 0; start += run, count -= run) {
        const void *from = mosaic_run(tensor, start, &run);
        run = run < count ? run : count;
        dtype_convert(at, as, from, tensor->dtype, (size_t)run);
        at += (size_t)run * dtype_size(as);
    }
}

/* Adds floats where they are. False if they do not lie in whole groups of lanes: then `lanes` are
 * spoilt. */
static bool add_in_place(const struct mosaic *tensor, int64_t start, int64_t count, double first,
                         struct lanes *lanes)
{
    int64_t run;
    for (int64_t end = start + count; start < end; start += run) {
        const void *from = mosaic_run(tensor, start, &run);
        run = run < end - start ? run : end - start;
        if (run % LANES)
            return false;
        add_lanes(from, run, first, lanes);
    }
    return true;
}

/* A whole number of groups of lanes: wherever the numbers are, the sums have the same bits. */
static struct lanes gather_lanes(const struct mosaic *tensor, int64_t start, int64_t count,
                                 double first)
{
    struct lanes lanes = no_lanes();
    if (tensor->dtype == DTYPE_F32 && add_in_place(tensor, start, count, first, &lanes))
        return lanes;
    float numbers[BLOCK];
    lanes = no_lanes();
    load(tensor, start, count, DTYPE_F32, numbers);
    add_lanes(numbers, count, first, &lanes);
    return lanes;
}

static struct sums gather(const struct mosaic *tensor, int64_t start, int64_t count, double first)
{
    bool floats = dtype_size(tensor->dtype) <= 4 && dtype_is_float(tensor->dtype);
    int64_t whole = floats ? count / LANES * LANES : 0;
    struct lanes lanes = gather_lanes(tensor, start, whole, first);
    double rest[BLOCK];
    load(tensor, start + whole, count - whole, DTYPE_F64, rest);
    struct sums sums = gather_slowly(rest, count - whole, first);
    sums.finite += whole;
    for (int lane = 0; lane < LANES; lane++) {
        sums.sum += lanes.sum[lane];
        sums.square_sum += lanes.square[lane];
        sums.minimum = fmin(sums.minimum, (double)lanes.low[lane]);
        sums.maximum = fmax(sums.maximum, (double)lanes.high[lane]);
    }
    if (isfinite(sums.square_sum) && !sums.nans && !sums.infinities)
        return sums;
    load(tensor, start, count, DTYPE_F64, rest);
    return gather_slowly(rest, count, first);
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

static double first_finite(const struct mosaic *tensor, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double number;
        load(tensor, i, 1, DTYPE_F64, &number);
        if (isfinite(number))
            return number;
    }
    return 0;
}

struct device_statistics statistics_of_host(const struct mosaic *tensor)
{
    int64_t count = shape_elements(tensor->shape), blocks = (count + BLOCK - 1) / BLOCK;
    double first = first_finite(tensor, count);
    struct sums *parts = memory_zeroed((size_t)blocks, sizeof(*parts));
#pragma omp parallel for if (blocks > 8)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t start = block * BLOCK, size = count - start < BLOCK ? count - start : BLOCK;
        parts[block] = gather(tensor, start, size, first);
    }
    struct sums all = no_sums();
    for (int64_t block = 0; block < blocks; block++)
        all = add(all, parts[block]);
    free(parts);
    double number = all.finite > 0 ? (double)all.finite : 1;
    return (struct device_statistics){.finite = all.finite,
                                      .nans = all.nans,
                                      .infinities = all.infinities,
                                      .mean = all.finite > 0 ? first + all.sum / number : 0,
                                      .squares =
                                          fmax(0, all.square_sum - all.sum * all.sum / number),
                                      .minimum = all.minimum,
                                      .maximum = all.maximum};
}
