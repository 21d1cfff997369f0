/* LAYER_NORM, RMS_NORM and their gradients: a block of threads for each row. */
#include "engine/device/cuda/sums.cuh"

enum { NORM_THREADS = 128, NORM_SHARED = WARP * sizeof(float) };

struct norm {
    struct operand x, w, b, y;
    float *mean, *inverse; /* mean is NULL in a root mean square norm */
    int64_t rows, columns;
    float epsilon;
};

static __global__ void norm_kernel(struct norm norm)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < norm.rows; row += gridDim.x) {
        float sum = 0, squares = 0, mean = 0;
        if (norm.mean) {
            for (int64_t i = threadIdx.x; i < norm.columns; i += blockDim.x)
                sum += operand_load(norm.x, row, i);
            mean = block_sum(sum, shared) / (float)norm.columns;
        }
        for (int64_t i = threadIdx.x; i < norm.columns; i += blockDim.x) {
            float centered = operand_load(norm.x, row, i) - mean;
            squares += centered * centered;
        }
        float inverse =
            1.0f / sqrtf(block_sum(squares, shared) / (float)norm.columns + norm.epsilon);
        for (int64_t i = threadIdx.x; i < norm.columns; i += blockDim.x) {
            float y = (operand_load(norm.x, row, i) - mean) * inverse * operand_load(norm.w, 0, i);
            operand_store(norm.y, row, i, norm.mean ? y + operand_load(norm.b, 0, i) : y);
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

static __global__ void norm_gradient_kernel(struct norm_gradient norm)
{
    float *shared = (float *)(void *)shared_memory();
    for (int64_t row = blockIdx.x; row < norm.rows; row += gridDim.x) {
        float g_sum = 0, gn_sum = 0;
        for (int64_t i = threadIdx.x; i < norm.columns; i += blockDim.x) {
            float g = operand_load(norm.dy, row, i) * operand_load(norm.w, 0, i);
            g_sum += g;
            gn_sum += g * normalized(norm, row, i);
        }
        float gn_mean = block_sum(gn_sum, shared) / (float)norm.columns;
        float g_mean = norm.mean ? block_sum(g_sum, shared) / (float)norm.columns : 0.0f;
        for (int64_t i = threadIdx.x; i < norm.columns; i += blockDim.x) {
            float g = operand_load(norm.dy, row, i) * operand_load(norm.w, 0, i);
            operand_store(norm.dx, row, i,
                          norm.inverse[row] * (g - g_mean - normalized(norm, row, i) * gn_mean));
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
