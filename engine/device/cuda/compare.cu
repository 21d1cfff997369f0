/* One pass over two tensors on the GPU: what engine/compare makes its metrics of. All sums are in
 * double, in an order that depends on the shape alone. */
#include "engine/device/cuda/operand.cuh"

/* As many blocks as there is room for at once, four on each multiprocessor: 30 KiB of shared memory
 * each, and registers that the compiler is held to. */
enum {
    COMPARE_THREADS = 256,
    COMPARE_RESIDENT = 4,
    COMPARE_BLOCKS = LAUNCH_MULTIPROCESSORS * COMPARE_RESIDENT,
    COMPARE_EACH = 16,
};

/* Of which the keys are taken that tell how far apart two numbers are: their bits as float32, or
 * those of the coarser type, in the upper half. */
enum keys { KEYS_AS_THEY_ARE = 0, KEYS_BF16, KEYS_F16 };

struct comparison {
    struct operand reference, test;
    int64_t rows, columns;
    float factor;     /* what the test's values are multiplied by */
    float key_factor; /* the same for the reference, where keys are taken at the test's scale */
    bool scaled_keys; /* and then the test's are taken as they are stored */
    int reference_keys, test_keys;
    int key_shift; /* of distances: the keys' last places are above it */
    unsigned *ticket;
    struct device_sums *partial, *out;
};

/* What a thread adds up. A GPU has fewer units for integers and for float64 than for float32, and
 * an element is to take no more instructions than its bytes take to come: so what is rare is looked
 * for by one float32 comparison, and counted beside the others. */
struct running {
    double differences, references, tests, products;
    double largest, largest_reference, largest_test;
    int64_t largest_index;
    float near; /* the largest difference in float32, but not 0; -1: none yet */
    unsigned different, distance, nan_reference, nan_test, infinity_reference, infinity_test;
    unsigned odd; /* pairs of which a side is not finite */
};

__device__ inline uint32_t key_of(int keys, float number)
{
    if (keys == KEYS_BF16)
        return (uint32_t)bf16_round(number) << 16;
    return keys == KEYS_F16 ? (uint32_t)half_round(number) << 16 : __float_as_uint(number);
}

/* Sign and magnitude to two's complement, so that neighbours differ by 1 and -0 equals +0. */
__device__ inline int32_t ordered(uint32_t key)
{
    uint32_t sign = 0u - (key >> 31);
    return (int32_t)(((key & 0x7fffffffu) ^ sign) - sign);
}

__device__ inline void add_keys(uint32_t a, uint32_t b, struct running *sums)
{
    int32_t x = ordered(a), y = ordered(b);
    uint32_t apart = (uint32_t)max(x, y) - (uint32_t)min(x, y);
    sums->different += a != b;
    sums->distance = max(sums->distance, apart);
}

/* Counts a pair of which a side is not finite. False for a finite one, whose difference may be too
 * large for float32. */
__device__ inline bool is_odd_pair(float reference, float test, struct running *sums)
{
    if (isfinite(reference) && isfinite(test))
        return false;
    sums->odd++;
    sums->nan_reference += isnan(reference);
    sums->nan_test += isnan(test);
    sums->infinity_reference += !isnan(reference) && !isfinite(reference);
    sums->infinity_test += !isnan(test) && !isfinite(test);
    return true;
}

/* PLAIN: all keys are taken as they are, at the same scale. */
template <bool PLAIN>
__device__ inline void add_pair(const struct comparison &it, int64_t index, float reference,
                                float stored, struct running *sums)
{
    float test = stored * it.factor, near = fabsf(reference - test);
    if (PLAIN)
        add_keys(__float_as_uint(reference), __float_as_uint(test), sums);
    else
        add_keys(key_of(it.reference_keys, it.scaled_keys ? reference * it.key_factor : reference),
                 key_of(it.test_keys, it.scaled_keys ? stored : test), sums);
    if (!(near < INFINITY) && is_odd_pair(reference, test, sums))
        return;
    double a = (double)reference, b = (double)test, difference = a - b;
    sums->differences += difference * difference;
    sums->references += a * a;
    sums->tests += b * b;
    sums->products += a * b;
    /* Of two differences the larger one is not the smaller one in float32. */
    if (near >= sums->near && (sums->largest_index < 0 || fabs(difference) > sums->largest)) {
        sums->near = fmaxf(near, 0x1p-149f);
        sums->largest = fabs(difference);
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

/* Of `pairs` pairs. */
__device__ inline struct device_sums sums_of(const struct running &from, int64_t pairs, int shift)
{
    struct device_sums sums = {};
    sums.differences = from.differences;
    sums.references = from.references;
    sums.tests = from.tests;
    sums.products = from.products;
    sums.largest = from.largest;
    sums.largest_reference = from.largest_reference;
    sums.largest_test = from.largest_test;
    sums.largest_index = from.largest_index;
    sums.finite = pairs - from.odd;
    sums.nan_reference = from.nan_reference;
    sums.nan_test = from.nan_test;
    sums.infinity_reference = from.infinity_reference;
    sums.infinity_test = from.infinity_test;
    sums.different = from.different;
    sums.distance = from.distance >> shift;
    return sums;
}

/* A piece of four neighbours, or fewer at the end of a row, of both sides. */
struct piece {
    struct quad reference, test;
    int64_t index; /* of the first in the tensor */
    int width;
};

__device__ inline struct piece piece_at(const struct comparison &it, int64_t i, int64_t per_row)
{
    int64_t row = it.rows == 1 ? 0 : i / per_row, column = 4 * (i - row * per_row);
    struct piece piece;
    piece.width = quad_width(it.columns, column);
    piece.index = row * it.columns + column;
    piece.reference = quad_load(it.reference, row, column, piece.width);
    piece.test = quad_load(it.test, row, column, piece.width);
    return piece;
}

template <bool PLAIN>
__device__ inline int add_piece(const struct comparison &it, const struct piece &piece,
                                struct running *sums)
{
    for (int j = 0; j < 4; j++)
        if (j < piece.width)
            add_pair<PLAIN>(it, piece.index + j, piece.reference.at[j], piece.test.at[j], sums);
    return piece.width;
}

/* The sums of all blocks. */
__device__ inline void add_blocks(const struct comparison &it)
{
    struct device_sums sums = no_sums();
    for (int i = (int)threadIdx.x; i < (int)gridDim.x; i += COMPARE_THREADS)
        merge(&sums, &it.partial[i]);
    merge_block(sums, it.out);
}

template <bool PLAIN>
static __global__ void __launch_bounds__(COMPARE_THREADS, COMPARE_RESIDENT)
    compare_kernel(struct comparison it)
{
    struct running sums = {};
    int64_t step = (int64_t)gridDim.x * blockDim.x, per_row = divide_up(it.columns, 4), pairs = 0;
    int64_t pieces = it.rows * per_row;
    sums.largest_index = -1;
    sums.near = -1;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < pieces; i += step)
        pairs += add_piece<PLAIN>(it, piece_at(it, i, per_row), &sums);
    merge_block(sums_of(sums, pairs, it.key_shift), &it.partial[blockIdx.x]);
    if (is_last_block(it.ticket, shared_memory()))
        add_blocks(it);
}

static bool exact_scale(double scale)
{
    int exponent;
    return scale >= 1 && scale <= 0x1p64 && frexp(scale, &exponent) == 0.5;
}

/* bf16 numbers are float32 numbers with nothing in the lower half, also times a power of two. */
static enum keys keys_of(enum dtype coarse, enum dtype dtype)
{
    if (coarse == DTYPE_F16)
        return KEYS_F16;
    return coarse == DTYPE_BF16 && dtype != DTYPE_BF16 ? KEYS_BF16 : KEYS_AS_THEY_ARE;
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
    const struct tensor *tensors[2] = {reference, test};
    struct span span = span_of(tensors, 2);
    bool reference_coarser = dtype_epsilon(reference->dtype) > dtype_epsilon(test->dtype);
    enum dtype coarse = reference_coarser ? reference->dtype : test->dtype;
    struct comparison it;
    it.reference = operand_of(reference);
    it.test = operand_of(test);
    it.rows = span.rows;
    it.columns = span.columns;
    it.factor = (float)(1 / scale);
    it.key_factor = (float)scale;
    it.scaled_keys = scale != 1 && coarse != DTYPE_F32 && coarse == test->dtype;
    it.ticket = (unsigned *)scratch;
    it.partial = (struct device_sums *)(void *)((char *)scratch + CUDA_SCRATCH_HEAD);
    it.out = sums;
    it.reference_keys = (int)keys_of(coarse, reference->dtype);
    it.test_keys = (int)keys_of(coarse, test->dtype);
    it.key_shift = coarse == DTYPE_F32 ? 0 : 16;
    bool plain = it.reference_keys == KEYS_AS_THEY_ARE && it.test_keys == KEYS_AS_THEY_ARE &&
                 !it.scaled_keys;
    int blocks = (int)launch_blocks(divide_up(it.rows * it.columns, COMPARE_THREADS * COMPARE_EACH),
                                    COMPARE_BLOCKS);
    struct launch where;
    where.grid = dim3((unsigned)blocks);
    where.block = dim3(COMPARE_THREADS);
    where.shared = COMPARE_THREADS * sizeof(struct device_sums);
    return plain ? LAUNCH_AS("compare_kernel", compare_kernel<true>, where, it)
                 : LAUNCH_AS("compare_kernel", compare_kernel<false>, where, it);
}
