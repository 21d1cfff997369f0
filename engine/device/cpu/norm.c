/* LAYER_NORM, RMS_NORM and their gradients. Sums over rows: see struct cpu_blocks. */
#include "engine/device/cpu/cpu.h"

struct buffers {
    float *weight, *bias; /* [C], for 16-bit weights */
    float *row[3];        /* [threads, C] each, for 16-bit rows */
    float *dw, *db;       /* [blocks, C] */
};

static size_t carve(const struct cpu_context *context, const struct op_call *call, void *base,
                    struct buffers *buffers)
{
    struct workspace memory = {base, 0};
    bool gradient = call->op == OP_LAYER_NORM_GRADIENT || call->op == OP_RMS_NORM_GRADIENT;
    int64_t columns = cpu_columns(&call->outputs[0]);
    int64_t blocks = gradient ? cpu_blocks(cpu_rows(&call->outputs[0])).count : 0;
    buffers->weight = workspace_floats(&memory, columns);
    buffers->bias = workspace_floats(&memory, columns);
    for (int i = 0; i < (gradient ? 3 : 2); i++)
        buffers->row[i] = workspace_floats(&memory, context->threads * columns);
    buffers->dw = workspace_floats(&memory, blocks * columns);
    buffers->db = workspace_floats(&memory, blocks * columns);
    return memory.used;
}

static size_t workspace_of(struct cpu_context *context, const struct op_call *call)
{
    struct buffers buffers;
    return carve(context, call, NULL, &buffers);
}

CPU_WORKSPACE(layer_norm)
{
    return workspace_of(context, call);
}

CPU_WORKSPACE(layer_norm_gradient)
{
    return workspace_of(context, call);
}

CPU_WORKSPACE(rms_norm)
{
    return workspace_of(context, call);
}

CPU_WORKSPACE(rms_norm_gradient)
{
    return workspace_of(context, call);
}

static bool forward(struct cpu_context *context, const struct op_call *call, bool centered)
{
    struct buffers buffers = {0};
    carve(context, call, call->workspace, &buffers);
    const struct tensor *y = &call->outputs[0], *x = &call->inputs[0];
    int64_t rows = cpu_rows(x), columns = cpu_columns(x);
    const float *w = cpu_vector(context, &call->inputs[1], buffers.weight);
    const float *b = centered ? cpu_vector(context, &call->inputs[2], buffers.bias) : NULL;
    float *mean = centered ? call->outputs[1].data : NULL;
    float *inverse = call->outputs[centered ? 2 : 1].data;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        if (cpu_stops(context))
            continue;
        int64_t mine = cpu_thread() * columns;
        const float *in = cpu_read(context, x, row, 0, columns, buffers.row[0] + mine);
        float *out = cpu_target(y, row, 0, buffers.row[1] + mine);
        if (centered)
            context->kernels->layer_norm(out, in, w, b, call->parameters.epsilon, mean + row,
                                         inverse + row, columns);
        else
            context->kernels->rms_norm(out, in, w, call->parameters.epsilon, inverse + row,
                                       columns);
        cpu_write(context, y, row, 0, columns, out);
    }
    return true;
}

CPU_RUN(layer_norm)
{
    (void)status;
    return forward(context, call, true);
}

CPU_RUN(rms_norm)
{
    (void)status;
    return forward(context, call, false);
}

static void gradient_row(const struct cpu_context *context, const struct op_call *call,
                         const struct buffers *buffers, const float *w, int64_t block, int64_t row)
{
    const struct tensor *dx = &call->outputs[0], *dy = &call->inputs[0], *x = &call->inputs[1];
    int64_t columns = cpu_columns(x), mine = cpu_thread() * columns;
    const float *dy_row = cpu_read(context, dy, row, 0, columns, buffers->row[0] + mine);
    const float *x_row = cpu_read(context, x, row, 0, columns, buffers->row[1] + mine);
    float *dx_row = cpu_target(dx, row, 0, buffers->row[2] + mine);
    float *dw = buffers->dw + block * columns, *db = buffers->db + block * columns;
    const float *statistics = call->inputs[3].data;
    if (call->op == OP_LAYER_NORM_GRADIENT)
        context->kernels->layer_norm_gradient(dx_row, dw, db, dy_row, x_row, w, statistics[row],
                                              ((const float *)call->inputs[4].data)[row], columns);
    else
        context->kernels->rms_norm_gradient(dx_row, dw, dy_row, x_row, w, statistics[row], columns);
    cpu_write(context, dx, row, 0, columns, dx_row);
}

static bool backward(struct cpu_context *context, const struct op_call *call)
{
    struct buffers buffers = {0};
    carve(context, call, call->workspace, &buffers);
    int64_t rows = cpu_rows(&call->inputs[1]), columns = cpu_columns(&call->inputs[1]);
    const float *w = cpu_vector(context, &call->inputs[2], buffers.weight);
    struct cpu_blocks blocks = cpu_blocks(rows);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads))
    for (int64_t block = 0; block < blocks.count; block++) {
        int64_t end = (block + 1) * blocks.rows < rows ? (block + 1) * blocks.rows : rows;
        memset(buffers.dw + block * columns, 0, (size_t)columns * sizeof(float));
        memset(buffers.db + block * columns, 0, (size_t)columns * sizeof(float));
        for (int64_t row = block * blocks.rows; row < end && !cpu_stops(context); row++)
            gradient_row(context, call, &buffers, w, block, row);
    }
    cpu_combine(context, &blocks, buffers.dw, columns, &call->outputs[1]);
    if (call->op == OP_LAYER_NORM_GRADIENT)
        cpu_combine(context, &blocks, buffers.db, columns, &call->outputs[2]);
    return true;
}

CPU_RUN(layer_norm_gradient)
{
    (void)status;
    return backward(context, call);
}

CPU_RUN(rms_norm_gradient)
{
    (void)status;
    return backward(context, call);
}
