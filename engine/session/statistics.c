#include "engine/session/statistics.h"

#include "engine/base/names.h"

#include <math.h>

static uint64_t hash_of(const struct tensor *tensor)
{
    size_t size = dtype_size(tensor->dtype);
    size_t row = (size_t)shape_columns(tensor->shape) * size;
    int64_t rows = tensor->shape.rank > 0 ? tensor->shape.dims[0] : 1;
    const char *data = tensor->data;
    if (tensor_is_contiguous(tensor))
        return hash_bytes(data, (size_t)rows * row);
    uint64_t hash = 0;
    for (int64_t r = 0; r < rows; r++)
        hash = hash * 31 + hash_bytes(data + (size_t)(r * tensor->row_stride) * size, row);
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

void statistics_compute(const struct tensor *tensor, struct statistics *statistics)
{
    struct statistics result = {.count = shape_elements(tensor->shape),
                                .minimum = INFINITY,
                                .maximum = -INFINITY,
                                .hash = hash_of(tensor)};
    double sum = 0, squares = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < result.count; i++) {
        double number = tensor_load(tensor, i);
        result.nan += isnan(number);
        result.infinite += isinf(number) != 0;
        if (!isfinite(number))
            continue;
        finite++;
        result.zeros += number == 0;
        sum += number;
        squares += number * number;
        result.minimum = fmin(result.minimum, number);
        result.maximum = fmax(result.maximum, number);
    }
    if (finite == 0)
        result.minimum = result.maximum = NAN;
    result.mean = sum / (double)finite; /* NaN without any */
    result.rms = sqrt(squares / (double)finite);
    double spread = 0; /* second pass: the difference of large numbers loses digits */
    for (int64_t i = 0; i < result.count; i++) {
        double number = tensor_load(tensor, i);
        if (isfinite(number))
            spread += (number - result.mean) * (number - result.mean);
    }
    result.deviation = sqrt(spread / (double)finite);
    *statistics = result;
}

void histogram_compute(const struct tensor *tensor, double low, double high, int bins,
                       int64_t *counts)
{
    int64_t count = shape_elements(tensor->shape);
    for (int b = 0; b < bins; b++)
        counts[b] = 0;
    for (int64_t i = 0; i < count; i++) {
        double number = tensor_load(tensor, i);
        if (!isfinite(number) || number < low || number > high)
            continue;
        int bin = high > low ? (int)((number - low) / (high - low) * bins) : 0;
        counts[bin < bins ? bin : bins - 1]++;
    }
}
