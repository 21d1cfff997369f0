/* What a trace has of a tensor: every so many-th element, side by side, and statistics of all. The
 * sums are in double, in an order that depends on the shape alone. */
#include "engine/device/cuda/operand.cuh"

struct sample {
    struct operand from;
    char *to;
    int64_t columns, step, count;
};

/* The threads' share of the samples. */
__device__ inline void take_samples(const struct sample &it)
{
    int64_t threads = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < it.count; i += threads) {
        int64_t at = i * it.step;
        const char *from = operand_at(it.from, at / it.columns, at % it.columns);
        for (int byte = 0; byte < it.from.size; byte++)
            it.to[i * it.from.size + byte] = from[byte];
    }
}

static __global__ void sample_kernel(struct sample it)
{
    take_samples(it);
}

/* As many threads as bring enough of a tensor at a time for all of the memory's bandwidth. */
enum {
    STATISTICS_THREADS = 256,
    STATISTICS_RESIDENT = 4,
    STATISTICS_BLOCKS = LAUNCH_MULTIPROCESSORS * STATISTICS_RESIDENT,
    STATISTICS_EACH = 16,
};

__device__ inline struct device_statistics no_statistics()
{
    struct device_statistics none = {};
    none.minimum = INFINITY;
    none.maximum = -INFINITY;
    return none;
}

/* What a thread adds up: of the differences from its first number, so that a large mean does not
 * drown them. As that is one of the numbers, the squares are no more than their count times those
 * of the differences from the mean. */
struct running {
    double first, sum, squares;
    float minimum, maximum;
    unsigned finite, nans, infinities;
};

__device__ inline void add_number(struct running *to, float number)
{
    if (!isfinite(number)) {
        to->nans += isnan(number) ? 1 : 0;
        to->infinities += isnan(number) ? 0 : 1;
        return;
    }
    if (to->finite == 0)
        to->first = (double)number;
    double difference = (double)number - to->first;
    to->finite++;
    to->sum += difference;
    to->squares += difference * difference;
    to->minimum = fminf(to->minimum, number);
    to->maximum = fmaxf(to->maximum, number);
}

__device__ inline struct device_statistics statistics_of(const struct running &from)
{
    struct device_statistics statistics = no_statistics();
    statistics.nans = from.nans;
    statistics.infinities = from.infinities;
    statistics.finite = from.finite;
    if (from.finite == 0)
        return statistics;
    double mean = from.sum / (double)from.finite;
    statistics.mean = from.first + mean;
    statistics.squares = fmax(from.squares - from.sum * mean, 0.0);
    statistics.minimum = (double)from.minimum;
    statistics.maximum = (double)from.maximum;
    return statistics;
}

/* Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
 * variances". */
__device__ inline void merge(struct device_statistics *to, const struct device_statistics *from)
{
    int64_t finite = to->finite + from->finite;
    double difference = from->mean - to->mean;
    double part = finite > 0 ? (double)from->finite / (double)finite : 0;
    to->squares += from->squares + difference * difference * (double)to->finite * part;
    to->mean += difference * part;
    to->finite = finite;
    to->nans += from->nans;
    to->infinities += from->infinities;
    to->minimum = from->minimum < to->minimum ? from->minimum : to->minimum;
    to->maximum = from->maximum > to->maximum ? from->maximum : to->maximum;
}

/* Adds the threads' pairwise; thread 0 writes the result. */
__device__ inline void merge_block(const struct device_statistics &mine,
                                   struct device_statistics *out)
{
    struct device_statistics *all = (struct device_statistics *)(void *)shared_memory();
    all[threadIdx.x] = mine;
    for (unsigned half = STATISTICS_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            merge(&all[threadIdx.x], &all[threadIdx.x + half]);
    }
    if (threadIdx.x == 0)
        *out = all[0];
}

struct statistics {
    struct sample sample; /* and of what */
    struct span span;
    unsigned *ticket;
    struct device_statistics *partial, *out;
};

__device__ inline struct quad piece_at(const struct statistics &it, int64_t i, int64_t per_row,
                                       int *width)
{
    int64_t row = it.span.rows == 1 ? 0 : i / per_row, column = 4 * (i - row * per_row);
    *width = quad_width(it.span.columns, column);
    return quad_load(it.sample.from, row, column, *width);
}

/* Of the thread's pieces, two at a time, so that more of them are on their way. */
__device__ inline struct running add_pieces(const struct statistics &it)
{
    struct running sums = {};
    int64_t step = (int64_t)gridDim.x * blockDim.x, per_row = divide_up(it.span.columns, 4);
    int64_t pieces = it.span.rows * per_row;
    sums.minimum = INFINITY;
    sums.maximum = -INFINITY;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += 2 * step) {
        struct quad two[2] = {};
        int widths[2] = {0, 0};
        two[0] = piece_at(it, i, per_row, &widths[0]);
        if (i + step < pieces)
            two[1] = piece_at(it, i + step, per_row, &widths[1]);
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (k % 4 < widths[k / 4])
                add_number(&sums, two[k / 4].at[k % 4]);
    }
    return sums;
}

/* The last block that is done adds up all. */
static __global__ void __launch_bounds__(STATISTICS_THREADS, STATISTICS_RESIDENT)
    statistics_kernel(struct statistics it)
{
    take_samples(it.sample);
    merge_block(statistics_of(add_pieces(it)), &it.partial[blockIdx.x]);
    if (!is_last_block(it.ticket, shared_memory()))
        return;
    struct device_statistics mine = no_statistics();
    for (int i = (int)threadIdx.x; i < (int)gridDim.x; i += STATISTICS_THREADS)
        merge(&mine, &it.partial[i]);
    merge_block(mine, it.out);
}

size_t cuda_statistics_memory(void)
{
    return STATISTICS_BLOCKS * sizeof(struct device_statistics);
}

static bool statistics_run(struct cuda_context *context, const struct tensor *of,
                           const struct sample &sample, void *scratch,
                           struct device_statistics *out, struct status *status)
{
    const struct tensor *tensors[1] = {of};
    struct statistics it;
    it.sample = sample;
    it.span = span_of(tensors, 1);
    it.ticket = (unsigned *)scratch;
    it.partial = (struct device_statistics *)(void *)((char *)scratch + CUDA_SCRATCH_HEAD);
    it.out = out;
    struct launch where;
    where.grid = dim3(launch_blocks(
        divide_up(it.span.rows * it.span.columns, STATISTICS_THREADS * STATISTICS_EACH),
        STATISTICS_BLOCKS));
    where.block = dim3(STATISTICS_THREADS);
    where.shared = STATISTICS_THREADS * sizeof(struct device_statistics);
    return LAUNCH(statistics_kernel, where, it);
}

bool cuda_sample_run(struct cuda_context *context, const struct tensor *from, int64_t step,
                     int64_t count, void *to, void *scratch, struct device_statistics *statistics,
                     struct status *status)
{
    struct sample it = {operand_of(from), (char *)to, cuda_columns(from), step, count};
    if (statistics)
        return statistics_run(context, from, it, scratch, statistics, status);
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(count, 128), 4096));
    where.block = dim3(128);
    where.shared = 0;
    return count == 0 || LAUNCH(sample_kernel, where, it);
}
