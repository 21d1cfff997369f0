/* The gradient norm, the loss scale automaton and AdamW. */
#include "engine/device/reference/kernels.h"

#include <math.h>

/* Members of `factors`. */
enum { MULTIPLIER, SKIP, LEARNING_RATE, CORRECTION_1, CORRECTION_2 };

bool reference_sum_squares(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *x = &call->inputs[1];
    double total = *row_of(&call->inputs[0], 0);
    for (int64_t i = 0; i < rows_of(x) && !interrupt_asked(call->interrupt); i++)
        for (int64_t j = 0; j < columns_of(x); j++)
            total += row_of(x, i)[j] * row_of(x, i)[j];
    *row_of(&call->outputs[0], 0) = total;
    return true;
}

static void advance_scaler(double scaler[SCALER_SIZE], const struct op_parameters *by, bool skip)
{
    if (skip) {
        scaler[SCALER_GOOD_STEPS] = 0;
        scaler[SCALER_HYSTERESIS] -= 1;
        if (scaler[SCALER_HYSTERESIS] <= 0)
            scaler[SCALER_LOSS_SCALE] = fmax(1, scaler[SCALER_LOSS_SCALE] / 2);
        return;
    }
    scaler[SCALER_STEP] += 1;
    if (!by->dynamic)
        return;
    scaler[SCALER_GOOD_STEPS] += 1;
    if (scaler[SCALER_GOOD_STEPS] >= (double)by->window) {
        scaler[SCALER_LOSS_SCALE] *= 2;
        scaler[SCALER_GOOD_STEPS] = 0;
        scaler[SCALER_HYSTERESIS] = by->hysteresis;
    }
}

bool reference_optimizer_factors(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *factors = &call->outputs[0];
    double scaler[SCALER_SIZE];
    for (int i = 0; i < SCALER_SIZE; i++)
        scaler[i] = *row_of(&call->inputs[2], i);
    double multiplier = 1 / scaler[SCALER_LOSS_SCALE];
    double norm = multiplier * sqrt(*row_of(&call->inputs[0], 0));
    bool skip = parameters->dynamic && !isfinite(norm);
    if (parameters->factor > 0 && !(parameters->factor / (norm + 1e-6) >= 1)) /* NaN gets through */
        multiplier *= parameters->factor / (norm + 1e-6);
    advance_scaler(scaler, parameters, skip);
    *row_of(factors, MULTIPLIER) = multiplier;
    *row_of(factors, SKIP) = skip;
    *row_of(factors, LEARNING_RATE) = *row_of(&call->inputs[1], 0);
    *row_of(factors, CORRECTION_1) = 1 - pow(parameters->beta1, scaler[SCALER_STEP]);
    *row_of(factors, CORRECTION_2) = 1 - pow(parameters->beta2, scaler[SCALER_STEP]);
    for (int i = 0; i < SCALER_SIZE; i++)
        *row_of(&call->outputs[1], i) = scaler[i];
    *row_of(&call->outputs[2], 0) = norm;
    return true;
}

/* One row. Reads each element before it writes it: p, m and v may be in place. */
static void adamw_row(const struct op_call *call, const double factors[5], int64_t row)
{
    const struct op_parameters *by = &call->parameters;
    const double *p = row_of(&call->inputs[0], row), *g = row_of(&call->inputs[1], row);
    const double *m = row_of(&call->inputs[2], row), *v = row_of(&call->inputs[3], row);
    double *new_p = row_of(&call->outputs[0], row);
    double *new_m = row_of(&call->outputs[1], row), *new_v = row_of(&call->outputs[2], row);
    for (int64_t i = 0; i < columns_of(&call->outputs[0]); i++) {
        double gradient = factors[MULTIPLIER] * g[i], weight = p[i];
        double first = by->beta1 * m[i] + (1 - by->beta1) * gradient;
        double second = by->beta2 * v[i] + (1 - by->beta2) * gradient * gradient;
        double direction =
            first / factors[CORRECTION_1] / (sqrt(second / factors[CORRECTION_2]) + by->epsilon);
        double update = factors[LEARNING_RATE] * by->factor * (direction + by->decay * weight);
        bool skip = factors[SKIP] != 0;
        new_m[i] = skip ? m[i] : first;
        new_v[i] = skip ? v[i] : second;
        new_p[i] = skip ? weight : weight - update;
    }
}

bool reference_adamw(const struct op_call *call, struct status *status)
{
    (void)status;
    double factors[5];
    for (int i = 0; i < 5; i++)
        factors[i] = *row_of(&call->inputs[4], i);
    for (int64_t i = 0; i < rows_of(&call->outputs[0]) && !interrupt_asked(call->interrupt); i++)
        adamw_row(call, factors, i);
    return true;
}
