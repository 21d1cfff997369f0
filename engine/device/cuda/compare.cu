/* One pass over two tensors on the GPU: what engine/compare makes its metrics of. All sums are in
 * double, in an order that depends on the shape alone. */
#include "engine/device/cuda/operand.cuh"

/* As many blocks as an H100 has room for at once, four on each of 132 multiprocessors, so that none
 * comes late and alone: 30 KiB of shared memory each, and registers that the compiler is held to.
 */
enum {
    COMPARE_THREADS = 256,
    COMPARE_RESIDENT = 4,
    COMPARE_BLOCKS = 132 * COMPARE_RESIDENT,
    COMPARE_EACH = 16,
};

struct comparison {
    struct operand reference, test;
    int64_t rows, columns;
    float factor;     /* what the test's values are multiplied by */
    float key_factor; /* the same for the reference, where keys are taken at the test's scale */
    bool scaled_keys; /* and then the test's are taken as they are stored */
    int coarse;       /* enum dtype: distances are in its last places */
};

/* An element rounded to the coarser type, its sign in the highest bit. */
__device__ inline uint32_t key_of(int coarse, float number)
{
    if (coarse == DTYPE_BF16)
        return (uint32_t)bf16_round(number) << 16;
    return coarse == DTYPE_F16 ? (uint32_t)half_round(number) << 16 : __float_as_uint(number);
}

/* Sign and magnitude to two's complement, so that neighbours differ by 1 and -0 equals +0. */
__device__ inline int64_t ordered(uint32_t key)
{
    int64_t magnitude = key & 0x7fffffffu;
    return (key >> 31) ? -magnitude : magnitude;
}

__device__ inline void add_keys(const struct comparison &it, float reference, float test,
                                struct device_sums *sums)
{
    uint32_t a = key_of(it.coarse, reference), b = key_of(it.coarse, test);
    int64_t apart = ordered(a) - ordered(b);
    uint64_t distance = (uint64_t)(apart < 0 ? -apart : apart);
    distance >>= it.coarse == DTYPE_F32 ? 0 : 16;
    sums->different += a != b;
    sums->distance = distance > sums->distance ? distance : sums->distance;
}

__device__ inline void add_pair(const struct comparison &it, int64_t index, float reference,
                                float stored, struct device_sums *sums)
{
    float test = stored * it.factor;
    if (it.scaled_keys)
        add_keys(it, reference * it.key_factor, stored, sums);
    else
        add_keys(it, reference, test, sums);
    if (!isfinite(reference) || !isfinite(test)) {
        sums->nan_reference += isnan(reference);
        sums->nan_test += isnan(test);
        sums->infinity_reference += !isnan(reference) && !isfinite(reference);
        sums->infinity_test += !isnan(test) && !isfinite(test);
        return;
    }
    double a = (double)reference, b = (double)test, difference = fabs(a - b);
    sums->finite++;
    sums->differences += difference * difference;
    sums->references += a * a;
    sums->tests += b * b;
    sums->products += a * b;
    if (sums->largest_index < 0 || difference > sums->largest) {
        sums->largest = difference;
        sums->largest_index = index;
        sums->largest_reference = a;
        sums->largest_test = b;
    }
}

/* Of two equally large differences the first in the tensor counts. */
__device__ inline void merge(struct device_sums *to, const struct device_sums *from)
{
    bool larger = from->largest_index >= 0 &&
                  (to->largest_index < 0 || from->largest > to->largest ||
                   (from->largest == to->largest && from->largest_index < to->largest_index));
    if (larger) {
        to->largest = from->largest;
        to->largest_index = from->largest_index;
        to->largest_reference = from->largest_reference;
        to->largest_test = from->largest_test;
    }
    to->differences += from->differences;
    to->references += from->references;
    to->tests += from->tests;
    to->products += from->products;
    to->different += from->different;
    to->finite += from->finite;
    to->nan_reference += from->nan_reference;
    to->nan_test += from->nan_test;
    to->infinity_reference += from->infinity_reference;
    to->infinity_test += from->infinity_test;
    to->distance = from->distance > to->distance ? from->distance : to->distance;
}

__device__ inline struct device_sums no_sums()
{
    struct device_sums sums = {};
    sums.largest_index = -1;
    return sums;
}

/* Adds the threads' sums pairwise; thread 0 writes the result. */
__device__ inline void merge_block(const struct device_sums &mine, struct device_sums *out)
{
    struct device_sums *all = (struct device_sums *)(void *)shared_memory();
    all[threadIdx.x] = mine;
    for (unsigned half = COMPARE_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            merge(&all[threadIdx.x], &all[threadIdx.x + half]);
    }
    if (threadIdx.x == 0)
        *out = all[0];
}

static __global__ void __launch_bounds__(COMPARE_THREADS, COMPARE_RESIDENT)
    compare_kernel(struct comparison it, struct device_sums *partial)
{
    struct device_sums sums = no_sums();
    int64_t step = (int64_t)gridDim.x * blockDim.x, per_row = divide_up(it.columns, 4);
    int64_t pieces = it.rows * per_row;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += step) {
        int64_t row = it.rows == 1 ? 0 : i / per_row, column = 4 * (i - row * per_row);
        int width = quad_width(it.columns, column);
        struct quad reference = quad_load(it.reference, row, column, width);
        struct quad test = quad_load(it.test, row, column, width);
        for (int j = 0; j < 4; j++)
            if (j < width)
                add_pair(it, row * it.columns + column + j, reference.at[j], test.at[j], &sums);
    }
    merge_block(sums, &partial[blockIdx.x]);
}

static __global__ void compare_total_kernel(const struct device_sums *partial, int blocks,
                                            struct device_sums *out)
{
    struct device_sums sums = no_sums();
    for (int i = (int)threadIdx.x; i < blocks; i += COMPARE_THREADS)
        merge(&sums, &partial[i]);
    merge_block(sums, out);
}

static bool exact_scale(double scale)
{
    int exponent;
    return scale >= 1 && scale <= 0x1p64 && frexp(scale, &exponent) == 0.5;
}

bool cuda_compare_supports(const struct tensor *reference, const struct tensor *test, double scale)
{
    return cuda_small_float(reference->dtype) && cuda_small_float(test->dtype) &&
           shape_equal(reference->shape, test->shape) && exact_scale(scale);
}

size_t cuda_compare_memory(void)
{
    return COMPARE_BLOCKS * sizeof(struct device_sums);
}

bool cuda_compare_run(struct cuda_context *context, const struct tensor *reference,
                      const struct tensor *test, double scale, void *scratch,
                      struct device_sums *sums, struct status *status)
{
    struct device_sums *partial = (struct device_sums *)scratch;
    const struct tensor *tensors[2] = {reference, test};
    struct span span = span_of(tensors, 2);
    bool reference_coarser = dtype_epsilon(reference->dtype) > dtype_epsilon(test->dtype);
    struct comparison it;
    it.reference = operand_of(reference);
    it.test = operand_of(test);
    it.rows = span.rows;
    it.columns = span.columns;
    it.factor = (float)(1 / scale);
    it.key_factor = (float)scale;
    it.coarse = (int)(reference_coarser ? reference->dtype : test->dtype);
    it.scaled_keys = scale != 1 && it.coarse != DTYPE_F32 && it.coarse == (int)test->dtype;
    int blocks = (int)launch_blocks(divide_up(it.rows * it.columns, COMPARE_THREADS * COMPARE_EACH),
                                    COMPARE_BLOCKS);
    struct launch parts, total;
    parts.grid = dim3((unsigned)blocks);
    total.grid = dim3(1);
    parts.block = total.block = dim3(COMPARE_THREADS);
    parts.shared = total.shared = COMPARE_THREADS * sizeof(struct device_sums);
    return LAUNCH(compare_kernel, parts, it, partial) &&
           LAUNCH(compare_total_kernel, total, partial, blocks, sums);
}
