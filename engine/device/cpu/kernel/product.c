/* The inside of a matrix product: one tile of the result out of two packed panels, and the packing
 * of what lies the other way round. */
#include "engine/device/cpu/kernel/functions.h"

#ifdef __AVX512F__
enum { LANES = 16, TILE_ROWS = 12 }; /* 24 of 32 registers hold sums */
#elif defined(__AVX__)
enum { LANES = 8, TILE_ROWS = 6 }; /* 12 of 16 */
#else
enum { LANES = 4, TILE_ROWS = 6 };
#endif
enum { TILE_COLUMNS = 2 * LANES };
typedef float vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* The sums start from zero and are added to c at the end, in the order of depth: the bits of an
 * element do not depend on where in a tile it lies. */
static inline __attribute__((always_inline)) void
multiply(int depth, const float *a, const float *b, float *c, int64_t c_stride, bool accumulate)
{
    vector sum[TILE_ROWS][2];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < 2; v++) {
            sum[r][v] = (vector){0};
            __builtin_prefetch(c + r * c_stride + v * LANES, 1);
        }
    for (int k = 0; k < depth; k++, a++, b += TILE_COLUMNS)
        for (int r = 0; r < TILE_ROWS; r++) {
            float factor = a[r * PRODUCT_DEPTH];
            for (int v = 0; v < 2; v++)
                sum[r][v] += factor * *(const vector *)(b + v * LANES);
        }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < 2; v++) {
            vector *to = (vector *)(c + r * c_stride + v * LANES);
            if (accumulate)
                sum[r][v] += *to;
            *to = sum[r][v];
        }
}

void KERNEL(product_tile)(int rows, int columns, int depth, const float *a, const float *b,
                          float *c, int64_t c_stride, bool accumulate)
{
    float part[TILE_ROWS * TILE_COLUMNS];
    if (rows >= TILE_ROWS && columns >= TILE_COLUMNS) {
        multiply(depth, a, b, c, c_stride, accumulate);
        return;
    }
    multiply(depth, a, b, part, TILE_COLUMNS, false);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < columns; j++) {
            float sum = part[r * TILE_COLUMNS + j], *to = c + r * c_stride + j;
            *to = accumulate ? *to + sum : sum;
        }
}

#ifdef __AVX512F__
#include "engine/device/cpu/kernel/vector.h"

/* Exchanges one bit of the row's number with the same bit of the column's. */
#define LOW(distance, j) ((j) & (distance) ? 16 + (j) - (distance) : (j))
#define HIGH(distance, j) ((j) & (distance) ? 16 + (j) : (j) + (distance))
#define SIXTEEN(f, d)                                                                              \
    f(d, 0), f(d, 1), f(d, 2), f(d, 3), f(d, 4), f(d, 5), f(d, 6), f(d, 7), f(d, 8), f(d, 9),      \
        f(d, 10), f(d, 11), f(d, 12), f(d, 13), f(d, 14), f(d, 15)
#define EXCHANGE(rows, d)                                                                          \
    for (int i = 0; i < 16; i++)                                                                   \
        if (!(i & (d))) {                                                                          \
            vector16 low = (rows)[i], high = (rows)[i + (d)];                                      \
            (rows)[i] = __builtin_shufflevector(low, high, SIXTEEN(LOW, d));                       \
            (rows)[i + (d)] = __builtin_shufflevector(low, high, SIXTEEN(HIGH, d));                \
        }

static void transpose_block(float *to, int64_t to_stride, const float *from, int64_t stride)
{
    vector16 rows[16];
    for (int i = 0; i < 16; i++)
        rows[i] = *(const vector16 *)(from + i * stride);
    EXCHANGE(rows, 1)
    EXCHANGE(rows, 2)
    EXCHANGE(rows, 4)
    EXCHANGE(rows, 8)
    for (int i = 0; i < 16; i++)
        *(vector16 *)(to + i * to_stride) = rows[i];
}
#else
static void transpose_block(float *to, int64_t to_stride, const float *from, int64_t stride)
{
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++)
            to[j * to_stride + i] = from[i * stride + j];
}
#endif

static void transpose_rest(float *to, int64_t to_stride, const float *from, int64_t stride,
                           int rows, int columns)
{
    for (int i = 0; i < columns; i++)
        for (int j = 0; j < rows; j++)
            to[j * to_stride + i] = from[i * stride + j];
}

/* Up to 16 x 16 elements. */
static void pack_block(float *to, int64_t to_stride, const char *from, enum dtype dtype,
                       int64_t stride, int rows, int columns)
{
    float wide[16 * 16];
    const float *block = (const float *)(const void *)from;
    if (dtype != DTYPE_F32) {
        for (int i = 0; i < columns; i++)
            KERNEL(to_float)(wide + 16 * i, from + 2 * i * stride, dtype, rows);
        block = wide;
        stride = 16;
    }
    if (rows == 16 && columns == 16)
        transpose_block(to, to_stride, block, stride);
    else
        transpose_rest(to, to_stride, block, stride, rows, columns);
}

void KERNEL(pack_transposed)(float *to, int64_t to_stride, const void *from, enum dtype dtype,
                             int64_t stride, int rows, int columns)
{
    for (int column = 0; column < columns; column += 16)
        for (int row = 0; row < rows; row += 16) {
            int64_t offset = column * stride + row;
            pack_block(to + row * to_stride + column, to_stride,
                       (const char *)from + offset * (int64_t)dtype_size(dtype), dtype, stride,
                       rows - row < 16 ? rows - row : 16,
                       columns - column < 16 ? columns - column : 16);
        }
}

void KERNEL(product_sizes)(int *rows, int *columns)
{
    *rows = TILE_ROWS;
    *columns = TILE_COLUMNS;
}
