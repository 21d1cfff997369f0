/* Matrix products. Operands that are transposed are first copied in the other order, so that the
 * inner loop always runs along memory. */
#include "engine/device/reference/kernels.h"

#include "engine/base/memory.h"

#include <stdlib.h>

enum { ROW_BLOCK = 4, COLUMN_BLOCK = 512, TRANSPOSE_BLOCK = 32 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Four rows of y at once: each row of b is read from memory a quarter as often. */
static void multiply_four(double *y, int64_t y_stride, const double *a, int64_t a_stride,
                          const double *b, int64_t b_stride, int64_t inner, int64_t columns)
{
    double *y0 = y, *y1 = y + y_stride, *y2 = y + 2 * y_stride, *y3 = y + 3 * y_stride;
    for (int64_t k = 0; k < inner; k++) {
        const double *from = b + k * b_stride;
        double a0 = a[k], a1 = a[a_stride + k], a2 = a[2 * a_stride + k], a3 = a[3 * a_stride + k];
        for (int64_t j = 0; j < columns; j++) {
            y0[j] += a0 * from[j];
            y1[j] += a1 * from[j];
            y2[j] += a2 * from[j];
            y3[j] += a3 * from[j];
        }
    }
}

static void multiply_one(double *y, const double *a, const double *b, int64_t b_stride,
                         int64_t inner, int64_t columns)
{
    for (int64_t k = 0; k < inner; k++)
        for (int64_t j = 0; j < columns; j++)
            y[j] += a[k] * b[k * b_stride + j];
}

void reference_multiply(const struct interrupt *interrupt, double *y, int64_t y_stride,
                        const double *a, int64_t a_stride, const double *b, int64_t b_stride,
                        int64_t rows, int64_t inner, int64_t columns)
{
    PARALLEL_FOR
    for (int64_t first = 0; first < columns; first += COLUMN_BLOCK) {
        int64_t width = smaller(COLUMN_BLOCK, columns - first), i = 0;
        for (; i + ROW_BLOCK <= rows && !interrupt_asked(interrupt); i += ROW_BLOCK)
            multiply_four(y + i * y_stride + first, y_stride, a + i * a_stride, a_stride, b + first,
                          b_stride, inner, width);
        for (; i < rows && !interrupt_asked(interrupt); i++)
            multiply_one(y + i * y_stride + first, a + i * a_stride, b + first, b_stride, inner,
                         width);
    }
}

double *reference_transpose(const struct interrupt *interrupt, const double *from, int64_t stride,
                            int64_t rows, int64_t columns, struct status *status)
{
    double *to = memory_try((size_t)(rows * columns), sizeof(double));
    if (!to) {
        status_fail(status, STATUS_MEMORY, "no memory for a transposed copy of [%lld,%lld]",
                    (long long)rows, (long long)columns);
        return NULL;
    }
    for (int64_t block = 0; block < columns; block += TRANSPOSE_BLOCK) {
        int64_t end = smaller(block + TRANSPOSE_BLOCK, columns);
        for (int64_t i = 0; i < rows && !interrupt_asked(interrupt); i++)
            for (int64_t j = block; j < end; j++)
                to[j * rows + i] = from[i * stride + j];
    }
    return to;
}

static void start_with_bias(const struct interrupt *interrupt, const struct tensor *out,
                            const struct tensor *bias)
{
    for (int64_t i = 0; i < rows_of(out) && !interrupt_asked(interrupt); i++)
        for (int64_t j = 0; j < columns_of(out); j++)
            row_of(out, i)[j] = bias ? *row_of(bias, j) : 0;
}

bool reference_matmul(const struct op_call *call, struct status *status)
{
    const struct tensor *a = &call->inputs[0], *b = &call->inputs[1], *out = &call->outputs[0];
    const double *left = a->data, *right = b->data;
    int64_t left_stride = a->row_stride, right_stride = b->row_stride;
    int64_t rows = rows_of(out), columns = columns_of(out), inner = columns_of(a);
    double *left_copy = NULL, *right_copy = NULL;
    bool done = false;
    if (call->parameters.transpose_a) {
        inner = rows_of(a);
        left = left_copy =
            reference_transpose(call->interrupt, left, left_stride, inner, rows, status);
        left_stride = inner;
        if (!left)
            goto end;
    }
    if (call->parameters.transpose_b) {
        right = right_copy =
            reference_transpose(call->interrupt, right, right_stride, columns, inner, status);
        right_stride = columns;
        if (!right)
            goto end;
    }
    start_with_bias(call->interrupt, out, call->input_count > 2 ? &call->inputs[2] : NULL);
    reference_multiply(call->interrupt, out->data, out->row_stride, left, left_stride, right,
                       right_stride, rows, inner, columns);
    done = true;
end:
    free(left_copy);
    free(right_copy);
    return done;
}
