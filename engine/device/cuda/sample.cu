/* What a trace has of a tensor: every so many-th element, side by side, and statistics of all. The
 * sums are in double, in an order that depends on the shape alone. */
#include "engine/device/cuda/operand.cuh"

struct sample {
    struct operand from;
    char *to;
    int64_t columns, step, count;
};

static __global__ void sample_kernel(struct sample it)
{
    int64_t threads = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < it.count; i += threads) {
        int64_t at = i * it.step;
        const char *from = operand_at(it.from, at / it.columns, at % it.columns);
        for (int byte = 0; byte < it.from.size; byte++)
            it.to[i * it.from.size + byte] = from[byte];
    }
}

bool cuda_sample_run(struct cuda_context *context, const struct tensor *from, int64_t step,
                     int64_t count, void *to, struct status *status)
{
    struct sample it = {operand_of(from), (char *)to, cuda_columns(from), step, count};
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(count, 128), 4096));
    where.block = dim3(128);
    where.shared = 0;
    return count == 0 || LAUNCH(sample_kernel, where, it);
}

enum { STATISTICS_THREADS = 128, STATISTICS_BLOCKS = 512, STATISTICS_EACH = 16 };

__device__ inline struct device_statistics no_statistics()
{
    struct device_statistics none = {};
    none.minimum = INFINITY;
    none.maximum = -INFINITY;
    return none;
}

/* Welford's way, so that a large mean does not drown small differences from it. */
__device__ inline void add_number(struct device_statistics *to, float number)
{
    if (!isfinite(number)) {
        to->nans += isnan(number) ? 1 : 0;
        to->infinities += isnan(number) ? 0 : 1;
        return;
    }
    double difference = (double)number - to->mean;
    to->finite++;
    to->mean += difference / (double)to->finite;
    to->squares += difference * ((double)number - to->mean);
    to->minimum = number < to->minimum ? number : to->minimum;
    to->maximum = number > to->maximum ? number : to->maximum;
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

static __global__ void statistics_kernel(struct operand of, struct span span,
                                         struct device_statistics *partial)
{
    struct device_statistics mine = no_statistics();
    int64_t step = (int64_t)gridDim.x * blockDim.x, count = span.rows * span.columns;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        int64_t row = span.rows == 1 ? 0 : i / span.columns;
        add_number(&mine, operand_load(of, row, i - row * span.columns));
    }
    merge_block(mine, &partial[blockIdx.x]);
}

static __global__ void statistics_total_kernel(const struct device_statistics *partial, int blocks,
                                               struct device_statistics *out)
{
    struct device_statistics mine = no_statistics();
    for (int i = (int)threadIdx.x; i < blocks; i += STATISTICS_THREADS)
        merge(&mine, &partial[i]);
    merge_block(mine, out);
}

size_t cuda_statistics_memory(void)
{
    return STATISTICS_BLOCKS * sizeof(struct device_statistics);
}

bool cuda_statistics_run(struct cuda_context *context, const struct tensor *of, void *scratch,
                         struct device_statistics *statistics, struct status *status)
{
    struct device_statistics *partial = (struct device_statistics *)scratch;
    const struct tensor *tensors[1] = {of};
    struct span span = span_of(tensors, 1);
    int blocks = (int)launch_blocks(
        divide_up(span.rows * span.columns, STATISTICS_THREADS * STATISTICS_EACH),
        STATISTICS_BLOCKS);
    struct launch parts, total;
    parts.grid = dim3((unsigned)blocks);
    total.grid = dim3(1);
    parts.block = total.block = dim3(STATISTICS_THREADS);
    parts.shared = total.shared = STATISTICS_THREADS * sizeof(struct device_statistics);
    return LAUNCH(statistics_kernel, parts, operand_of(of), span, partial) &&
           LAUNCH(statistics_total_kernel, total, partial, blocks, statistics);
}
