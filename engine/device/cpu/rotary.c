/* ROTARY. */
#include "engine/device/cpu/cpu.h"

CPU_WORKSPACE(rotary)
{
    bool direct = call->inputs[0].dtype == DTYPE_F32 && call->outputs[0].dtype == DTYPE_F32;
    return direct ? 0
                  : (size_t)(context->threads * cpu_columns(&call->outputs[0])) * sizeof(float) * 2;
}

CPU_RUN(rotary)
{
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *x = &call->inputs[0], *table = &call->inputs[1], *y = &call->outputs[0];
    int64_t rows = cpu_rows(x), columns = cpu_columns(x);
    int64_t turned = (int64_t)parameters->heads * parameters->head_size;
    if (parameters->first_row < 0 || parameters->first_row + rows > cpu_rows(table))
        return status_fail(
            status, STATUS_INVALID, "rotary: rows %lld to %lld of a table of %lld positions",
            (long long)parameters->first_row, (long long)(parameters->first_row + rows - 1),
            (long long)cpu_rows(table));
    float *buffers = call->workspace, sign = parameters->inverse ? -1.0f : 1.0f;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        if (cpu_stops(context))
            continue;
        float *mine = buffers ? buffers + 2 * cpu_thread() * columns : NULL;
        const float *in = cpu_read(context, x, row, 0, columns, mine);
        float *out = cpu_target(y, row, 0, mine ? mine + columns : NULL);
        context->kernels->rotary(out, in, cpu_at(table, parameters->first_row + row, 0), sign,
                                 parameters->heads, parameters->head_size);
        if (out != in && columns > turned)
            memcpy(out + turned, in + turned, (size_t)(columns - turned) * sizeof(float));
        cpu_write(context, y, row, 0, columns, out);
    }
    return true;
}
