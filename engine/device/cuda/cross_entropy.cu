/* CROSS_ENTROPY and its gradient: a block of threads for each row of logits. */
#include "engine/device/cuda/operand.cuh"

enum { ENTROPY_THREADS = 256, ENTROPY_SHARED = WARP * sizeof(double) };

struct entropy {
    struct operand logits;
    const int32_t *labels;
    const double *count;
    float *lse, *loss;
    double *losses; /* [rows] */
    int64_t rows, columns;
    double factor;
    struct cuda_fault *fault;
};

static __global__ void entropy_rows_kernel(struct entropy it)
{
    float *shared = (float *)(void *)shared_memory();
    float factor = (float)it.factor;
    for (int64_t row = blockIdx.x; row < it.rows; row += gridDim.x) {
        float largest = -INFINITY, sum = 0;
        for (int64_t i = threadIdx.x; i < it.columns; i += blockDim.x)
            largest = fmaxf(largest, factor * operand_load(it.logits, row, i));
        largest = block_maximum(largest, shared);
        float shift = largest > -INFINITY ? largest : 0.0f;
        for (int64_t i = threadIdx.x; i < it.columns; i += blockDim.x)
            sum += expf(factor * operand_load(it.logits, row, i) - shift);
        float lse = shift + logf(block_sum(sum, shared));
        if (threadIdx.x != 0)
            continue;
        int64_t label = it.labels[row];
        it.lse[row] = lse;
        it.losses[row] = 0;
        if (label >= 0 &&
            index_within(it.fault, OP_CROSS_ENTROPY, row, label, INT32_MIN, it.columns))
            it.losses[row] = (double)lse - it.factor * (double)operand_load(it.logits, row, label);
    }
}

/* One block: each thread adds every 256th row, then the threads are added. */
static __global__ void entropy_total_kernel(struct entropy it)
{
    double *shared = (double *)(void *)shared_memory(), sum = 0;
    for (int64_t row = threadIdx.x; row < it.rows; row += blockDim.x)
        sum += it.losses[row];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        *it.loss = *it.count == 0 ? 0.0f : (float)(sum / *it.count);
}

CUDA_WORKSPACE(cross_entropy)
{
    (void)context;
    return (size_t)cuda_rows(&call->inputs[0]) * sizeof(double);
}

CUDA_RUN(cross_entropy)
{
    struct entropy it;
    it.logits = operand_of(&call->inputs[0]);
    it.labels = (const int32_t *)call->inputs[1].data;
    it.count = (const double *)call->inputs[2].data;
    it.loss = (float *)call->outputs[0].data;
    it.lse = (float *)call->outputs[1].data;
    it.losses = (double *)call->workspace;
    it.rows = cuda_rows(&call->inputs[0]);
    it.columns = cuda_columns(&call->inputs[0]);
    it.factor = call->parameters.factor;
    it.fault = context->fault;
    struct launch rows, total;
    rows.grid = dim3(launch_blocks(it.rows, 1 << 20));
    rows.block = total.block = dim3(ENTROPY_THREADS);
    rows.shared = total.shared = ENTROPY_SHARED;
    total.grid = dim3(1);
    if (it.rows && !LAUNCH(entropy_rows_kernel, rows, it))
        return false;
    return LAUNCH(entropy_total_kernel, total, it);
}

struct entropy_gradient_piece {
    struct operand out, logits;
    const int32_t *labels;
    const double *count, *scale;
    const float *lse;
    double factor;
    int64_t columns;
    struct cuda_fault *fault;
    __device__ void operator()(int64_t row, int64_t column, int width) const
    {
        struct quad piece = {{0, 0, 0, 0}};
        int64_t label = labels[row];
        if (label >= 0 && *count != 0 &&
            index_within(fault, OP_CROSS_ENTROPY_GRADIENT, row, label, INT32_MIN, columns)) {
            float coefficient = (float)(*scale * factor / *count);
            piece = quad_load(logits, row, column, width);
            for (int i = 0; i < 4; i++) {
                float softmax = expf((float)factor * piece.at[i] - lse[row]);
                piece.at[i] = coefficient * (softmax - (column + i == label ? 1.0f : 0.0f));
            }
        }
        quad_store(out, row, column, width, piece);
    }
};

CUDA_RUN(cross_entropy_gradient)
{
    const struct tensor *out = &call->outputs[0];
    struct entropy_gradient_piece piece;
    piece.out = operand_of(out);
    piece.logits = operand_of(&call->inputs[0]);
    piece.labels = (const int32_t *)call->inputs[1].data;
    piece.count = (const double *)call->inputs[2].data;
    piece.lse = (const float *)call->inputs[3].data;
    piece.scale = (const double *)call->inputs[4].data;
    piece.factor = call->parameters.factor;
    piece.columns = cuda_columns(out);
    piece.fault = context->fault;
    return pointwise_run(context, "cross_entropy_gradient", piece, cuda_rows(out), piece.columns,
                         status);
}
