/* Embedding lookup and its gradient. */
#include "engine/device/reference/kernels.h"

#include <string.h>

/* The row of the (part of the) weight that token `t` uses, or -1: none of these rows. */
static int64_t weight_row(const struct op_call *call, int64_t t, int64_t rows)
{
    int64_t index = *indices_of(&call->inputs[0], t);
    int64_t row = index - call->parameters.first_row;
    return index < 0 || row < 0 || row >= rows ? -1 : row;
}

bool reference_embedding(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *weight = &call->inputs[1], *out = &call->outputs[0];
    size_t bytes = (size_t)columns_of(weight) * sizeof(double);
    reference_zero(out);
    for (int64_t t = 0; t < rows_of(out) && !interrupt_asked(call->interrupt); t++) {
        int64_t row = weight_row(call, t, rows_of(weight));
        if (row >= 0)
            memcpy(row_of(out, t), row_of(weight, row), bytes);
    }
    return true;
}

bool reference_embedding_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *dy = &call->inputs[1], *out = &call->outputs[0];
    reference_zero(out);
    for (int64_t t = 0; t < rows_of(dy) && !interrupt_asked(call->interrupt); t++) {
        int64_t row = weight_row(call, t, rows_of(out));
        for (int64_t j = 0; row >= 0 && j < columns_of(dy); j++)
            row_of(out, row)[j] += row_of(dy, t)[j];
    }
    return true;
}
