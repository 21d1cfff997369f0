/* Cross entropy over a vocabulary, with masked labels. */
#include "engine/device/reference/kernels.h"

#include <inttypes.h>
#include <math.h>

static bool check_labels(const struct op_call *call, struct status *status)
{
    int64_t window = call->parameters.window;
    int64_t vocabulary = window > 0 ? window : columns_of(&call->inputs[0]);
    for (int64_t t = 0; t < rows_of(&call->inputs[1]); t++)
        if (*indices_of(&call->inputs[1], t) >= vocabulary)
            return status_fail(status, STATUS_INVALID,
                               "%s: label %d of row %" PRId64 ", but there are %" PRId64 " logits",
                               op_name(call->op), (int)*indices_of(&call->inputs[1], t), t,
                               vocabulary);
    return true;
}

static double log_sum_exp(const double *row, int64_t count, int64_t stride, double factor)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < count; j++)
        largest = fmax(largest, factor * row[j * stride]);
    for (int64_t j = 0; j < count; j++)
        sum += exp(factor * row[j * stride] - largest);
    return largest + log(sum);
}

bool reference_cross_entropy(const struct op_call *call, struct status *status)
{
    if (!check_labels(call, status))
        return false;
    double factor = call->parameters.factor, count = *row_of(&call->inputs[2], 0), loss = 0;
    int64_t columns = columns_of(&call->inputs[0]);
    for (int64_t t = 0; t < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); t++) {
        const double *logits = row_of(&call->inputs[0], t);
        int32_t label = *indices_of(&call->inputs[1], t);
        double lse = log_sum_exp(logits, columns, 1, factor);
        *row_of(&call->outputs[1], t) = lse;
        if (label >= 0)
            loss += lse - factor * logits[label];
    }
    *row_of(&call->outputs[0], 0) = count == 0 ? 0 : loss / count;
    return true;
}

bool reference_cross_entropy_part(const struct op_call *call, struct status *status)
{
    if (!check_labels(call, status))
        return false;
    double factor = call->parameters.factor;
    int64_t columns = columns_of(&call->inputs[0]);
    for (int64_t t = 0; t < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); t++) {
        const double *logits = row_of(&call->inputs[0], t);
        int64_t label = *indices_of(&call->inputs[1], t) - call->parameters.first_row;
        bool here = *indices_of(&call->inputs[1], t) >= 0 && label >= 0 && label < columns;
        row_of(&call->outputs[0], 0)[t] = log_sum_exp(logits, columns, 1, factor);
        *row_of(&call->outputs[1], t) = here ? factor * logits[label] : 0;
    }
    return true;
}

bool reference_cross_entropy_parallel(const struct op_call *call, struct status *status)
{
    if (!check_labels(call, status))
        return false;
    double count = *row_of(&call->inputs[2], 0), loss = 0;
    int64_t parts = rows_of(&call->inputs[3]), tokens = rows_of(&call->inputs[1]);
    for (int64_t t = 0; t < tokens; t++) {
        double lse =
            log_sum_exp(row_of(&call->inputs[3], 0) + t, parts, call->inputs[3].row_stride, 1);
        *row_of(&call->outputs[1], t) = lse;
        if (*indices_of(&call->inputs[1], t) >= 0)
            loss += lse - *row_of(&call->inputs[4], t);
    }
    *row_of(&call->outputs[0], 0) = count == 0 ? 0 : loss / count;
    return true;
}

bool reference_cross_entropy_gradient(const struct op_call *call, struct status *status)
{
    if (!check_labels(call, status))
        return false;
    double factor = call->parameters.factor, count = *row_of(&call->inputs[2], 0);
    double scale = count == 0 ? 0 : *row_of(&call->inputs[4], 0) * factor / count;
    int64_t columns = columns_of(&call->inputs[0]);
    reference_zero(&call->outputs[0]);
    for (int64_t t = 0; t < rows_of(&call->inputs[0]) && !interrupt_asked(call->interrupt); t++) {
        const double *logits = row_of(&call->inputs[0], t);
        double *out = row_of(&call->outputs[0], t), lse = *row_of(&call->inputs[3], t);
        int32_t label = *indices_of(&call->inputs[1], t);
        if (label < 0 || count == 0)
            continue;
        for (int64_t j = 0; j < columns; j++)
            out[j] = scale * (exp(factor * logits[j] - lse) -
                              (j == label - call->parameters.first_row ? 1 : 0));
    }
    return true;
}
