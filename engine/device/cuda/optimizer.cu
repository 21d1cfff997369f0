/* SUM_SQUARES, OPTIMIZER_FACTORS, ADAMW. */
#include "engine/device/cuda/operand.cuh"

enum { SQUARES_THREADS = 256, SQUARES_SHARED = WARP * sizeof(double), SQUARES_BLOCKS = 512 };

struct squares {
    struct operand x;
    int64_t rows, columns;
    const double *total;
    double *partial, *out;
    int64_t blocks;
};

/* A block's share is every so many pieces of four elements for each of its threads; the number of
 * blocks depends on the shape alone. */
static __global__ void squares_kernel(struct squares it)
{
    double *shared = (double *)(void *)shared_memory(), sum = 0;
    int64_t per_row = divide_up(it.columns, 4), pieces = it.rows * per_row;
    int64_t step = (int64_t)gridDim.x * SQUARES_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * SQUARES_THREADS + threadIdx.x; i < pieces; i += step) {
        int64_t row = it.rows == 1 ? 0 : i / per_row, column = 4 * (i - row * per_row);
        struct quad x = quad_load(it.x, row, column, quad_width(it.columns, column));
        for (int j = 0; j < 4; j++) /* what is not there is 0 */
            sum += (double)x.at[j] * (double)x.at[j];
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        it.partial[blockIdx.x] = sum;
}

static __global__ void squares_total_kernel(struct squares it)
{
    double *shared = (double *)(void *)shared_memory(), sum = 0;
    for (int64_t i = threadIdx.x; i < it.blocks; i += blockDim.x)
        sum += it.partial[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        *it.out = *it.total + sum;
}

CUDA_WORKSPACE(sum_squares)
{
    (void)context;
    (void)call;
    return SQUARES_BLOCKS * sizeof(double);
}

CUDA_RUN(sum_squares)
{
    const struct tensor *x = &call->inputs[1];
    struct span span = span_of(&x, 1);
    struct squares it;
    it.x = operand_of(x);
    it.rows = span.rows;
    it.columns = span.columns;
    it.total = (const double *)call->inputs[0].data;
    it.out = (double *)call->outputs[0].data;
    it.partial = (double *)call->workspace;
    it.blocks = launch_blocks(divide_up(it.rows * divide_up(it.columns, 4), SQUARES_THREADS),
                              SQUARES_BLOCKS);
    struct launch parts, total;
    parts.grid = dim3((unsigned)it.blocks);
    total.grid = dim3(1);
    parts.block = total.block = dim3(SQUARES_THREADS);
    parts.shared = total.shared = SQUARES_SHARED;
    return LAUNCH(squares_kernel, parts, it) && LAUNCH(squares_total_kernel, total, it);
}

enum { MULTIPLIER, SKIP, LEARNING_RATE, CORRECTION_1, CORRECTION_2, FACTORS_SIZE };

struct factors {
    const double *squares, *learning_rate, *scaler_in;
    double *factors, *scaler_out;
    float *norm;
    double limit, beta1, beta2, window, hysteresis;
    bool dynamic;
};

__device__ inline void advance_scaler(double scaler[SCALER_SIZE], const struct factors &it,
                                      bool skip)
{
    if (skip) {
        scaler[SCALER_GOOD_STEPS] = 0;
        scaler[SCALER_HYSTERESIS] -= 1;
        if (scaler[SCALER_HYSTERESIS] <= 0)
            scaler[SCALER_LOSS_SCALE] = fmax(scaler[SCALER_LOSS_SCALE] / 2, 1.0);
        return;
    }
    scaler[SCALER_STEP] += 1;
    if (!it.dynamic)
        return;
    scaler[SCALER_GOOD_STEPS] += 1;
    if (scaler[SCALER_GOOD_STEPS] >= it.window) {
        scaler[SCALER_LOSS_SCALE] *= 2;
        scaler[SCALER_GOOD_STEPS] = 0;
        scaler[SCALER_HYSTERESIS] = it.hysteresis;
    }
}

static __global__ void factors_kernel(struct factors it)
{
    if (threadIdx.x != 0)
        return;
    double scaler[SCALER_SIZE];
    for (int i = 0; i < SCALER_SIZE; i++)
        scaler[i] = it.scaler_in[i];
    double multiplier = 1 / scaler[SCALER_LOSS_SCALE], norm = multiplier * sqrt(*it.squares);
    bool skip = it.dynamic && !isfinite(norm);
    double clip = it.limit / (norm + 1e-6);
    advance_scaler(scaler, it, skip);
    if (it.limit > 0 && !(clip >= 1)) /* a NaN gets through */
        multiplier *= clip;
    it.factors[MULTIPLIER] = multiplier;
    it.factors[SKIP] = skip;
    it.factors[LEARNING_RATE] = *it.learning_rate;
    it.factors[CORRECTION_1] = 1 - pow(it.beta1, scaler[SCALER_STEP]);
    it.factors[CORRECTION_2] = 1 - pow(it.beta2, scaler[SCALER_STEP]);
    for (int i = 0; i < SCALER_SIZE; i++)
        it.scaler_out[i] = scaler[i];
    *it.norm = (float)norm;
}

CUDA_RUN(optimizer_factors)
{
    const struct op_parameters *parameters = &call->parameters;
    struct factors it;
    it.squares = (const double *)call->inputs[0].data;
    it.learning_rate = (const double *)call->inputs[1].data;
    it.scaler_in = (const double *)call->inputs[2].data;
    it.factors = (double *)call->outputs[0].data;
    it.scaler_out = (double *)call->outputs[1].data;
    it.norm = (float *)call->outputs[2].data;
    it.limit = parameters->factor;
    it.beta1 = parameters->beta1;
    it.beta2 = parameters->beta2;
    it.window = (double)parameters->window;
    it.hysteresis = parameters->hysteresis;
    it.dynamic = parameters->dynamic;
    struct launch where;
    where.grid = dim3(1);
    where.block = dim3(WARP);
    where.shared = 0;
    return LAUNCH(factors_kernel, where, it);
}

struct adamw_piece {
    struct operand p, g, m, v, new_p, new_m, new_v;
    const double *factors;
    double beta1, beta2, epsilon, decay, rate;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad weight = quad_load(p, row, column, count);
        struct quad first = quad_load(m, row, column, count);
        struct quad second = quad_load(v, row, column, count);
        if (factors[SKIP] == 0) {
            struct quad gradient = quad_load(g, row, column, count);
            float multiplier = (float)factors[MULTIPLIER];
            float step = (float)(factors[LEARNING_RATE] * rate);
            float c1 = (float)(1 / factors[CORRECTION_1]), c2 = (float)(1 / factors[CORRECTION_2]);
            for (int i = 0; i < 4; i++) {
                float by = multiplier * gradient.at[i];
                first.at[i] = (float)beta1 * first.at[i] + (float)(1 - beta1) * by;
                second.at[i] = (float)beta2 * second.at[i] + (float)(1 - beta2) * by * by;
                float direction = first.at[i] * c1 / (sqrtf(second.at[i] * c2) + (float)epsilon);
                weight.at[i] -= step * (direction + (float)decay * weight.at[i]);
            }
        }
        quad_store(new_p, row, column, count, weight);
        quad_store(new_m, row, column, count, first);
        quad_store(new_v, row, column, count, second);
    }
};

CUDA_RUN(adamw)
{
    const struct tensor *in = call->inputs, *out = call->outputs;
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *tensors[7] = {&out[0], &out[1], &out[2], &in[0], &in[1], &in[2], &in[3]};
    struct span span = span_of(tensors, 7);
    struct adamw_piece piece;
    piece.p = operand_of(&in[0]);
    piece.g = operand_of(&in[1]);
    piece.m = operand_of(&in[2]);
    piece.v = operand_of(&in[3]);
    piece.new_p = operand_of(&out[0]);
    piece.new_m = operand_of(&out[1]);
    piece.new_v = operand_of(&out[2]);
    piece.factors = (const double *)in[4].data;
    piece.beta1 = parameters->beta1;
    piece.beta2 = parameters->beta2;
    piece.epsilon = parameters->epsilon;
    piece.decay = parameters->decay;
    piece.rate = parameters->factor;
    return pointwise_run(context, "adamw", piece, span.rows, span.columns, status);
}
