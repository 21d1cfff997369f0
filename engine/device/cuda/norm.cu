/* LAYER_NORM, RMS_NORM and their gradients: a block of threads for each row. */
#include "engine/device/cuda/sums.cuh"

enum { NORM_THREADS = 128, NORM_SHARED = WARP * sizeof(float) };

struct norm {
    struct operand x, w, b, y;
    float *mean, *inverse; /* mean is NULL in a root mean square norm */
    int64_t rows, columns;
    float epsilon;
};

/* Sum of the row, or of the squares of its distances from `center`. */
__device__ inline float row_sum(const struct norm &norm, int64_t row, float center, bool squares,
                                float *shared)
{
    float sum = 0;
    for (int64_t i = 4 * threadIdx.x; i < norm.columns; i += 4 * NORM_THREADS) {
        int count = quad_width(norm.columns, i);
        struct quad x = quad_load(norm.x, row, i, count);
        for (int j = 0; j < 4; j++)
            if (j < count)
                sum += squares ? (x.at[j] - center) * (x.at[j] - center) : x.at[j];
    }
    return block_sum(sum, shared);
}

static __global__ void norm_kernel(struct norm norm)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < norm.rows; row += gridDim.x) {
        float width = (float)norm.columns;
        float mean = norm.mean ? row_sum(norm, row, 0, false, shared) / width : 0.0f;
        float variance = row_sum(norm, row, mean, true, shared) / width;
        float inverse = 1.0f / sqrtf(variance + norm.epsilon);
        for (int64_t i = 4 * threadIdx.x; i < norm.columns; i += 4 * NORM_THREADS) {
            int count = quad_width(norm.columns, i);
            struct quad y = quad_load(norm.x, row, i, count), w = quad_load(norm.w, 0, i, count);
            struct quad b = {{0, 0, 0, 0}};
            if (norm.mean)
                b = quad_load(norm.b, 0, i, count);
            for (int j = 0; j < 4; j++)
                y.at[j] = (y.at[j] - mean) * inverse * w.at[j] + b.at[j];
            quad_store(norm.y, row, i, count, y);
        }
        if (threadIdx.x == 0) {
            norm.inverse[row] = inverse;
            if (norm.mean)
                norm.mean[row] = mean;
        }
    }
}

static struct launch launch_of(int64_t rows)
{
    struct launch where;
    where.grid = dim3(launch_blocks(rows, 1 << 20));
    where.block = dim3(NORM_THREADS);
    where.shared = NORM_SHARED;
    return where;
}

static bool forward(struct cuda_context *context, const struct op_call *call, bool centered,
                    struct status *status)
{
    struct norm norm;
    norm.x = operand_of(&call->inputs[0]);
    norm.w = operand_of(&call->inputs[1]);
    norm.b = operand_of(&call->inputs[centered ? 2 : 1]);
    norm.y = operand_of(&call->outputs[0]);
    norm.mean = centered ? (float *)call->outputs[1].data : NULL;
    norm.inverse = (float *)call->outputs[centered ? 2 : 1].data;
    norm.rows = cuda_rows(&call->inputs[0]);
    norm.columns = cuda_columns(&call->inputs[0]);
    norm.epsilon = (float)call->parameters.epsilon;
    return norm.rows == 0 || LAUNCH(norm_kernel, launch_of(norm.rows), norm);
}

CUDA_RUN(layer_norm)
{
    return forward(context, call, true, status);
}

CUDA_RUN(rms_norm)
{
    return forward(context, call, false, status);
}

/* With n = (x - mean) inverse and g = dy w: dx = inverse (g - mean(g) - n mean(g n)), dw = sum over
 * rows of dy n, db = that of dy. Without the mean in a root mean square norm. */
struct norm_gradient {
    struct operand dy, x, w, dx;
    const float *mean, *inverse;
    int64_t rows, columns;
};

__device__ inline float normalized(const struct norm_gradient &norm, int64_t row, int64_t column)
{
    float x = operand_load(norm.x, row, column);
    return (norm.mean ? x - norm.mean[row] : x) * norm.inverse[row];
}

/* g = dy w and n of four neighbours. */
__device__ inline int gradient_parts(const struct norm_gradient &norm, int64_t row, int64_t column,
                                     struct quad *g, struct quad *n)
{
    int count = quad_width(norm.columns, column);
    float mean = norm.mean ? norm.mean[row] : 0.0f, inverse = norm.inverse[row];
    struct quad w = quad_load(norm.w, 0, column, count);
    *g = quad_load(norm.dy, row, column, count);
    *n = quad_load(norm.x, row, column, count);
    for (int j = 0; j < 4; j++) {
        g->at[j] *= w.at[j];
        n->at[j] = (n->at[j] - mean) * inverse;
    }
    return count;
}

static __global__ void norm_gradient_kernel(struct norm_gradient norm)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < norm.rows; row += gridDim.x) {
        float g_sum = 0, gn_sum = 0;
        struct quad g, n;
        for (int64_t i = 4 * threadIdx.x; i < norm.columns; i += 4 * NORM_THREADS) {
            int count = gradient_parts(norm, row, i, &g, &n);
            for (int j = 0; j < 4; j++) {
                g_sum += j < count ? g.at[j] : 0.0f;
                gn_sum += j < count ? g.at[j] * n.at[j] : 0.0f;
            }
        }
        float gn_mean = block_sum(gn_sum, shared) / (float)norm.columns;
        float g_mean = norm.mean ? block_sum(g_sum, shared) / (float)norm.columns : 0.0f;
        for (int64_t i = 4 * threadIdx.x; i < norm.columns; i += 4 * NORM_THREADS) {
            int count = gradient_parts(norm, row, i, &g, &n);
            for (int j = 0; j < 4; j++)
                g.at[j] = norm.inverse[row] * (g.at[j] - g_mean - n.at[j] * gn_mean);
            quad_store(norm.dx, row, i, count, g);
        }
    }
}

struct weight_term {
    struct norm_gradient norm;
    __device__ float operator()(int64_t row, int64_t column) const
    {
        return operand_load(norm.dy, row, column) * normalized(norm, row, column);
    }
};

struct bias_term {
    struct operand dy;
    __device__ float operator()(int64_t row, int64_t column) const
    {
        return operand_load(dy, row, column);
    }
};

static size_t workspace_of(const struct op_call *call)
{
    const struct tensor *x = &call->inputs[1];
    return (size_t)(cuda_blocks(cuda_rows(x)).count * cuda_columns(x)) * sizeof(float);
}

CUDA_WORKSPACE(layer_norm_gradient)
{
    (void)context;
    return workspace_of(call);
}

CUDA_WORKSPACE(rms_norm_gradient)
{
    (void)context;
    return workspace_of(call);
}

static bool backward(struct cuda_context *context, const struct op_call *call, bool centered,
                     struct status *status)
{
    struct norm_gradient norm;
    norm.dy = operand_of(&call->inputs[0]);
    norm.x = operand_of(&call->inputs[1]);
    norm.w = operand_of(&call->inputs[2]);
    norm.dx = operand_of(&call->outputs[0]);
    norm.mean = centered ? (const float *)call->inputs[3].data : NULL;
    norm.inverse = (const float *)call->inputs[centered ? 4 : 3].data;
    norm.rows = cuda_rows(&call->inputs[1]);
    norm.columns = cuda_columns(&call->inputs[1]);
    float *partial = (float *)call->workspace;
    struct weight_term weight = {norm};
    struct bias_term bias = {norm.dy};
    if (norm.rows && !LAUNCH(norm_gradient_kernel, launch_of(norm.rows), norm))
        return false;
    if (!column_sums_run(context, "norm weight gradient", weight, norm.rows, partial,
                         &call->outputs[1], status))
        return false;
    return !centered || column_sums_run(context, "norm bias gradient", bias, norm.rows, partial,
                                        &call->outputs[2], status);
}

CUDA_RUN(layer_norm_gradient)
{
    return backward(context, call, true, status);
}

CUDA_RUN(rms_norm_gradient)
{
    return backward(context, call, false, status);
}
