/* ACTIVATION, GATED_ACTIVATION and their gradients. */
#include "engine/device/cuda/operand.cuh"

/* sqrt(2/pi) and the cubic coefficient of the tanh form of gelu (arXiv:1606.08415, section 2). */
#define GELU_ROOT 0.7978845608028654f
#define GELU_CUBIC 0.044715f

__device__ inline float sigmoid_of(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

__device__ inline float gelu_turn(float x)
{
    return tanhf(GELU_ROOT * (x + GELU_CUBIC * x * x * x));
}

__device__ inline float activation_value(int kind, float x)
{
    switch (kind) {
    case ACTIVATION_GELU:
        return 0.5f * x * (1.0f + gelu_turn(x));
    case ACTIVATION_SILU:
        return x * sigmoid_of(x);
    case ACTIVATION_RELU:
        return x < 0 ? 0.0f : x; /* keeps NaN */
    case ACTIVATION_SIGMOID:
        return sigmoid_of(x);
    case ACTIVATION_SQUARED_RELU:
        return x < 0 ? 0.0f : x * x;
    default:
        return x;
    }
}

__device__ inline float activation_slope(int kind, float x)
{
    float s;
    switch (kind) {
    case ACTIVATION_GELU:
        s = gelu_turn(x);
        return 0.5f * (1.0f + s) +
               0.5f * x * (1.0f - s * s) * GELU_ROOT * (1.0f + 3.0f * GELU_CUBIC * x * x);
    case ACTIVATION_SILU:
        s = sigmoid_of(x);
        return s * (1.0f + x * (1.0f - s));
    case ACTIVATION_RELU:
        return x > 0 ? 1.0f : 0.0f; /* 0 at the kink */
    case ACTIVATION_SIGMOID:
        s = sigmoid_of(x);
        return s * (1.0f - s);
    case ACTIVATION_SQUARED_RELU:
        return x > 0 ? 2.0f * x : 0.0f;
    default:
        return 1.0f;
    }
}

struct activation_piece {
    struct operand out, x;
    int kind;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad piece = quad_load(x, row, column, count);
        for (int i = 0; i < 4; i++)
            piece.at[i] = activation_value(kind, piece.at[i]);
        quad_store(out, row, column, count, piece);
    }
};

CUDA_RUN(activation)
{
    const struct tensor *tensors[2] = {&call->outputs[0], &call->inputs[0]};
    struct span span = span_of(tensors, 2);
    struct activation_piece piece = {operand_of(tensors[0]), operand_of(tensors[1]),
                                     (int)call->parameters.activation};
    return pointwise_run(context, "activation", piece, span.rows, span.columns, status);
}

struct activation_gradient_piece {
    struct operand out, dy, x;
    int kind;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad at = quad_load(x, row, column, count),
                    piece = quad_load(dy, row, column, count);
        for (int i = 0; i < 4; i++)
            piece.at[i] *= activation_slope(kind, at.at[i]);
        quad_store(out, row, column, count, piece);
    }
};

CUDA_RUN(activation_gradient)
{
    const struct tensor *tensors[3] = {&call->outputs[0], &call->inputs[0], &call->inputs[1]};
    struct span span = span_of(tensors, 3);
    struct activation_gradient_piece piece = {operand_of(tensors[0]), operand_of(tensors[1]),
                                              operand_of(tensors[2]),
                                              (int)call->parameters.activation};
    return pointwise_run(context, "activation_gradient", piece, span.rows, span.columns, status);
}

struct gated_piece {
    struct operand out, x;
    int kind;
    int64_t half;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad gate = quad_load(x, row, column, count);
        struct quad up = quad_load(x, row, column + half, count);
        for (int i = 0; i < 4; i++)
            gate.at[i] = activation_value(kind, gate.at[i]) * up.at[i];
        quad_store(out, row, column, count, gate);
    }
};

CUDA_RUN(gated_activation)
{
    const struct tensor *out = &call->outputs[0];
    struct gated_piece piece = {operand_of(out), operand_of(&call->inputs[0]),
                                (int)call->parameters.activation, cuda_columns(out)};
    return pointwise_run(context, "gated_activation", piece, cuda_rows(out), cuda_columns(out),
                         status);
}

struct gated_gradient_piece {
    struct operand out, dy, x;
    int kind;
    int64_t half;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad slope = quad_load(dy, row, column, count), dup = slope;
        struct quad gate = quad_load(x, row, column, count);
        struct quad up = quad_load(x, row, column + half, count);
        for (int i = 0; i < 4; i++) {
            slope.at[i] *= up.at[i] * activation_slope(kind, gate.at[i]);
            dup.at[i] *= activation_value(kind, gate.at[i]);
        }
        quad_store(out, row, column, count, slope);
        quad_store(out, row, column + half, count, dup);
    }
};

CUDA_RUN(gated_activation_gradient)
{
    const struct tensor *dy = &call->inputs[0];
    struct gated_gradient_piece piece = {operand_of(&call->outputs[0]), operand_of(dy),
                                         operand_of(&call->inputs[1]),
                                         (int)call->parameters.activation, cuda_columns(dy)};
    return pointwise_run(context, "gated_activation_gradient", piece, cuda_rows(dy),
                         cuda_columns(dy), status);
}
