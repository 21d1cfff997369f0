#include "engine/tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>

struct shape shape_of1(int64_t a)
{
    return (struct shape){.rank = 1, .dims = {a}};
}

struct shape shape_of2(int64_t a, int64_t b)
{
    return (struct shape){.rank = 2, .dims = {a, b}};
}

struct shape shape_of3(int64_t a, int64_t b, int64_t c)
{
    return (struct shape){.rank = 3, .dims = {a, b, c}};
}

int64_t shape_elements(struct shape shape)
{
    int64_t elements = 1;
    for (int i = 0; i < shape.rank; i++)
        elements *= shape.dims[i];
    return elements;
}

bool shape_equal(struct shape a, struct shape b)
{
    if (a.rank != b.rank)
        return false;
    for (int i = 0; i < a.rank; i++)
        if (a.dims[i] != b.dims[i])
            return false;
    return true;
}

int64_t shape_columns(struct shape shape)
{
    int64_t columns = 1;
    for (int i = 1; i < shape.rank; i++)
        columns *= shape.dims[i];
    return columns;
}

const char *shape_text(struct shape shape, char buffer[80])
{
    enum { SIZE = 80, LONGEST_DIMENSION = 21 }; /* a sign, 19 digits, a comma */
    int length = snprintf(buffer, SIZE, "[");
    for (int i = 0; i < shape.rank; i++) {
        if (length + LONGEST_DIMENSION + 4 >=
            SIZE) { /* no real tensor, but a damaged file may say so */
            length += snprintf(buffer + length, (size_t)(SIZE - length), "...");
            break;
        }
        length += snprintf(buffer + length, (size_t)(SIZE - length), i ? ",%" PRId64 : "%" PRId64,
                           shape.dims[i]);
    }
    snprintf(buffer + length, (size_t)(SIZE - length), "]");
    return buffer;
}

struct tensor tensor_of(void *data, enum dtype dtype, struct shape shape)
{
    return (struct tensor){data, dtype, shape, shape_columns(shape)};
}

bool tensor_is_contiguous(const struct tensor *tensor)
{
    return tensor->row_stride == shape_columns(tensor->shape) || tensor->shape.dims[0] <= 1;
}

static size_t position(const struct tensor *tensor, int64_t index)
{
    int64_t columns = shape_columns(tensor->shape);
    return (size_t)(index / columns * tensor->row_stride + index % columns);
}

double tensor_load(const struct tensor *tensor, int64_t index)
{
    return dtype_load(tensor->dtype, tensor->data, position(tensor, index));
}

void tensor_store(const struct tensor *tensor, int64_t index, double number)
{
    dtype_store(tensor->dtype, tensor->data, position(tensor, index), number);
}
