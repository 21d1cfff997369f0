/* Matrix products by kernels of ours: any mixture of types, any alignment, and the products of a
 * mixture of experts, whose rows are divided by indices on the GPU. Operands of one 16-bit type go
 * to the matrix units, whose products are exact and sums float32; all else is float32 throughout.
 */
#include "engine/device/cuda/units.cuh"

enum {
    PRODUCT_TILE = 64, /* of C: 256 threads with 4 x 4 elements each */
    PRODUCT_DEPTH = 16,
    PRODUCT_SIDE = 16,                          /* threads in a row of the block */
    PRODUCT_EACH = PRODUCT_TILE / PRODUCT_SIDE, /* neighbouring rows and columns of a thread */
    PRODUCT_STRIDE = PRODUCT_TILE + 4,
};

struct product {
    struct operand a, b, bias, out;
    int64_t rows, columns, depth;
    const int32_t *ends;
    int64_t groups, group_rows;
    struct cuda_fault *fault;
    int op;
    bool transpose_a, transpose_b, has_bias, by_depth;
};

/* The part of the product that a block works on. */
struct share {
    int64_t first_row, end_row;     /* of C, and of A if not transposed */
    int64_t first_depth, end_depth; /* of the sums, in A's and B's numbering */
    int64_t b_row, out_row;         /* added to the rows of B and of C */
};

__device__ inline int64_t end_of(const struct product &it, int64_t group)
{
    int64_t most = it.by_depth ? it.depth : it.rows;
    int64_t before = group > 0 ? it.ends[group - 1] : 0, end = it.ends[group];
    return index_within(it.fault, it.op, group, end, before, most + 1) && end <= most ? end : most;
}

/* Which rows the tiles of all groups, one after another, begin with; false for one too many. */
__device__ inline bool find_share(const struct product &it, struct share *share)
{
    int64_t tile = blockIdx.y, first = 0;
    struct share all = {tile * PRODUCT_TILE, it.rows, 0, it.depth, 0, 0};
    *share = all;
    if (!it.ends)
        return true;
    if (it.by_depth) {
        int64_t group = blockIdx.z;
        share->first_depth = group > 0 ? end_of(it, group - 1) : 0;
        share->end_depth = end_of(it, group);
        share->out_row = group * it.rows;
        return true;
    }
    for (int64_t group = 0; group < it.groups; group++) {
        int64_t end = end_of(it, group), tiles = divide_up(end - first, PRODUCT_TILE);
        if (tile < tiles) {
            share->first_row = first + tile * PRODUCT_TILE;
            share->end_row = end;
            share->b_row = group * it.group_rows;
            return true;
        }
        tile -= tiles > 0 ? tiles : 0;
        first = end > first ? end : first;
    }
    return false;
}

/* Tiles of op(A) and op(B), depth by rows and depth by columns; zeros beyond the edges. */
__device__ inline void load_tiles(const struct product &it, const struct share &share,
                                  int64_t depth, int64_t first_column, float *a, float *b)
{
    int thread = (int)(threadIdx.y * PRODUCT_SIDE + threadIdx.x);
    for (int i = thread; i < PRODUCT_TILE * PRODUCT_DEPTH; i += PRODUCT_SIDE * PRODUCT_SIDE) {
        /* Neighbouring threads read neighbouring elements. */
        int row = it.transpose_a ? i % PRODUCT_TILE : i / PRODUCT_DEPTH;
        int k = it.transpose_a ? i / PRODUCT_TILE : i % PRODUCT_DEPTH;
        int64_t at = share.first_row + row, deep = depth + k;
        float number = 0;
        if (at < share.end_row && deep < share.end_depth)
            number = it.transpose_a ? operand_load(it.a, deep, at) : operand_load(it.a, at, deep);
        a[k * PRODUCT_STRIDE + row] = number;
        int column = it.transpose_b ? i / PRODUCT_DEPTH : i % PRODUCT_TILE;
        k = it.transpose_b ? i % PRODUCT_DEPTH : i / PRODUCT_TILE;
        at = first_column + column;
        deep = depth + k;
        number = 0;
        if (at < it.columns && deep < share.end_depth)
            number = it.transpose_b ? operand_load(it.b, share.b_row + at, deep)
                                    : operand_load(it.b, share.b_row + deep, at);
        b[k * PRODUCT_STRIDE + column] = number;
    }
}

/* sums += a b^T of four neighbours each. */
__device__ inline void add_products(const float *a, const float *b,
                                    float sums[PRODUCT_EACH][PRODUCT_EACH])
{
    float4 left = *(const float4 *)(const void *)a, right = *(const float4 *)(const void *)b;
    float rows[PRODUCT_EACH] = {left.x, left.y, left.z, left.w};
#pragma unroll
    for (int i = 0; i < PRODUCT_EACH; i++) {
        sums[i][0] += rows[i] * right.x;
        sums[i][1] += rows[i] * right.y;
        sums[i][2] += rows[i] * right.z;
        sums[i][3] += rows[i] * right.w;
    }
}

__device__ inline void store_rows(const struct product &it, const struct share &share,
                                  int64_t column, float sums[PRODUCT_EACH][PRODUCT_EACH])
{
    int64_t left = it.columns - column;
    int count = left < PRODUCT_EACH ? (int)left : (int)PRODUCT_EACH;
    struct quad bias = {{0, 0, 0, 0}};
    if (count <= 0)
        return;
    if (it.has_bias)
        bias = quad_load(it.bias, 0, column, count);
    for (int i = 0; i < PRODUCT_EACH; i++) {
        int64_t row = share.first_row + threadIdx.y * PRODUCT_EACH + i;
        struct quad quad;
        for (int j = 0; j < PRODUCT_EACH; j++)
            quad.at[j] = sums[i][j] + bias.at[j];
        if (row < share.end_row)
            quad_store(it.out, share.out_row + row, column, count, quad);
    }
}

static __global__ void product_kernel(struct product it)
{
    float *a = (float *)(void *)shared_memory(), *b = a + PRODUCT_DEPTH * PRODUCT_STRIDE;
    int64_t first_column = (int64_t)blockIdx.x * PRODUCT_TILE;
    struct share share;
    float sums[PRODUCT_EACH][PRODUCT_EACH] = {{0}};
    if (!find_share(it, &share))
        return;
    for (int64_t depth = share.first_depth; depth < share.end_depth; depth += PRODUCT_DEPTH) {
        load_tiles(it, share, depth, first_column, a, b);
        __syncthreads();
        for (int k = 0; k < PRODUCT_DEPTH; k++)
            add_products(a + k * PRODUCT_STRIDE + threadIdx.y * PRODUCT_EACH,
                         b + k * PRODUCT_STRIDE + threadIdx.x * PRODUCT_EACH, sums);
        __syncthreads();
    }
    store_rows(it, share, first_column + threadIdx.x * PRODUCT_EACH, sums);
}

enum {
    UNIT_DEPTH = 32, /* of a step */
    UNIT_WARPS = 4,  /* each 32 x 32 of the tile */
    UNIT_THREADS = UNIT_WARPS * WARP,
    UNIT_A_STRIDE = UNIT_DEPTH + 8,   /* shared memory: rows of A, of B, and of sums begin in */
    UNIT_B_STRIDE = PRODUCT_TILE + 8, /* different banks, and where the units can read them */
    UNIT_SUM_STRIDE = PRODUCT_TILE + 4,
};

/* An element as it is stored. */
template <typename T>
__device__ inline T element_at(const struct operand &from, int64_t row, int64_t column)
{
    return ((const T *)(const void *)from.data)[row * from.stride + column];
}

/* Tiles of op(A), rows by depth, and op(B), depth by columns, as stored; zeros beyond the edges. */
template <typename T>
__device__ inline void load_units(const struct product &it, const struct share &share,
                                  int64_t depth, int64_t first_column, T *a, T *b)
{
    T zero;
    memset(&zero, 0, sizeof(zero));
    for (int i = (int)threadIdx.x; i < PRODUCT_TILE * UNIT_DEPTH; i += UNIT_THREADS) {
        /* Neighbouring threads read neighbouring elements. */
        int row = it.transpose_a ? i % PRODUCT_TILE : i / UNIT_DEPTH;
        int k = it.transpose_a ? i / PRODUCT_TILE : i % UNIT_DEPTH;
        int64_t at = share.first_row + row, deep = depth + k;
        bool inside = at < share.end_row && deep < share.end_depth;
        a[row * UNIT_A_STRIDE + k] = !inside          ? zero
                                     : it.transpose_a ? element_at<T>(it.a, deep, at)
                                                      : element_at<T>(it.a, at, deep);
        int column = it.transpose_b ? i / UNIT_DEPTH : i % PRODUCT_TILE;
        k = it.transpose_b ? i % UNIT_DEPTH : i / PRODUCT_TILE;
        at = first_column + column;
        deep = depth + k;
        inside = at < it.columns && deep < share.end_depth;
        b[k * UNIT_B_STRIDE + column] = !inside ? zero
                                        : it.transpose_b
                                            ? element_at<T>(it.b, share.b_row + at, deep)
                                            : element_at<T>(it.b, share.b_row + deep, at);
    }
}

__device__ inline void store_units(const struct product &it, const struct share &share,
                                   int64_t first_column, const float *sums)
{
    for (int i = (int)threadIdx.x; i < PRODUCT_TILE * PRODUCT_TILE / 4; i += UNIT_THREADS) {
        int row = i / (PRODUCT_TILE / 4), at = i % (PRODUCT_TILE / 4) * 4;
        int64_t column = first_column + at, left = it.columns - column;
        int count = left < 4 ? (int)left : 4;
        if (share.first_row + row >= share.end_row || count <= 0)
            continue;
        struct quad quad, bias = {{0, 0, 0, 0}};
        if (it.has_bias)
            bias = quad_load(it.bias, 0, column, count);
        for (int j = 0; j < 4; j++)
            quad.at[j] = sums[row * UNIT_SUM_STRIDE + at + j] + bias.at[j];
        quad_store(it.out, share.out_row + share.first_row + row, column, count, quad);
    }
}

template <typename T> static __global__ void product_units_kernel(struct product it)
{
    using namespace nvcuda;
    T *a = (T *)(void *)shared_memory(), *b = a + PRODUCT_TILE * UNIT_A_STRIDE;
    float *results = (float *)(void *)shared_memory();
    int64_t first_column = (int64_t)blockIdx.x * PRODUCT_TILE;
    int warp = (int)threadIdx.x / WARP, row = warp / 2 * 2 * UNIT, column = warp % 2 * 2 * UNIT;
    wmma::fragment<wmma::accumulator, UNIT, UNIT, UNIT, float> sums[2][2];
    wmma::fragment<wmma::matrix_a, UNIT, UNIT, UNIT, T, wmma::row_major> left[2];
    wmma::fragment<wmma::matrix_b, UNIT, UNIT, UNIT, T, wmma::row_major> right[2];
    struct share share;
    if (!find_share(it, &share))
        return;
    for (int i = 0; i < 4; i++)
        wmma::fill_fragment(sums[i / 2][i % 2], 0.0f);
    for (int64_t depth = share.first_depth; depth < share.end_depth; depth += UNIT_DEPTH) {
        load_units<T>(it, share, depth, first_column, a, b);
        __syncthreads();
        for (int k = 0; k < UNIT_DEPTH; k += UNIT) {
            for (int i = 0; i < 2; i++) {
                wmma::load_matrix_sync(left[i], a + (row + i * UNIT) * UNIT_A_STRIDE + k,
                                       UNIT_A_STRIDE);
                wmma::load_matrix_sync(right[i], b + k * UNIT_B_STRIDE + column + i * UNIT,
                                       UNIT_B_STRIDE);
            }
            for (int i = 0; i < 4; i++)
                wmma::mma_sync(sums[i / 2][i % 2], left[i / 2], right[i % 2], sums[i / 2][i % 2]);
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        wmma::store_matrix_sync(results + (row + i / 2 * UNIT) * UNIT_SUM_STRIDE + column +
                                    i % 2 * UNIT,
                                sums[i / 2][i % 2], UNIT_SUM_STRIDE, wmma::mem_row_major);
    __syncthreads();
    store_units(it, share, first_column, results);
}

static struct operand matrix_of(const void *data, enum dtype dtype, int64_t stride)
{
    struct operand matrix;
    matrix.data = (char *)data;
    matrix.stride = stride;
    matrix.dtype = (int)dtype;
    matrix.size = (int)dtype_size(dtype);
    return matrix;
}

bool cuda_product_run(struct cuda_context *context, const struct cuda_product *product,
                      struct status *status)
{
    struct product it;
    it.a = matrix_of(product->matrix.a, product->matrix.a_dtype, product->matrix.a_stride);
    it.b = matrix_of(product->matrix.b, product->matrix.b_dtype, product->matrix.b_stride);
    it.bias = matrix_of(product->matrix.bias, product->matrix.bias_dtype, product->matrix.columns);
    it.out = matrix_of(product->matrix.out, product->matrix.out_dtype, product->matrix.out_stride);
    it.rows = product->matrix.rows;
    it.columns = product->matrix.columns;
    it.depth = product->matrix.depth;
    it.ends = product->ends;
    it.groups = product->groups;
    it.group_rows = product->group_rows;
    it.fault = context->fault;
    it.op = (int)product->op;
    it.transpose_a = product->matrix.transpose_a;
    it.transpose_b = product->matrix.transpose_b;
    it.has_bias = product->matrix.bias != NULL;
    it.by_depth = product->by_depth;
    if (it.rows == 0 || it.columns == 0)
        return true;
    /* Each group may end with a tile that is not full. */
    int64_t row_tiles = divide_up(it.rows, PRODUCT_TILE);
    bool by_rows = it.ends && !it.by_depth;
    struct launch where;
    where.grid = dim3((unsigned)divide_up(it.columns, PRODUCT_TILE),
                      (unsigned)(by_rows ? row_tiles + it.groups : row_tiles),
                      (unsigned)(it.ends && it.by_depth ? it.groups : 1));
    if (where.grid.y > 65535)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s: a product of %lld rows is too large for the cuda device",
                           op_name(product->op), (long long)it.rows);
    bool units = it.a.dtype == it.b.dtype && it.a.size == 2;
    where.block = units ? dim3(UNIT_THREADS) : dim3(PRODUCT_SIDE, PRODUCT_SIDE);
    where.shared = units ? PRODUCT_TILE * UNIT_SUM_STRIDE * sizeof(float)
                         : 2 * PRODUCT_DEPTH * PRODUCT_STRIDE * sizeof(float);
    if (!units)
        return LAUNCH(product_kernel, where, it);
    return it.a.dtype == DTYPE_BF16 ? LAUNCH(product_units_kernel<__nv_bfloat16>, where, it)
                                    : LAUNCH(product_units_kernel<__half>, where, it);
}

/* What both kinds of grouped products have in common; see GROUPED_MATMUL in op.h. The third input
 * is where the rows of each expert end, and no bias. */
static struct cuda_product grouped_product(const struct op_call *call)
{
    struct cuda_product product = {};
    product.matrix = matrix_product_of(call);
    product.matrix.bias = NULL;
    product.groups = cuda_rows(&call->inputs[2]);
    product.ends = (const int32_t *)call->inputs[2].data;
    product.op = call->op;
    return product;
}

CUDA_RUN(grouped_matmul)
{
    struct cuda_product product = grouped_product(call);
    product.group_rows = product.groups ? cuda_rows(&call->inputs[1]) / product.groups : 0;
    return product.groups == 0 || cuda_product_run(context, &product, status);
}

CUDA_RUN(grouped_matmul_gradient)
{
    struct cuda_product product = grouped_product(call);
    product.matrix.transpose_a = true;
    product.matrix.rows = cuda_columns(&call->inputs[0]);
    product.matrix.depth = cuda_rows(&call->inputs[0]);
    product.by_depth = true;
    return product.groups == 0 || cuda_product_run(context, &product, status);
}
