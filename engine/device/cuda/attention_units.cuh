/* What the kernels of attention and its gradient share that keep all scores in registers, for
 * 16-bit operands, heads of up to 128 and calls of UNITS_LEAST tokens or more. As in
 * FlashAttention-2 (Dao, arXiv:2307.08691): a block of 128 threads has 64 or 128 rows (queries, or
 * keys in the gradient of the keys), each warp one or two sets of 16 of them; tiles of the others
 * go through shared memory. The matrix units' sums of two tiles of scores beside each other are
 * just what they take as a factor, so what becomes of scores never leaves the registers of the
 * threads that summed them. With two sets what a warp reads of a tile serves both: shared memory
 * gives 128 bytes a cycle, which is less than the units take.
 *
 * Of each set of its warp a thread has two rows, g = lane / 4 and g + 8, and of each eight columns
 * two neighbours: 2 t and 2 t + 1, t = lane % 4. Four numbers are [row g: two, row g + 8: two]. */
#ifndef ENGINE_DEVICE_CUDA_ATTENTION_UNITS_CUH
#define ENGINE_DEVICE_CUDA_ATTENTION_UNITS_CUH

#include "engine/device/cuda/attention.cuh"

enum {
    SET_ROWS = 16,
    WARPS = ATTENTION_THREADS / WARP,
    BF16_PIECES = 2, /* 8 bits and a sign each: what is lost is 2^-17 of a number at most */
    F16_PIECES = 2,  /* 11 bits each, of a number that was scaled */
};

/* Weights are made as powers of two, of which the units for special functions know. */
constexpr float LOG2_E = 1.44269504088896340736f;

/* Rows first.. of columns column.. begin their way into shared memory; rows from `end` on, and
 * columns that fill the last 16, as zeros. What this thread has begun is there after copy_wait().
 */
template <int ROWS, int HEAD, typename T>
__device__ inline void rows_begin(T *to, const struct operand &from, int64_t first, int64_t end,
                                  int64_t column, int size)
{
    constexpr int STEP = ATTENTION_THREADS / (HEAD / 8); /* rows that the block brings at a time */
    const int stride = tile_stride<T>(size), at = (int)threadIdx.x % (HEAD / 8) * 8;
    const int64_t row = first + (int)threadIdx.x / (HEAD / 8);
    const char *begin = operand_at(from, 0, column), *source = operand_at(from, row, column + at);
    const bool wide = ((uintptr_t)begin & 15u) == 0 && from.stride % 8 == 0;
    const int count = size - at < 0 ? 0 : size - at > 8 ? 8 : size - at;
    T *target = to + (int)threadIdx.x / (HEAD / 8) * stride + at;
    if (at >= stride - 8)
        return;
#pragma unroll
    for (int k = 0; k < ROWS / STEP; k++) {
        bool there = row + k * STEP < end && count > 0;
        if (wide) {
            copy_begin(target, there ? source : begin, there ? count * 2 : 0);
        } else {
            uint4 bits = {0, 0, 0, 0};
            if (there)
                bits = bits_load(from, row + k * STEP, column + at, count);
            *(uint4 *)(void *)target = bits;
        }
        target += STEP * stride;
        source += STEP * from.stride * (int64_t)sizeof(T);
    }
}

/* Whether any number that this thread brought by rows_begin is not finite. One is added to the
 * exponents: where all its bits were set, it reaches the place of the sign. */
template <int ROWS, int HEAD, typename T> __device__ inline bool rows_odd(const T *rows, int size)
{
    const unsigned one = std::is_same<T, __half>::value ? 0x04000400u : 0x00800080u;
    const unsigned unsigned_two = 0x7fff7fffu;
    constexpr int STEP = ATTENTION_THREADS / (HEAD / 8);
    const int stride = tile_stride<T>(size), at = (int)threadIdx.x % (HEAD / 8) * 8;
    const T *mine = rows + (int)threadIdx.x / (HEAD / 8) * stride + at;
    unsigned reached = 0;
    if (at >= stride - 8)
        return false;
#pragma unroll
    for (int k = 0; k < ROWS / STEP; k++) {
        uint4 bits = *(const uint4 *)(const void *)(mine + k * STEP * stride);
        reached |= (bits.x & unsigned_two) + one;
        reached |= (bits.y & unsigned_two) + one;
        reached |= (bits.z & unsigned_two) + one;
        reached |= (bits.w & unsigned_two) + one;
    }
    return reached & 0x80008000u;
}

/* The scores of a warp's sets of rows. */
template <int SETS, int OTHERS> struct scores_of {
    float at[SETS][OTHERS / 8][4];
};

template <int SETS, int OTHERS>
__device__ inline void scores_clear(struct scores_of<SETS, OTHERS> &scores)
{
#pragma unroll
    for (int i = 0; i < SETS * OTHERS / 2; i++)
        scores.at[i / (OTHERS / 2)][i / 4 % (OTHERS / 8)][i % 4] = 0;
}

/* What the units take of a warp's sets of rows: a factor for each 16 columns. */
template <int HEAD, int SETS> struct factors_of {
    unsigned at[SETS][HEAD / UNIT][4];
};

template <int HEAD, int SETS, typename T>
__device__ inline void factors_read(struct factors_of<HEAD, SETS> &factors, const T *rows, int size)
{
    int stride = tile_stride<T>(size);
#pragma unroll
    for (int i = 0; i < SETS * HEAD / UNIT; i++)
        if (i / SETS * UNIT < size)
            read_a(factors.at[i % SETS][i / SETS],
                   rows + i % SETS * SET_ROWS * stride + i / SETS * UNIT, stride);
}

/* scores += the sets' factors of 16 columns . the same columns of `others`. */
template <int SETS, int OTHERS, typename T>
__device__ inline void add_scores(struct scores_of<SETS, OTHERS> &scores,
                                  const unsigned *const (&factors)[SETS], const T *others,
                                  int stride)
{
    unsigned b[4];
#pragma unroll
    for (int i = 0; i < OTHERS / UNIT; i++) {
        read_b(b, others + i * UNIT * stride, stride);
#pragma unroll
        for (int set = 0; set < SETS; set++) {
            unit_multiply(scores.at[set][2 * i], factors[set], b, others);
            unit_multiply(scores.at[set][2 * i + 1], factors[set], b + 2, others);
        }
    }
}

/* scores = rows . others: of the sets of rows at `rows` with those at `others`. */
template <int HEAD, int SETS, int OTHERS, typename T>
__device__ inline void unit_scores(struct scores_of<SETS, OTHERS> &scores, const T *rows,
                                   const T *others, int size)
{
    int stride = tile_stride<T>(size);
    unsigned a[SETS][4];
    const unsigned *factors[SETS];
    scores_clear(scores);
#pragma unroll
    for (int at = 0; at < HEAD; at += UNIT) {
        if (at >= size)
            continue;
#pragma unroll
        for (int set = 0; set < SETS; set++) {
            read_a(a[set], rows + set * SET_ROWS * stride + at, stride);
            factors[set] = a[set];
        }
        add_scores(scores, factors, others + at, stride);
    }
}

/* The same of factors at hand. */
template <int HEAD, int SETS, int OTHERS, typename T>
__device__ inline void unit_scores(struct scores_of<SETS, OTHERS> &scores,
                                   const struct factors_of<HEAD, SETS> &rows, const T *others,
                                   int size)
{
    int stride = tile_stride<T>(size);
    const unsigned *factors[SETS];
    scores_clear(scores);
#pragma unroll
    for (int at = 0; at < HEAD; at += UNIT) {
        if (at >= size)
            continue;
#pragma unroll
        for (int set = 0; set < SETS; set++)
            factors[set] = rows.at[set][at / UNIT];
        add_scores(scores, factors, others + at, stride);
    }
}

/* Two numbers in pieces, each what is left, rounded to bf16. A number that is not finite, or is
 * none when it is rounded, is in the first piece. */
__device__ inline void cut_two(float first, float second, unsigned words[BF16_PIECES])
{
    words[0] = bf16_two(first, second);
    float low = __uint_as_float(words[0] << 16), high = __uint_as_float(words[0] & 0xffff0000u);
    words[1] = bf16_two(isfinite(low) ? first - low : 0.0f, isfinite(high) ? second - high : 0.0f);
}

/* The same for fp16. */
__device__ inline void split_two(float first, float second, unsigned words[F16_PIECES])
{
    float left[2] = {first, second};
#pragma unroll
    for (int i = 0; i < F16_PIECES; i++) {
        uint16_t bits[2];
#pragma unroll
        for (int k = 0; k < 2; k++) {
            bits[k] = half_round(left[k]);
            left[k] = isfinite(left[k]) ? left[k] - half_widen(bits[k]) : 0.0f;
        }
        words[i] = bits[0] | (unsigned)bits[1] << 16;
    }
}

/* 16 x 16 weights, of two tiles of scores beside each other, as a factor in pieces. */
__device__ inline void weights_cut(unsigned (&words)[BF16_PIECES][4], const float left[4],
                                   const float right[4])
{
    unsigned pieces[BF16_PIECES];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *from = i < 2 ? left : right;
        cut_two(from[i % 2 * 2], from[i % 2 * 2 + 1], pieces);
#pragma unroll
        for (int piece = 0; piece < BF16_PIECES; piece++)
            words[piece][i] = pieces[piece];
    }
}

/* The same for fp16, each row times a factor. */
__device__ inline void weights_split(unsigned (&words)[F16_PIECES][4], const float left[4],
                                     const float right[4], const float factors[2])
{
    unsigned pieces[F16_PIECES];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *from = i < 2 ? left : right;
        split_two(from[i % 2 * 2] * factors[i % 2], from[i % 2 * 2 + 1] * factors[i % 2], pieces);
#pragma unroll
        for (int piece = 0; piece < F16_PIECES; piece++)
            words[piece][i] = pieces[piece];
    }
}

/* The power of two that brings the larger numbers of a row to 2^14 to 2^15, and its inverse. fp16
 * numbers reach from 2^-24 to 2^16: pieces then lose no more than float32 sums do. */
__device__ inline void scale_of(float largest, float *factor, float *inverse)
{
    unsigned exponent = __float_as_uint(largest) >> 23;
    exponent = exponent < 15u ? 15u : exponent > 254u ? 254u : exponent;
    *factor = __uint_as_float((268u - exponent) << 23);
    *inverse = __uint_as_float((exponent - 14u) << 23);
}

/* sums += weights rows. For bf16 weights are cut in pieces, which add up to 16 bits of them. */
template <int HEAD, int SETS, int DEPTH>
__device__ inline void unit_sums(struct scores_of<SETS, HEAD> &sums,
                                 const struct scores_of<SETS, DEPTH> &weights,
                                 const __nv_bfloat16 *rows, int size)
{
    int stride = tile_stride<__nv_bfloat16>(size);
    unsigned a[SETS][BF16_PIECES][4], b[4];
#pragma unroll
    for (int k = 0; k < DEPTH / UNIT; k++) {
#pragma unroll
        for (int set = 0; set < SETS; set++)
            weights_cut(a[set], weights.at[set][2 * k], weights.at[set][2 * k + 1]);
#pragma unroll
        for (int i = 0; i < HEAD / UNIT; i++) {
            if (i * UNIT >= size)
                continue;
            read_b_across(b, rows + k * UNIT * stride + i * UNIT, stride);
#pragma unroll
            for (int j = SETS * BF16_PIECES - 1; j >= 0; j--) {
                const int set = j % SETS, piece = j / SETS;
                unit_multiply(sums.at[set][2 * i], a[set][piece], b, rows);
                unit_multiply(sums.at[set][2 * i + 1], a[set][piece], b + 2, rows);
            }
        }
    }
}

/* For fp16 the weights of a row are scaled by a power of two of their own, and cut in two: 22 bits,
 * and what is lost of small ones is below 2^-39 of the row's largest. */
template <int DEPTH>
__device__ inline void rows_split(unsigned (&words)[DEPTH / UNIT][F16_PIECES][4],
                                  const float (&weights)[DEPTH / 8][4], float inverses[2])
{
    float largest[2] = {0, 0}, factors[2];
#pragma unroll
    for (int i = 0; i < DEPTH / 8; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            largest[k / 2] = fmaxf(largest[k / 2], fabsf(weights[i][k]));
#pragma unroll
    for (int k = 0; k < 2; k++)
        scale_of(row_maximum(largest[k]), &factors[k], &inverses[k]);
#pragma unroll
    for (int k = 0; k < DEPTH / UNIT; k++)
        weights_split(words[k], weights[2 * k], weights[2 * k + 1], factors);
}

template <int HEAD, int SETS, int DEPTH>
__device__ inline void unit_sums(struct scores_of<SETS, HEAD> &sums,
                                 const struct scores_of<SETS, DEPTH> &weights, const __half *rows,
                                 int size)
{
    int stride = tile_stride<__half>(size);
    unsigned a[SETS][DEPTH / UNIT][F16_PIECES][4], b[4];
    float inverses[SETS][2];
#pragma unroll
    for (int set = 0; set < SETS; set++)
        rows_split<DEPTH>(a[set], weights.at[set], inverses[set]);
#pragma unroll
    for (int i = 0; i < HEAD / UNIT; i++) {
        struct scores_of<SETS, UNIT> here;
        if (i * UNIT >= size)
            continue;
        scores_clear(here);
#pragma unroll
        for (int k = 0; k < DEPTH / UNIT; k++) {
            read_b_across(b, rows + k * UNIT * stride + i * UNIT, stride);
#pragma unroll
            for (int j = SETS * F16_PIECES - 1; j >= 0; j--) {
                const int set = j % SETS, piece = j / SETS;
                unit_multiply(here.at[set][0], a[set][k][piece], b, rows);
                unit_multiply(here.at[set][1], a[set][k][piece], b + 2, rows);
            }
        }
#pragma unroll
        for (int k = 0; k < 8 * SETS; k++)
            sums.at[k / 8][2 * i + k % 8 / 4][k % 4] +=
                here.at[k / 8][k % 8 / 4][k % 4] * inverses[k / 8][k % 4 / 2];
    }
}

/* sums += weight row, for the two columns from `column` on; what has no weight is not looked at. */
template <typename T> __device__ inline void add_two(float *sums, float weight, const T *row)
{
    unsigned bits = *(const unsigned *)(const void *)row;
    if (weight != 0) {
        sums[0] += weight * bits_widen((uint16_t)bits, row);
        sums[1] += weight * bits_widen((uint16_t)(bits >> 16), row);
    }
}

/* The same without the units, for rows that are not all finite: 0 times infinity must not get into
 * the sums. Rare, so it may be slow. */
template <int HEAD, int DEPTH, typename T>
__device__ inline void plain_sums(float (&sums)[HEAD / 8][4], const float (&weights)[DEPTH / 8][4],
                                  const T *rows, int size)
{
    int stride = tile_stride<T>(size), lane = (int)threadIdx.x % WARP, mine = lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < DEPTH / 4; k++) {
#pragma unroll 1
        for (int t = 0; t < 4; t++) {
            const T *row = rows + (k / 2 * 8 + t * 2 + k % 2) * stride + mine;
            float first = __shfl_sync(0xffffffffu, weights[k / 2][k % 2], lane / 4 * 4 + t);
            float second = __shfl_sync(0xffffffffu, weights[k / 2][2 + k % 2], lane / 4 * 4 + t);
#pragma unroll
            for (int i = 0; i < HEAD / 8; i++) {
                if (i * 8 >= size)
                    continue;
                add_two(&sums[i][0], first, row + i * 8);
                add_two(&sums[i][2], second, row + i * 8);
            }
        }
    }
}

template <int HEAD, int SETS, int DEPTH, typename T>
__device__ inline void add_sums(struct scores_of<SETS, HEAD> &sums,
                                const struct scores_of<SETS, DEPTH> &weights, const T *rows,
                                const int32_t *flags, int size)
{
    if (!(flags[0] || flags[1] || flags[2] || flags[3])) {
        unit_sums<HEAD>(sums, weights, rows, size);
        return;
    }
#pragma unroll
    for (int set = 0; set < SETS; set++)
        plain_sums<HEAD, DEPTH>(sums.at[set], weights.at[set], rows, size);
}

/* Whether any thread of the block met numbers that are not finite: a number for each warp. */
__device__ inline void note_any(int32_t *flags, bool odd)
{
    int any = __any_sync(0xffffffffu, odd);
    if (threadIdx.x % WARP == 0)
        flags[threadIdx.x / WARP] = any;
}

/* The thread's two columns from `column` on of a row, where the row and they are there. */
__device__ inline void two_store(const struct operand &to, int64_t row, int64_t column, int count,
                                 float first, float second)
{
    char *at = operand_at(to, row, column);
    if (count >= 2 && to.size == 2 && ((uintptr_t)at & 3u) == 0) {
        unsigned low = to.dtype == DTYPE_BF16 ? bf16_round(first) : half_round(first);
        unsigned high = to.dtype == DTYPE_BF16 ? bf16_round(second) : half_round(second);
        *(unsigned *)(void *)at = low | high << 16;
        return;
    }
    if (count >= 1)
        put_float(at, to.dtype, first);
    if (count >= 2)
        put_float(at + to.size, to.dtype, second);
}

/* The sums of the thread's rows, row and row + 8 of `end` and so on, times a factor for each. */
template <int HEAD, int SETS>
__device__ inline void
sums_store(const struct operand &to, const struct scores_of<SETS, HEAD> &sums, int64_t row,
           int64_t end, int64_t column, int size, const float (&factors)[2 * SETS])
{
    int mine = (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < HEAD / 8; i++)
#pragma unroll
        for (int k = 0; k < 2 * SETS; k++) {
            const float *two = &sums.at[k / 2][i][k % 2 * 2];
            if (row + 8 * k < end)
                two_store(to, row + 8 * k, column + i * 8 + mine, size - i * 8 - mine,
                          two[0] * factors[k], two[1] * factors[k]);
        }
}

/* What two queries see of the `KEYS` keys from `first` on, four bits for eight keys, as the thread
 * has their scores. */
template <int KEYS>
__device__ inline unsigned seen_by(const struct attention &it, const struct sight sights[2],
                                   int64_t first)
{
    static_assert(KEYS <= 64, "a bit for each score");
    struct view views[2] = {view_of(sights[0], first, KEYS), view_of(sights[1], first, KEYS)};
    unsigned seen = 0;
    int mine = (int)threadIdx.x % 4 * 2;
    /* Most tiles of a long sequence are seen as a whole. */
    if (it.causal && views[0].low + views[1].low == 0 &&
        min(views[0].high, views[1].high) == KEYS - 1)
        return 0xffffffffu >> (32 - KEYS / 2);
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++) {
        int j = i / 4 * 8 + mine + i % 2, k = i % 4 / 2;
        bool sees = j >= views[k].low && j <= views[k].high &&
                    (it.causal || it.starts[first + j] == sights[k].document);
        seen |= (unsigned)sees << i;
    }
    return seen;
}

/* The first key that any query of the block sees, as each thread's answer; `sights` are of its
 * queries: token, token + 8 and so on. `lows` has room for a number for each warp. */
template <int ROWS>
__device__ inline int64_t first_seen(const struct attention &it, const struct sight (&sights)[ROWS],
                                     int64_t token, int32_t *lows)
{
    int32_t low = INT32_MAX;
    for (int k = 0; k < ROWS; k++)
        if (token + 8 * k < it.tokens && sights[k].low < low)
            low = sights[k].low;
    for (int bits = WARP / 2; bits > 0; bits /= 2)
        low = min(low, __shfl_xor_sync(0xffffffffu, low, bits));
    if (threadIdx.x % WARP == 0)
        lows[threadIdx.x / WARP] = low;
    __syncthreads();
    return min(min(lows[0], lows[1]), min(lows[2], lows[3]));
}

/* The end of the keys that any of the block's `rows` queries sees. */
__device__ inline int64_t end_seen(const struct attention &it, int64_t first_token, int rows)
{
    int64_t last = first_token + rows < it.tokens ? first_token + rows : it.tokens;
    return it.causal ? it.first_row + last : it.keys;
}

/* Bytes of tiles of `rows` rows in all, and `words` numbers. */
static inline size_t units_shared(const struct attention &it, int rows, int words)
{
    return (size_t)(rows * tile_stride<__half>(it.size)) * sizeof(__half) +
           (size_t)words * sizeof(float);
}

#define UNITS_LAUNCH_FOR(kernel, SIZE, T, where, it)                                               \
    LAUNCH_AS(#kernel "<" #SIZE ", " #T ">", (kernel<SIZE, T>), where, it)
#define UNITS_LAUNCH(kernel, where, it)                                                            \
    ((it).dtype == DTYPE_BF16                                                                      \
         ? ((it).size <= 64 ? UNITS_LAUNCH_FOR(kernel, 64, __nv_bfloat16, where, it)               \
                            : UNITS_LAUNCH_FOR(kernel, 128, __nv_bfloat16, where, it))             \
         : ((it).size <= 64 ? UNITS_LAUNCH_FOR(kernel, 64, __half, where, it)                      \
                            : UNITS_LAUNCH_FOR(kernel, 128, __half, where, it)))

#endif
