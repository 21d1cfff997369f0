/* The map of the tensor view: cells, and a legend with the scale. */
#include "ui/heat.h"
#include "ui/pen.h"
#include "ui/state.h"
#include "ui/tensor_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { LEGEND_ROWS = 1, LEGEND_CELLS = 14, LEAST_ROWS = 5 };

enum heat_drawing tensor_heat_drawing(void)
{
    return term_half_blocks() ? HEAT_HALF_BLOCKS : term_ascii() ? HEAT_ASCII : HEAT_SHADES;
}

/* The frame, and the legend where there is room for it. */
struct layout_rectangle tensor_heat_inside(struct layout_rectangle box)
{
    int legend = box.rows >= LEAST_ROWS ? LEGEND_ROWS : 0;
    return (struct layout_rectangle){box.row + 1, box.col + 1, box.rows - 2 - legend, box.cols - 2};
}

static void put_cell(int row, int col, const struct heat_cell *cell)
{
    if (cell->bad)
        term_put(row, col, 1, THEME_NAN, cell->glyph);
    else
        term_put_style(row, col, 1, cell->style, cell->glyph);
}

static void put_title(struct layout_rectangle box, const struct tensor_picture *tensor)
{
    static const char *const names[] = {"difference", "|test|", "|reference|"};
    char title[100];
    int64_t rows, columns;
    tensor_picture_map_size(tensor, &rows, &columns);
    int64_t high = (rows + tensor->heat_rows - 1) / tensor->heat_rows;
    int64_t wide = (columns + tensor->heat_columns - 1) / tensor->heat_columns;
    int length = snprintf(title, sizeof(title), " %s ", names[tensor->heat_side]);
    if (high > 1 || wide > 1)
        snprintf(title + length, sizeof(title) - (size_t)length,
                 "worst of %" PRId64 "x%" PRId64 " ", high, wide);
    term_box(box, THEME_FRAME, title);
}

static void put_ramp(struct pen *pen, const struct heat_scale *scale, int sign, int cells)
{
    for (int i = 0; i < cells && pen_room(pen) > 0; i++) {
        double place = sign < 0 ? 1 - (double)i / cells : (double)(i + 1) / cells;
        struct heat_number number = {(float)(place * place * scale->most), sign};
        struct heat_cell cell = heat_cell(scale, number, number);
        put_cell(pen->box.row + pen->row, pen->box.col + pen->col, &cell);
        pen_skip(pen, 1);
    }
}

static void put_legend(struct layout_rectangle box, const struct heat_scale *scale)
{
    struct pen pen = pen_at(box, 0);
    char most[32];
    int cells = (box.cols - 22) / 2;
    cells = cells < 2 ? 2 : cells > LEGEND_CELLS / 2 ? LEGEND_CELLS / 2 : cells;
    number_text(scale->most, most);
    if (scale->most == 0) {
        pen_put(&pen, THEME_DIM, "all 0");
        return;
    }
    if (scale->is_signed) {
        pen_format(&pen, THEME_DIM, "-%s ", most);
        put_ramp(&pen, scale, -1, cells);
    }
    pen_put(&pen, THEME_DIM, scale->is_signed ? " 0 " : "0 ");
    put_ramp(&pen, scale, 1, scale->is_signed ? cells : 2 * cells);
    pen_format(&pen, THEME_DIM, " %s", most);
    if (pen_room(&pen) >= 12) {
        pen_put(&pen, THEME_NAN, "  !");
        pen_put(&pen, THEME_DIM, " NaN, inf");
    }
}

static struct heat_number number_at(const struct tensor_picture *tensor, int row, int column)
{
    if (row >= tensor->heat_rows || column >= tensor->heat_columns)
        return (struct heat_number){-1, 0};
    int at = row * tensor->heat_columns + column;
    return (struct heat_number){tensor->heat[at], tensor->heat_sign ? tensor->heat_sign[at] : 0};
}

/* How often a number of the map is repeated so that a small tensor fills its box. */
static int stretch(int room, int numbers)
{
    return room / numbers > 1 ? room / numbers : 1;
}

bool tensor_heat_at(struct layout_rectangle box, const struct tensor_picture *tensor,
                    int screen_row, int screen_col, int64_t *row, int64_t *column)
{
    struct layout_rectangle inside = tensor_heat_inside(box);
    int r = screen_row - inside.row, c = screen_col - inside.col;
    if (!tensor->heat || r < 0 || c < 0 || r >= inside.rows || c >= inside.cols)
        return false;
    int lines = heat_rows_of_cell(tensor_heat_drawing());
    r = r * lines / stretch(inside.rows * lines, tensor->heat_rows);
    c = c / stretch(inside.cols, tensor->heat_columns);
    if (r >= tensor->heat_rows || c >= tensor->heat_columns)
        return false;
    int64_t rows, columns;
    tensor_picture_map_size(tensor, &rows, &columns);
    *row = picture_first_of_cell(r, rows, tensor->heat_rows);
    *column = picture_first_of_cell(c, columns, tensor->heat_columns);
    if (tensor->heat_wrap) {
        *column += *row * columns;
        *row = 0;
    }
    return *column < tensor->all_columns;
}

void tensor_draw_heat(struct layout_rectangle box, const struct tensor_picture *tensor)
{
    struct layout_rectangle inside = tensor_heat_inside(box);
    struct heat_scale scale = {
        .drawing = tensor_heat_drawing(), .most = tensor->heat_most, .colors = term_colors()};
    if (inside.rows < 1 || inside.cols < 2 || !tensor->heat)
        return;
    /* without colours a sign cannot be seen */
    scale.is_signed = tensor->heat_side == HEAT_DIFFERENCE && scale.colors >= 8;
    int lines = heat_rows_of_cell(scale.drawing);
    int tall = stretch(inside.rows * lines, tensor->heat_rows);
    int wide = stretch(inside.cols, tensor->heat_columns);
    put_title(box, tensor);
    for (int r = 0; r < inside.rows && r * lines / tall < tensor->heat_rows; r++)
        for (int c = 0; c < inside.cols && c / wide < tensor->heat_columns; c++) {
            struct heat_number upper = number_at(tensor, r * lines / tall, c / wide);
            struct heat_number lower = number_at(tensor, (r * lines + 1) / tall, c / wide);
            struct heat_cell cell = heat_cell(&scale, upper, lower);
            put_cell(inside.row + r, inside.col + c, &cell);
        }
    if (box.rows >= LEAST_ROWS)
        put_legend((struct layout_rectangle){inside.row + inside.rows, inside.col, LEGEND_ROWS,
                                             inside.cols},
                   &scale);
}
