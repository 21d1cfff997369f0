/* How kernels reach the elements of tensors of any type, and sums over warps and blocks. */
#ifndef ENGINE_DEVICE_CUDA_OPERAND_CUH
#define ENGINE_DEVICE_CUDA_OPERAND_CUH

#include "engine/device/cuda/launch.cuh"

/* A tensor, as kernels take it. */
struct operand {
    char *data;
    int64_t stride; /* elements between rows */
    int dtype, size;
};

static inline struct operand operand_of(const struct tensor *tensor)
{
    struct operand operand;
    operand.data = (char *)tensor->data;
    operand.stride = tensor->row_stride;
    operand.dtype = (int)tensor->dtype;
    operand.size = (int)dtype_size(tensor->dtype);
    return operand;
}

__device__ inline char *operand_at(const struct operand &from, int64_t row, int64_t column)
{
    return from.data + (row * from.stride + column) * from.size;
}

template <typename T> __device__ inline T *operand_row(const struct operand &from, int64_t row)
{
    return (T *)(void *)(from.data + row * from.stride * (int64_t)sizeof(T));
}

/* 16-bit floats and back, to nearest even. */
__device__ inline float half_widen(uint16_t bits)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    return f16_to_float(bits);
#else
    return __half2float(__ushort_as_half(bits));
#endif
}

__device__ inline uint16_t half_round(float number)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    return float_to_f16(number);
#else
    return __half_as_ushort(__float2half_rn(number));
#endif
}

__device__ inline float bf16_widen(uint16_t bits)
{
    return __uint_as_float((unsigned)bits << 16);
}

__device__ inline uint16_t bf16_round(float number)
{
    unsigned bits = __float_as_uint(number);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u); /* quiet NaN */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* f32, bf16 or f16 at an address. */
__device__ inline float float_at(const char *at, int dtype)
{
    if (dtype == DTYPE_F32)
        return *(const float *)(const void *)at;
    uint16_t bits = *(const uint16_t *)(const void *)at;
    return dtype == DTYPE_BF16 ? bf16_widen(bits) : half_widen(bits);
}

__device__ inline void put_float(char *at, int dtype, float number)
{
    if (dtype == DTYPE_F32)
        *(float *)(void *)at = number;
    else
        *(uint16_t *)(void *)at = dtype == DTYPE_BF16 ? bf16_round(number) : half_round(number);
}

__device__ inline float operand_load(const struct operand &from, int64_t row, int64_t column)
{
    return float_at(operand_at(from, row, column), from.dtype);
}

__device__ inline void operand_store(const struct operand &to, int64_t row, int64_t column,
                                     float number)
{
    put_float(operand_at(to, row, column), to.dtype, number);
}

/* Four neighbours, or fewer at the end of a row: one wide access where the address allows it. Loops
 * over them run to four, so that they stay in registers. */
struct quad {
    float at[4];
};

/* How many of the four neighbours from `column` on there are. */
__device__ inline int quad_width(int64_t columns, int64_t column)
{
    return columns - column < 4 ? (int)(columns - column) : 4;
}

__device__ inline float4 float4_of(const struct quad &quad)
{
    float4 four;
    four.x = quad.at[0];
    four.y = quad.at[1];
    four.z = quad.at[2];
    four.w = quad.at[3];
    return four;
}

__device__ inline struct quad quad_load(const struct operand &from, int64_t row, int64_t column,
                                        int count)
{
    const char *at = operand_at(from, row, column);
    struct quad quad = {{0, 0, 0, 0}};
    if (count < 4 || ((uintptr_t)at & (uintptr_t)(4 * from.size - 1)) != 0) {
        for (int i = 0; i < 4; i++)
            if (i < count)
                quad.at[i] = float_at(at + i * from.size, from.dtype);
    } else if (from.dtype == DTYPE_F32) {
        float4 four = *(const float4 *)(const void *)at;
        quad.at[0] = four.x;
        quad.at[1] = four.y;
        quad.at[2] = four.z;
        quad.at[3] = four.w;
    } else {
        uint2 two = *(const uint2 *)(const void *)at;
        uint16_t bits[4] = {(uint16_t)two.x, (uint16_t)(two.x >> 16), (uint16_t)two.y,
                            (uint16_t)(two.y >> 16)};
        for (int i = 0; i < 4; i++)
            quad.at[i] = from.dtype == DTYPE_BF16 ? bf16_widen(bits[i]) : half_widen(bits[i]);
    }
    return quad;
}

__device__ inline void quad_store(const struct operand &to, int64_t row, int64_t column, int count,
                                  const struct quad &quad)
{
    char *at = operand_at(to, row, column);
    if (count < 4 || ((uintptr_t)at & (uintptr_t)(4 * to.size - 1)) != 0) {
        for (int i = 0; i < 4; i++)
            if (i < count)
                put_float(at + i * to.size, to.dtype, quad.at[i]);
    } else if (to.dtype == DTYPE_F32) {
        *(float4 *)(void *)at = float4_of(quad);
    } else {
        unsigned bits[4];
        for (int i = 0; i < 4; i++)
            bits[i] = to.dtype == DTYPE_BF16 ? bf16_round(quad.at[i]) : half_round(quad.at[i]);
        uint2 two;
        two.x = bits[0] | bits[1] << 16;
        two.y = bits[2] | bits[3] << 16;
        *(uint2 *)(void *)at = two;
    }
}

/* Runs f(row, column, count) once for each piece of at most four neighbours of a matrix. */
template <typename F> static __global__ void pointwise_kernel(F f, int64_t rows, int64_t columns)
{
    int64_t start = 4 * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x);
    int64_t step = 4 * (int64_t)gridDim.x * blockDim.x;
    for (int64_t column = start; column < columns; column += step) {
        int count = quad_width(columns, column);
        for (int64_t row = (int64_t)blockIdx.y * blockDim.y + threadIdx.y; row < rows;
             row += (int64_t)gridDim.y * blockDim.y)
            f(row, column, count);
    }
}

template <typename F>
static bool pointwise_run(struct cuda_context *context, const char *name, const F &f, int64_t rows,
                          int64_t columns, struct status *status)
{
    enum { THREADS = 256, MOST = 65535 };
    if (rows <= 0 || columns <= 0)
        return true;
    int64_t pieces = divide_up(columns, 4);
    unsigned width = 1;
    while (width < THREADS && width < pieces)
        width *= 2;
    struct launch where;
    where.block = dim3(width, THREADS / width);
    where.grid = dim3(launch_blocks(divide_up(pieces, width), MOST),
                      launch_blocks(divide_up(rows, THREADS / width), MOST));
    where.shared = 0;
    return launch_run(context, name, where, status, pointwise_kernel<F>, f, rows, columns);
}

/* Rows and columns of equally shaped tensors, as one long row if all are contiguous. */
struct span {
    int64_t rows, columns;
};

static inline struct span span_of(const struct tensor *const *tensors, int count)
{
    bool contiguous = true;
    for (int i = 0; i < count; i++)
        contiguous = contiguous && tensor_is_contiguous(tensors[i]);
    struct span span;
    span.rows = contiguous ? 1 : cuda_rows(tensors[0]);
    span.columns = contiguous ? shape_elements(tensors[0]->shape) : cuda_columns(tensors[0]);
    return span;
}

/* Softmax with a shift of this size has products rounded first, as the shift was: what one fused
 * operation leaves of the shift's own rounding is no longer small then, and beyond 10^9 out of the
 * range of exponentials. As on the CPU device. */
__device__ inline bool is_beyond_fusing(float shift)
{
    return fabsf(shift) > 131072.0f;
}

/* factor * x - shift, where shift is the largest such product of a row, or its log sum exp. */
__device__ inline float product_less(float factor, float x, float shift)
{
    return is_beyond_fusing(shift) ? __fmul_rn(factor, x) - shift : fmaf(factor, x, -shift);
}

/* Every lane gets the same bits: each level adds the same two numbers, in either order. */
template <typename T> __device__ inline T warp_sum(T number)
{
    for (int bit = WARP / 2; bit > 0; bit /= 2)
        number += __shfl_xor_sync(0xffffffffu, number, bit);
    return number;
}

/* The largest; a NaN is passed over, as by fmaxf. */
__device__ inline float warp_maximum(float number)
{
    for (int bit = WARP / 2; bit > 0; bit /= 2)
        number = fmaxf(number, __shfl_xor_sync(0xffffffffu, number, bit));
    return number;
}

/* Over a block of one dimension, for all its threads. `shared` has room for 32 numbers; it may be
 * used again at once. */
template <typename T> __device__ inline T block_sum(T number, T *shared)
{
    int lane = (int)(threadIdx.x % WARP), warp = (int)(threadIdx.x / WARP);
    number = warp_sum(number);
    if (lane == 0)
        shared[warp] = number;
    __syncthreads();
    number = warp_sum(lane < (int)(blockDim.x / WARP) ? shared[lane] : (T)0);
    __syncthreads();
    return number;
}

__device__ inline float block_maximum(float number, float *shared)
{
    int lane = (int)(threadIdx.x % WARP), warp = (int)(threadIdx.x / WARP);
    number = warp_maximum(number);
    if (lane == 0)
        shared[warp] = number;
    __syncthreads();
    number = warp_maximum(lane < (int)(blockDim.x / WARP) ? shared[lane] : -INFINITY);
    __syncthreads();
    return number;
}

/* Whether all other blocks of the grid have come here before, for all threads of this block, whose
 * thread 0 has written what the block adds to `partial`: then the whole of it can be read. `ticket`
 * is 0 before the kernel, and after it. `shared` has room for a number that only thread 0 uses. */
__device__ inline bool is_last_block(unsigned *ticket, void *shared)
{
    unsigned *last = (unsigned *)shared;
    if (threadIdx.x == 0) {
        __threadfence(); /* first what was written, then that it was */
        *last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        if (*last)
            *ticket = 0;
        __threadfence();
    }
    __syncthreads();
    bool is_last = *last;
    __syncthreads(); /* the room may be used again */
    return is_last;
}

/* An index that came with the data. Out of range: the first such is kept for the next
 * synchronize(), and the kernel must take it for one that is not there. */
__device__ inline bool index_within(struct cuda_fault *fault, int op, int64_t row, int64_t value,
                                    int64_t low, int64_t high)
{
    if (value >= low && value < high)
        return true;
    if (atomicCAS(&fault->taken, 0, 1) == 0) {
        fault->op = op;
        fault->row = row;
        fault->value = value;
        fault->low = low;
        fault->high = high;
    }
    return false;
}

#endif
