/* One tensor of a trace, from its entry in the file and its metadata. */
#include "engine/trace/trace_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* One tensor's metadata at hand: where to complain, and the object to read. */
struct reader {
    const char *path;
    const struct safetensors_entry *entry;
    const json_t *object;
    struct status *status;
};

static bool complain(const struct reader *reader, const char *what)
{
    return status_fail(reader->status, STATUS_INVALID, "%s: metadata of tensor \"%s\": %s",
                       reader->path, reader->entry->name, what);
}

/* All keys are optional; null is the same as a missing key: NULL. */
static const json_t *find_key(const struct reader *reader, const char *key)
{
    const json_t *value = json_object_get(reader->object, key);
    return value && json_is_null(value) ? NULL : value;
}

static bool read_number(const struct reader *reader, const char *key, double *number)
{
    const json_t *value = find_key(reader, key);
    if (!value)
        return true;
    if (!json_is_number(value))
        return complain(reader, "a statistic is not a number");
    *number = json_number_value(value);
    return true;
}

static bool read_integer(const struct reader *reader, const char *key, int64_t maximum,
                         int64_t *number)
{
    const json_t *value = find_key(reader, key);
    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > maximum)
        return complain(reader, "a count, step or order is not an integer in range");
    *number = json_integer_value(value);
    return true;
}

static bool read_shape(const struct reader *reader, struct shape *shape)
{
    const json_t *value = find_key(reader, "shape");
    if (!value)
        return true;
    if (!json_is_array(value) || json_array_size(value) > TENSOR_MAX_RANK)
        return complain(reader, "\"shape\" is not a list of at most 4 sizes");
    *shape = json_array_size(value) ? (struct shape){0} : shape_of1(1);
    int64_t elements = 1;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_int_t size = json_integer_value(json_array_get(value, i));
        if (!json_is_integer(json_array_get(value, i)) || size < 0 ||
            (size && elements > INT64_MAX / 8 / size))
            return complain(reader, "a size of \"shape\" is out of range");
        shape->dims[shape->rank++] = size;
        elements *= size ? size : 1;
    }
    return true;
}

static bool read_dtype(const struct reader *reader, enum dtype *dtype)
{
    const json_t *value = find_key(reader, "dtype");
    if (!value)
        return true;
    const char *name = json_string_value(value);
    return (name && dtype_find(name, dtype)) || complain(reader, "unknown \"dtype\"");
}

/* Do the samples in the file fit shape and sampling step? */
static bool check_samples(const struct reader *reader, const struct trace_tensor *tensor)
{
    int64_t elements = shape_elements(tensor->shape), count = tensor->samples.shape.dims[0];
    int64_t step = tensor->sampling_step;
    if (step == 0 && count != elements)
        return complain(reader, "the file holds another number of elements than \"shape\" has, "
                                "and no \"sampling_step\" is given");
    if (step > 0 && (count > elements || (count > 0 && count - 1 > (elements - 1) / step)))
        return complain(reader, "more samples than \"shape\" and \"sampling_step\" allow");
    return true;
}

static bool read_fields(const struct reader *reader, struct trace_tensor *tensor)
{
    int64_t order = tensor->order, times = tensor->times;
    bool done = read_shape(reader, &tensor->shape) && read_dtype(reader, &tensor->dtype) &&
                read_integer(reader, "sampling_step", INT64_MAX, &tensor->sampling_step) &&
                read_number(reader, "mean", &tensor->mean) &&
                read_number(reader, "deviation", &tensor->deviation) &&
                read_number(reader, "minimum", &tensor->minimum) &&
                read_number(reader, "maximum", &tensor->maximum) &&
                read_integer(reader, "nan_count", INT64_MAX, &tensor->nan_count) &&
                read_integer(reader, "infinity_count", INT64_MAX, &tensor->infinity_count) &&
                read_integer(reader, "order", INT32_MAX, &order) &&
                read_integer(reader, "times", INT32_MAX, &times);
    tensor->order = (int)order;
    tensor->times = (int)times;
    return done && check_samples(reader, tensor);
}

/* The metadata of an entry, or -1. Most files have them in the order of the entries. */
static int metadata_of(const struct safetensors *file, int entry)
{
    const char *name = file->entries[entry].name;
    if (entry < file->metadata_count && file->metadata[entry].key == name)
        return entry;
    return safetensors_find_metadata(file, name);
}

static bool read_metadata(struct reader *reader, const struct safetensors *file, int position,
                          struct trace_tensor *tensor)
{
    if (trace_metadata_quick(file->metadata[position].value, tensor))
        return check_samples(reader, tensor);
    json_error_t error;
    char *text = safetensors_metadata(file, position);
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!object)
        return complain(reader, error.text);
    reader->object = object;
    bool done = json_is_object(object) ? read_fields(reader, tensor)
                                       : complain(reader, "not a JSON object");
    json_decref(object);
    return done;
}

/* Without metadata an entry is a whole tensor of its own shape. */
static struct trace_tensor whole_tensor(const struct safetensors_entry *entry, int order)
{
    struct trace_tensor tensor = {.name = entry->name,
                                  .dtype = entry->tensor.dtype,
                                  .shape = entry->tensor.shape,
                                  .mean = NAN,
                                  .deviation = NAN,
                                  .minimum = NAN,
                                  .maximum = NAN,
                                  .nan_count = -1,
                                  .infinity_count = -1,
                                  .order = order,
                                  .times = 1};
    int64_t elements = shape_elements(entry->tensor.shape);
    tensor.samples = tensor_of(entry->tensor.data, entry->tensor.dtype, shape_of1(elements));
    return tensor;
}

bool trace_tensor_read(const struct safetensors *file, int entry, struct trace_tensor *tensor,
                       struct status *status)
{
    struct reader reader = {file->path, &file->entries[entry], NULL, status};
    int position = metadata_of(file, entry);
    *tensor = whole_tensor(&file->entries[entry], entry);
    return position < 0 || read_metadata(&reader, file, position, tensor);
}
