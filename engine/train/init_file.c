#include "engine/train/init_file.h"

#include "engine/base/memory.h"
#include "engine/train/initialize.h"

#include <jansson.h>
#include <stdlib.h>

struct init_file {
    char *path;
    json_t *root;
    json_t *parameters; /* borrowed from root */
    uint64_t seed;
};

struct init_file *init_file_open(const char *path, struct status *status)
{
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    json_t *seed = json_object_get(root, "seed");
    json_t *parameters = json_object_get(root, "parameters");
    if (!root)
        status_fail(status, STATUS_INVALID, "%s:%d:%d: %s", path, error.line, error.column,
                    error.text);
    else if (!json_is_integer(seed) || !json_is_object(parameters))
        status_fail(status, STATUS_INVALID,
                    "%s: needs an integer \"seed\" and an object \"parameters\"", path);
    if (!json_is_integer(seed) || !json_is_object(parameters)) {
        json_decref(root);
        return NULL;
    }
    struct init_file *file = memory_zeroed(1, sizeof(*file));
    file->path = memory_string(path);
    file->root = root;
    file->parameters = parameters;
    file->seed = (uint64_t)json_integer_value(seed);
    return file;
}

void init_file_close(struct init_file *file)
{
    if (!file)
        return;
    json_decref(file->root);
    free(file->path);
    free(file);
}

const char *init_file_next(const struct init_file *file, const char *name)
{
    void *at = name ? json_object_iter_next(file->parameters, json_object_key_to_iter(name))
                    : json_object_iter(file->parameters);
    return at ? json_object_iter_key(at) : NULL;
}

enum { CHUNK = 1 << 18 }; /* elements between looks at the interrupt; even: they come in pairs */

bool init_file_fill(const struct init_file *file, const char *name, float *data, int64_t count,
                    const struct interrupt *interrupt, struct status *status)
{
    const json_t *entry = json_object_get(file->parameters, name);
    const json_t *mean = json_object_get(entry, "mean"), *std = json_object_get(entry, "std");
    if (!json_is_number(mean) || !json_is_number(std))
        return status_fail(status, STATUS_NOT_FOUND,
                           "%s: parameter %s does not have \"mean\" and \"std\"", file->path, name);
    double deviation = json_number_value(std), offset = json_number_value(mean);
    for (int64_t first = 0, end; first < count; first = end) {
        end = count - first < CHUNK ? count : first + CHUNK;
        if (interrupt_asked(interrupt))
            return interrupt_fail(status);
        if (deviation > 0)
            initialize_normal(data + first, first, end - first, name, file->seed, deviation);
        for (int64_t i = first; i < end; i++)
            data[i] = deviation > 0 ? (float)offset + data[i] : (float)offset;
    }
    return true;
}
