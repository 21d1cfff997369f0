/* Rows on their way to the experts and back, and the experts' matrix products. */
#include "engine/device/reference/kernels.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool check_rows(const struct tensor *rows, struct status *status)
{
    for (int64_t i = 0; i < rows_of(rows); i++) {
        int32_t row = *indices_of(rows, i);
        if (row < 0 || row >= rows_of(rows))
            return status_fail(status, STATUS_INVALID, "slot %" PRId64 " is of pair %d of %" PRId64,
                               i, (int)row, rows_of(rows));
    }
    return true;
}

/* Experts per token: rows per token. */
static int64_t choices(const struct tensor *rows, const struct tensor *tokens)
{
    return rows_of(rows) < rows_of(tokens) || !rows_of(tokens) ? 1
                                                               : rows_of(rows) / rows_of(tokens);
}

static bool check_ends(const struct tensor *ends, int64_t rows, struct status *status)
{
    int64_t last = 0;
    for (int64_t e = 0; e < rows_of(ends); e++) {
        int32_t end = *indices_of(ends, e);
        if (end < last || end > rows)
            return status_fail(status, STATUS_INVALID,
                               "the rows of expert %" PRId64 " end at %d, after %" PRId64
                               " and of %" PRId64,
                               e, (int)end, last, rows);
        last = end;
    }
    return true;
}

static int64_t first_of(const struct tensor *ends, int64_t expert)
{
    return expert ? *indices_of(ends, expert - 1) : 0;
}

bool reference_gather_rows(const struct op_call *call, struct status *status)
{
    const struct tensor *x = &call->inputs[0], *rows = &call->inputs[1], *y = &call->outputs[0];
    if (!check_rows(rows, status))
        return false;
    int64_t k = choices(rows, x);
    for (int64_t i = 0; i < rows_of(rows); i++)
        memcpy(row_of(y, i), row_of(x, *indices_of(rows, i) / k),
               (size_t)columns_of(x) * sizeof(double));
    return true;
}

bool reference_gather_rows_gradient(const struct op_call *call, struct status *status)
{
    const struct tensor *dy = &call->inputs[0], *rows = &call->inputs[1], *dx = &call->outputs[0];
    if (!check_rows(rows, status))
        return false;
    int64_t k = choices(rows, dx);
    reference_zero(dx);
    for (int64_t i = 0; i < rows_of(rows); i++) {
        double *to = row_of(dx, *indices_of(rows, i) / k);
        for (int64_t j = 0; j < columns_of(dx); j++)
            to[j] += row_of(dy, i)[j];
    }
    return true;
}

bool reference_grouped_matmul(const struct op_call *call, struct status *status)
{
    const struct tensor *x = &call->inputs[0], *weight = &call->inputs[1], *ends = &call->inputs[2];
    const struct tensor *y = &call->outputs[0];
    int64_t inner = columns_of(x), columns = columns_of(y);
    if (!check_ends(ends, rows_of(x), status))
        return false;
    reference_zero(y);
    for (int64_t e = 0; e < rows_of(ends); e++) {
        int64_t first = first_of(ends, e), count = *indices_of(ends, e) - first;
        double *copy = NULL;
        const double *right = row_of(weight, e * inner);
        int64_t stride = weight->row_stride;
        if (count == 0)
            continue;
        if (call->parameters.transpose_b) {
            right = copy = reference_transpose(call->interrupt, row_of(weight, e * columns), stride,
                                               columns, inner, status);
            stride = columns;
            if (!copy)
                return false;
        }
        reference_multiply(call->interrupt, row_of(y, first), y->row_stride, row_of(x, first),
                           x->row_stride, right, stride, count, inner, columns);
        free(copy);
    }
    return true;
}

bool reference_grouped_matmul_gradient(const struct op_call *call, struct status *status)
{
    const struct tensor *a = &call->inputs[0], *b = &call->inputs[1], *ends = &call->inputs[2];
    const struct tensor *out = &call->outputs[0];
    int64_t rows = columns_of(a);
    if (!check_ends(ends, rows_of(a), status))
        return false;
    reference_zero(out);
    for (int64_t e = 0; e < rows_of(ends); e++) {
        int64_t first = first_of(ends, e), count = *indices_of(ends, e) - first;
        if (count == 0)
            continue;
        double *left = reference_transpose(call->interrupt, row_of(a, first), a->row_stride, count,
                                           rows, status);
        if (!left)
            return false;
        reference_multiply(call->interrupt, row_of(out, e * rows), out->row_stride, left, count,
                           row_of(b, first), b->row_stride, rows, count, columns_of(b));
        free(left);
    }
    return true;
}

bool reference_combine_rows(const struct op_call *call, struct status *status)
{
    const struct tensor *y = &call->inputs[0], *scores = &call->inputs[1], *rows = &call->inputs[2];
    const struct tensor *out = &call->outputs[0];
    int64_t k = columns_of(scores);
    if (!check_rows(rows, status))
        return false;
    reference_zero(out);
    for (int64_t i = 0; i < rows_of(rows); i++) {
        int64_t token = *indices_of(rows, i) / k, choice = *indices_of(rows, i) % k;
        double score = row_of(scores, token)[choice];
        for (int64_t j = 0; j < columns_of(out); j++)
            row_of(out, token)[j] += score * row_of(y, i)[j];
    }
    return true;
}

bool reference_combine_rows_gradient(const struct op_call *call, struct status *status)
{
    const struct tensor *dout = &call->inputs[0], *y = &call->inputs[1], *scores = &call->inputs[2];
    const struct tensor *rows = &call->inputs[3];
    int64_t k = columns_of(scores);
    if (!check_rows(rows, status))
        return false;
    reference_zero(&call->outputs[1]);
    for (int64_t i = 0; i < rows_of(rows); i++) {
        int64_t token = *indices_of(rows, i) / k, choice = *indices_of(rows, i) % k;
        double score = row_of(scores, token)[choice], sum = 0;
        for (int64_t j = 0; j < columns_of(y); j++) {
            row_of(&call->outputs[0], i)[j] = score * row_of(dout, token)[j];
            sum += row_of(dout, token)[j] * row_of(y, i)[j];
        }
        row_of(&call->outputs[1], token)[choice] = sum;
    }
    return true;
}
