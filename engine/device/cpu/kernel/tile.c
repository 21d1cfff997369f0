/* Small matrix products and softmax rows of attention tiles. */
#include "engine/device/cpu/kernel/functions.h"
#include "engine/device/cpu/kernel/math.h"
#include "engine/device/cpu/kernel/vector.h"

/* A block of BLOCK_ROWS x 2 vectors of sums stays in registers: 16 of 32 (AVX-512) or 12 of 16. */
#ifdef __AVX512F__
enum { LANES = 16, BLOCK_ROWS = 8 };
#else
enum { LANES = 8, BLOCK_ROWS = 4 };
#endif
typedef float vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

struct operands {
    int depth;
    const float *a, *b;
    int64_t row_stride, column_stride, b_stride, c_stride;
    float *c;
    bool accumulate;
};

static inline __attribute__((always_inline)) void block(const struct operands *o, const float *a,
                                                        const float *b, float *c, const int rows,
                                                        const int vectors)
{
    vector sum[BLOCK_ROWS][2];
    int64_t row_stride = o->row_stride, c_stride = o->c_stride;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] =
                o->accumulate ? *(const vector *)(c + r * c_stride + v * LANES) : (vector){0};
    for (int k = 0; k < o->depth; k++, a += o->column_stride, b += o->b_stride)
        for (int r = 0; r < rows; r++) {
            float factor = a[r * row_stride];
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * *(const vector *)(b + v * LANES);
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            *(vector *)(c + r * c_stride + v * LANES) = sum[r][v];
}

static inline __attribute__((always_inline)) void
columns_of(const struct operands *o, const float *a, float *c, const int rows, int columns)
{
    int j = 0;
    for (; j + 2 * LANES <= columns; j += 2 * LANES)
        block(o, a, o->b + j, c + j, rows, 2);
    for (; j < columns; j += LANES)
        block(o, a, o->b + j, c + j, rows, 1);
}

static void multiply_sparse(int rows, int columns, const struct operands *o)
{
    for (int i = 0; i < rows; i++) {
        float *c = o->c + i * o->c_stride;
        if (!o->accumulate)
            memset(c, 0, (size_t)columns * sizeof(float));
        for (int k = 0; k < o->depth; k++) {
            float factor = o->a[i * o->row_stride + k * o->column_stride];
            if (factor != 0)
                KERNEL(add_scaled)(c, o->b + k * o->b_stride, factor, columns);
        }
    }
}

void KERNEL(tile_multiply)(int rows, int columns, int depth, const float *a, int64_t row_stride,
                           int64_t column_stride, const float *b, int64_t b_stride, float *c,
                           int64_t c_stride, bool accumulate, bool sparse)
{
    const struct operands o = {depth,    a,        b, row_stride, column_stride,
                               b_stride, c_stride, c, accumulate};
    if (sparse) {
        multiply_sparse(rows, columns, &o);
        return;
    }
    int i = 0;
    for (; i + BLOCK_ROWS <= rows; i += BLOCK_ROWS)
        columns_of(&o, a + i * row_stride, c + i * c_stride, BLOCK_ROWS, columns);
    for (; i + 4 <= rows; i += 4)
        columns_of(&o, a + i * row_stride, c + i * c_stride, 4, columns);
    for (; i < rows; i++)
        columns_of(&o, a + i * row_stride, c + i * c_stride, 1, columns);
}

/* Rows of scores are worked on in whole groups of 16, the columns outside first..end-1 masked:
 * with short documents most rows have few keys, and a scalar remainder would dominate. */
enum { GROUP = VECTOR_LANES };

float KERNEL(range_maximum)(const float *scores, int first, int end, float scale)
{
    const vector16_mask count = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vector16 lanes = (vector16){0} - INFINITY;
    float most = -INFINITY;
    for (int j = first & ~(GROUP - 1); j < end; j += GROUP) {
        vector16 value = scale * *(const vector16 *)(scores + j);
        vector16_mask better = (value > lanes) & (count + j >= first) & (count + j < end);
        lanes = VECTOR_SELECT(better, value, lanes);
    }
    for (int lane = 0; lane < GROUP; lane++)
        most = lanes[lane] > most ? lanes[lane] : most;
    return most;
}

float KERNEL(softmax_part)(float *scores, int first, int end, float scale, float shift, int n)
{
    float lanes[GROUP] = {0}, sum = 0;
    int begin = end > first ? first & ~(GROUP - 1) : 0, j = begin;
    memset(scores, 0, (size_t)begin * sizeof(float));
    if (math_is_beyond_fusing(shift)) {
        for (int i = first; i < end; i++)
            scores[i] = math_product_less(scale, scores[i], shift);
        scale = 1;
        shift = 0;
    }
    for (; j < end && end > first; j += GROUP) {
#pragma omp simd
        for (int lane = 0; lane < GROUP; lane++) {
            float p = math_exp_flush(scale * scores[j + lane] - shift);
            p = j + lane >= first && j + lane < end ? p : 0.0f;
            scores[j + lane] = p;
            lanes[lane] += p;
        }
    }
    memset(scores + j, 0, (size_t)(n - j) * sizeof(float));
    for (int lane = 0; lane < GROUP; lane++)
        sum += lanes[lane];
    return sum;
}

void KERNEL(pack_rows)(float *to, int padded, const void *from, enum dtype dtype, int64_t stride,
                       int size, int rows)
{
    for (int row = 0; row < rows; row++, to += padded) {
        const char *source = (const char *)from + (size_t)(row * stride) * dtype_size(dtype);
        int i = 0;
        /* What other heads read soon lies behind. */
        for (size_t next = (size_t)size * dtype_size(dtype), end = 2 * next; next < end; next += 64)
            __builtin_prefetch(source + next);
        if (dtype == DTYPE_F32)
            for (; i + GROUP <= size; i += GROUP)
                memcpy(to + i, source + (size_t)i * sizeof(float), GROUP * sizeof(float));
        else
            KERNEL(to_float)(to, source, dtype, size), i = size;
        for (; i < size; i++)
            to[i] = ((const float *)(const void *)source)[i];
        for (; i < padded; i++)
            to[i] = 0;
    }
}

/* A masked pair has p = 0 and must give 0 even where dp is NaN. */
void KERNEL(softmax_gradient)(float *dp, const float *p, float delta, float scale, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++)
        dp[j] = p[j] == 0.0f ? 0.0f : p[j] * (dp[j] - delta) * scale;
}
