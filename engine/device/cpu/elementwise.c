/* FILL, COPY, SCALE, ADD, ACCUMULATE, SLICE_ROWS, WRITE_ROWS, ADD_BIAS, BIAS_GRADIENT. */
#include "engine/device/cpu/cpu.h"

static bool is_small_float(const struct tensor *tensor)
{
    return tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_BF16 || tensor->dtype == DTYPE_F16;
}

CPU_RUN(fill)
{
    (void)status;
    const struct tensor *out = &call->outputs[0];
    int64_t columns = cpu_columns(out), rows = cpu_rows(out);
    size_t bytes = (size_t)columns * dtype_size(out->dtype);
    if (rows == 0 || columns == 0)
        return true;
    for (int64_t i = 0; i < columns; i++)
        dtype_store(out->dtype, out->data, (size_t)i, call->parameters.value);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 1; row < rows; row++)
        memcpy(cpu_at(out, row, 0), out->data, bytes);
    (void)context;
    return true;
}

/* One piece from one tensor to another, converted. */
static void copy_piece(const struct cpu_context *context, void *to, enum dtype to_dtype,
                       const void *from, enum dtype from_dtype, int64_t count)
{
    if (to_dtype == from_dtype)
        memmove(to, from, (size_t)count * dtype_size(to_dtype));
    else if (from_dtype == DTYPE_F32 && (to_dtype == DTYPE_BF16 || to_dtype == DTYPE_F16))
        context->kernels->from_float(to, to_dtype, from, count);
    else if (to_dtype == DTYPE_F32 && (from_dtype == DTYPE_BF16 || from_dtype == DTYPE_F16))
        context->kernels->to_float(to, from, from_dtype, count);
    else
        dtype_convert(to, to_dtype, from, from_dtype, (size_t)count);
}

static void copy_all(const struct cpu_context *context, const struct tensor *out,
                     const struct tensor *in)
{
    if (out->data == in->data && out->dtype == in->dtype && out->row_stride == in->row_stride)
        return;
    struct cpu_pieces pieces = cpu_pieces((const struct tensor *[]){out, in}, 2);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        if (cpu_stops(context))
            continue;
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        copy_piece(context, cpu_at(out, row, column), out->dtype, cpu_at(in, row, column),
                   in->dtype, count);
    }
}

CPU_RUN(copy)
{
    (void)status;
    copy_all(context, &call->outputs[0], &call->inputs[0]);
    return true;
}

/* SCALE and ADD of float64 scalars and other rare types. */
static void combine_doubles(const struct op_call *call)
{
    const struct tensor *out = &call->outputs[0];
    for (int64_t i = 0; i < shape_elements(out->shape); i++) {
        double value = tensor_load(&call->inputs[0], i);
        if (call->op == OP_SCALE)
            value *= call->parameters.factor;
        else
            value += tensor_load(&call->inputs[1], i);
        struct tensor target = *out;
        tensor_store(&target, i, value);
    }
}

CPU_RUN(scale)
{
    (void)status;
    const struct tensor *out = &call->outputs[0], *in = &call->inputs[0];
    if (!is_small_float(out) || !is_small_float(in)) {
        combine_doubles(call);
        return true;
    }
    struct cpu_pieces pieces = cpu_pieces((const struct tensor *[]){out, in}, 2);
    float factor = (float)call->parameters.factor;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        if (cpu_stops(context))
            continue;
        float in_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        float *to = cpu_target(out, row, column, out_buffer);
        context->kernels->scale(to, cpu_read(context, in, row, column, count, in_buffer), factor,
                                count);
        cpu_write(context, out, row, column, count, to);
    }
    return true;
}

CPU_RUN(add)
{
    (void)status;
    const struct tensor *out = &call->outputs[0], *a = &call->inputs[0], *b = &call->inputs[1];
    if (!is_small_float(out) || !is_small_float(a) || !is_small_float(b)) {
        combine_doubles(call);
        return true;
    }
    struct cpu_pieces pieces = cpu_pieces((const struct tensor *[]){out, a, b}, 3);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        if (cpu_stops(context))
            continue;
        float a_buffer[CPU_CHUNK], b_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        float *to = cpu_target(out, row, column, out_buffer);
        context->kernels->add(to, cpu_read(context, a, row, column, count, a_buffer),
                              cpu_read(context, b, row, column, count, b_buffer), count);
        cpu_write(context, out, row, column, count, to);
    }
    return true;
}

/* The rows first_row.. of a tensor that the other operand, of `rows` rows, stands for. */
static bool rows_of(const struct op_call *call, const struct tensor *whole, int64_t rows,
                    struct tensor *part, struct status *status)
{
    int64_t first = call->parameters.first_row;
    if (first < 0 || first + rows > cpu_rows(whole))
        return status_fail(status, STATUS_INVALID, "%s: rows %lld to %lld of a tensor of %lld rows",
                           op_name(call->op), (long long)first, (long long)(first + rows - 1),
                           (long long)cpu_rows(whole));
    *part = *whole;
    part->data = cpu_at(whole, first, 0);
    part->shape.dims[0] = rows;
    return true;
}

CPU_RUN(slice_rows)
{
    struct tensor part;
    if (!rows_of(call, &call->inputs[0], cpu_rows(&call->outputs[0]), &part, status))
        return false;
    copy_all(context, &call->outputs[0], &part);
    return true;
}

CPU_RUN(write_rows)
{
    struct tensor part;
    if (!rows_of(call, &call->outputs[0], cpu_rows(&call->inputs[1]), &part, status))
        return false;
    copy_all(context, &call->outputs[0], &call->inputs[0]);
    copy_all(context, &part, &call->inputs[1]);
    return true;
}

CPU_WORKSPACE(add_bias)
{
    (void)context;
    return (size_t)cpu_columns(&call->outputs[0]) * sizeof(float);
}

CPU_RUN(add_bias)
{
    (void)status;
    const struct tensor *out = &call->outputs[0], *x = &call->inputs[0];
    const float *bias = cpu_vector(context, &call->inputs[1], call->workspace);
    int64_t columns = cpu_columns(out), rows = cpu_rows(out);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
            float in_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
            int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
            float *to = cpu_target(out, row, column, out_buffer);
            context->kernels->add(to, cpu_read(context, x, row, column, count, in_buffer),
                                  bias + column, count);
            cpu_write(context, out, row, column, count, to);
        }
    return true;
}

CPU_WORKSPACE(bias_gradient)
{
    (void)context;
    int64_t columns = cpu_columns(&call->inputs[0]);
    return (size_t)(cpu_blocks(cpu_rows(&call->inputs[0])).count * columns) * sizeof(float);
}

CPU_RUN(bias_gradient)
{
    (void)status;
    const struct tensor *dy = &call->inputs[0];
    int64_t columns = cpu_columns(dy), rows = cpu_rows(dy);
    struct cpu_blocks blocks = cpu_blocks(rows);
    float *partial = call->workspace;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads))
    for (int64_t block = 0; block < blocks.count; block++) {
        float buffer[CPU_CHUNK], *sum = partial + block * columns;
        int64_t end = (block + 1) * blocks.rows < rows ? (block + 1) * blocks.rows : rows;
        memset(sum, 0, (size_t)columns * sizeof(float));
        for (int64_t row = block * blocks.rows; row < end; row++)
            for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
                int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
                context->kernels->add(sum + column, sum + column,
                                      cpu_read(context, dy, row, column, count, buffer), count);
            }
    }
    cpu_combine(context, &blocks, partial, columns, &call->outputs[0]);
    return true;
}
