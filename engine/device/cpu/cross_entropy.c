/* CROSS_ENTROPY, of a whole or a shared vocabulary, and its gradient. */
#include "engine/device/cpu/cpu.h"

#include <math.h>

static bool check_labels(const struct op_call *call, struct status *status)
{
    int64_t window = call->parameters.window;
    return cpu_check_range(call, &call->inputs[1], INT32_MIN,
                           window > 0 ? window : cpu_columns(&call->inputs[0]), "label", status);
}

/* log sum exp of factor * row, in pieces: the sum so far is rescaled when the maximum grows. */
static float log_sum_exp(const struct cpu_context *context, const struct tensor *logits,
                         int64_t row, float factor)
{
    float buffer[CPU_CHUNK], shift = -INFINITY;
    double sum = 0;
    int64_t columns = cpu_columns(logits);
    for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
        int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
        const float *part = cpu_read(context, logits, row, column, count, buffer);
        float most = context->kernels->maximum_scaled(part, factor, count);
        if (most > shift) {
            if (sum != 0)
                sum *= exp((double)shift - (double)most);
            shift = most;
        }
        sum += (double)context->kernels->sum_exp(part, factor, shift > -INFINITY ? shift : 0.0f,
                                                 count);
    }
    return (float)((shift > -INFINITY ? (double)shift : 0.0) + log(sum));
}

CPU_WORKSPACE(cross_entropy)
{
    (void)context;
    return (size_t)cpu_rows(&call->inputs[0]) * sizeof(double);
}

CPU_RUN(cross_entropy)
{
    if (!check_labels(call, status))
        return false;
    const struct tensor *logits = &call->inputs[0];
    const int32_t *labels = call->inputs[1].data;
    double count = *(const double *)call->inputs[2].data, *losses = call->workspace, total = 0;
    float *lse = call->outputs[1].data, factor = (float)call->parameters.factor;
    int64_t rows = cpu_rows(logits);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * cpu_columns(logits) > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        if (cpu_stops(context))
            continue;
        lse[row] = log_sum_exp(context, logits, row, factor);
        losses[row] = 0;
        if (labels[row] >= 0)
            losses[row] = (double)lse[row] -
                          call->parameters.factor *
                              dtype_load(logits->dtype, cpu_at(logits, row, labels[row]), 0);
    }
    for (int64_t row = 0; row < rows; row++)
        total += losses[row];
    *(float *)call->outputs[0].data = count == 0 ? 0.0f : (float)(total / count);
    return true;
}

CPU_RUN(cross_entropy_part)
{
    if (!check_labels(call, status))
        return false;
    const struct tensor *logits = &call->inputs[0];
    const int32_t *labels = call->inputs[1].data;
    float *lse = call->outputs[0].data, *target = call->outputs[1].data;
    int64_t rows = cpu_rows(logits), columns = cpu_columns(logits);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        if (cpu_stops(context))
            continue;
        int64_t label = labels[row] - call->parameters.first_row;
        lse[row] = log_sum_exp(context, logits, row, (float)call->parameters.factor);
        target[row] = 0;
        if (labels[row] >= 0 && label >= 0 && label < columns)
            target[row] = (float)(call->parameters.factor *
                                  dtype_load(logits->dtype, cpu_at(logits, row, label), 0));
    }
    return true;
}

/* log sum exp of what each part of the vocabulary has. */
static double combine_parts(const struct tensor *parts, int64_t token)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t part = 0; part < cpu_rows(parts); part++)
        largest = fmax(largest, (double)*(const float *)cpu_at(parts, part, token));
    double shift = largest > -INFINITY ? largest : 0; /* all NaN: the sum tells */
    for (int64_t part = 0; part < cpu_rows(parts); part++)
        sum += exp((double)*(const float *)cpu_at(parts, part, token) - shift);
    return shift + log(sum);
}

CPU_RUN(cross_entropy_parallel)
{
    (void)context;
    if (!check_labels(call, status))
        return false;
    const int32_t *labels = call->inputs[1].data;
    const float *target = call->inputs[4].data;
    double count = *(const double *)call->inputs[2].data, total = 0;
    float *lse = call->outputs[1].data;
    for (int64_t row = 0; row < cpu_rows(&call->inputs[1]); row++) {
        lse[row] = (float)combine_parts(&call->inputs[3], row);
        if (labels[row] >= 0)
            total += (double)lse[row] - (double)target[row];
    }
    *(float *)call->outputs[0].data = count == 0 ? 0.0f : (float)(total / count);
    return true;
}

static void gradient_row(const struct cpu_context *context, const struct op_call *call, int64_t row,
                         float coefficient)
{
    const struct tensor *logits = &call->inputs[0], *out = &call->outputs[0];
    int64_t label = ((const int32_t *)call->inputs[1].data)[row] - call->parameters.first_row;
    int64_t columns = cpu_columns(logits);
    float lse = ((const float *)call->inputs[3].data)[row];
    for (int64_t column = 0; column < columns; column += CPU_CHUNK) {
        float in_buffer[CPU_CHUNK], out_buffer[CPU_CHUNK];
        int64_t count = columns - column < CPU_CHUNK ? columns - column : CPU_CHUNK;
        float *to = cpu_target(out, row, column, out_buffer);
        context->kernels->exp_scaled(to, cpu_read(context, logits, row, column, count, in_buffer),
                                     (float)call->parameters.factor, lse, coefficient, count);
        if (label >= column && label < column + count)
            to[label - column] -= coefficient;
        cpu_write(context, out, row, column, count, to);
    }
}

CPU_RUN(cross_entropy_gradient)
{
    if (!check_labels(call, status))
        return false;
    const struct tensor *out = &call->outputs[0];
    const int32_t *labels = call->inputs[1].data;
    double count = *(const double *)call->inputs[2].data;
    double scale = *(const double *)call->inputs[4].data * call->parameters.factor;
    float coefficient = count == 0 ? 0.0f : (float)(scale / count);
    int64_t rows = cpu_rows(out), columns = cpu_columns(out);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++)
        if (cpu_stops(context))
            continue;
        else if (labels[row] < 0)
            memset(cpu_at(out, row, 0), 0, (size_t)columns * dtype_size(out->dtype));
        else
            gradient_row(context, call, row, coefficient);
    return true;
}
