/* A whole tensor that is read where its parts lie, without putting it together: the parts that
 * ranks hold, or one tensor. Host memory, which it borrows. Once made it does not change: any
 * number of threads may read it. */
#ifndef ENGINE_TENSOR_MOSAIC_H
#define ENGINE_TENSOR_MOSAIC_H

#include "engine/tensor/shard.h"

struct mosaic_part {
    struct tensor tensor;
    struct shard shard; /* where it lies in the whole; without a global shape it is the whole */
};

/* Rows are seen as bands, in which the same parts lie side by side. */
struct mosaic {
    enum dtype dtype;
    struct shape shape; /* of the whole */
    int64_t columns;    /* elements of a row */
    int band_count, segment_count;
    struct mosaic_band {
        int64_t row; /* its first */
        int segment; /* its first */
    } * bands;       /* [band_count + 1]: the last one is the end */
    struct mosaic_segment {
        int64_t column;   /* its first element in the row */
        const char *data; /* of that in the first row of the band */
        int64_t stride;   /* elements between rows */
    } * segments;         /* [segment_count] */
};

/* Parts have one dtype; where they overlap the first one counts. False if they leave a hole in the
 * tensor of that shape, or one does not fit: then nothing is to be freed. */
bool mosaic_make(struct mosaic *mosaic, struct shape shape, const struct mosaic_part *parts,
                 int count);
void mosaic_free(struct mosaic *mosaic);
/* Element `index` of the flattened (row-major) whole, and in *length how many that follow each
 * other in memory begin with it: at least 1. */
const void *mosaic_run(const struct mosaic *mosaic, int64_t index, int64_t *length);
/* Copies elements first .. first+count-1 of the flattened whole. */
void mosaic_copy(const struct mosaic *mosaic, int64_t first, int64_t count, void *to);

#endif
