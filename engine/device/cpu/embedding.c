/* EMBEDDING and its gradient. */
#include "engine/device/cpu/cpu.h"

CPU_RUN(embedding)
{
    (void)status;
    const struct tensor *weight = &call->inputs[1], *out = &call->outputs[0];
    const int32_t *indices = call->inputs[0].data;
    int64_t rows = cpu_rows(out), columns = cpu_columns(out), vocabulary = cpu_rows(weight);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        if (cpu_stops(context))
            continue;
        int64_t index = indices[row] - call->parameters.first_row;
        void *to = cpu_at(out, row, 0);
        if (index < 0 || index >= vocabulary)
            memset(to, 0, (size_t)columns * dtype_size(out->dtype));
        else if (weight->dtype == out->dtype)
            memcpy(to, cpu_at(weight, index, 0), (size_t)columns * dtype_size(out->dtype));
        else
            for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
                float buffer[CPU_CHUNK];
                int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
                cpu_write(context, out, row, column, count,
                          cpu_read(context, weight, index, column, count, buffer));
            }
    }
    return true;
}

/* Tokens sorted by vocabulary row: those of row v are order[starts[v] .. starts[v+1]-1]. */
struct buckets {
    int32_t *starts; /* [V+1] */
    int32_t *order;  /* [T] */
};

static size_t carve(const struct op_call *call, void *base, struct buckets *buckets)
{
    struct workspace memory = {base, 0};
    buckets->starts = workspace_take(&memory, cpu_rows(&call->outputs[0]) + 2, sizeof(int32_t));
    buckets->order = workspace_take(&memory, cpu_rows(&call->inputs[0]), sizeof(int32_t));
    return memory.used;
}

CPU_WORKSPACE(embedding_gradient)
{
    (void)context;
    struct buckets buckets;
    return carve(call, NULL, &buckets);
}

static void fill_buckets(const struct op_call *call, struct buckets *buckets)
{
    const int32_t *indices = call->inputs[0].data;
    int64_t tokens = cpu_rows(&call->inputs[0]), vocabulary = cpu_rows(&call->outputs[0]);
    int64_t first = call->parameters.first_row;
    int32_t *starts = buckets->starts;
    /* Counted two places up, summed, then used one place up as the running end of each bucket,
     * which leaves starts[v] where bucket v begins. */
    memset(starts, 0, (size_t)(vocabulary + 2) * sizeof(int32_t));
    for (int64_t t = 0; t < tokens; t++)
        if (indices[t] - first >= 0 && indices[t] - first < vocabulary)
            starts[indices[t] - first + 2]++;
    for (int64_t v = 1; v < vocabulary + 2; v++)
        starts[v] += starts[v - 1];
    for (int64_t t = 0; t < tokens; t++)
        if (indices[t] - first >= 0 && indices[t] - first < vocabulary)
            buckets->order[starts[indices[t] - first + 1]++] = (int32_t)t;
}

/* One row of dweight: its tokens in order, so that the bits depend on nothing else. */
static void gradient_row(const struct cpu_context *context, const struct op_call *call,
                         const struct buckets *buckets, int64_t row)
{
    const struct tensor *dy = &call->inputs[1], *out = &call->outputs[0];
    int64_t columns = cpu_columns(out);
    for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
        float sum_buffer[CPU_CHUNK], dy_buffer[CPU_CHUNK];
        int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
        float *sum = cpu_target(out, row, column, sum_buffer);
        memset(sum, 0, (size_t)count * sizeof(float));
        for (int32_t i = buckets->starts[row]; i < buckets->starts[row + 1]; i++)
            context->kernels->add(
                sum, sum, cpu_read(context, dy, buckets->order[i], column, count, dy_buffer),
                count);
        cpu_write(context, out, row, column, count, sum);
    }
}

CPU_RUN(embedding_gradient)
{
    (void)status;
    struct buckets buckets;
    carve(call, call->workspace, &buckets);
    fill_buckets(call, &buckets);
    int64_t vocabulary = cpu_rows(&call->outputs[0]);
    CPU_OMP(parallel for schedule(dynamic, 16) num_threads(context->threads))
    for (int64_t row = 0; row < vocabulary; row++)
        if (!cpu_stops(context))
            gradient_row(context, call, &buckets, row);
    return true;
}
