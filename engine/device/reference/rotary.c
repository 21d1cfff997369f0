/* Rotary position embedding. */
#include "engine/device/reference/kernels.h"

bool reference_rotary(const struct op_call *call, struct status *status)
{
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *x = &call->inputs[0], *table = &call->inputs[1], *out = &call->outputs[0];
    int64_t half = parameters->head_size / 2, turned = (int64_t)parameters->heads * 2 * half;
    int64_t first = parameters->first_row;
    if (first < 0 || first + rows_of(x) > rows_of(table))
        return status_fail(status, STATUS_INVALID,
                           "rotary: positions %lld to %lld, the table has %lld", (long long)first,
                           (long long)(first + rows_of(x)), (long long)rows_of(table));
    for (int64_t t = 0; t < rows_of(x) && !interrupt_asked(call->interrupt); t++) {
        const double *in = row_of(x, t), *cosine = row_of(table, first + t), *sine = cosine + half;
        double *to = row_of(out, t);
        for (int64_t head = 0; head < parameters->heads; head++)
            for (int64_t i = 0; i < half; i++) {
                int64_t real = head * 2 * half + i, imaginary = real + half;
                double s = parameters->inverse ? -sine[i] : sine[i];
                double re = in[real], im = in[imaginary]; /* read first: `to` may be `in` */
                to[real] = re * cosine[i] - im * s;
                to[imaginary] = im * cosine[i] + re * s;
            }
        for (int64_t i = turned; i < columns_of(x); i++)
            to[i] = in[i];
    }
    return true;
}
