/* SUM_SQUARES, OPTIMIZER_FACTORS, ADAMW. */
#include "engine/device/cpu/cpu.h"

#include <math.h>

CPU_WORKSPACE(sum_squares)
{
    (void)context;
    return (size_t)cpu_pieces((const struct tensor *[]){&call->inputs[1]}, 1).count *
           sizeof(double);
}

CPU_RUN(sum_squares)
{
    (void)status;
    const struct tensor *x = &call->inputs[1];
    struct cpu_pieces pieces = cpu_pieces(&x, 1);
    double *partial = call->workspace, total = *(const double *)call->inputs[0].data;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        float buffer[CPU_CHUNK];
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        partial[i] =
            context->kernels->sum_squares(cpu_read(context, x, row, column, count, buffer), count);
    }
    double sum = 0;
    for (int64_t i = 0; i < pieces.count; i++)
        sum += partial[i];
    *(double *)call->outputs[0].data = total + sum;
    return true;
}

static void scaler_skip(double scaler[SCALER_SIZE])
{
    scaler[SCALER_GOOD_STEPS] = 0;
    scaler[SCALER_HYSTERESIS] -= 1;
    if (scaler[SCALER_HYSTERESIS] <= 0)
        scaler[SCALER_LOSS_SCALE] = fmax(scaler[SCALER_LOSS_SCALE] / 2, 1);
}

static void scaler_advance(double scaler[SCALER_SIZE], const struct op_parameters *parameters)
{
    scaler[SCALER_STEP] += 1;
    if (!parameters->dynamic)
        return;
    scaler[SCALER_GOOD_STEPS] += 1;
    if (scaler[SCALER_GOOD_STEPS] >= (double)parameters->window) {
        scaler[SCALER_LOSS_SCALE] *= 2;
        scaler[SCALER_GOOD_STEPS] = 0;
        scaler[SCALER_HYSTERESIS] = parameters->hysteresis;
    }
}

CPU_RUN(optimizer_factors)
{
    (void)context;
    (void)status;
    const struct op_parameters *parameters = &call->parameters;
    double scaler[SCALER_SIZE], factors[5];
    double learning_rate = *(const double *)call->inputs[1].data;
    memcpy(scaler, call->inputs[2].data, sizeof(scaler));
    double unscale = 1 / scaler[SCALER_LOSS_SCALE];
    double norm = unscale * sqrt(*(const double *)call->inputs[0].data);
    bool skip = parameters->dynamic && !isfinite(norm);
    if (skip)
        scaler_skip(scaler);
    else
        scaler_advance(scaler, parameters);
    factors[0] = unscale;
    if (parameters->factor > 0 && !(parameters->factor / (norm + 1e-6) >= 1)) /* NaN gets through */
        factors[0] *= parameters->factor / (norm + 1e-6);
    factors[1] = skip;
    factors[2] = learning_rate;
    factors[3] = 1 - pow(parameters->beta1, scaler[SCALER_STEP]);
    factors[4] = 1 - pow(parameters->beta2, scaler[SCALER_STEP]);
    memcpy(call->outputs[0].data, factors, sizeof(factors));
    memcpy(call->outputs[1].data, scaler, sizeof(scaler));
    *(float *)call->outputs[2].data = (float)norm;
    return true;
}

static void copy_states(const struct cpu_context *context, const struct op_call *call)
{
    static const int sources[3] = {0, 2, 3};
    const struct tensor *out = call->outputs;
    for (int i = 0; i < 3; i++)
        for (int64_t row = 0; row < cpu_rows(&out[i]); row++)
            memmove(cpu_at(&out[i], row, 0), cpu_at(&call->inputs[sources[i]], row, 0),
                    (size_t)cpu_columns(&out[i]) * sizeof(float));
    (void)context;
}

CPU_RUN(adamw)
{
    (void)status;
    const struct tensor *in = call->inputs, *out = call->outputs;
    const struct op_parameters *parameters = &call->parameters;
    const double *factors = in[4].data;
    if (factors[1] != 0) {
        copy_states(context, call);
        return true;
    }
    struct kernel_adamw constants = {
        .gradient_factor = (float)factors[0],
        .beta1 = (float)parameters->beta1,
        .beta2 = (float)parameters->beta2,
        .one_minus_beta1 = (float)(1 - parameters->beta1),
        .one_minus_beta2 = (float)(1 - parameters->beta2),
        .inverse_c1 = (float)(1 / factors[3]),
        .inverse_c2 = (float)(1 / factors[4]),
        .epsilon = (float)parameters->epsilon,
        .rate = (float)(factors[2] * parameters->factor),
        .decay = (float)parameters->decay,
    };
    struct cpu_pieces pieces = cpu_pieces(
        (const struct tensor *[]){&out[0], &out[1], &out[2], &in[0], &in[1], &in[2], &in[3]}, 7);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (pieces.count * pieces.columns > CPU_SERIAL))
    for (int64_t i = 0; i < pieces.count; i++) {
        int64_t row, column, count;
        cpu_piece(&pieces, i, &row, &column, &count);
        context->kernels->adamw(&constants, cpu_at(&out[0], row, column),
                                cpu_at(&out[1], row, column), cpu_at(&out[2], row, column),
                                cpu_at(&in[0], row, column), cpu_at(&in[1], row, column),
                                cpu_at(&in[2], row, column), cpu_at(&in[3], row, column), count);
    }
    return true;
}
