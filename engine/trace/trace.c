#include "engine/trace/trace_internal.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t trace_sampling_step(struct shape shape)
{
    int64_t step = shape_elements(shape) / TRACE_SAMPLES;
    /* A step that is a multiple of a dimension would look at the same column again and again. */
    for (bool again = true; again && step > 1;) {
        again = false;
        for (int i = 0; i < shape.rank; i++)
            again = again || (shape.dims[i] > 1 && step % shape.dims[i] == 0);
        step -= again;
    }
    return step > 1 ? step : 1;
}

int64_t trace_sample_count(struct shape shape)
{
    int64_t step = trace_sampling_step(shape);
    int64_t count = (shape_elements(shape) + step - 1) / step;
    return count < TRACE_SAMPLES ? count : TRACE_SAMPLES;
}

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

/* Numbers are optional; null, like a missing key, means that it was not recorded. */
static bool read_number(const struct reader *reader, const char *key, double *number)
{
    const json_t *value = json_object_get(reader->object, key);
    if (!value || json_is_null(value))
        return true;
    if (!json_is_number(value))
        return complain(reader, "a statistic is not a number");
    *number = json_number_value(value);
    return true;
}

static bool read_integer(const struct reader *reader, const char *key, int64_t maximum,
                         int64_t *number)
{
    const json_t *value = json_object_get(reader->object, key);
    if (!value || json_is_null(value))
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > maximum)
        return complain(reader, "a count, step or order is not an integer in range");
    *number = json_integer_value(value);
    return true;
}

static bool read_shape(const struct reader *reader, struct shape *shape)
{
    const json_t *value = json_object_get(reader->object, "shape");
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
    const json_t *value = json_object_get(reader->object, "dtype");
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

static bool read_metadata(struct reader *reader, const char *text, struct trace_tensor *tensor)
{
    if (trace_metadata_quick(text, tensor))
        return check_samples(reader, tensor);
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
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

/* By order; two tensors that claim the same place (partly foreign metadata) by name. */
static int compare_order(const void *left, const void *right)
{
    const struct trace_tensor *a = left, *b = right;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* The metadata of entry i. Most files have them in the order of the entries. */
static const char *metadata_of(const struct safetensors *file, int i)
{
    const char *name = file->entries[i].name;
    if (i < file->metadata_count && strcmp(file->metadata[2 * (size_t)i], name) == 0)
        return file->metadata[2 * (size_t)i + 1];
    return safetensors_metadata(file, name);
}

/* In the order of the run; where that is another one than in the file, with an index from there. */
static void order_tensors(struct trace_step *step)
{
    struct safetensors *file = step->file;
    bool sorted = true;
    for (int i = 1; i < step->count && sorted; i++)
        sorted = compare_order(&step->tensors[i - 1], &step->tensors[i]) <= 0;
    if (sorted)
        return;
    qsort(step->tensors, (size_t)step->count, sizeof *step->tensors, compare_order);
    int *positions = memory_zeroed((size_t)file->count, sizeof *positions);
    for (int i = 0; i < step->count; i++)
        positions[safetensors_find(file, step->tensors[i].name) - file->entries] = i;
    step->index = positions;
}

static bool read_tensors(struct trace_step *step, struct status *status)
{
    struct safetensors *file = step->file;
    step->tensors = memory_zeroed((size_t)file->count, sizeof *step->tensors);
    step->count = file->count;
    for (int i = 0; i < file->count; i++) {
        const char *text = metadata_of(file, i);
        struct reader reader = {file->path, &file->entries[i], NULL, status};
        step->tensors[i] = whole_tensor(&file->entries[i], i);
        if (text && !read_metadata(&reader, text, &step->tensors[i]))
            return false;
    }
    order_tensors(step);
    return true;
}

static bool open_step(struct trace *trace, const char *name, struct status *status)
{
    if (!trace_step_name_is_valid(name))
        return status_fail(status, STATUS_INVALID, "%s: a step has a name that cannot be a file",
                           trace->directory);
    if (trace_find_step(trace, name))
        return status_fail(status, STATUS_INVALID, "%s/manifest.json: step \"%s\" is listed twice",
                           trace->directory, name);
    char *path = memory_format("%s/%s" TRACE_SUFFIX, trace->directory, name);
    struct trace_step step = {.name = memory_string(name), .file = safetensors_open(path, status)};
    free(path);
    trace->steps = memory_resize(trace->steps, (size_t)trace->step_count + 1, sizeof step);
    trace->steps[trace->step_count++] = step;
    return step.file && read_tensors(&trace->steps[trace->step_count - 1], status);
}

static bool open_listed_steps(struct trace *trace, const json_t *root, struct status *status)
{
    const json_t *steps = json_object_get(root, "steps"), *step;
    size_t position;
    if (!json_is_array(steps))
        return status_fail(status, STATUS_INVALID, "%s/manifest.json: \"steps\" is not a list",
                           trace->directory);
    json_array_foreach(steps, position, step)
    {
        if (!json_is_string(step))
            return status_fail(status, STATUS_INVALID,
                               "%s/manifest.json: \"steps\" holds something that is no name",
                               trace->directory);
        if (!open_step(trace, json_string_value(step), status))
            return false;
    }
    return true;
}

/* "init" first, then by name with numbers as numbers: train_2 before train_10. */
static int compare_steps(const void *left, const void *right)
{
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    bool first_a = strcmp(a, "init") == 0, first_b = strcmp(b, "init") == 0;
    if (first_a != first_b)
        return first_a ? -1 : 1;
    return strverscmp(a, b);
}

/* The names of all *.safetensors in the directory, in order. */
static bool list_steps(const char *directory, char ***names, int *count, struct status *status)
{
    int capacity = 0;
    DIR *folder = opendir(directory);
    if (!folder)
        return status_fail(status, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s",
                           directory, strerror(errno));
    for (struct dirent *file; (file = readdir(folder));) {
        size_t length = strlen(file->d_name), suffix = strlen(TRACE_SUFFIX);
        if (length <= suffix || strcmp(file->d_name + length - suffix, TRACE_SUFFIX) != 0)
            continue;
        char *name = memory_string_part(file->d_name, length - suffix);
        ARRAY_PUSH(*names, *count, capacity, name);
    }
    closedir(folder);
    if (*count)
        qsort(*names, (size_t)*count, sizeof **names, compare_steps);
    return true;
}

static bool open_found_steps(struct trace *trace, struct status *status)
{
    char **names = NULL;
    int count = 0;
    bool done = list_steps(trace->directory, &names, &count, status);
    for (int i = 0; i < count && done; i++)
        done = open_step(trace, names[i], status);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return done;
}

static bool open_steps(struct trace *trace, struct status *status)
{
    json_t *root;
    if (!trace_manifest_read(trace->directory, &trace->manifest, &root, status))
        return false;
    bool done = root ? open_listed_steps(trace, root, status) : open_found_steps(trace, status);
    json_decref(root);
    if (!trace->manifest)
        trace->manifest = memory_string("{}");
    return done &&
           (trace->step_count ||
            status_fail(status, STATUS_INVALID, "%s: a trace without any step", trace->directory));
}

struct trace *trace_open(const char *directory, struct status *status)
{
    struct trace *trace = memory_zeroed(1, sizeof *trace);
    trace->directory = memory_string(directory);
    if (open_steps(trace, status))
        return trace;
    trace_close(trace);
    return NULL;
}

void trace_close(struct trace *trace)
{
    if (!trace)
        return;
    for (int i = 0; i < trace->step_count; i++) {
        safetensors_close(trace->steps[i].file);
        free(trace->steps[i].name);
        free(trace->steps[i].tensors);
        free(trace->steps[i].index);
    }
    free(trace->steps);
    free(trace->manifest);
    free(trace->directory);
    free(trace);
}

const struct trace_step *trace_find_step(const struct trace *trace, const char *name)
{
    for (int i = 0; i < trace->step_count; i++)
        if (strcmp(trace->steps[i].name, name) == 0)
            return &trace->steps[i];
    return NULL;
}

const struct trace_tensor *trace_find(const struct trace_step *step, const char *name)
{
    const struct safetensors_entry *entry = safetensors_find(step->file, name);
    const int *positions = step->index;
    if (!entry)
        return NULL;
    int i = (int)(entry - step->file->entries);
    return &step->tensors[positions ? positions[i] : i];
}
