/* Shapes, shard layouts and views of tensors in memory. */
#ifndef ENGINE_TENSOR_TENSOR_H
#define ENGINE_TENSOR_TENSOR_H

#include "engine/tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum { TENSOR_MAX_RANK = 4 };

struct shape {
    int rank; /* 0 to TENSOR_MAX_RANK; a scalar is [1] */
    int64_t dims[TENSOR_MAX_RANK];
};

/* Where a local tensor lies in its global tensor: see shard.h. */
enum { SHARD_MAX_CUTS = 4 };
struct shard {
    struct shape global; /* rank 0: not said, it is the whole */
    int cut_count;
    struct shard_cut {
        int dimension;
        int parts;         /* equal blocks of the dimension, each cut in the same way */
        int pieces, index; /* piece `index` of `pieces` of each block */
    } cuts[SHARD_MAX_CUTS];
};

/* A view: rows of contiguous elements, `row_stride` elements apart. data belongs to a device. */
struct tensor {
    void *data;
    enum dtype dtype;
    struct shape shape;
    int64_t row_stride; /* elements between rows of dimension 0; >= elements of one row */
};

struct shape shape_of1(int64_t a);
struct shape shape_of2(int64_t a, int64_t b);
struct shape shape_of3(int64_t a, int64_t b, int64_t c);
int64_t shape_elements(struct shape shape);
bool shape_equal(struct shape a, struct shape b);
/* Elements of one row: the product of all dimensions but the first (1 for rank 1). */
int64_t shape_columns(struct shape shape);
/* "[1024,256]" into `buffer`, which is returned. */
const char *shape_text(struct shape shape, char buffer[80]);

/* A contiguous tensor over `data`. */
struct tensor tensor_of(void *data, enum dtype dtype, struct shape shape);
bool tensor_is_contiguous(const struct tensor *tensor);
/* Element by flat (row-major, logical) index, honouring the row stride. Host memory only. */
double tensor_load(const struct tensor *tensor, int64_t index);
void tensor_store(const struct tensor *tensor, int64_t index, double number);

#endif
