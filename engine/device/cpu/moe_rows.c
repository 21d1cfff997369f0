/* GATHER_ROWS, COMBINE_ROWS and their gradients: rows to the experts and back. */
#include "engine/device/cpu/cpu.h"

/* rows[i] is the pair (token*k + choice) in slot i. */
static bool check_rows(const struct op_call *call, const struct tensor *rows, int64_t tokens,
                       struct status *status)
{
    if (tokens == 0 ? cpu_rows(rows) != 0 : cpu_rows(rows) % tokens != 0)
        return status_fail(status, STATUS_INVALID, "%s: %lld routed rows of %lld tokens",
                           op_name(call->op), (long long)cpu_rows(rows), (long long)tokens);
    return cpu_check_range(call, rows, 0, cpu_rows(rows), "pair", status);
}

CPU_RUN(gather_rows)
{
    const struct tensor *x = &call->inputs[0], *y = &call->outputs[0];
    const int32_t *rows = call->inputs[1].data;
    int64_t count = cpu_rows(y), columns = cpu_columns(y);
    if (!check_rows(call, &call->inputs[1], cpu_rows(x), status))
        return false;
    int64_t k = cpu_rows(x) ? count / cpu_rows(x) : 1;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (count * columns > CPU_SERIAL))
    for (int64_t i = 0; i < count; i++)
        for (int64_t column = 0; column < columns && !cpu_stops(context); column += CPU_CHUNK) {
            float buffer[CPU_CHUNK];
            int64_t n = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
            if (x->dtype == y->dtype)
                memcpy(cpu_at(y, i, column), cpu_at(x, rows[i] / k, column),
                       (size_t)n * dtype_size(y->dtype));
            else
                cpu_write(context, y, i, column, n,
                          cpu_read(context, x, rows[i] / k, column, n, buffer));
        }
    return true;
}

/* Where each pair (token*k + choice) went: the inverse of rows. */
static const int32_t *invert(const struct tensor *rows, int32_t *slots)
{
    const int32_t *pairs = rows->data;
    memset(slots, 0, (size_t)cpu_rows(rows) * sizeof(int32_t));
    for (int64_t i = 0; i < cpu_rows(rows); i++)
        slots[pairs[i]] = (int32_t)i;
    return slots;
}

/* out row t = sum over choices of (scores ? score : 1) * y row of the slot, in order of choice. */
static void combine(const struct cpu_context *context, const struct tensor *out,
                    const struct tensor *y, const int32_t *slots, const struct tensor *scores,
                    int64_t k)
{
    int64_t rows = cpu_rows(out), columns = cpu_columns(out);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t t = 0; t < rows; t++)
        for (int64_t column = 0; column < columns && !cpu_stops(context); column += CPU_CHUNK) {
            float in_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
            int64_t n = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
            float *to = cpu_target(out, t, column, out_buffer);
            memset(to, 0, (size_t)n * sizeof(float));
            for (int64_t i = 0; i < k; i++)
                context->kernels->add_scaled(
                    to, cpu_read(context, y, slots[t * k + i], column, n, in_buffer),
                    scores ? ((const float *)cpu_at(scores, t, 0))[i] : 1.0f, n);
            cpu_write(context, out, t, column, n, to);
        }
}

CPU_WORKSPACE(gather_rows_gradient)
{
    (void)context;
    return (size_t)cpu_rows(&call->inputs[1]) * sizeof(int32_t);
}

CPU_RUN(gather_rows_gradient)
{
    const struct tensor *dx = &call->outputs[0], *rows = &call->inputs[1];
    if (!check_rows(call, rows, cpu_rows(dx), status))
        return false;
    int64_t k = cpu_rows(dx) ? cpu_rows(rows) / cpu_rows(dx) : 1;
    combine(context, dx, &call->inputs[0], invert(rows, call->workspace), NULL, k);
    return true;
}

CPU_WORKSPACE(combine_rows)
{
    (void)context;
    return (size_t)cpu_rows(&call->inputs[2]) * sizeof(int32_t);
}

CPU_RUN(combine_rows)
{
    const struct tensor *rows = &call->inputs[2], *scores = &call->inputs[1];
    if (!check_rows(call, rows, cpu_rows(scores), status))
        return false;
    combine(context, &call->outputs[0], &call->inputs[0], invert(rows, call->workspace), scores,
            cpu_columns(scores));
    return true;
}

struct buffers {
    float *dout, *y, *dy; /* [threads, H] */
};

static size_t carve(const struct cpu_context *context, const struct op_call *call, void *base,
                    struct buffers *buffers)
{
    struct workspace memory = {base, 0};
    int64_t count = context->threads * cpu_columns(&call->inputs[0]);
    buffers->dout = workspace_floats(&memory, count);
    buffers->y = workspace_floats(&memory, count);
    buffers->dy = workspace_floats(&memory, count);
    return memory.used;
}

CPU_WORKSPACE(combine_rows_gradient)
{
    struct buffers buffers;
    return carve(context, call, NULL, &buffers);
}

/* Slot i holds pair p of token t = p/k: dy_i = score_p * dout_t, dscore_p = dout_t . y_i. */
CPU_RUN(combine_rows_gradient)
{
    const struct tensor *dout = &call->inputs[0], *y = &call->inputs[1], *scores = &call->inputs[2];
    const struct tensor *dy = &call->outputs[0], *dscores = &call->outputs[1];
    const int32_t *rows = call->inputs[3].data;
    int64_t count = cpu_rows(y), columns = cpu_columns(y), k = cpu_columns(scores);
    struct buffers buffers;
    carve(context, call, call->workspace, &buffers);
    if (!check_rows(call, &call->inputs[3], cpu_rows(dout), status))
        return false;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (count * columns > CPU_SERIAL))
    for (int64_t i = 0; i < count; i++) {
        if (cpu_stops(context))
            continue;
        int64_t token = rows[i] / k, choice = rows[i] % k, mine = cpu_thread() * columns;
        const float *g = cpu_read(context, dout, token, 0, columns, buffers.dout + mine);
        const float *value = cpu_read(context, y, i, 0, columns, buffers.y + mine);
        float *to = cpu_target(dy, i, 0, buffers.dy + mine);
        ((float *)cpu_at(dscores, token, 0))[choice] = context->kernels->dot(g, value, columns);
        context->kernels->scale(to, g, ((const float *)cpu_at(scores, token, 0))[choice], columns);
        cpu_write(context, dy, i, 0, columns, to);
    }
    return true;
}
