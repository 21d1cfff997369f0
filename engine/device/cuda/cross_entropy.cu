/* CROSS_ENTROPY, its gradient, and the same where the vocabulary is divided among ranks: a block of
 * threads for each row of logits. */
#include "engine/device/cuda/operand.cuh"

enum { ENTROPY_THREADS = 256, ENTROPY_SHARED = WARP * sizeof(double) };

/* The columns of the logits are first .. first+columns-1 of a vocabulary of `vocabulary`. */
struct entropy {
    struct operand logits;
    const int32_t *labels;
    int64_t rows, columns, first, vocabulary;
    double factor;
    struct cuda_fault *fault;
    int op;
};

static struct entropy entropy_of(const struct cuda_context *context, const struct op_call *call)
{
    struct entropy it;
    it.logits = operand_of(&call->inputs[0]);
    it.labels = (const int32_t *)call->inputs[1].data;
    it.rows = cuda_rows(&call->inputs[0]);
    it.columns = cuda_columns(&call->inputs[0]);
    it.first = call->parameters.window > 0 ? call->parameters.first_row : 0;
    it.vocabulary = call->parameters.window > 0 ? call->parameters.window : it.columns;
    it.factor = call->parameters.factor;
    it.fault = context->fault;
    it.op = (int)call->op;
    return it;
}

static struct launch launch_rows(int64_t rows)
{
    struct launch where;
    where.grid = dim3(launch_blocks(rows, 1 << 20));
    where.block = dim3(ENTROPY_THREADS);
    where.shared = ENTROPY_SHARED;
    return where;
}

/* Whether the row counts, with a label that there is. */
__device__ inline bool is_labelled(const struct entropy &it, int64_t row)
{
    int64_t label = it.labels[row];
    return label >= 0 && index_within(it.fault, it.op, row, label, INT32_MIN, it.vocabulary);
}

/* log sum exp of factor * row, for all threads. */
__device__ inline float log_sum_exp(const struct entropy &it, int64_t row, float *shared)
{
    float factor = (float)it.factor, largest = -INFINITY, sum = 0;
    for (int64_t i = 4 * threadIdx.x; i < it.columns; i += 4 * ENTROPY_THREADS) {
        int count = quad_width(it.columns, i);
        struct quad piece = quad_load(it.logits, row, i, count);
        for (int j = 0; j < 4; j++)
            if (j < count)
                largest = fmaxf(largest, factor * piece.at[j]);
    }
    largest = block_maximum(largest, shared);
    float shift = largest > -INFINITY ? largest : 0.0f;
    for (int64_t i = 4 * threadIdx.x; i < it.columns; i += 4 * ENTROPY_THREADS) {
        int count = quad_width(it.columns, i);
        struct quad piece = quad_load(it.logits, row, i, count);
        for (int j = 0; j < 4; j++)
            if (j < count)
                sum += expf(product_less(factor, piece.at[j], shift));
    }
    return shift + logf(block_sum(sum, shared));
}

static __global__ void entropy_rows_kernel(struct entropy it, float *lses, double *losses)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < it.rows; row += gridDim.x) {
        float lse = log_sum_exp(it, row, shared);
        if (threadIdx.x != 0)
            continue;
        lses[row] = lse;
        losses[row] = 0;
        if (is_labelled(it, row))
            losses[row] =
                (double)lse - it.factor * (double)operand_load(it.logits, row, it.labels[row]);
    }
}

/* One block: each thread adds every 256th row, then the threads are added. */
static __global__ void entropy_total_kernel(const double *losses, int64_t rows, const double *count,
                                            float *loss)
{
    double *shared = (double *)(void *)shared_memory(), sum = 0;
    for (int64_t row = threadIdx.x; row < rows; row += blockDim.x)
        sum += losses[row];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        *loss = *count == 0 ? 0.0f : (float)(sum / *count);
}

CUDA_WORKSPACE(cross_entropy)
{
    (void)context;
    return (size_t)cuda_rows(&call->inputs[0]) * sizeof(double);
}

CUDA_RUN(cross_entropy)
{
    struct entropy it = entropy_of(context, call);
    double *losses = (double *)call->workspace;
    if (it.rows && !LAUNCH(entropy_rows_kernel, launch_rows(it.rows), it,
                           (float *)call->outputs[1].data, losses))
        return false;
    return LAUNCH(entropy_total_kernel, launch_rows(1), losses, it.rows,
                  (const double *)call->inputs[2].data, (float *)call->outputs[0].data);
}

struct entropy_gradient_piece {
    struct entropy it;
    struct operand out;
    const double *count, *scale;
    const float *lse;
    __device__ void operator()(int64_t row, int64_t column, int width) const
    {
        struct quad piece = {{0, 0, 0, 0}};
        if (*count != 0 && is_labelled(it, row)) {
            float coefficient = (float)(*scale * it.factor / *count);
            piece = quad_load(it.logits, row, column, width);
            for (int i = 0; i < 4; i++) {
                float softmax = expf(product_less((float)it.factor, piece.at[i], lse[row]));
                bool label = it.first + column + i == it.labels[row];
                piece.at[i] = coefficient * (softmax - (label ? 1.0f : 0.0f));
            }
        }
        quad_store(out, row, column, width, piece);
    }
};

CUDA_RUN(cross_entropy_gradient)
{
    struct entropy_gradient_piece piece;
    piece.it = entropy_of(context, call);
    piece.out = operand_of(&call->outputs[0]);
    piece.count = (const double *)call->inputs[2].data;
    piece.lse = (const float *)call->inputs[3].data;
    piece.scale = (const double *)call->inputs[4].data;
    return pointwise_run(context, "cross_entropy_gradient", piece, piece.it.rows, piece.it.columns,
                         status);
}

static __global__ void entropy_part_kernel(struct entropy it, float *lses, float *targets)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < it.rows; row += gridDim.x) {
        float lse = log_sum_exp(it, row, shared);
        if (threadIdx.x != 0)
            continue;
        int64_t at = it.labels[row] - it.first;
        bool mine = is_labelled(it, row) && at >= 0 && at < it.columns;
        lses[row] = lse;
        targets[row] = mine ? (float)(it.factor * (double)operand_load(it.logits, row, at)) : 0.0f;
    }
}

CUDA_RUN(cross_entropy_part)
{
    struct entropy it = entropy_of(context, call);
    return it.rows == 0 || LAUNCH(entropy_part_kernel, launch_rows(it.rows), it,
                                  (float *)call->outputs[0].data, (float *)call->outputs[1].data);
}

/* lse = log sum exp of a column of parts; a thread for each row, the parts are few. */
static __global__ void entropy_join_kernel(struct entropy it, struct operand parts, int64_t count,
                                           const float *targets, float *lses, double *losses)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= it.rows)
        return;
    float largest = -INFINITY, sum = 0;
    for (int64_t part = 0; part < count; part++)
        largest = fmaxf(largest, operand_load(parts, part, row));
    float shift = largest > -INFINITY ? largest : 0.0f;
    for (int64_t part = 0; part < count; part++)
        sum += expf(operand_load(parts, part, row) - shift);
    lses[row] = shift + logf(sum);
    losses[row] = is_labelled(it, row) ? (double)lses[row] - (double)targets[row] : 0.0;
}

CUDA_WORKSPACE(cross_entropy_parallel)
{
    (void)context;
    return (size_t)cuda_rows(&call->inputs[0]) * sizeof(double);
}

CUDA_RUN(cross_entropy_parallel)
{
    struct entropy it = entropy_of(context, call);
    double *losses = (double *)call->workspace;
    struct launch join = launch_rows(divide_up(it.rows, ENTROPY_THREADS));
    if (it.rows && !LAUNCH(entropy_join_kernel, join, it, operand_of(&call->inputs[3]),
                           cuda_rows(&call->inputs[3]), (const float *)call->inputs[4].data,
                           (float *)call->outputs[1].data, losses))
        return false;
    return LAUNCH(entropy_total_kernel, launch_rows(1), losses, it.rows,
                  (const double *)call->inputs[2].data, (float *)call->outputs[0].data);
}
