/* What the kernels of attention and its gradient share. A block of 128 threads has a tile of 32
 * rows (queries, or keys in the gradient of the keys) and goes over tiles of 32 of the others;
 * four threads belong to each row. Scores exist only as such a tile, in shared memory.
 *
 * Tiles have elements T: float, or the 16-bit type that all operands are of. Then the scores, and
 * the products of the gradient that are like them, come from the matrix units: their products of
 * two 16-bit numbers are exact, and they sum in float32. What is summed with weights is in
 * attention_sums.cuh. */
#ifndef ENGINE_DEVICE_CUDA_ATTENTION_CUH
#define ENGINE_DEVICE_CUDA_ATTENTION_CUH

#include "engine/device/cuda/operand.cuh"
#include "engine/device/cuda/units.cuh"

enum {
    TILE = 32,
    ATTENTION_THREADS = 128,
    PER_ROW = ATTENTION_THREADS / TILE, /* threads */
    MINE = TILE / PER_ROW,              /* scores of a thread */
    SCORE_STRIDE = TILE + 4,            /* rows of a tile of scores begin in different banks */
    LARGEST_HEAD = 256,
};

struct attention {
    struct operand q, kv, o, lse;  /* o and lse are outputs, or inputs of the gradient */
    struct operand d_o, d_q, d_kv; /* of the gradient */
    const float *delta;            /* [tokens, heads]: do . o */
    const int32_t *starts;
    int64_t tokens, keys, first_row, window;
    int heads, groups, size, op;
    int dtype; /* of elements of tiles: that of all operands if they are 16-bit ones, else f32 */
    float scale;
    bool causal;
    struct cuda_fault *fault;
};

/* Elements between the rows of a tile: as many as are read at a time, filled up with zeros, and
 * such that neighbouring rows begin in different banks. */
template <typename T> __host__ __device__ static inline int tile_stride(int size)
{
    return sizeof(T) == 2 ? (size + UNIT - 1) / UNIT * UNIT + 8 : (size + 3) / 4 * 4 + 4;
}

/* What is read as 16-bit numbers, eight of them: one access where the address allows it. */
__device__ inline uint4 bits_load(const struct operand &from, int64_t row, int64_t column,
                                  int count)
{
    const char *at = operand_at(from, row, column);
    if (count >= 8 && ((uintptr_t)at & 15u) == 0)
        return *(const uint4 *)(const void *)at;
    const uint16_t *each = (const uint16_t *)(const void *)at;
    unsigned words[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 8; i++)
        if (i < count)
            words[i / 2] |= (unsigned)each[i] << (i % 2 * 16);
    uint4 bits;
    bits.x = words[0];
    bits.y = words[1];
    bits.z = words[2];
    bits.w = words[3];
    return bits;
}

/* Whether one of two 16-bit numbers is infinite or no number: its exponent is all ones. */
__device__ inline bool is_odd(unsigned two, unsigned exponent = 0x7f80u)
{
    return (two & exponent) == exponent || (two >> 16 & exponent) == exponent;
}

/* Rows first.. of columns column..; rows from `end` on as zeros. Whether this thread met a bf16
 * number that is not finite (of other types it does not look). */
template <typename T>
__device__ inline bool tile_load(T *tile, const struct operand &from, int64_t first, int64_t end,
                                 int64_t column, int size)
{
    int stride = tile_stride<T>(size), pieces = (stride - 8) / 8;
    bool odd = false;
    for (int i = (int)threadIdx.x; i < TILE * pieces; i += ATTENTION_THREADS) {
        int row = i / pieces, at = i % pieces * 8;
        uint4 bits = {0, 0, 0, 0};
        if (first + row < end && at < size)
            bits = bits_load(from, first + row, column + at, size - at);
        *(uint4 *)(void *)&tile[row * stride + at] = bits;
        odd = odd || is_odd(bits.x) || is_odd(bits.y) || is_odd(bits.z) || is_odd(bits.w);
    }
    return odd;
}

__device__ inline bool tile_load(float *tile, const struct operand &from, int64_t first,
                                 int64_t end, int64_t column, int size)
{
    int stride = tile_stride<float>(size), quads = (stride - 4) / 4;
    for (int i = (int)threadIdx.x; i < TILE * quads; i += ATTENTION_THREADS) {
        int row = i / quads, at = i % quads * 4, count = size - at < 4 ? size - at : 4;
        struct quad quad = {{0, 0, 0, 0}};
        if (first + row < end && count > 0)
            quad = quad_load(from, first + row, column + at, count);
        four_store(&tile[row * stride + at], quad);
    }
    return false;
}

/* dots[i] = row . others[part + 4 i]: this thread's part of a row of scores. */
__device__ inline void row_dots(const float *row, const float *others, int size, int part,
                                float dots[MINE])
{
    int stride = tile_stride<float>(size);
    for (int i = 0; i < MINE; i++)
        dots[i] = 0;
    for (int at = 0; at < size; at += 4) {
        float4 a = *(const float4 *)(const void *)&row[at];
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            const float *other = &others[(part + i * PER_ROW) * stride + at];
            float4 b = *(const float4 *)(const void *)other;
            dots[i] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
        }
    }
}

/* The same by the matrix units, for the whole tile: each warp has a quarter of it. `scores` is room
 * for a tile of them, which is written. */
template <typename T>
__device__ inline void unit_dots(const T *rows, const T *others, float *scores, int size)
{
    using namespace nvcuda;
    int stride = tile_stride<T>(size), warp = (int)threadIdx.x / WARP;
    int row = warp / 2 * UNIT, other = warp % 2 * UNIT;
    wmma::fragment<wmma::accumulator, UNIT, UNIT, UNIT, float> sums;
    wmma::fragment<wmma::matrix_a, UNIT, UNIT, UNIT, T, wmma::row_major> left;
    wmma::fragment<wmma::matrix_b, UNIT, UNIT, UNIT, T, wmma::col_major> right;
    wmma::fill_fragment(sums, 0.0f);
    for (int at = 0; at < size; at += UNIT) {
        wmma::load_matrix_sync(left, rows + row * stride + at, (unsigned)stride);
        wmma::load_matrix_sync(right, others + other * stride + at, (unsigned)stride);
        wmma::mma_sync(sums, left, right, sums);
    }
    wmma::store_matrix_sync(scores + row * SCORE_STRIDE + other, sums, SCORE_STRIDE,
                            wmma::mem_row_major);
}

/* This thread's part of rows . others. All threads of the block take part; `scores` is overwritten
 * if T has 16 bits. */
template <typename T>
__device__ inline void tile_dots(const T *rows, const T *others, float *scores, int size, int row,
                                 int part, float dots[MINE])
{
    if constexpr (sizeof(T) == 2) {
        __syncthreads(); /* the last ones were read */
        unit_dots(rows, others, scores, size);
        __syncthreads();
        for (int i = 0; i < MINE; i++)
            dots[i] = scores[row * SCORE_STRIDE + part + i * PER_ROW];
    } else {
        (void)scores;
        row_dots(rows + row * tile_stride<T>(size), others, size, part, dots);
    }
}

/* Over the four threads of a row; they are neighbours in one warp. */
__device__ inline float row_sum(float number)
{
    number += __shfl_xor_sync(0xffffffffu, number, 1);
    return number + __shfl_xor_sync(0xffffffffu, number, 2);
}

__device__ inline float row_maximum(float number)
{
    number = fmaxf(number, __shfl_xor_sync(0xffffffffu, number, 1));
    return fmaxf(number, __shfl_xor_sync(0xffffffffu, number, 2));
}

/* The keys that a query may see: low <= key <= high and, without `causal`, of its document. Keys
 * are counted in 32 bits, as documents' starts are. */
struct sight {
    int32_t low, high, document;
};

__device__ inline struct sight sight_of(const struct attention &it, int64_t token)
{
    int64_t position = it.first_row + token;
    struct sight sight = {0, -1, -1};
    if (token >= it.tokens)
        return sight;
    int64_t start = it.starts[position];
    if (!index_within(it.fault, it.op, position, start, 0, position + 1))
        return sight;
    sight.low = sight.document = (int32_t)start;
    sight.high = (int32_t)(it.causal ? position : it.keys - 1);
    if (it.causal && it.window > 0 && position - it.window + 1 > sight.low)
        sight.low = (int32_t)(position - it.window + 1);
    return sight;
}

/* The same within the tile of `count` keys that begins at `first`: low <= j <= high. */
struct view {
    int low, high;
};

__device__ inline struct view view_of(const struct sight &sight, int64_t first, int count)
{
    int64_t low = sight.low - first, high = sight.high - first;
    struct view view;
    view.low = (int)(low < 0 ? 0 : low > count ? (int64_t)count : low);
    view.high = (int)(high < -1 ? -1 : high >= count ? (int64_t)count - 1 : high);
    return view;
}

/* Which of its scores part, part + 4, ... of the tile a thread's query sees, as bits. */
__device__ inline unsigned seen_of(const struct attention &it, const struct sight &sight,
                                   int64_t first, int part)
{
    struct view view = view_of(sight, first, TILE);
    unsigned seen = 0;
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        int j = part + i * PER_ROW;
        bool sees = j >= view.low && j <= view.high &&
                    (it.causal || it.starts[first + j] == sight.document);
        seen |= (unsigned)sees << i;
    }
    return seen;
}

/* The first key that any query of the tile may see; as each thread's answer. `lows` has room for
 * a tile of numbers. */
__device__ inline int64_t first_key_of(const struct attention &it, const struct sight &sight,
                                       int64_t token, int32_t *lows)
{
    if (threadIdx.x % PER_ROW == 0)
        lows[threadIdx.x / PER_ROW] = token < it.tokens ? (int32_t)sight.low : INT32_MAX;
    __syncthreads();
    int32_t first = lows[0];
    for (int row = 1; row < TILE; row++)
        first = lows[row] < first ? lows[row] : first;
    return first;
}

/* The end of the keys that any query of the tile may see. */
__device__ inline int64_t end_key_of(const struct attention &it, int64_t first_token)
{
    int64_t last = first_token + TILE < it.tokens ? first_token + TILE : it.tokens;
    return it.causal ? it.first_row + last : it.keys;
}

static inline bool attention_setup(struct cuda_context *context, const struct op_call *call,
                                   int first_input, struct attention *it, struct status *status)
{
    const struct op_parameters *by = &call->parameters;
    const struct tensor *inputs = call->inputs + first_input;
    it->q = operand_of(&inputs[0]);
    it->kv = operand_of(&inputs[1]);
    it->starts = (const int32_t *)inputs[2].data;
    it->tokens = cuda_rows(&inputs[0]);
    it->keys = cuda_rows(&inputs[1]);
    it->first_row = by->first_row;
    it->window = by->window;
    it->heads = by->heads;
    it->groups = by->head_groups;
    it->size = by->head_size;
    it->op = (int)call->op;
    it->scale = (float)by->scale;
    it->causal = by->causal;
    it->fault = context->fault;
    it->dtype = inputs[0].dtype == inputs[1].dtype &&
                        (first_input == 0 || call->inputs[0].dtype == inputs[0].dtype)
                    ? (int)inputs[0].dtype
                    : (int)DTYPE_F32;
    if (it->groups <= 0 || it->heads % it->groups != 0)
        return status_fail(status, STATUS_INVALID, "attention: %d heads in %d groups", it->heads,
                           it->groups);
    if (it->first_row < 0 || it->first_row + it->tokens > it->keys)
        return status_fail(
            status, STATUS_INVALID, "attention: queries at %lld to %lld, but %lld keys",
            (long long)it->first_row, (long long)(it->first_row + it->tokens), (long long)it->keys);
    if (it->size > LARGEST_HEAD)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "attention: heads of %d; the cuda device takes at most %d", it->size,
                           LARGEST_HEAD);
    return true;
}

/* Whether the call is one for the kernels that keep scores in registers (attention_units.cuh): it
 * depends on the call alone, so that a GPU of another size gives the same bits. With fewer tokens
 * their blocks would be half empty. They take the largest score before it is scaled. */
enum { UNITS_LEAST = 64, UNITS_HEAD = 128 };

static inline bool attention_by_units(const struct attention &it)
{
    return it.dtype != DTYPE_F32 && it.tokens >= UNITS_LEAST && it.size <= UNITS_HEAD &&
           it.scale > 0;
}

/* They expect all operands of the call to be set; the gradient also `delta`. */
bool attention_units_run(struct cuda_context *context, const struct attention &it,
                         struct status *status);
bool attention_units_gradient_run(struct cuda_context *context, const struct attention &it,
                                  struct status *status);

/* A kernel for the smallest size of head, a power of two, that the call fits in, and its type. */
#define ATTENTION_LAUNCH_FOR(kernel, SIZE, T, where, it)                                           \
    LAUNCH_AS(#kernel "<" #SIZE ", " #T ">", (kernel<SIZE, T>), where, it)
#define ATTENTION_LAUNCH_AS(kernel, T, where, it)                                                  \
    ((it).size <= 32    ? ATTENTION_LAUNCH_FOR(kernel, 32, T, where, it)                           \
     : (it).size <= 64  ? ATTENTION_LAUNCH_FOR(kernel, 64, T, where, it)                           \
     : (it).size <= 128 ? ATTENTION_LAUNCH_FOR(kernel, 128, T, where, it)                          \
                        : ATTENTION_LAUNCH_FOR(kernel, 256, T, where, it))
#define ATTENTION_LAUNCH(kernel, where, it)                                                        \
    ((it).dtype == DTYPE_BF16  ? ATTENTION_LAUNCH_AS(kernel, __nv_bfloat16, where, it)             \
     : (it).dtype == DTYPE_F16 ? ATTENTION_LAUNCH_AS(kernel, __half, where, it)                    \
                               : ATTENTION_LAUNCH_AS(kernel, float, where, it))

#endif
