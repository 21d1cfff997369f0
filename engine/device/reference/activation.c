/* Activation functions and their derivatives. */
#include "engine/device/reference/kernels.h"

#include <math.h>

/* sqrt(2/pi) and the cubic coefficient of the tanh form of gelu,
 * https://arxiv.org/abs/1606.08415, section 2. */
static const double gelu_root = 0.79788456080286535588;
static const double gelu_cubic = 0.044715;

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double value(enum activation activation, double x)
{
    switch (activation) {
    case ACTIVATION_GELU:
        return 0.5 * x * (1 + tanh(gelu_root * (x + gelu_cubic * x * x * x)));
    case ACTIVATION_SILU:
        return x * sigmoid(x);
    case ACTIVATION_RELU:
        return x < 0 ? 0 : x; /* keeps NaN */
    case ACTIVATION_SIGMOID:
        return sigmoid(x);
    case ACTIVATION_SQUARED_RELU:
        return x < 0 ? 0 : x * x;
    default:
        return x;
    }
}

static double gelu_slope(double x)
{
    double turn = tanh(gelu_root * (x + gelu_cubic * x * x * x));
    return 0.5 * (1 + turn) +
           0.5 * x * (1 - turn * turn) * gelu_root * (1 + 3 * gelu_cubic * x * x);
}

static double slope(enum activation activation, double x)
{
    double s;
    switch (activation) {
    case ACTIVATION_GELU:
        return gelu_slope(x);
    case ACTIVATION_SILU:
        s = sigmoid(x);
        return s * (1 + x * (1 - s));
    case ACTIVATION_RELU:
        return x > 0 ? 1 : 0; /* 0 at the kink */
    case ACTIVATION_SIGMOID:
        s = sigmoid(x);
        return s * (1 - s);
    case ACTIVATION_SQUARED_RELU:
        return x > 0 ? 2 * x : 0;
    default:
        return 1;
    }
}

bool reference_activation(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *x = &call->inputs[0], *out = &call->outputs[0];
    for (int64_t i = 0; i < rows_of(x) && !interrupt_asked(call->interrupt); i++)
        for (int64_t j = 0; j < columns_of(x); j++)
            row_of(out, i)[j] = value(call->parameters.activation, row_of(x, i)[j]);
    return true;
}

bool reference_activation_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *dy = &call->inputs[0], *x = &call->inputs[1], *dx = &call->outputs[0];
    for (int64_t i = 0; i < rows_of(x) && !interrupt_asked(call->interrupt); i++)
        for (int64_t j = 0; j < columns_of(x); j++)
            row_of(dx, i)[j] =
                row_of(dy, i)[j] * slope(call->parameters.activation, row_of(x, i)[j]);
    return true;
}

bool reference_gated_activation(const struct op_call *call, struct status *status)
{
    (void)status;
    int64_t columns = columns_of(&call->outputs[0]);
    for (int64_t i = 0; i < rows_of(&call->outputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *gate = row_of(&call->inputs[0], i), *up = gate + columns;
        double *out = row_of(&call->outputs[0], i);
        for (int64_t j = 0; j < columns; j++)
            out[j] = value(call->parameters.activation, gate[j]) * up[j];
    }
    return true;
}

bool reference_gated_activation_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    int64_t columns = columns_of(&call->inputs[0]);
    enum activation activation = call->parameters.activation;
    for (int64_t i = 0; i < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *dy = row_of(&call->inputs[0], i);
        const double *gate = row_of(&call->inputs[1], i), *up = gate + columns;
        double *dgate = row_of(&call->outputs[0], i), *dup = dgate + columns;
        for (int64_t j = 0; j < columns; j++) {
            dgate[j] = dy[j] * up[j] * slope(activation, gate[j]);
            dup[j] = dy[j] * value(activation, gate[j]);
        }
    }
    return true;
}
