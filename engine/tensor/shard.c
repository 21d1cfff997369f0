#include "engine/tensor/shard.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shard shard_whole(struct shape shape)
{
    return (struct shard){.global = shape};
}

bool shard_is_whole(const struct shard *shard)
{
    return shard->cut_count == 0;
}

struct shape shard_local_shape(const struct shard *shard)
{
    struct shape shape = shard->global;
    for (int i = 0; i < shard->cut_count; i++)
        shape.dims[shard->cuts[i].dimension] /= shard->cuts[i].pieces;
    return shape;
}

bool shard_cut(struct shard *shard, int dimension, int parts, int pieces, int index)
{
    struct shape local = shard_local_shape(shard);
    if (pieces == 1)
        return true;
    if (shard->cut_count == SHARD_MAX_CUTS || dimension >= local.rank || parts < 1 ||
        local.dims[dimension] % ((int64_t)parts * pieces))
        return false;
    shard->cuts[shard->cut_count++] = (struct shard_cut){dimension, parts, pieces, index};
    return true;
}

/* Undoes the cuts from the last to the first; `length` is the local length before each. */
int64_t shard_global_index(const struct shard *shard, int dimension, int64_t index)
{
    int64_t length = shard_local_shape(shard).dims[dimension];
    for (int i = shard->cut_count - 1; i >= 0; i--) {
        const struct shard_cut *cut = &shard->cuts[i];
        if (cut->dimension != dimension)
            continue;
        int64_t piece = length / cut->parts;
        index = index / piece * piece * cut->pieces + cut->index * piece + index % piece;
        length *= cut->pieces;
    }
    return index;
}

int64_t shard_local_index(const struct shard *shard, int dimension, int64_t index)
{
    int64_t length = shard->global.dims[dimension];
    for (int i = 0; i < shard->cut_count; i++) {
        const struct shard_cut *cut = &shard->cuts[i];
        if (cut->dimension != dimension)
            continue;
        int64_t block = length / cut->parts, piece = block / cut->pieces;
        if (index % block / piece != cut->index)
            return -1;
        index = index / block * piece + index % block % piece;
        length /= cut->pieces;
    }
    return index;
}

int64_t shard_global_flat(const struct shard *shard, int64_t local)
{
    struct shape shape = shard_local_shape(shard);
    int64_t global = 0, scale = 1;
    for (int d = shape.rank - 1; d >= 0; d--) {
        global += scale * shard_global_index(shard, d, local % shape.dims[d]);
        scale *= shard->global.dims[d];
        local /= shape.dims[d];
    }
    return global;
}

int64_t shard_local_flat(const struct shard *shard, int64_t global)
{
    struct shape shape = shard_local_shape(shard);
    int64_t local = 0, scale = 1;
    for (int d = shape.rank - 1; d >= 0; d--) {
        int64_t index = shard_local_index(shard, d, global % shard->global.dims[d]);
        if (index < 0)
            return -1;
        local += scale * index;
        scale *= shape.dims[d];
        global /= shard->global.dims[d];
    }
    return local;
}

bool shard_equal(const struct shard *a, const struct shard *b)
{
    if (!shape_equal(a->global, b->global) || a->cut_count != b->cut_count)
        return false;
    for (int i = 0; i < a->cut_count; i++)
        if (a->cuts[i].dimension != b->cuts[i].dimension || a->cuts[i].parts != b->cuts[i].parts ||
            a->cuts[i].pieces != b->cuts[i].pieces || a->cuts[i].index != b->cuts[i].index)
            return false;
    return true;
}

int64_t shard_run_length(const struct shard *shard, int dimension, int64_t index)
{
    int64_t length = shard_local_shape(shard).dims[dimension];
    int64_t run = length - index;
    for (int i = shard->cut_count - 1; i >= 0; i--) {
        const struct shard_cut *cut = &shard->cuts[i];
        if (cut->dimension != dimension)
            continue;
        int64_t piece = length / cut->parts, left = piece - index % piece;
        run = left < run ? left : run;
        index = index / piece * piece * cut->pieces + cut->index * piece + index % piece;
        length *= cut->pieces;
    }
    return run;
}

static char *element(const struct tensor *tensor, int64_t row, int64_t column)
{
    return (char *)tensor->data +
           (size_t)(row * tensor->row_stride + column) * dtype_size(tensor->dtype);
}

/* Neighbours of a part that are neighbours in the whole, too; in elements of a row, or rows. */
struct stretch {
    int64_t there, here, count;
};

/* All of them along a dimension, of which each index has `width` elements. Free *list. */
static int list_stretches(const struct shard *shard, int dimension, int64_t width,
                          struct stretch **list)
{
    struct shape shape = shard_local_shape(shard);
    bool there_is = dimension < shape.rank;
    int64_t length = there_is ? shape.dims[dimension] : 1, run;
    int count = 0, capacity = 0;
    *list = NULL;
    for (int64_t i = 0; i < length; i += run) {
        run = there_is ? shard_run_length(shard, dimension, i) : 1;
        int64_t there = there_is ? shard_global_index(shard, dimension, i) : 0;
        struct stretch one = {there * width, i * width, run * width};
        ARRAY_PUSH(*list, count, capacity, one);
    }
    return count;
}

static void copy_block(const struct tensor *global, const struct tensor *local,
                       const struct stretch *rows, const struct stretch *columns, bool out)
{
    size_t size = dtype_size(local->dtype), bytes = (size_t)columns->count * size;
    char *whole = element(global, rows->there, columns->there);
    char *part = element(local, rows->here, columns->here);
    int64_t count = rows->count;
    if (columns->count == global->row_stride && columns->count == local->row_stride) {
        bytes *= (size_t)count;
        count = 1;
    }
    for (int64_t row = 0; row < count; row++) {
        memcpy(out ? part : whole, out ? whole : part, bytes);
        whole += (size_t)global->row_stride * size;
        part += (size_t)local->row_stride * size;
    }
}

/* Dimensions behind the second are never cut. */
static void copy(const struct shard *shard, const struct tensor *global, const struct tensor *local,
                 bool out)
{
    struct shape shape = shard_local_shape(shard);
    int64_t second = shape.rank > 1 ? shape.dims[1] : 1;
    int64_t width = second > 0 ? shape_columns(shape) / second : 0;
    struct stretch *rows, *columns;
    int row_count = list_stretches(shard, 0, 1, &rows);
    int column_count = list_stretches(shard, 1, width, &columns);
    for (int r = 0; r < row_count; r++)
        for (int c = 0; c < column_count; c++)
            copy_block(global, local, &rows[r], &columns[c], out);
    free(rows);
    free(columns);
}

void shard_copy_out(const struct shard *shard, const struct tensor *global, struct tensor *local)
{
    copy(shard, global, local, true);
}

void shard_copy_in(const struct shard *shard, const struct tensor *local, struct tensor *global)
{
    copy(shard, global, local, false);
}

bool shard_view(const struct shard *shard, const struct tensor *global, struct tensor *view)
{
    struct shape local = shard_local_shape(shard);
    if (local.rank > 2 || shard_run_length(shard, 0, 0) < local.dims[0] ||
        (local.rank == 2 && shard_run_length(shard, 1, 0) < local.dims[1]))
        return false;
    *view = *global;
    view->shape = local;
    view->data = element(global, shard_global_index(shard, 0, 0),
                         local.rank == 2 ? shard_global_index(shard, 1, 0) : 0);
    return true;
}

const char *shard_text(const struct shard *shard, char buffer[160])
{
    struct shape local = shard_local_shape(shard);
    char whole[80];
    int at = snprintf(buffer, 160, "[");
    for (int d = 0; d < local.rank && at < 100; d++) {
        int64_t begin = shard_global_index(shard, d, 0);
        int64_t run = local.dims[d] ? shard_run_length(shard, d, 0) : 0;
        at += snprintf(buffer + at, (size_t)(160 - at), "%s%" PRId64 ":%" PRId64 "%s",
                       d ? ", " : "", begin, begin + run, run < local.dims[d] ? ", ..." : "");
    }
    snprintf(buffer + at, (size_t)(160 - at), "] of %s", shape_text(shard->global, whole));
    return buffer;
}
