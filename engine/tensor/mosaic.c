#include "engine/tensor/mosaic.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

/* A block of a part whose rows and columns are neighbours in the whole, too. */
struct rectangle {
    int64_t row, rows, column, columns; /* in elements of the whole */
    const char *data;
    int64_t stride;
    int part;
};

struct rectangles {
    struct rectangle *list;
    int count, capacity;
};

static int64_t rows_of(struct shape shape)
{
    return shape.rank > 0 ? shape.dims[0] : 1;
}

/* The rectangles of some rows of a part. Dimensions behind the second are never cut. */
static void add_rows(struct rectangles *to, const struct mosaic_part *part,
                     const struct shard *shard, const struct rectangle *rows, int64_t local_row)
{
    const struct tensor *tensor = &part->tensor;
    int64_t count = tensor->shape.rank > 1 ? tensor->shape.dims[1] : 1, run;
    int64_t width = count > 0 ? shape_columns(tensor->shape) / count : 0;
    for (int64_t c = 0; c < count; c += run) {
        bool cut = tensor->shape.rank > 1;
        run = cut ? shard_run_length(shard, 1, c) : 1;
        struct rectangle one = *rows;
        one.column = (cut ? shard_global_index(shard, 1, c) : 0) * width;
        one.columns = run * width;
        one.stride = tensor->row_stride;
        one.data = (const char *)tensor->data +
                   (size_t)(local_row * tensor->row_stride + c * width) * dtype_size(tensor->dtype);
        ARRAY_PUSH(to->list, to->count, to->capacity, one);
    }
}

static bool add_part(struct rectangles *to, const struct mosaic_part *part, int number,
                     struct shape whole)
{
    struct shape own = part->tensor.shape;
    struct shard shard = part->shard.global.rank > 0 ? part->shard : shard_whole(own);
    if (!shape_equal(shard.global, whole) || !shape_equal(shard_local_shape(&shard), own))
        return false;
    int64_t count = rows_of(own), run;
    for (int64_t row = 0; row < count; row += run) {
        run = own.rank > 0 ? shard_run_length(&shard, 0, row) : 1;
        struct rectangle rows = {.rows = run, .part = number};
        rows.row = own.rank > 0 ? shard_global_index(&shard, 0, row) : 0;
        add_rows(to, part, &shard, &rows, row);
    }
    return true;
}

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_rows(const void *a, const void *b)
{
    const struct rectangle *one = a, *other = b;
    int rows = compare(one->row, other->row);
    return rows ? rows : compare(one->part, other->part);
}

static int compare_columns(const void *a, const void *b)
{
    const struct rectangle *one = a, *other = b;
    int columns = compare(one->column, other->column);
    return columns ? columns : compare(one->part, other->part);
}

static void push_segment(struct mosaic *mosaic, int *capacity, const struct rectangle *from,
                         int64_t row, int64_t column)
{
    int64_t apart = (row - from->row) * from->stride + column - from->column;
    struct mosaic_segment segment = {column, from->data + (size_t)apart * dtype_size(mosaic->dtype),
                                     from->stride};
    ARRAY_PUSH(mosaic->segments, mosaic->segment_count, *capacity, segment);
}

/* The segments of the band that begins at `row`, of the rectangles that cross it, by column. False
 * if they leave a hole. */
static bool fill_band(struct mosaic *mosaic, int *capacity, const struct rectangle *across,
                      int count, int64_t row)
{
    int64_t done = 0;
    for (int i = 0; i < count && done < mosaic->columns; i++) {
        int64_t end = across[i].column + across[i].columns;
        if (across[i].column > done)
            return false;
        if (end <= done)
            continue;
        push_segment(mosaic, capacity, &across[i], row, done);
        done = end;
    }
    return done >= mosaic->columns;
}

/* The rectangles that cross a row, into `across`; *end is the row at which that changes. Of those
 * sorted by row, the ones before *first have ended. */
static int cross(const struct rectangles *all, int *first, int64_t row, int64_t *end,
                 struct rectangle *across)
{
    int count = 0;
    while (*first < all->count && all->list[*first].row + all->list[*first].rows <= row)
        ++*first;
    for (int i = *first; i < all->count; i++) {
        const struct rectangle *one = &all->list[i];
        int64_t border = one->row > row ? one->row : one->row + one->rows;
        if (border > row && border < *end)
            *end = border;
        if (one->row > row)
            break;
        if (border > row)
            across[count++] = *one;
    }
    qsort(across, (size_t)count, sizeof(*across), compare_columns);
    return count;
}

static bool make_bands(struct mosaic *mosaic, const struct rectangles *all)
{
    struct rectangle *across = memory_zeroed((size_t)all->count + 1, sizeof(*across));
    int64_t rows = rows_of(mosaic->shape), end;
    int bands = 0, segments = 0, first = 0;
    bool ok = true;
    for (int64_t row = 0; ok && row < rows; row = end) {
        struct mosaic_band band = {row, mosaic->segment_count};
        end = rows;
        int count = cross(all, &first, row, &end, across);
        ARRAY_PUSH(mosaic->bands, mosaic->band_count, bands, band);
        ok = fill_band(mosaic, &segments, across, count, row);
    }
    struct mosaic_band last = {rows, mosaic->segment_count};
    ARRAY_PUSH(mosaic->bands, mosaic->band_count, bands, last);
    mosaic->band_count--;
    free(across);
    return ok;
}

bool mosaic_make(struct mosaic *mosaic, struct shape shape, const struct mosaic_part *parts,
                 int count)
{
    struct rectangles all = {0};
    bool ok = count > 0;
    *mosaic = (struct mosaic){.shape = shape, .columns = shape_columns(shape)};
    if (ok)
        mosaic->dtype = parts[0].tensor.dtype;
    for (int i = 0; ok && i < count; i++)
        ok = parts[i].tensor.dtype == mosaic->dtype && add_part(&all, &parts[i], i, shape);
    if (all.count > 1)
        qsort(all.list, (size_t)all.count, sizeof(*all.list), compare_rows);
    ok = ok && make_bands(mosaic, &all);
    free(all.list);
    if (!ok)
        mosaic_free(mosaic);
    return ok;
}

void mosaic_free(struct mosaic *mosaic)
{
    free(mosaic->bands);
    free(mosaic->segments);
    *mosaic = (struct mosaic){0};
}

/* The last band that begins at or before a row. */
static const struct mosaic_band *find_band(const struct mosaic *mosaic, int64_t row)
{
    int low = 0, high = mosaic->band_count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (mosaic->bands[middle].row <= row)
            low = middle;
        else
            high = middle;
    }
    return &mosaic->bands[low];
}

static int find_segment(const struct mosaic *mosaic, const struct mosaic_band *band, int64_t column)
{
    int low = band[0].segment, high = band[1].segment;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (mosaic->segments[middle].column <= column)
            low = middle;
        else
            high = middle;
    }
    return low;
}

const void *mosaic_run(const struct mosaic *mosaic, int64_t index, int64_t *length)
{
    int64_t row = index / mosaic->columns, column = index % mosaic->columns;
    const struct mosaic_band *band = find_band(mosaic, row);
    int number = find_segment(mosaic, band, column);
    const struct mosaic_segment *segment = &mosaic->segments[number];
    int64_t apart = (row - band->row) * segment->stride + column - segment->column;
    if (band[1].segment - band[0].segment == 1 && segment->stride == mosaic->columns)
        *length = band[1].row * mosaic->columns - index;
    else
        *length = (number + 1 < band[1].segment ? segment[1].column : mosaic->columns) - column;
    return segment->data + (size_t)apart * dtype_size(mosaic->dtype);
}

void mosaic_copy(const struct mosaic *mosaic, int64_t first, int64_t count, void *to)
{
    size_t size = dtype_size(mosaic->dtype);
    int64_t run;
    for (char *at = to; count > 0; first += run, count -= run, at += (size_t)run * size) {
        const void *from = mosaic_run(mosaic, first, &run);
        run = run < count ? run : count;
        memcpy(at, from, (size_t)run * size);
    }
}
