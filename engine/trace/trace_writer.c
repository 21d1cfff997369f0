#include "engine/trace/trace_internal.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"
#include "engine/trace/trace_statistics.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct record {
    struct tensor data;          /* contiguous, owned: what goes into the file */
    const struct mosaic *source; /* borrowed: what does instead, then `data` has none; or NULL */
    char *metadata;
    int times; /* recorded in this step, under this name */
};

struct trace_writer {
    char *directory;
    json_t *manifest;
    bool full_tensors;
    struct names names; /* name -> position in records */
    struct record *records;
    int count, capacity;
    int order; /* of the next tensor in this step */
};

/* Numbers that do not exist are left out of the metadata. */
static void add_number(struct text *text, const char *key, double number)
{
    if (isfinite(number))
        text_format(text, ",\"%s\":%.17g", key, number);
}

static void add_statistics(struct text *text, const struct trace_statistics *found)
{
    add_number(text, "mean", found->mean);
    add_number(text, "deviation", found->deviation);
    add_number(text, "minimum", found->minimum);
    add_number(text, "maximum", found->maximum);
    text_format(text, ",\"nan_count\":%" PRId64 ",\"infinity_count\":%" PRId64, found->nans,
                found->infinities);
}

static char *describe(struct shape shape, enum dtype dtype, int64_t sampling_step, int order,
                      int times, const struct trace_statistics *statistics)
{
    struct text text = {0};
    text_add(&text, "{\"shape\":[");
    for (int i = 0; i < shape.rank; i++)
        text_format(&text, i ? ",%" PRId64 : "%" PRId64, shape.dims[i]);
    text_format(&text, "],\"dtype\":\"%s\",\"sampling_step\":%" PRId64, dtype_name(dtype),
                sampling_step);
    if (statistics)
        add_statistics(&text, statistics);
    if (times > 1)
        text_format(&text, ",\"times\":%d", times);
    text_format(&text, ",\"order\":%d}", order);
    return text_take(&text);
}

static inline void copy_each(char *to, const char *from, int64_t count, size_t distance,
                             size_t size)
{
    for (size_t i = 0; i < (size_t)count; i++)
        memcpy(to + i * size, from + i * distance, size);
}

/* Nearly each element is from a cache line of its own. With a size that the compiler knows, many of
 * them are on their way at a time; a call for each would wait for each. */
static void copy_apart(char *to, const char *from, int64_t count, int64_t step, size_t size)
{
    size_t distance = (size_t)step * size;
    if (size == 4)
        copy_each(to, from, count, distance, 4);
    else if (size == 2)
        copy_each(to, from, count, distance, 2);
    else
        copy_each(to, from, count, distance, size);
}

/* Copies `count` elements, `step` apart in the flattened tensor. */
static void copy_samples(char *to, const struct mosaic *tensor, int64_t count, int64_t step)
{
    size_t size = dtype_size(tensor->dtype);
    int64_t run;
    if (step == 1) {
        mosaic_copy(tensor, 0, count, to);
        return;
    }
    for (int64_t i = 0; i < count; i += run) {
        const void *from = mosaic_run(tensor, i * step, &run);
        run = (run + step - 1) / step;
        run = run < count - i ? run : count - i;
        copy_apart(to + (size_t)i * size, from, run, step, size);
    }
}

/* What goes into the file; without data if there is no memory for it. */
static struct tensor take_samples(const struct trace_writer *writer, const struct mosaic *tensor)
{
    int64_t step = writer->full_tensors ? 1 : trace_sampling_step(tensor->shape);
    int64_t count =
        writer->full_tensors ? shape_elements(tensor->shape) : trace_sample_count(tensor->shape);
    struct shape shape = writer->full_tensors ? tensor->shape : shape_of1(count);
    void *data = memory_try((size_t)count, dtype_size(tensor->dtype));
    if (data)
        copy_samples(data, tensor, count, step);
    return tensor_of(data, tensor->dtype, shape);
}

static void free_record(struct record *record)
{
    free(record->data.data);
    free(record->metadata);
    *record = (struct record){0};
}

/* What goes into the file, of a tensor of that shape. */
static void put(struct trace_writer *writer, const char *name, struct shape shape,
                struct record record, const struct trace_statistics *statistics)
{
    int64_t step = writer->full_tensors ? 0 : trace_sampling_step(shape);
    int position = names_find(&writer->names, name);
    record.times = position >= 0 ? writer->records[position].times + 1 : 1;
    record.metadata =
        describe(shape, record.data.dtype, step, writer->order++, record.times, statistics);
    if (position >= 0) {
        free_record(&writer->records[position]);
        writer->records[position] = record;
        return;
    }
    names_set(&writer->names, name, writer->count);
    ARRAY_PUSH(writer->records, writer->count, writer->capacity, record);
}

bool trace_keeps_tensors(const struct trace_writer *writer)
{
    return writer->full_tensors;
}

void trace_put_samples(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       void *samples, const struct trace_statistics *statistics)
{
    struct shape shape = shape_of1(trace_sample_count(tensor->shape));
    struct record record = {.data = tensor_of(samples, tensor->dtype, shape)};
    put(writer, name, tensor->shape, record, statistics);
}

/* What is taken of one tensor. */
struct taken {
    struct record record;
    bool has_statistics;
    struct trace_statistics statistics;
};

/* Any thread. Statistics first: samples are far apart, and cheaper where the tensor was just read.
 */
static struct taken take(const struct trace_writer *writer, const struct mosaic *tensor,
                         bool statistics)
{
    struct taken taken = {.has_statistics = statistics};
    if (statistics)
        taken.statistics = trace_statistics_of(tensor);
    taken.record.data = take_samples(writer, tensor);
    return taken;
}

/* As take(), of one that stays until the step is finished. */
static struct taken take_staying(const struct trace_writer *writer, const struct trace_item *item)
{
    const struct mosaic *tensor = item->tensor;
    if (!writer->full_tensors)
        return take(writer, tensor, !item->samples_only);
    return (struct taken){
        .record = {.data = tensor_of(NULL, tensor->dtype, tensor->shape), .source = tensor},
        .has_statistics = true,
        .statistics = trace_statistics_of(tensor)};
}

static bool keep(struct trace_writer *writer, const struct trace_item *item,
                 const struct taken *taken, struct status *status)
{
    if (!taken->record.data.data && !taken->record.source)
        return status_fail(status, STATUS_MEMORY, "no memory to record %lld elements of \"%s\"",
                           (long long)shape_elements(taken->record.data.shape), item->name);
    put(writer, item->name, item->tensor->shape, taken->record,
        taken->has_statistics ? &taken->statistics : NULL);
    return true;
}

/* All threads work on a tensor of so many elements; smaller ones are shared out among them. */
static bool is_large(const struct mosaic *tensor)
{
    enum { LARGE = 4 << 20 };
    return shape_elements(tensor->shape) >= LARGE;
}

bool trace_add_parts(struct trace_writer *writer, const struct trace_item *items, int count,
                     struct status *status)
{
    struct taken *taken = memory_zeroed((size_t)count, sizeof(*taken));
    int i;
#pragma omp parallel for schedule(dynamic) if (count > 1)
    for (i = 0; i < count; i++)
        if (!is_large(items[i].tensor))
            taken[i] = take_staying(writer, &items[i]);
    for (i = 0; i < count; i++)
        if (is_large(items[i].tensor))
            taken[i] = take_staying(writer, &items[i]);
    for (i = 0; i < count && keep(writer, &items[i], &taken[i], status); i++)
        ;
    bool ok = i == count;
    for (; i < count; i++)
        free(taken[i].record.data.data);
    free(taken);
    return ok;
}

static bool add_tensor(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       bool statistics, struct status *status)
{
    struct mosaic whole;
    if (!mosaic_make(&whole, tensor->shape, &(struct mosaic_part){.tensor = *tensor}, 1))
        return status_fail(status, STATUS_INTERNAL, "\"%s\" has a shape of its own", name);
    struct taken taken = take(writer, &whole, statistics);
    bool ok = keep(writer, &(struct trace_item){.name = name, .tensor = &whole}, &taken, status);
    mosaic_free(&whole);
    return ok;
}

bool trace_add(struct trace_writer *writer, const char *name, const struct tensor *tensor,
               struct status *status)
{
    return add_tensor(writer, name, tensor, true, status);
}

bool trace_add_samples(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       struct status *status)
{
    return add_tensor(writer, name, tensor, writer->full_tensors, status);
}

static void clear_step(struct trace_writer *writer)
{
    for (int i = 0; i < writer->count; i++)
        free_record(&writer->records[i]);
    names_free(&writer->names);
    writer->names = (struct names){0};
    writer->count = 0;
    writer->order = 0;
}

static bool write_manifest(const struct trace_writer *writer, struct status *status)
{
    char *path = memory_format("%s/manifest.json", writer->directory);
    char *temporary = memory_format("%s.%ld.tmp", path, (long)getpid());
    bool done = json_dump_file(writer->manifest, temporary, JSON_INDENT(2)) == 0 &&
                rename(temporary, path) == 0;
    if (!done) {
        status_fail(status, STATUS_IO, "%s: cannot write: %s", path, strerror(errno));
        unlink(temporary);
    }
    free(temporary);
    free(path);
    return done;
}

static bool write_step(const struct trace_writer *writer, const char *path, struct status *status)
{
    size_t count = (size_t)writer->count;
    struct tensor *tensors = memory_zeroed(count, sizeof *tensors);
    const struct mosaic **sources = memory_zeroed(count, sizeof *sources);
    const char **metadata = memory_zeroed(count, 2 * sizeof *metadata);
    for (size_t i = 0; i < count; i++) {
        tensors[i] = writer->records[i].data;
        sources[i] = writer->records[i].source;
        metadata[2 * i] = writer->names.names[i];
        metadata[2 * i + 1] = writer->records[i].metadata;
    }
    bool done = safetensors_write_parts(path, (const char *const *)writer->names.names, tensors,
                                        sources, writer->count, metadata, writer->count, status);
    free(sources);
    free(metadata);
    free(tensors);
    return done;
}

static bool is_listed(const json_t *steps, const char *step)
{
    const json_t *listed;
    size_t position;
    json_array_foreach(steps, position, listed)
    {
        if (strcmp(json_string_value(listed), step) == 0)
            return true;
    }
    return false;
}

bool trace_finish_step(struct trace_writer *writer, const char *step, struct status *status)
{
    json_t *steps = json_object_get(writer->manifest, "steps");
    if (writer->count == 0)
        return true;
    if (!trace_step_name_is_valid(step) || is_listed(steps, step))
        return status_fail(status, STATUS_INVALID,
                           "%s: step name \"%s\" is in use or cannot be a file", writer->directory,
                           step);
    char *path = memory_format("%s/%s" TRACE_SUFFIX, writer->directory, step);
    bool done = write_step(writer, path, status);
    free(path);
    clear_step(writer);
    if (!done)
        return false;
    /* The manifest follows each step, so that a run that dies leaves a trace that can be read. */
    json_array_append_new(steps, json_string(step));
    return write_manifest(writer, status);
}

bool trace_finish(struct trace_writer *writer, struct status *status)
{
    if (!writer)
        return true;
    bool done = writer->count == 0 ||
                status_fail(status, STATUS_INTERNAL, "%s: %d tensors of an unfinished step",
                            writer->directory, writer->count);
    json_object_set_new(writer->manifest, "finished", json_true());
    done = done && write_manifest(writer, status);
    trace_abandon(writer);
    return done;
}

void trace_abandon(struct trace_writer *writer)
{
    if (!writer)
        return;
    clear_step(writer);
    free(writer->records);
    json_decref(writer->manifest);
    free(writer->directory);
    free(writer);
}

/* Files that a trace consists of, with what a killed writer may have left. */
static bool belongs_to_trace(const char *name)
{
    return text_ends_with(name, TRACE_SUFFIX) || strcmp(name, "manifest.json") == 0 ||
           (text_ends_with(name, ".tmp") &&
            (strncmp(name, "manifest.json.", 14) == 0 || strstr(name, TRACE_SUFFIX ".")));
}

static bool make_directories(const char *directory, struct status *status)
{
    char *path = memory_string(directory);
    bool done = true;
    for (char *slash = path + 1; done && *path;) {
        slash = strchr(slash, '/');
        if (slash)
            *slash = '\0';
        done = mkdir(path, 0777) == 0 || errno == EEXIST;
        if (!slash)
            break;
        *slash++ = '/';
    }
    struct stat facts;
    if (!done)
        status_fail(status, STATUS_IO, "%s: cannot make the directory: %s", directory,
                    strerror(errno));
    else if (stat(directory, &facts) != 0 || !S_ISDIR(facts.st_mode))
        done = status_fail(status, STATUS_IO, "%s: not a directory", directory);
    free(path);
    return done;
}

/* Walks over the directory: with `remove` false, finds whether it is empty or has a foreign file;
 * with `remove` true, deletes the old trace's files. */
static bool walk(const char *directory, bool remove, bool *empty, struct status *status)
{
    DIR *folder = opendir(directory);
    if (!folder)
        return status_fail(status, STATUS_IO, "%s: %s", directory, strerror(errno));
    bool done = true;
    *empty = true;
    for (struct dirent *file; done && (file = readdir(folder));) {
        if (strcmp(file->d_name, ".") == 0 || strcmp(file->d_name, "..") == 0)
            continue;
        *empty = false;
        if (!belongs_to_trace(file->d_name))
            done = status_fail(status, STATUS_INVALID,
                               "%s: not overwritten: it holds \"%s\", which is no part of a trace",
                               directory, file->d_name);
        else if (remove && unlinkat(dirfd(folder), file->d_name, 0) != 0)
            done = status_fail(status, STATUS_IO, "%s/%s: cannot replace: %s", directory,
                               file->d_name, strerror(errno));
    }
    closedir(folder);
    return done;
}

/* Makes room for a new trace: deletes only what says of itself that it is a trace. */
static bool prepare_directory(const char *directory, struct status *status)
{
    bool empty;
    if (!make_directories(directory, status) || !walk(directory, false, &empty, status))
        return false;
    if (empty)
        return true;
    char *text;
    json_t *root;
    if (!trace_manifest_read(directory, &text, &root, status))
        return status_context(status, "not overwritten");
    bool is_trace = root != NULL;
    free(text);
    json_decref(root);
    if (!is_trace)
        return status_fail(status, STATUS_INVALID,
                           "%s: not overwritten: it holds files, but no manifest.json of a trace",
                           directory);
    return walk(directory, true, &empty, status);
}

static json_t *text_or_null(const char *text)
{
    json_t *string = text ? json_string(text) : NULL; /* NULL as well if it is not UTF-8 */
    return string ? string : json_null();
}

/* 64-bit numbers as text: JSON's numbers are safe to 2^53 only. */
static json_t *hexadecimal(uint64_t number)
{
    return json_sprintf("%016" PRIx64, number);
}

static json_t *describe_run(const struct trace_description *what)
{
    json_t *root = json_object();
    json_object_set_new(root, "format", json_string(TRACE_FORMAT));
    json_object_set_new(root, "version", json_integer(TRACE_VERSION));
    json_object_set_new(root, "run", text_or_null(what->run));
    json_object_set_new(root, "config", text_or_null(what->config_text));
    json_object_set_new(root, "config_hash", hexadecimal(what->config_hash));
    json_object_set_new(root, "program_hash", hexadecimal(what->program_hash));
    json_object_set_new(root, "seed",
                        what->seed <= (uint64_t)1 << 53 ? json_integer((json_int_t)what->seed)
                                                        : json_sprintf("%" PRIu64, what->seed));
    json_object_set_new(root, "device", text_or_null(what->device));
    json_object_set_new(root, "software", text_or_null(what->software));
    json_object_set_new(root, "full_tensors", json_boolean(what->full_tensors));
    json_object_set_new(root, "log_points", json_boolean(what->log_points));
    json_object_set_new(root, "finished", json_false());
    json_object_set_new(root, "steps", json_array());
    return root;
}

struct trace_writer *trace_create(const char *directory, const struct trace_description *what,
                                  struct status *status)
{
    if (!prepare_directory(directory, status))
        return NULL;
    struct trace_writer *writer = memory_zeroed(1, sizeof *writer);
    writer->directory = memory_string(directory);
    writer->manifest = describe_run(what);
    writer->full_tensors = what->full_tensors;
    if (write_manifest(writer, status))
        return writer;
    trace_abandon(writer);
    return NULL;
}
