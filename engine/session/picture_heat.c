#include "engine/session/picture_heat.h"

#include "engine/base/memory.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { CHUNK = 4096 }; /* elements of both sides as doubles: 64 KiB, in a level-2 cache */

/* Elements of one map row are walked in chunks; the cells cut the row into ranges. */
struct heat {
    struct tensor_picture *picture;
    const struct pair_sides *sides;
    enum heat_side side;
    int64_t columns; /* elements in a row of the map's tensor */
    const struct interrupt *interrupt;
    double test[CHUNK], reference[CHUNK];
};

/* `count` elements from a flat index on, which may go over several rows of the tensor. */
static void load(const struct tensor *tensor, int64_t index, int count, double *numbers)
{
    size_t size = dtype_size(tensor->dtype);
    int64_t columns = shape_columns(tensor->shape);
    bool whole = tensor_is_contiguous(tensor);
    for (int done = 0, part; done < count; done += part, index += part) {
        int64_t place = index, rest = count - done;
        if (!whole) {
            int64_t row = index / columns, column = index % columns;
            place = row * tensor->row_stride + column;
            rest = picture_limited(rest, 1, columns - column);
        }
        part = (int)rest;
        dtype_convert(numbers + done, DTYPE_F64, (const char *)tensor->data + (size_t)place * size,
                      tensor->dtype, (size_t)part);
    }
}

/* The difference of two sides, or one of them; loaded into heat->test. */
static void load_values(struct heat *heat, int64_t index, int count)
{
    const struct pair_sides *sides = heat->sides;
    if (heat->side == HEAT_REFERENCE) {
        load(&sides->reference, index, count, heat->test);
        return;
    }
    load(&sides->test, index, count, heat->test);
    for (int i = 0; i < count && sides->scale != 1; i++)
        heat->test[i] /= sides->scale;
    if (heat->side == HEAT_TEST)
        return;
    load(&sides->reference, index, count, heat->reference);
    for (int i = 0; i < count; i++)
        heat->test[i] -= heat->reference[i];
}

/* Takes elements [from, to) of the chunk into a cell. Not-a-number, once there, stays: it must not
 * be hidden by its neighbours. */
static void add_to_cell(struct heat *heat, int cell, int from, int to)
{
    struct tensor_picture *picture = heat->picture;
    double most = 0, value = 0;
    bool finite = true;
    for (int i = from; i < to; i++) {
        double magnitude = fabs(heat->test[i]);
        finite = finite && magnitude <= DBL_MAX; /* false for not-a-number too */
        if (magnitude > most) {
            most = magnitude;
            value = heat->test[i];
        }
    }
    if (!finite) {
        for (int i = from; i < to; i++)
            if (isfinite(heat->test[i]) && fabs(heat->test[i]) > picture->heat_most)
                picture->heat_most = fabs(heat->test[i]);
        picture->heat[cell] = NAN;
        return;
    }
    picture->heat_most = most > picture->heat_most ? most : picture->heat_most;
    if (most > (double)picture->heat[cell]) /* also than the -1 of an empty cell */
        picture->heat_sign[cell] = (signed char)(value > 0 ? 1 : value < 0 ? -1 : 0);
    if (!isnan(picture->heat[cell]))
        picture->heat[cell] = fmaxf(picture->heat[cell], (float)most);
}

int64_t picture_first_of_cell(int64_t cell, int64_t all, int cells)
{
    return (cell * all + cells - 1) / cells;
}

static int64_t first_column(const struct heat *heat, int cell)
{
    return picture_first_of_cell(cell, heat->columns, heat->picture->heat_columns);
}

static void add_row(struct heat *heat, int64_t base, int64_t count, int map_row)
{
    int cells = heat->picture->heat_columns, cell = 0;
    for (int64_t start = 0; start < count && !interrupt_asked(heat->interrupt); start += CHUNK) {
        int here = (int)picture_limited(count - start, 0, CHUNK);
        load_values(heat, base + start, here);
        for (int from = 0, to; from < here; from = to) {
            while (cell + 1 < cells && start + from >= first_column(heat, cell + 1))
                cell++;
            int64_t end = cell + 1 < cells ? first_column(heat, cell + 1) : heat->columns;
            to = (int)picture_limited(end - start, 0, here);
            add_to_cell(heat, map_row * cells + cell, from, to);
        }
    }
}

void tensor_picture_map_size(const struct tensor_picture *picture, int64_t *rows, int64_t *columns)
{
    int64_t wrap = picture->heat_wrap;
    *rows = wrap ? (picture->all_columns + wrap - 1) / wrap : picture->all_rows;
    *columns = wrap ? wrap : picture->all_columns;
}

/* The map's size: not more cells than elements; a vector is folded to fill the map. Returns the
 * rows of the map's tensor. */
static int64_t size_map(struct heat *heat, int64_t high, int64_t wide)
{
    struct tensor_picture *picture = heat->picture;
    int64_t rows, all = picture->all_columns;
    if (picture->all_rows == 1 && all > wide)
        picture->heat_wrap =
            picture_limited((all + wide * high - 1) / (wide * high) * wide, 1, all);
    tensor_picture_map_size(picture, &rows, &heat->columns);
    picture->heat_rows = (int)picture_limited(high, 1, rows);
    picture->heat_columns = (int)picture_limited(wide, 1, heat->columns);
    return rows;
}

bool picture_take_heat(struct tensor_picture *picture, const struct pair_sides *sides,
                       const struct picture_request *request, const struct interrupt *interrupt)
{
    int64_t total = picture->all_rows * picture->all_columns;
    int64_t wide = picture_limited(request->heat_columns, 0, PICTURE_HEAT);
    int64_t high = picture_limited(request->heat_rows, 0, PICTURE_HEAT);
    if (wide == 0 || high == 0 || total == 0)
        return true;
    struct heat *heat = memory_zeroed(1, sizeof(*heat));
    heat->picture = picture;
    heat->sides = sides;
    heat->interrupt = interrupt;
    heat->side = sides->has_reference ? request->heat_side : HEAT_TEST;
    int64_t rows = size_map(heat, high, wide);
    size_t cells = (size_t)picture->heat_rows * (size_t)picture->heat_columns;
    picture->heat_side = heat->side;
    picture->heat = memory_zeroed(cells, sizeof(*picture->heat));
    picture->heat_sign = memory_zeroed(cells, sizeof(*picture->heat_sign));
    for (size_t i = 0; i < cells; i++)
        picture->heat[i] = -1;
    for (int64_t row = 0; row < rows; row++)
        add_row(heat, picture->plane * total + row * heat->columns,
                picture_limited(total - row * heat->columns, 0, heat->columns),
                (int)(row * picture->heat_rows / rows));
    free(heat);
    return !interrupt_asked(interrupt);
}
