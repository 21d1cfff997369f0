/* GATHER_ROWS, COMBINE_ROWS and their gradients: rows to the experts and back. */
#include "engine/device/cuda/operand.cuh"

/* rows[i] is the pair (token*k + choice) in slot i. */
static bool check_rows(const struct op_call *call, int64_t rows, int64_t tokens,
                       struct status *status)
{
    if (tokens == 0 ? rows != 0 : rows % tokens != 0)
        return status_fail(status, STATUS_INVALID, "%s: %lld routed rows of %lld tokens",
                           op_name(call->op), (long long)rows, (long long)tokens);
    return true;
}

struct gather_piece {
    struct operand y, x;
    const int32_t *rows;
    int64_t count, k;
    struct cuda_fault *fault;
    __device__ void operator()(int64_t slot, int64_t column, int width) const
    {
        struct quad piece = {{0, 0, 0, 0}};
        if (index_within(fault, OP_GATHER_ROWS, slot, rows[slot], 0, count))
            piece = quad_load(x, rows[slot] / k, column, width);
        quad_store(y, slot, column, width, piece);
    }
};

CUDA_RUN(gather_rows)
{
    const struct tensor *x = &call->inputs[0], *y = &call->outputs[0];
    int64_t count = cuda_rows(y), tokens = cuda_rows(x);
    if (!check_rows(call, count, tokens, status))
        return false;
    struct gather_piece piece = {operand_of(y),
                                 operand_of(x),
                                 (const int32_t *)call->inputs[1].data,
                                 count,
                                 tokens ? count / tokens : 1,
                                 context->fault};
    return pointwise_run(context, "gather_rows", piece, count, cuda_columns(y), status);
}

/* Where each pair went: the inverse of rows. Slots that no pair names stay -1. */
static __global__ void invert_kernel(const int32_t *rows, int64_t count, int32_t *slots, int op,
                                     struct cuda_fault *fault)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        if (index_within(fault, op, i, rows[i], 0, count))
            slots[rows[i]] = (int32_t)i;
}

/* out row t = sum over choices of (scores ? score : 1) * y row of the slot, in order of choice. */
struct combine_rows_piece {
    struct operand out, y, scores;
    const int32_t *slots;
    int64_t k;
    bool scored;
    __device__ void operator()(int64_t token, int64_t column, int width) const
    {
        struct quad sum = {{0, 0, 0, 0}};
        for (int64_t choice = 0; choice < k; choice++) {
            int32_t slot = slots[token * k + choice];
            if (slot < 0)
                continue;
            float score = scored ? operand_load(scores, token, choice) : 1.0f;
            struct quad row = quad_load(y, slot, column, width);
            for (int i = 0; i < 4; i++)
                sum.at[i] += score * row.at[i];
        }
        quad_store(out, token, column, width, sum);
    }
};

static bool combine(struct cuda_context *context, const struct op_call *call,
                    const struct tensor *rows, const struct tensor *scores, int64_t k,
                    struct status *status)
{
    const struct tensor *out = &call->outputs[0], *y = &call->inputs[0];
    int32_t *slots = (int32_t *)call->workspace;
    int64_t count = cuda_rows(rows);
    struct combine_rows_piece piece = {
        operand_of(out), operand_of(y), operand_of(scores ? scores : y), slots, k, scores != NULL};
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(count, 128), 1 << 20));
    where.block = dim3(128);
    where.shared = 0;
    if (count == 0)
        return true;
    cudaError_t error =
        cudaMemsetAsync(slots, 0xff, (size_t)count * sizeof(int32_t), context->stream);
    if (error != cudaSuccess)
        return cuda_fail(context, (int)error, "combine_rows", status);
    return LAUNCH(invert_kernel, where, (const int32_t *)rows->data, count, slots, (int)call->op,
                  context->fault) &&
           pointwise_run(context, op_name(call->op), piece, cuda_rows(out), cuda_columns(out),
                         status);
}

CUDA_WORKSPACE(gather_rows_gradient)
{
    (void)context;
    return (size_t)cuda_rows(&call->inputs[1]) * sizeof(int32_t);
}

CUDA_RUN(gather_rows_gradient)
{
    const struct tensor *rows = &call->inputs[1];
    int64_t tokens = cuda_rows(&call->outputs[0]), count = cuda_rows(rows);
    return check_rows(call, count, tokens, status) &&
           combine(context, call, rows, NULL, tokens ? count / tokens : 1, status);
}

CUDA_WORKSPACE(combine_rows)
{
    (void)context;
    return (size_t)cuda_rows(&call->inputs[2]) * sizeof(int32_t);
}

CUDA_RUN(combine_rows)
{
    const struct tensor *rows = &call->inputs[2], *scores = &call->inputs[1];
    return check_rows(call, cuda_rows(rows), cuda_rows(scores), status) &&
           combine(context, call, rows, scores, cuda_columns(scores), status);
}

struct combine_gradient {
    struct operand dout, y, scores, dy, dscores;
    const int32_t *rows;
    int64_t count, columns, k;
    struct cuda_fault *fault;
};

/* A warp for each slot i, which holds pair p of token p/k: dy_i = score_p * dout,
 * dscore_p = dout . y_i. */
static __global__ void combine_gradient_kernel(struct combine_gradient it)
{
    int lane = (int)(threadIdx.x % WARP);
    int64_t warps = (int64_t)gridDim.x * (blockDim.x / WARP);
    for (int64_t i = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; i < it.count;
         i += warps) {
        int64_t pair = it.rows[i], token = pair / it.k, choice = pair % it.k;
        if (!index_within(it.fault, OP_COMBINE_ROWS_GRADIENT, i, pair, 0, it.count))
            continue;
        float score = operand_load(it.scores, token, choice), product = 0;
        for (int64_t column = lane; column < it.columns; column += WARP) {
            float slope = operand_load(it.dout, token, column);
            product += slope * operand_load(it.y, i, column);
            operand_store(it.dy, i, column, score * slope);
        }
        product = warp_sum(product);
        if (lane == 0)
            operand_store(it.dscores, token, choice, product);
    }
}

CUDA_RUN(combine_rows_gradient)
{
    const struct tensor *dout = &call->inputs[0], *y = &call->inputs[1];
    struct combine_gradient it;
    it.dout = operand_of(dout);
    it.y = operand_of(y);
    it.scores = operand_of(&call->inputs[2]);
    it.dy = operand_of(&call->outputs[0]);
    it.dscores = operand_of(&call->outputs[1]);
    it.rows = (const int32_t *)call->inputs[3].data;
    it.count = cuda_rows(y);
    it.columns = cuda_columns(y);
    it.k = cuda_columns(&call->inputs[2]);
    it.fault = context->fault;
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(it.count, 4), 1 << 20));
    where.block = dim3(4 * WARP);
    where.shared = 0;
    return check_rows(call, it.count, cuda_rows(dout), status) &&
           (it.count == 0 || LAUNCH(combine_gradient_kernel, where, it));
}
