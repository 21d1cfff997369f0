/* Elementwise operations, and copies of rows, which also carry integers. */
#include "engine/device/reference/kernels.h"

#include <string.h>

void reference_zero(const struct tensor *tensor)
{
    for (int64_t i = 0; i < rows_of(tensor); i++)
        memset(row_of(tensor, i), 0, (size_t)columns_of(tensor) * sizeof(double));
}

bool reference_fill(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *out = &call->outputs[0];
    for (int64_t i = 0; i < shape_elements(out->shape); i++)
        tensor_store(out, i, call->parameters.value);
    return true;
}

/* to[to_row : +count] = from[from_row : +count], converted if the types differ. */
static void copy_rows(const struct tensor *to, int64_t to_row, const struct tensor *from,
                      int64_t from_row, int64_t count)
{
    size_t columns = (size_t)columns_of(to);
    size_t to_size = dtype_size(to->dtype), from_size = dtype_size(from->dtype);
    for (int64_t i = 0; i < count; i++) {
        char *target = (char *)to->data + (size_t)((to_row + i) * to->row_stride) * to_size;
        const char *source =
            (const char *)from->data + (size_t)((from_row + i) * from->row_stride) * from_size;
        if (to->dtype == from->dtype)
            memmove(target, source, columns * to_size); /* also in place */
        else
            dtype_convert(target, to->dtype, source, from->dtype, columns);
    }
}

bool reference_copy(const struct op_call *call, struct status *status)
{
    (void)status;
    copy_rows(&call->outputs[0], 0, &call->inputs[0], 0, rows_of(&call->outputs[0]));
    return true;
}

bool reference_slice_rows(const struct op_call *call, struct status *status)
{
    const struct tensor *in = &call->inputs[0], *out = &call->outputs[0];
    int64_t first = call->parameters.first_row;
    if (first < 0 || first + rows_of(out) > rows_of(in))
        return status_fail(status, STATUS_INVALID, "slice_rows: rows %lld to %lld of %lld",
                           (long long)first, (long long)(first + rows_of(out)),
                           (long long)rows_of(in));
    copy_rows(out, 0, in, first, rows_of(out));
    return true;
}

bool reference_write_rows(const struct op_call *call, struct status *status)
{
    const struct tensor *base = &call->inputs[0], *x = &call->inputs[1], *out = &call->outputs[0];
    int64_t first = call->parameters.first_row;
    if (first < 0 || first + rows_of(x) > rows_of(out))
        return status_fail(status, STATUS_INVALID, "write_rows: rows %lld to %lld of %lld",
                           (long long)first, (long long)(first + rows_of(x)),
                           (long long)rows_of(out));
    copy_rows(out, 0, base, 0, rows_of(out));
    copy_rows(out, first, x, 0, rows_of(x));
    return true;
}

bool reference_scale(const struct op_call *call, struct status *status)
{
    (void)status;
    for (int64_t i = 0; i < rows_of(&call->outputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *in = row_of(&call->inputs[0], i);
        double *out = row_of(&call->outputs[0], i);
        for (int64_t j = 0; j < columns_of(&call->outputs[0]); j++)
            out[j] = call->parameters.factor * in[j];
    }
    return true;
}

bool reference_add(const struct op_call *call, struct status *status)
{
    (void)status;
    for (int64_t i = 0; i < rows_of(&call->outputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *a = row_of(&call->inputs[0], i), *b = row_of(&call->inputs[1], i);
        double *out = row_of(&call->outputs[0], i);
        for (int64_t j = 0; j < columns_of(&call->outputs[0]); j++)
            out[j] = a[j] + b[j];
    }
    return true;
}

bool reference_accumulate(const struct op_call *call, struct status *status)
{
    return reference_add(call, status); /* they differ only in the types of a real device */
}

bool reference_add_bias(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *bias = &call->inputs[1];
    for (int64_t i = 0; i < rows_of(&call->outputs[0]) && !interrupt_asked(call->interrupt); i++) {
        const double *x = row_of(&call->inputs[0], i);
        double *out = row_of(&call->outputs[0], i);
        for (int64_t j = 0; j < columns_of(&call->outputs[0]); j++)
            out[j] = x[j] + *row_of(bias, j);
    }
    return true;
}

bool reference_bias_gradient(const struct op_call *call, struct status *status)
{
    (void)status;
    const struct tensor *dy = &call->inputs[0], *out = &call->outputs[0];
    reference_zero(out);
    for (int64_t i = 0; i < rows_of(dy) && !interrupt_asked(call->interrupt); i++)
        for (int64_t j = 0; j < columns_of(dy); j++)
            *row_of(out, j) += row_of(dy, i)[j];
    return true;
}
