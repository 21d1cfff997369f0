/* ACTIVATION, GATED_ACTIVATION and their gradients. */
#include "engine/device/cpu/cpu.h"

CPU_RUN(activation)
{
    (void)status;
    const struct tensor *out = &call->outputs[0], *x = &call->inputs[0];
    struct cpu_pieces pieces = cpu_pieces((const struct tensor *[]){out, x}, 2);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        if (cpu_stops(context))
            continue;
        float x_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        float *to = cpu_target(out, row, column, out_buffer);
        context->kernels->activation(call->parameters.activation, to,
                                     cpu_read(context, x, row, column, count, x_buffer), count);
        cpu_write(context, out, row, column, count, to);
    }
    return true;
}

CPU_RUN(activation_gradient)
{
    (void)status;
    const struct tensor *out = &call->outputs[0], *dy = &call->inputs[0], *x = &call->inputs[1];
    struct cpu_pieces pieces = cpu_pieces((const struct tensor *[]){out, dy, x}, 3);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        if (cpu_stops(context))
            continue;
        float dy_buffer[CPU_CHUNK], x_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        float *to = cpu_target(out, row, column, out_buffer);
        context->kernels->activation_gradient(
            call->parameters.activation, to, cpu_read(context, dy, row, column, count, dy_buffer),
            cpu_read(context, x, row, column, count, x_buffer), count);
        cpu_write(context, out, row, column, count, to);
    }
    return true;
}

static void gated_piece(const struct cpu_context *context, const struct op_call *call, int64_t row,
                        int64_t column, int64_t count)
{
    float gate_buffer[CPU_CHUNK], up_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
    const struct tensor *out = &call->outputs[0], *x = &call->inputs[0];
    int64_t half = cpu_columns(out);
    float *to = cpu_target(out, row, column, out_buffer);
    context->kernels->gated(call->parameters.activation, to,
                            cpu_read(context, x, row, column, count, gate_buffer),
                            cpu_read(context, x, row, half + column, count, up_buffer), count);
    cpu_write(context, out, row, column, count, to);
}

static void gated_gradient_piece(const struct cpu_context *context, const struct op_call *call,
                                 int64_t row, int64_t column, int64_t count)
{
    float dy_buffer[CPU_CHUNK], gate_buffer[CPU_CHUNK], up_buffer[CPU_CHUNK];
    float dgate_buffer[CPU_CHUNK], dup_buffer[CPU_CHUNK];
    const struct tensor *dx = &call->outputs[0], *dy = &call->inputs[0], *x = &call->inputs[1];
    int64_t half = cpu_columns(dy);
    float *dgate = cpu_target(dx, row, column, dgate_buffer);
    float *dup = cpu_target(dx, row, half + column, dup_buffer);
    context->kernels->gated_gradient(call->parameters.activation, dgate, dup,
                                     cpu_read(context, dy, row, column, count, dy_buffer),
                                     cpu_read(context, x, row, column, count, gate_buffer),
                                     cpu_read(context, x, row, half + column, count, up_buffer),
                                     count);
    cpu_write(context, dx, row, column, count, dgate);
    cpu_write(context, dx, row, half + column, count, dup);
}

CPU_RUN(gated_activation)
{
    (void)status;
    int64_t rows = cpu_rows(&call->outputs[0]), columns = cpu_columns(&call->outputs[0]);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns && !cpu_stops(context); column += CPU_CHUNK)
            gated_piece(context, call, row, column,
                        columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK);
    return true;
}

CPU_RUN(gated_activation_gradient)
{
    (void)status;
    int64_t rows = cpu_rows(&call->inputs[0]), columns = cpu_columns(&call->inputs[0]);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns && !cpu_stops(context); column += CPU_CHUNK)
            gated_gradient_piece(context, call, row, column,
                                 columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK);
    return true;
}
