/* EMBEDDING and its gradient. */
#include "engine/device/cuda/operand.cuh"

struct embedding_piece {
    struct operand out, weight;
    const int32_t *indices;
    int64_t first_row, rows;
    __device__ void operator()(int64_t token, int64_t column, int count) const
    {
        int64_t index = indices[token], row = index - first_row;
        struct quad piece = {{0, 0, 0, 0}};
        if (index >= 0 && row >= 0 && row < rows)
            piece = quad_load(weight, row, column, count);
        quad_store(out, token, column, count, piece);
    }
};

CUDA_RUN(embedding)
{
    const struct tensor *out = &call->outputs[0];
    struct embedding_piece piece = {operand_of(out), operand_of(&call->inputs[1]),
                                    (const int32_t *)call->inputs[0].data,
                                    call->parameters.first_row, cuda_rows(&call->inputs[1])};
    return pointwise_run(context, "embedding", piece, cuda_rows(out), cuda_columns(out), status);
}

struct embedding_gradient {
    struct operand dy, out;
    const int32_t *indices;
    int64_t tokens, columns, rows, first_row;
};

enum {
    EMBEDDING_THREADS = 128,
    EMBEDDING_QUADS = 4, /* of a lane */
    EMBEDDING_COLUMNS = EMBEDDING_QUADS * 4 * WARP,
};

__device__ inline void add_columns(const struct embedding_gradient &it, int64_t token,
                                   int64_t column, struct quad *sums)
{
    if (column >= it.columns)
        return;
    struct quad more = quad_load(it.dy, token, column, quad_width(it.columns, column));
    for (int j = 0; j < 4; j++)
        sums->at[j] += more.at[j];
}

/* A warp for each row of the weight, and 512 of its columns at a time: it looks through all indices
 * in order and adds the rows of its own, so that the sum has one order. Most rows have no token, so
 * the time goes into looking, once for each 512 columns. */
static __global__ void embedding_gradient_kernel(struct embedding_gradient it)
{
    int lane = (int)(threadIdx.x % WARP);
    int64_t row = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= it.rows)
        return;
    for (int64_t base = (int64_t)blockIdx.y * EMBEDDING_COLUMNS; base < it.columns;
         base += (int64_t)gridDim.y * EMBEDDING_COLUMNS) {
        struct quad sums[EMBEDDING_QUADS] = {};
        for (int64_t first = 0; first < it.tokens; first += WARP) {
            int64_t index = first + lane < it.tokens ? it.indices[first + lane] : -1;
            unsigned mine = __ballot_sync(0xffffffffu, index >= 0 && index - it.first_row == row);
            for (; mine; mine &= mine - 1) {
                int64_t token = first + __ffs((int)mine) - 1;
#pragma unroll
                for (int i = 0; i < EMBEDDING_QUADS; i++)
                    add_columns(it, token, base + 4 * (i * WARP + lane), &sums[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < EMBEDDING_QUADS; i++) {
            int64_t column = base + 4 * (i * WARP + lane);
            if (column < it.columns)
                quad_store(it.out, row, column, quad_width(it.columns, column), sums[i]);
        }
    }
}

CUDA_RUN(embedding_gradient)
{
    const struct tensor *out = &call->outputs[0];
    struct embedding_gradient it = {
        operand_of(&call->inputs[1]), operand_of(out),   (const int32_t *)call->inputs[0].data,
        cuda_rows(&call->inputs[0]),  cuda_columns(out), cuda_rows(out),
        call->parameters.first_row};
    struct launch where;
    where.grid = dim3((unsigned)divide_up(it.rows, EMBEDDING_THREADS / WARP),
                      launch_blocks(divide_up(it.columns, EMBEDDING_COLUMNS), 1024));
    where.block = dim3(EMBEDDING_THREADS);
    where.shared = 0;
    return it.rows == 0 || it.columns == 0 || LAUNCH(embedding_gradient_kernel, where, it);
}
