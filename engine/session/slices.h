/* Slices of tensors as numpy writes them: "[0:2,0:4]", "[3]", "[:,-4:]", "[::2]", "[...,0]". */
#ifndef ENGINE_SESSION_SLICES_H
#define ENGINE_SESSION_SLICES_H

#include "engine/base/status.h"
#include "engine/tensor/tensor.h"

/* A part of a tensor: in each dimension `count` indices, from `start` on, `step` apart (which may
 * be negative). A dimension that a single index picked has count 1 and `single`. */
struct slice {
    int64_t start, step, count;
    bool single;
};

struct slices {
    int rank;
    struct slice dims[TENSOR_MAX_RANK];
};

/* Reads `text` ("" or "[...]", nothing behind it) against a shape; ranges are cut to the shape as
 * numpy does, a single index outside of it is an error. Any thread. */
bool slices_parse(const char *text, struct shape shape, struct slices *slices,
                  struct status *status);

/* How many elements they pick. */
int64_t slices_elements(const struct slices *slices);

/* The flat index in a tensor of `shape` of the element at `place` (a count in each dimension). */
int64_t slices_index(const struct slices *slices, struct shape shape,
                     const int64_t place[TENSOR_MAX_RANK]);

#endif
