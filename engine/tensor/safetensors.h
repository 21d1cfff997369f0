/* The safetensors container: 8 bytes little-endian header length, a JSON header (padded with
 * blanks to a multiple of 8), raw little-endian data. https://github.com/huggingface/safetensors
 * Files are untrusted: every offset, length, shape and dtype is checked before use. */
#ifndef ENGINE_TENSOR_SAFETENSORS_H
#define ENGINE_TENSOR_SAFETENSORS_H

#include "engine/base/status.h"
#include "engine/tensor/tensor.h"

struct safetensors_entry {
    char *name;
    struct tensor tensor; /* data points into the mapped file */
};

struct safetensors {
    char *path;
    struct safetensors_entry *entries; /* in the order of their offsets */
    int count;
    char **metadata;    /* key, value, key, value, ... of "__metadata__" */
    int metadata_count; /* number of pairs */
    void *map;
    size_t map_size;
    void *index; /* name lookup, internal */
};

/* Maps `path` read-only. NULL on failure. Close with safetensors_close. */
struct safetensors *safetensors_open(const char *path, struct status *status);
void safetensors_close(struct safetensors *file);
/* The entry called `name`, or NULL. Points into `file`. */
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);
/* The metadata value of `key`, or NULL. */
const char *safetensors_metadata(const struct safetensors *file, const char *key);
/* Whether safetensors_write could create `path`: to be asked before work that would be lost. */
bool safetensors_can_write(const char *path, struct status *status);
/* Writes contiguous host tensors to `path` through a temporary name and rename, so that a crash
 * leaves the old file or the new one. */
bool safetensors_write(const char *path, const char *const *names, const struct tensor *tensors,
                       int count, const char *const *metadata, int metadata_count,
                       struct status *status);
/* Parses a header for the fuzzer and the reader: `bytes` is the whole file. Same rules as open. */
struct safetensors *safetensors_parse(const void *bytes, size_t size, const char *path,
                                      struct status *status);

#endif
