/* Normalizations over the columns of each row. */
#include "engine/device/reference/kernels.h"

#include <math.h>

bool reference_layer_norm(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *w = &call->inputs[1], *b = &call->inputs[2];
    int64_t columns = columns_of(&call->inputs[0]);
    for (int64_t i = 0; i < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *x = row_of(&call->inputs[0], i);
        double *y = row_of(&call->outputs[0], i), sum = 0, squares = 0;
        for (int64_t j = 0; j < columns; j++)
            sum += x[j];
        double mean = sum / (double)columns;
        for (int64_t j = 0; j < columns; j++)
            squares += (x[j] - mean) * (x[j] - mean);
        double inverse = 1 / sqrt(squares / (double)columns + call->parameters.epsilon);
        for (int64_t j = 0; j < columns; j++)
            y[j] = (x[j] - mean) * inverse * *row_of(w, j) + *row_of(b, j);
        *row_of(&call->outputs[1], i) = mean;
        *row_of(&call->outputs[2], i) = inverse;
    }
    return true;
}

/* With n = (x - mean) inverse and g = dy w: dx = inverse (g - mean(g) - n mean(g n)), where
 * the means are over the columns; dw = sum dy n and db = sum dy over the rows. */
bool reference_layer_norm_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *w = &call->inputs[2];
    const struct tensor *dw = &call->outputs[1], *db = &call->outputs[2];
    int64_t columns = columns_of(&call->inputs[1]);
    reference_zero(dw);
    reference_zero(db);
    for (int64_t i = 0; i < rows_of(&call->inputs[1]) && !interrupt_asked(call->interrupt); i++) {
        const double *dy = row_of(&call->inputs[0], i), *x = row_of(&call->inputs[1], i);
        double mean = *row_of(&call->inputs[3], i), inverse = *row_of(&call->inputs[4], i);
        double *dx = row_of(&call->outputs[0], i), g_mean = 0, gn_mean = 0;
        for (int64_t j = 0; j < columns; j++) {
            double n = (x[j] - mean) * inverse, g = dy[j] * *row_of(w, j);
            g_mean += g / (double)columns;
            gn_mean += g * n / (double)columns;
            *row_of(dw, j) += dy[j] * n;
            *row_of(db, j) += dy[j];
        }
        for (int64_t j = 0; j < columns; j++) {
            double n = (x[j] - mean) * inverse, g = dy[j] * *row_of(w, j);
            dx[j] = inverse * (g - g_mean - n * gn_mean);
        }
    }
    return true;
}

bool reference_rms_norm(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *w = &call->inputs[1];
    int64_t columns = columns_of(&call->inputs[0]);
    for (int64_t i = 0; i < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *x = row_of(&call->inputs[0], i);
        double *y = row_of(&call->outputs[0], i), squares = 0;
        for (int64_t j = 0; j < columns; j++)
            squares += x[j] * x[j];
        double inverse = 1 / sqrt(squares / (double)columns + call->parameters.epsilon);
        for (int64_t j = 0; j < columns; j++)
            y[j] = x[j] * inverse * *row_of(w, j);
        *row_of(&call->outputs[1], i) = inverse;
    }
    return true;
}

/* As for the layer norm, without its mean: dx = inverse (g - n mean(g n)), n = x inverse. */
bool reference_rms_norm_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *w = &call->inputs[2], *dw = &call->outputs[1];
    int64_t columns = columns_of(&call->inputs[1]);
    reference_zero(dw);
    for (int64_t i = 0; i < rows_of(&call->inputs[1]) && !interrupt_asked(call->interrupt); i++) {
        const double *dy = row_of(&call->inputs[0], i), *x = row_of(&call->inputs[1], i);
        double inverse = *row_of(&call->inputs[3], i);
        double *dx = row_of(&call->outputs[0], i), gn_mean = 0;
        for (int64_t j = 0; j < columns; j++) {
            double n = x[j] * inverse;
            gn_mean += dy[j] * *row_of(w, j) * n / (double)columns;
            *row_of(dw, j) += dy[j] * n;
        }
        for (int64_t j = 0; j < columns; j++)
            dx[j] = inverse * (dy[j] * *row_of(w, j) - x[j] * inverse * gn_mean);
    }
    return true;
}
