#include "engine/train/states.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/base/unicode.h"
#include "engine/tensor/safetensors.h"
#include "engine/train/init_file.h"
#include "engine/train/initialize.h"
#include "engine/train/update.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16 }; /* elements that a thread initialises at a time */

struct saved_point {
    char *bytes; /* all states in order of value id */
    size_t size;
};

size_t states_bytes(const struct program *program)
{
    size_t bytes = 0;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].kind == VALUE_STATE)
            bytes += value_bytes(&program->values[v]);
    return bytes;
}

static bool stops(const struct run *run)
{
    return interrupt_asked(run->executor->interrupt);
}

static bool copy_states(struct run *run, const struct saved_point *point, bool save,
                        struct status *status)
{
    size_t offset = 0;
    for (int v = 0; v < run->program->value_count; v++) {
        if (run->program->values[v].kind != VALUE_STATE)
            continue;
        char *host = point->bytes + offset;
        if (!(save ? executor_try_read(run->executor, v, host, status)
                   : executor_try_write(run->executor, v, host, status)))
            return false;
        offset += value_bytes(&run->program->values[v]);
    }
    return true;
}

struct saved_point *states_save(struct run *run, int step, struct status *status)
{
    struct saved_point *point = memory_zeroed(1, sizeof(*point));
    point->size = states_bytes(run->program);
    point->bytes = memory_map(point->size);
    if (!point->bytes)
        status_fail(status, STATUS_MEMORY, "no memory to keep the state of step %d", step + 1);
    if (point->bytes && copy_states(run, point, true, status))
        return point;
    states_discard(point);
    return NULL;
}

bool states_restore(struct run *run, const struct saved_point *point, struct status *status)
{
    return copy_states(run, point, false, status);
}

void states_discard(struct saved_point *point)
{
    if (!point)
        return;
    memory_unmap(point->bytes, point->size);
    free(point);
}

static struct shape global_shape(const struct value *value)
{
    return value->shard.cut_count ? value->shard.global : value->shape;
}

/* The rows of a part of a matrix: a run of neighbours in the whole at a time. */
static void fill_normal_part(const struct run *run, const struct shard *shard, float *data,
                             const char *path, double std)
{
    uint64_t seed = run->config->distributed.seed;
    struct shape local = shard_local_shape(shard);
    int64_t rows = local.dims[0], columns = shape_columns(local);
    int64_t width = shape_columns(shard->global);
#pragma omp parallel for if (rows * columns > CHUNK)
    for (int64_t row = 0; row < rows; row++) {
        if (stops(run))
            continue;
        int64_t base = shard_global_index(shard, 0, row) * width, length;
        for (int64_t column = 0; column < columns; column += length) {
            int64_t first = local.rank > 1 ? shard_global_index(shard, 1, column) : 0;
            length = 1;
            while (column + length < columns &&
                   shard_global_index(shard, 1, column + length) == first + length)
                length++;
            initialize_normal(data + row * columns + column, base + first, length, path, seed, std);
        }
    }
}

static void fill_initial(const struct run *run, const struct parameter *parameter, float *data,
                         int64_t count)
{
    const char *path = run->program->values[parameter->value].path;
    const struct shard *shard = &run->program->values[parameter->value].shard;
    if (parameter->initial_std > 0 && shard->cut_count) {
        fill_normal_part(run, shard, data, path, parameter->initial_std);
        return;
    }
    if (parameter->initial_std > 0) {
        uint64_t seed = run->config->distributed.seed;
        double std = parameter->initial_std;
        int64_t chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for if (chunks > 1)
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            int64_t first = chunk * CHUNK, left = count - first;
            if (!stops(run))
                initialize_normal(data + first, first, left < CHUNK ? left : CHUNK, path, seed,
                                  std);
        }
        return;
    }
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)parameter->initial_value;
}

/* Parameters come from a file, a recipe (.json), or the configuration. */
struct source_of_parameters {
    struct safetensors *file;
    struct init_file *recipe;
};

/* What the file or the recipe has in place `i`, or after `name`; NULL at the end. */
static const char *name_in_source(const struct source_of_parameters *source, int i,
                                  const char *name)
{
    if (source->recipe)
        return init_file_next(source->recipe, name);
    return i < source->file->count ? source->file->entries[i].name : NULL;
}

static bool has_parameter(const struct program *program, const char *path)
{
    for (int p = 0; p < program->parameter_count; p++)
        if (strcmp(program->values[program->parameters[p].value].path, path) == 0)
            return true;
    return false;
}

/* What the model does not have is most likely another model's, or misnamed. A rank has only some of
 * the parameters, so it cannot tell. */
static bool check_extra(const struct run *run, const struct source_of_parameters *source,
                        struct status *status)
{
    enum { NAMED = 4 };
    struct text names = {0};
    const char *name = NULL;
    int count = 0;
    if (run->options.allow_extra || run->config->distributed.world_size > 1)
        return true;
    for (int i = 0; (name = name_in_source(source, i, name)); i++)
        if (!has_parameter(run->program, name) && count++ < NAMED) {
            text_add(&names, count > 1 ? ", " : "");
            unicode_add_printable(&names, name, strlen(name));
        }
    if (count > 0)
        status_fail(status, STATUS_INVALID,
                    "%s: %d tensor%s that %s does not have: %s%s (--allow-extra leaves them out)",
                    run->options.init_from, count, count > 1 ? "s" : "", run->config->name,
                    names.data, count > NAMED ? ", ..." : "");
    text_free(&names);
    return count == 0;
}

static bool copy_from_file(const struct run *run, const struct safetensors *file,
                           const struct value *value, float *data, struct status *status)
{
    const struct safetensors_entry *entry = safetensors_find(file, value->path);
    char want[80], got[80];
    if (!entry)
        return status_fail(status, STATUS_NOT_FOUND, "%s: no tensor %s, which %s needs", file->path,
                           value->path, run->config->name);
    if (!shape_equal(entry->tensor.shape, global_shape(value)))
        return status_fail(status, STATUS_INVALID, "%s: %s is %s, but %s needs %s", file->path,
                           value->path, shape_text(entry->tensor.shape, got), run->config->name,
                           shape_text(global_shape(value), want));
    size_t elements = (size_t)shape_elements(entry->tensor.shape);
    size_t size = dtype_size(entry->tensor.dtype);
    for (size_t at = 0; at < elements; at += CHUNK) {
        if (stops(run))
            return interrupt_fail(status);
        dtype_convert(data + at, DTYPE_F32, (const char *)entry->tensor.data + at * size,
                      entry->tensor.dtype, elements - at < CHUNK ? elements - at : CHUNK);
    }
    return true;
}

/* The whole parameter as a file or a recipe has it. */
static bool fill_whole(const struct run *run, const struct value *value,
                       const struct source_of_parameters *source, float *data,
                       struct status *status)
{
    return source->file ? copy_from_file(run, source->file, value, data, status)
                        : init_file_fill(source->recipe, value->path, data,
                                         shape_elements(global_shape(value)),
                                         run->executor->interrupt, status);
}

/* This rank's part of it. */
static bool fill_part(const struct run *run, const struct value *value,
                      const struct source_of_parameters *source, float *data, struct status *status)
{
    if (!value->shard.cut_count)
        return fill_whole(run, value, source, data, status);
    float *whole = memory_try((size_t)shape_elements(global_shape(value)), sizeof(*whole));
    if (!whole)
        return status_fail(status, STATUS_MEMORY, "no memory to initialise %s", value->name);
    bool ok = fill_whole(run, value, source, whole, status);
    struct tensor global = tensor_of(whole, DTYPE_F32, global_shape(value));
    struct tensor local = tensor_of(data, DTYPE_F32, value->shape);
    if (ok)
        shard_copy_out(&value->shard, &global, &local);
    free(whole);
    return ok;
}

/* Where the first content of a state is made: in its own memory where the host can write there,
 * else in a buffer. */
struct beginning {
    void *data, *buffer;
};

static bool beginning_open(const struct run *run, const struct value *value,
                           struct beginning *beginning, struct status *status)
{
    *beginning = (struct beginning){0};
    if (device_host_memory(run->executor->device)) {
        beginning->data = executor_tensor(run->executor, value->id).data;
        return device_synchronize(run->executor->device, status);
    }
    beginning->data = beginning->buffer = memory_try(value_bytes(value), 1);
    return beginning->data ||
           status_fail(status, STATUS_MEMORY, "no memory to initialise %s", value->name);
}

/* Takes what was made where it belongs. */
static bool beginning_close(struct run *run, const struct value *value, struct beginning *beginning,
                            struct status *status)
{
    bool ok =
        !beginning->buffer || executor_write(run->executor, value->id, beginning->buffer, status);
    free(beginning->buffer);
    return ok;
}

static bool initialize_parameter(struct run *run, const struct parameter *parameter,
                                 const struct source_of_parameters *source, struct status *status)
{
    const struct value *value = &run->program->values[parameter->value];
    struct beginning beginning;
    bool ok = true;
    if (!beginning_open(run, value, &beginning, status))
        return false;
    if (source->file || source->recipe)
        ok = fill_part(run, value, source, beginning.data, status);
    else
        fill_initial(run, parameter, beginning.data, shape_elements(value->shape));
    if (!beginning_close(run, value, &beginning, status) || !ok)
        return false;
    return !stops(run) || interrupt_fail(status);
}

static void fill_zeros(const struct run *run, char *data, size_t bytes)
{
#pragma omp parallel for schedule(static) if (bytes > CHUNK)
    for (size_t at = 0; at < bytes; at += CHUNK)
        if (!stops(run))
            memset(data + at, 0, bytes - at < CHUNK ? bytes - at : CHUNK);
}

static bool zero_moments(struct run *run, struct status *status)
{
    for (int v = 0; v < run->program->value_count; v++) {
        const struct value *value = &run->program->values[v];
        struct beginning beginning;
        if (value->kind != VALUE_STATE || value->memory_class != MEMORY_OPTIMIZER)
            continue;
        if (!beginning_open(run, value, &beginning, status))
            return false;
        fill_zeros(run, beginning.data, value_bytes(value));
        if (!beginning_close(run, value, &beginning, status))
            return false;
        if (stops(run))
            return interrupt_fail(status);
    }
    double scaler[SCALER_SIZE];
    update_initial_scaler(run->config, scaler);
    return executor_write(run->executor, run->program->outputs.scaler, scaler, status);
}

static bool copy_state(struct run *run, int from, int to, struct status *status)
{
    const struct value *value = &run->program->values[to];
    void *data = memory_try(value_bytes(value), 1);
    if (!data)
        return status_fail(status, STATUS_MEMORY, "no memory for a copy of %s",
                           run->program->values[from].name);
    bool ok = executor_try_read(run->executor, from, data, status) &&
              executor_try_write(run->executor, to, data, status);
    free(data);
    return ok;
}

/* States that start as a copy of another one. */
static bool initialize_copies(struct run *run, struct status *status)
{
    for (int v = 0; v < run->program->value_count; v++) {
        const struct value *value = &run->program->values[v];
        if (value->kind == VALUE_STATE && value->starts_as > 0 &&
            !copy_state(run, value->starts_as - 1, v, status))
            return false;
    }
    return true;
}

bool states_initialize(struct run *run, const char *path, struct status *status)
{
    struct source_of_parameters source = {0};
    if (path && text_ends_with(path, ".json")) {
        if (!(source.recipe = init_file_open(path, status)))
            return false;
    } else if (path && !(source.file = safetensors_open(path, status))) {
        return false;
    }
    bool ok = !path || check_extra(run, &source, status);
    for (int p = 0; ok && p < run->program->parameter_count; p++)
        ok = initialize_parameter(run, &run->program->parameters[p], &source, status);
    safetensors_close(source.file);
    init_file_close(source.recipe);
    return ok && zero_moments(run, status) && initialize_copies(run, status);
}

bool states_write_parameters(struct run *run, const char *path, struct status *status)
{
    const struct program *program = run->program;
    size_t count = (size_t)program->parameter_count;
    const char **names = memory_zeroed(count, sizeof(*names));
    struct tensor *tensors = memory_zeroed(count, sizeof(*tensors));
    bool ok = seat_size(&program->seat, COMM_WORLD) == 1 ||
              status_fail(status, STATUS_UNSUPPORTED, "one rank of %d does not have all parameters",
                          seat_size(&program->seat, COMM_WORLD));
    for (size_t p = 0; ok && p < count; p++) {
        const struct value *value = &program->values[program->parameters[p].value];
        names[p] = value->path;
        tensors[p] = tensor_of(memory_try(value_bytes(value), 1), value->dtype, value->shape);
        ok = tensors[p].data
                 ? executor_read(run->executor, value->id, tensors[p].data, status)
                 : status_fail(status, STATUS_MEMORY, "no memory to save %s", value->name);
    }
    ok = ok && safetensors_write(path, names, tensors, (int)count, NULL, 0, status);
    for (size_t p = 0; p < count; p++)
        free(tensors[p].data);
    free(tensors);
    free(names);
    return ok;
}
