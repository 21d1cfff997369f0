/* The safetensors container: 8 bytes little-endian header length, a JSON header (padded with
 * blanks to a multiple of 8), raw little-endian data. https://github.com/huggingface/safetensors
 * Files are untrusted: every offset, length, shape and dtype is checked before use. */
#ifndef ENGINE_TENSOR_SAFETENSORS_H
#define ENGINE_TENSOR_SAFETENSORS_H

#include "engine/base/status.h"
#include "engine/tensor/mosaic.h"

struct safetensors_entry {
    char *name;
    struct tensor tensor; /* data points into the mapped file */
};

/* A pair of "__metadata__". A trace has one for each of perhaps a million tensors, so the values
 * stay in the file until somebody asks. */
struct safetensors_pair {
    char *key;
    const char *value; /* well-formed JSON, still escaped, up to its closing quote */
};

struct safetensors {
    char *path;
    struct safetensors_entry *entries; /* in the order of their offsets */
    int count;
    struct safetensors_pair *metadata; /* in the order of the header */
    int metadata_count;
    void *map;
    size_t map_size;
    void *index; /* name lookup, internal */
};

/* Maps `path` read-only. NULL on failure. Close with safetensors_close. */
struct safetensors *safetensors_open(const char *path, struct status *status);
void safetensors_close(struct safetensors *file);
/* The entry called `name`, or NULL. Points into `file`. */
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);
/* The place of `key` in the metadata, or -1. */
int safetensors_find_metadata(const struct safetensors *file, const char *key);
/* The value of pair `position`, unescaped: free(). NULL if the position is -1. */
char *safetensors_metadata(const struct safetensors *file, int position);
/* Gives the memory back into which the values of so many pairs from `first` on were read from the
 * file; who looks at them again reads them again. */
void safetensors_forget_metadata(const struct safetensors *file, int first, int count);
/* Whether safetensors_write could create `path`: to be asked before work that would be lost. */
bool safetensors_can_write(const char *path, struct status *status);
/* Writes contiguous host tensors to `path` through a temporary name and rename, so that a crash
 * leaves the old file or the new one. */
bool safetensors_write(const char *path, const char *const *names, const struct tensor *tensors,
                       int count, const char *const *metadata, int metadata_count,
                       struct status *status);
/* The same, where the data of tensor i are those of sources[i], unless that is NULL: such a tensor
 * is read where its parts lie. */
bool safetensors_write_parts(const char *path, const char *const *names,
                             const struct tensor *tensors, const struct mosaic *const *sources,
                             int count, const char *const *metadata, int metadata_count,
                             struct status *status);
/* Parses a header for the fuzzer and the reader: `bytes` is the whole file, which must outlive the
 * result. Same rules as open. */
struct safetensors *safetensors_parse(const void *bytes, size_t size, const char *path,
                                      struct status *status);

#endif
