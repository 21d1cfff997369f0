/* FILL, COPY, SCALE, ADD, ACCUMULATE, SLICE_ROWS, WRITE_ROWS, ADD_BIAS, BIAS_GRADIENT. */
#include "engine/device/cuda/numbers.cuh"
#include "engine/device/cuda/sums.cuh"

struct fill_piece {
    struct operand out;
    double value;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        for (int i = 0; i < count; i++)
            number_store(out, row, column + i, value);
    }
};

CUDA_RUN(fill)
{
    const struct tensor *out = &call->outputs[0];
    struct fill_piece piece = {operand_of(out), call->parameters.value};
    struct span span = span_of(&out, 1);
    return pointwise_run(context, "fill", piece, span.rows, span.columns, status);
}

/* Another type of element: by way of floats where both are at most 32 bits wide, else doubles. */
struct convert_piece {
    struct operand out, in;
    bool small_floats;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        if (small_floats) {
            quad_store(out, row, column, count, quad_load(in, row, column, count));
            return;
        }
        for (int i = 0; i < count; i++)
            number_store(out, row, column + i, number_load(in, row, column + i));
    }
};

static bool copy_bytes(struct cuda_context *context, const struct tensor *out,
                       const struct tensor *in, const struct span &span, struct status *status)
{
    size_t size = dtype_size(out->dtype), width = (size_t)span.columns * size;
    if (out->data == in->data && out->row_stride == in->row_stride)
        return true;
    if (span.rows == 0 || span.columns == 0)
        return true;
    cudaError_t error =
        span.rows == 1
            ? cudaMemcpyAsync(out->data, in->data, width, cudaMemcpyDeviceToDevice, context->stream)
            : cudaMemcpy2DAsync(out->data, (size_t)out->row_stride * size, in->data,
                                (size_t)in->row_stride * size, width, (size_t)span.rows,
                                cudaMemcpyDeviceToDevice, context->stream);
    return error == cudaSuccess ? true : cuda_fail(context, (int)error, "copy", status);
}

static bool copy_all(struct cuda_context *context, const struct tensor *out,
                     const struct tensor *in, struct status *status)
{
    const struct tensor *tensors[2] = {out, in};
    struct span span = span_of(tensors, 2);
    if (out->dtype == in->dtype)
        return copy_bytes(context, out, in, span, status);
    bool small_floats = cuda_small_float(out->dtype) && cuda_small_float(in->dtype);
    struct convert_piece piece = {operand_of(out), operand_of(in), small_floats};
    return pointwise_run(context, "copy", piece, span.rows, span.columns, status);
}

CUDA_RUN(copy)
{
    return copy_all(context, &call->outputs[0], &call->inputs[0], status);
}

/* out = factor * a + b, or without b: the sum of doubles and integers in double. */
struct combine_piece {
    struct operand out, a, b;
    double factor;
    bool small_floats, has_b;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        if (!small_floats) {
            for (int i = 0; i < count; i++) {
                double number = number_load(a, row, column + i);
                number = has_b ? number + number_load(b, row, column + i) : number * factor;
                number_store(out, row, column + i, number);
            }
            return;
        }
        struct quad sum = quad_load(a, row, column, count);
        struct quad other = {{0, 0, 0, 0}};
        if (has_b)
            other = quad_load(b, row, column, count);
        for (int i = 0; i < 4; i++)
            sum.at[i] = has_b ? sum.at[i] + other.at[i] : sum.at[i] * (float)factor;
        quad_store(out, row, column, count, sum);
    }
};

static bool combine(struct cuda_context *context, const struct op_call *call, bool has_b,
                    struct status *status)
{
    const struct tensor *out = &call->outputs[0], *a = &call->inputs[0];
    const struct tensor *b = has_b ? &call->inputs[1] : a;
    const struct tensor *tensors[3] = {out, a, b};
    struct span span = span_of(tensors, 3);
    bool small =
        cuda_small_float(out->dtype) && cuda_small_float(a->dtype) && cuda_small_float(b->dtype);
    struct combine_piece piece = {operand_of(out),         operand_of(a), operand_of(b),
                                  call->parameters.factor, small,         has_b};
    return pointwise_run(context, op_name(call->op), piece, span.rows, span.columns, status);
}

CUDA_RUN(scale)
{
    return combine(context, call, false, status);
}

CUDA_RUN(add)
{
    return combine(context, call, true, status);
}

/* The rows first_row.. of a tensor that the other operand, of `rows` rows, stands for. */
static bool rows_of(const struct op_call *call, const struct tensor *whole, int64_t rows,
                    struct tensor *part, struct status *status)
{
    int64_t first = call->parameters.first_row;
    if (first < 0 || first + rows > cuda_rows(whole))
        return status_fail(status, STATUS_INVALID, "%s: rows %lld to %lld of a tensor of %lld rows",
                           op_name(call->op), (long long)first, (long long)(first + rows - 1),
                           (long long)cuda_rows(whole));
    *part = *whole;
    part->data =
        (char *)whole->data + first * whole->row_stride * (int64_t)dtype_size(whole->dtype);
    part->shape.dims[0] = rows;
    return true;
}

CUDA_RUN(slice_rows)
{
    struct tensor part;
    if (!rows_of(call, &call->inputs[0], cuda_rows(&call->outputs[0]), &part, status))
        return false;
    return copy_all(context, &call->outputs[0], &part, status);
}

CUDA_RUN(write_rows)
{
    struct tensor part;
    if (!rows_of(call, &call->outputs[0], cuda_rows(&call->inputs[1]), &part, status))
        return false;
    return copy_all(context, &call->outputs[0], &call->inputs[0], status) &&
           copy_all(context, &part, &call->inputs[1], status);
}

struct add_bias_piece {
    struct operand out, x, bias;
    __device__ void operator()(int64_t row, int64_t column, int count) const
    {
        struct quad sum = quad_load(x, row, column, count);
        struct quad other = quad_load(bias, 0, column, count);
        for (int i = 0; i < 4; i++)
            sum.at[i] += other.at[i];
        quad_store(out, row, column, count, sum);
    }
};

CUDA_RUN(add_bias)
{
    const struct tensor *out = &call->outputs[0];
    struct add_bias_piece piece = {operand_of(out), operand_of(&call->inputs[0]),
                                   operand_of(&call->inputs[1])};
    return pointwise_run(context, "add_bias", piece, cuda_rows(out), cuda_columns(out), status);
}

struct bias_term {
    struct operand dy;
    __device__ float operator()(int64_t row, int64_t column) const
    {
        return operand_load(dy, row, column);
    }
};

CUDA_WORKSPACE(bias_gradient)
{
    (void)context;
    const struct tensor *dy = &call->inputs[0];
    return (size_t)(cuda_blocks(cuda_rows(dy)).count * cuda_columns(dy)) * sizeof(float);
}

CUDA_RUN(bias_gradient)
{
    struct bias_term term = {operand_of(&call->inputs[0])};
    return column_sums_run(context, "bias_gradient", term, cuda_rows(&call->inputs[0]),
                           (float *)call->workspace, &call->outputs[0], status);
}
