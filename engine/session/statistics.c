#include "engine/session/statistics.h"

#include "engine/base/names.h"

#include <math.h>

enum { PIECE = 1 << 18 }; /* elements between looks at the interrupt */

/* The end of the piece that begins at element `first` of `count`; `first` itself to give up. */
static int64_t piece_end(const struct interrupt *interrupt, int64_t first, int64_t count)
{
    if (interrupt_asked(interrupt))
        return first;
    return count - first < PIECE ? count : first + PIECE;
}

/* Of a tensor whose rows lie apart: of each row by itself. */
static uint64_t hash_of_rows(const struct interrupt *interrupt, const struct tensor *tensor)
{
    size_t size = dtype_size(tensor->dtype);
    size_t row = (size_t)shape_columns(tensor->shape) * size;
    int64_t rows = tensor->shape.rank > 0 ? tensor->shape.dims[0] : 1;
    const char *data = tensor->data;
    uint64_t hash = 0;
    for (int64_t r = 0; r < rows && !interrupt_asked(interrupt); r++)
        hash = hash * 31 + hash_bytes(data + (size_t)(r * tensor->row_stride) * size, row);
    return hash;
}

static uint64_t hash_of(const struct interrupt *interrupt, const struct tensor *tensor)
{
    int64_t size = (int64_t)dtype_size(tensor->dtype);
    int64_t bytes = shape_elements(tensor->shape) * size;
    const char *data = tensor->data;
    if (!tensor_is_contiguous(tensor))
        return hash_of_rows(interrupt, tensor);
    uint64_t hash = hash_bytes(NULL, 0);
    for (int64_t at = 0, end; (end = piece_end(interrupt, at, bytes)) > at; at = end)
        hash = hash_more(hash, data + at, (size_t)(end - at));
    return hash;
}

void statistics_not_finite(const struct tensor *tensor, int64_t *nan, int64_t *infinite)
{
    int64_t count = shape_elements(tensor->shape);
    *nan = *infinite = 0;
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(tensor, i);
        *nan += isnan(number);
        *infinite += isinf(number) != 0;
    }
}

/* The sums of a first pass; returns how many elements are finite. */
static int64_t add_piece(const struct tensor *tensor, int64_t first, int64_t end, double *sum,
                         double *squares, struct statistics *result)
{
    int64_t finite = 0;
    for (int64_t i = first; i < end; i++) {
        double number = tensor_load(tensor, i);
        result->nan += isnan(number);
        result->infinite += isinf(number) != 0;
        if (!isfinite(number))
            continue;
        finite++;
        result->zeros += number == 0;
        *sum += number;
        *squares += number * number;
        result->minimum = fmin(result->minimum, number);
        result->maximum = fmax(result->maximum, number);
    }
    return finite;
}

bool statistics_compute(const struct interrupt *interrupt, const struct tensor *tensor,
                        struct statistics *statistics)
{
    struct statistics result = {.count = shape_elements(tensor->shape),
                                .minimum = INFINITY,
                                .maximum = -INFINITY,
                                .hash = hash_of(interrupt, tensor)};
    double sum = 0, squares = 0, spread = 0;
    int64_t finite = 0, count = result.count;
    for (int64_t first = 0, end; (end = piece_end(interrupt, first, count)) > first; first = end)
        finite += add_piece(tensor, first, end, &sum, &squares, &result);
    if (finite == 0)
        result.minimum = result.maximum = NAN;
    result.mean = sum / (double)finite; /* NaN without any */
    result.rms = sqrt(squares / (double)finite);
    /* second pass: the difference of large numbers loses digits */
    for (int64_t first = 0, end; (end = piece_end(interrupt, first, count)) > first; first = end)
        for (int64_t i = first; i < end; i++) {
            double number = tensor_load(tensor, i);
            if (isfinite(number))
                spread += (number - result.mean) * (number - result.mean);
        }
    result.deviation = sqrt(spread / (double)finite);
    *statistics = result;
    return !interrupt_asked(interrupt);
}

bool histogram_compute(const struct interrupt *interrupt, const struct tensor *tensor, double low,
                       double high, int bins, int64_t *counts)
{
    int64_t count = shape_elements(tensor->shape);
    for (int b = 0; b < bins; b++)
        counts[b] = 0;
    for (int64_t first = 0, end; (end = piece_end(interrupt, first, count)) > first; first = end)
        for (int64_t i = first; i < end; i++) {
            double number = tensor_load(tensor, i);
            if (!isfinite(number) || number < low || number > high)
                continue;
            int bin = high > low ? (int)((number - low) / (high - low) * bins) : 0;
            counts[bin < bins ? bin : bins - 1]++;
        }
    return !interrupt_asked(interrupt);
}
