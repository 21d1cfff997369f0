/* Sums of rows by weights: p.v of attention, and ds.k, ds.q and p.do of its gradient. A tile of
 * weights, 32 x 32, times a tile of rows is added to 32 rows of sums.
 *
 * Weights are float32 numbers and must not be rounded to 16 bits. For bf16 rows the matrix units do
 * it all the same: a float32 number is the sum of three bf16 ones (Henry, Tang, Heinecke,
 * "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations",
 * arXiv:1904.06376), so three products give what one of float32 would. The sums stay in the units'
 * fragments from tile to tile. With other types each thread sums its own columns of its row. */
#ifndef ENGINE_DEVICE_CUDA_ATTENTION_SUMS_CUH
#define ENGINE_DEVICE_CUDA_ATTENTION_SUMS_CUH

#include "engine/device/cuda/attention.cuh"

enum {
    PIECES = 3,              /* of a weight */
    PIECE_STRIDE = TILE + 8, /* rows of them begin in different banks */
    WARPS = ATTENTION_THREADS / WARP,
};

/* A tile of weights. */
struct weights {
    float *all;            /* [TILE, SCORE_STRIDE] */
    __nv_bfloat16 *pieces; /* [PIECES, TILE, PIECE_STRIDE], the largest first; only with bf16 */
};

/* Elements between rows of sums where they are in shared memory. */
__host__ __device__ static inline int sum_stride(int size)
{
    return (size + UNIT - 1) / UNIT * UNIT + 4;
}

/* Bytes of `tiles` tiles of rows of a head, `weights` tiles of weights, what sums take, and
 * `vectors` vectors of TILE numbers. */
static inline size_t attention_shared(const struct attention &it, int tiles, int weights,
                                      int vectors)
{
    size_t row = it.dtype == DTYPE_F32 ? (size_t)tile_stride<float>(it.size) * sizeof(float)
                                       : (size_t)tile_stride<__half>(it.size) * sizeof(__half);
    size_t bytes = (size_t)tiles * TILE * row +
                   (size_t)(weights * TILE * SCORE_STRIDE + vectors * TILE) * sizeof(float);
    if (it.dtype == DTYPE_BF16)
        bytes += (size_t)(weights * PIECES * TILE * PIECE_STRIDE) * sizeof(__nv_bfloat16) +
                 (size_t)(TILE * sum_stride(it.size)) * sizeof(float);
    return bytes;
}

/* The next `count` elements of the shared memory; what the matrix units read is taken first. */
template <typename U> __device__ inline U *take(char **memory, int count)
{
    U *taken = (U *)(void *)*memory;
    *memory += count * (int)sizeof(U);
    return taken;
}

template <typename T> __device__ inline __nv_bfloat16 *take_pieces(char **memory)
{
    (void)memory;
    return NULL;
}

template <> __device__ inline __nv_bfloat16 *take_pieces<__nv_bfloat16>(char **memory)
{
    return take<__nv_bfloat16>(memory, PIECES * TILE * PIECE_STRIDE);
}

template <typename T> __device__ inline float *take_sums(char **memory, int size)
{
    (void)memory;
    (void)size;
    return NULL;
}

template <> __device__ inline float *take_sums<__nv_bfloat16>(char **memory, int size)
{
    return take<float>(memory, TILE * sum_stride(size));
}

/* A weight in pieces: each is what is left, cut off after the eight bits that bf16 has. */
__device__ inline void cut(float weight, __nv_bfloat16 *to)
{
    float left = weight;
    bool finite = isfinite(weight);
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
        unsigned bits = __float_as_uint(left) & 0xffff0000u;
        uint16_t piece = finite ? (uint16_t)(bits >> 16) : i == 0 ? bf16_round(weight) : 0;
        memcpy(&to[i * TILE * PIECE_STRIDE], &piece, sizeof(piece));
        left -= __uint_as_float(bits);
    }
}

template <typename T>
__device__ inline void weight_store(const struct weights &to, int row, int j, float weight)
{
    to.all[row * SCORE_STRIDE + j] = weight;
    if constexpr (std::is_same<T, __nv_bfloat16>::value)
        cut(weight, &to.pieces[row * PIECE_STRIDE + j]);
}

/* Columns of a row of results that a thread has: four neighbours of each sixteen. */
__device__ inline int my_column(int part, int i)
{
    return part * 4 + i * 4 * PER_ROW;
}

/* *sums += sum over the tile's rows j of weights[j] * rows[j], for four columns. What has no weight
 * is not looked at: it may be infinite. */
template <typename T> __device__ inline void add_row(float4 *sums, float weight, const T *from)
{
    float4 four = four_at(from);
    sums->x += weight * four.x;
    sums->y += weight * four.y;
    sums->z += weight * four.z;
    sums->w += weight * four.w;
}

/* The 32 rows of sums of a block. */
template <int MOST, typename T> struct totals {
    enum { QUADS = MOST / PER_ROW / 4 };
    float4 sums[QUADS]; /* of this thread's row */

    __device__ void clear()
    {
        for (int i = 0; i < QUADS; i++)
            sums[i].x = sums[i].y = sums[i].z = sums[i].w = 0;
    }

    /* What there is times `factor`, which is that of the thread's row. */
    __device__ void scale(float factor)
    {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            sums[i].x *= factor;
            sums[i].y *= factor;
            sums[i].z *= factor;
            sums[i].w *= factor;
        }
    }

    __device__ void add(const struct weights &weights, const T *rows, int size, int row, int part)
    {
        const float *mine = weights.all + row * SCORE_STRIDE;
        int stride = tile_stride<T>(size);
        for (int j = 0; j < TILE; j++) {
            float weight = mine[j];
            if (weight == 0)
                continue;
#pragma unroll
            for (int i = 0; i < QUADS; i++)
                if (my_column(part, i) < size)
                    add_row(&sums[i], weight, &rows[j * stride + my_column(part, i)]);
        }
    }

    /* Times `factor`, to where the row is stored, if `there`. */
    __device__ void store(const struct operand &to, int64_t row_to, int64_t column, float factor,
                          bool there, int size, int part)
    {
#pragma unroll
        for (int i = 0; i < QUADS; i++) {
            int at = my_column(part, i), count = size - at < 4 ? size - at : 4;
            struct quad quad = {
                {sums[i].x * factor, sums[i].y * factor, sums[i].z * factor, sums[i].w * factor}};
            if (there && count > 0)
                quad_store(to, row_to, column + at, count, quad);
        }
    }
};

/* The same by the matrix units: each warp has the 16 x 16 at its half of the rows, and every second
 * of the columns. All threads call everything. */
template <int MOST> struct totals<MOST, __nv_bfloat16> {
    enum { EACH = MOST / UNIT / 2 };
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, UNIT, UNIT, UNIT, float> sums[EACH];

    __device__ static int row_of()
    {
        return (int)threadIdx.x / WARP % 2 * UNIT;
    }

    __device__ static int column_of(int i)
    {
        return ((int)threadIdx.x / WARP / 2 + i * WARPS / 2) * UNIT;
    }

    __device__ void clear()
    {
        for (int i = 0; i < EACH; i++)
            nvcuda::wmma::fill_fragment(sums[i], 0.0f);
    }

    __device__ void add(const struct weights &weights, const __nv_bfloat16 *rows, int size)
    {
        using namespace nvcuda;
        wmma::fragment<wmma::matrix_a, UNIT, UNIT, UNIT, __nv_bfloat16, wmma::row_major>
            left[PIECES];
        wmma::fragment<wmma::matrix_b, UNIT, UNIT, UNIT, __nv_bfloat16, wmma::row_major> right;
        int stride = tile_stride<__nv_bfloat16>(size);
        for (int k = 0; k < TILE; k += UNIT) {
#pragma unroll
            for (int piece = 0; piece < PIECES; piece++)
                wmma::load_matrix_sync(
                    left[piece], weights.pieces + (piece * TILE + row_of()) * PIECE_STRIDE + k,
                    PIECE_STRIDE);
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                if (column_of(i) >= size)
                    continue;
                wmma::load_matrix_sync(right, rows + k * stride + column_of(i), (unsigned)stride);
#pragma unroll
                for (int piece = PIECES - 1; piece >= 0; piece--)
                    wmma::mma_sync(sums[i], left[piece], right, sums[i]);
            }
        }
    }

    /* To shared memory, where rows can be told apart. */
    __device__ void spill(float *memory, int size)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (column_of(i) < size)
                nvcuda::wmma::store_matrix_sync(memory + row_of() * sum_stride(size) + column_of(i),
                                                sums[i], (unsigned)sum_stride(size),
                                                nvcuda::wmma::mem_row_major);
        __syncthreads();
    }

    /* What there is times `factor`, which is that of the thread's row. If `rows` are not all finite
     * they are added here, as a weight of 0 must not meet them; else they may be NULL. */
    __device__ void renew(float *memory, float factor, const struct weights &weights,
                          const __nv_bfloat16 *rows, int size, int row, int part)
    {
        const float *mine = weights.all + row * SCORE_STRIDE;
        int stride = tile_stride<__nv_bfloat16>(size);
        spill(memory, size);
        for (int at = part * 4; at < size; at += 4 * PER_ROW) {
            float4 *four = (float4 *)(void *)&memory[row * sum_stride(size) + at];
            four->x *= factor;
            four->y *= factor;
            four->z *= factor;
            four->w *= factor;
            for (int j = 0; rows && j < TILE; j++)
                if (mine[j] != 0)
                    add_row(four, mine[j], &rows[j * stride + at]);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < EACH; i++)
            if (column_of(i) < size)
                nvcuda::wmma::load_matrix_sync(
                    sums[i], memory + row_of() * sum_stride(size) + column_of(i),
                    (unsigned)sum_stride(size), nvcuda::wmma::mem_row_major);
    }

    __device__ void store(float *memory, const struct operand &to, int row, int64_t row_to,
                          int64_t column, float factor, bool there, int size, int part)
    {
        __syncthreads(); /* the memory's last contents were read */
        spill(memory, size);
        for (int at = part * 4; there && at < size; at += 4 * PER_ROW) {
            const float *from = &memory[row * sum_stride(size) + at];
            struct quad quad = {
                {from[0] * factor, from[1] * factor, from[2] * factor, from[3] * factor}};
            quad_store(to, row_to, column + at, size - at < 4 ? size - at : 4, quad);
        }
    }
};

/* What a block keeps beside its sums: whether any thread met numbers that are not finite, one
 * number for each warp. */
__device__ inline void note_odd(int32_t *flags, bool odd)
{
    int any = __any_sync(0xffffffffu, odd);
    if (threadIdx.x % WARP == 0)
        flags[threadIdx.x / WARP] = any;
}

__device__ inline bool any_odd(const int32_t *flags)
{
    return flags[0] || flags[1] || flags[2] || flags[3];
}

/* sums += weights * rows, after all threads have stored their weights. `memory` and `flags` are
 * only used with bf16. */
template <int MOST, typename T>
__device__ inline void totals_add(struct totals<MOST, T> *totals, const struct weights &weights,
                                  const T *rows, float *memory, const int32_t *flags, int size,
                                  int row, int part)
{
    if constexpr (std::is_same<T, __nv_bfloat16>::value) {
        if (any_odd(flags))
            totals->renew(memory, 1.0f, weights, rows, size, row, part);
        else
            totals->add(weights, rows, size);
    } else {
        totals->add(weights, rows, size, row, part);
    }
}

template <int MOST, typename T>
__device__ inline void totals_store(struct totals<MOST, T> *totals, float *memory,
                                    const struct operand &to, int row, int64_t row_to,
                                    int64_t column, float factor, bool there, int size, int part)
{
    if constexpr (std::is_same<T, __nv_bfloat16>::value)
        totals->store(memory, to, row, row_to, column, factor, there, size, part);
    else
        totals->store(to, row_to, column, factor, there, size, part);
}

/* Waits until the weights of the tile can be read by those who sum: with the matrix units that is
 * the whole block, else the threads of a row. */
template <typename T> __device__ inline void weights_ready()
{
    if constexpr (std::is_same<T, __nv_bfloat16>::value)
        __syncthreads();
    else
        __syncwarp();
}

#endif
