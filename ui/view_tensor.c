/* One tensor of both sides: verdict, map of the differences, histograms, numbers. */
#include "ui/sheets.h"
#include "ui/state.h"
#include "ui/tensor_parts.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {"", "numbers", "map", "histograms", "worst elements"};
static const char *const side_names[] = {"all", "test", "reference", "difference"};

static void *create(struct ui *ui)
{
    struct tensor_view *view = memory_zeroed(1, sizeof(*view));
    (void)ui;
    view->value = -1;
    return view;
}

static void destroy(void *state)
{
    free(state);
}

static const struct tensor_picture *tensor_of_ui(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_TENSOR);
    return picture && picture->tensor && picture->tensor->value >= 0 ? picture->tensor : NULL;
}

static bool wish(struct ui *ui, void *context, struct picture_request *request)
{
    struct tensor_view *view = context;
    if (view->value != ui->value) {
        view->value = ui->value;
        view->row = view->column = view->plane = 0;
        view->cursor_row = view->cursor_column = 0;
    }
    request->kind = PICTURE_TENSOR;
    request->value = ui->value;
    request->plane = view->plane;
    request->row = view->row;
    request->column = view->column;
    request->rows = view->window_rows > 0 ? view->window_rows : 1;
    request->columns = view->window_columns > 0 ? view->window_columns : 1;
    request->heat_rows = view->heat_rows;
    request->heat_columns = view->heat_columns;
    request->bins = view->bins;
    request->heat_side = view->side == TENSOR_TEST        ? HEAT_TEST
                         : view->side == TENSOR_REFERENCE ? HEAT_REFERENCE
                                                          : HEAT_DIFFERENCE;
    return true;
}

/* ---- drawing ---- */

/* What the sizes on the screen ask for; a change needs another picture. */
static void measure(struct ui *ui, struct tensor_view *view, const struct tensor_layout *layout)
{
    bool same = view->window_rows == layout->window_rows &&
                view->window_columns == layout->window_columns &&
                view->heat_rows == layout->heat_rows &&
                view->heat_columns == layout->heat_columns && view->bins == layout->bins;
    view->window_rows = layout->window_rows;
    view->window_columns = layout->window_columns;
    view->heat_rows = layout->heat_rows;
    view->heat_columns = layout->heat_columns;
    view->bins = layout->bins;
    if (!same)
        ui->stale[PICTURE_TENSOR] = true; /* while drawing: no new frame, but a wish */
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct tensor_view *view = context;
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    struct pen pen = pen_at(box, 0);
    if (!tensor) {
        pen_put(&pen, THEME_DIM,
                ui_program(ui) ? " choose an instruction or a divergence and press Enter"
                               : " no run is open");
        return;
    }
    int used = tensor_draw_verdict(box, tensor, ui_program(ui));
    struct layout_rectangle rest = {box.row + used, box.col, box.rows - used, box.cols};
    if (rest.rows <= 0)
        return;
    struct tensor_layout layout =
        tensor_layout_of(rest, view->mode, view->side, heat_rows_of_cell(tensor_heat_drawing()));
    measure(ui, view, &layout);
    if (tensor->problem)
        return;
    tensor_draw_heat(layout.heat, tensor);
    tensor_draw_histograms(layout.histogram, tensor);
    tensor_draw_numbers(layout.numbers, tensor, view, focus);
    tensor_draw_worst(layout.worst, tensor, view->worst);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    struct tensor_view *view = context;
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor || (ui->value >= 0 && tensor->value != ui->value))
        return;
    text_format(out, "  %s", tensor->name);
    if (view->mode)
        text_format(out, "  %s", mode_names[view->mode]);
    if (tensor->planes > 1)
        text_format(out, "  slice %lld/%lld", (long long)tensor->plane + 1,
                    (long long)tensor->planes);
}

/* ---- acting ---- */

static int64_t limited(int64_t number, int64_t high)
{
    if (number > high)
        number = high;
    return number < 0 ? 0 : number;
}

/* Where a window of `size` must begin so that `place` is in it. */
static int64_t following(int64_t first, int size, int64_t place, int64_t all)
{
    if (place < first)
        first = place;
    if (place >= first + size)
        first = place - size + 1;
    return limited(first, all - size);
}

/* The cursor goes to an element; the window follows. */
static void move_to(struct ui *ui, struct tensor_view *view, int64_t row, int64_t column)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor)
        return;
    view->cursor_row = limited(row, tensor->all_rows - 1);
    view->cursor_column = limited(column, tensor->all_columns - 1);
    view->row = following(view->row, view->window_rows, view->cursor_row, tensor->all_rows);
    view->column =
        following(view->column, view->window_columns, view->cursor_column, tensor->all_columns);
    ui_want(ui, PICTURE_TENSOR);
}

static bool move(struct ui *ui, struct tensor_view *view, const char *where)
{
    int rows = view->window_rows, columns = view->window_columns;
    const struct {
        const char *word;
        int64_t rows, columns;
    } moves[] = {{"down", 1, 0},
                 {"up", -1, 0},
                 {"right", 0, 1},
                 {"left", 0, -1},
                 {"page-down", rows, 0},
                 {"page-up", -rows, 0},
                 {"half-page-down", 0, columns},
                 {"half-page-up", 0, -columns},
                 {"first", -INT64_MAX / 2, -INT64_MAX / 2},
                 {"last", INT64_MAX / 2, INT64_MAX / 2},
                 {"row-start", 0, -INT64_MAX / 2},
                 {"row-end", 0, INT64_MAX / 2}};
    for (int i = 0; i < ARRAY_LENGTH(moves); i++)
        if (strcmp(moves[i].word, where) == 0) {
            move_to(ui, view, view->cursor_row + moves[i].rows,
                    view->cursor_column + moves[i].columns);
            return true;
        }
    return false;
}

static void change_plane(struct ui *ui, struct tensor_view *view, int by)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor)
        return;
    view->plane = limited(view->plane + by, tensor->planes - 1);
    ui_want(ui, PICTURE_TENSOR);
}

/* An element by its flat index comes into the middle of the window. */
static void go_to_element(struct ui *ui, struct tensor_view *view,
                          const struct tensor_picture *tensor, int64_t index)
{
    int64_t plane = tensor->all_rows * tensor->all_columns;
    int64_t row = index % plane / tensor->all_columns, column = index % tensor->all_columns;
    view->plane = index / plane;
    view->row = limited(row - view->window_rows / 2, tensor->all_rows - view->window_rows);
    view->column =
        limited(column - view->window_columns / 2, tensor->all_columns - view->window_columns);
    move_to(ui, view, row, column);
}

/* The next of the worst elements comes into the middle of the numbers. */
static void show_worst(struct ui *ui, struct tensor_view *view)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor || tensor->worst_count == 0) {
        ui_say(ui, THEME_WARNING, "no reference: no element is worse than others");
        return;
    }
    view->worst = view->worst_shown ? (view->worst + 1) % tensor->worst_count : 0;
    view->worst_shown = true;
    const struct worst_element *worst = &tensor->worst[view->worst];
    char place[100];
    go_to_element(ui, view, tensor, worst->index);
    ui_say(ui, THEME_NORMAL, "worst element %d of %d: %s  test %.6g  reference %.6g",
           view->worst + 1, tensor->worst_count, tensor_place(tensor, worst->index, place),
           worst->test, worst->reference);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct tensor_view *view = context;
    const char *rest;
    if (command_is(command, "move", &rest))
        return move(ui, view, rest);
    if (command_is(command, "scroll", &rest))
        return move(ui, view, rest);
    if (!command_is(command, "tensor", &rest))
        return key && tensor_of_ui(ui) && ui_act_on_value(ui, tensor_of_ui(ui)->value, command);
    if (strcmp(rest, "next-mode") == 0)
        view->mode = (view->mode + 1) % TENSOR_MODE_COUNT;
    else if (strcmp(rest, "next-side") == 0)
        view->side = (view->side + 1) % TENSOR_SIDE_COUNT;
    else if (strcmp(rest, "worst") == 0)
        show_worst(ui, view);
    else if (strcmp(rest, "next-slice") == 0)
        change_plane(ui, view, 1);
    else if (strcmp(rest, "previous-slice") == 0)
        change_plane(ui, view, -1);
    else
        return false;
    ui_want(ui, PICTURE_TENSOR);
    return true;
}

static void picture(struct ui *ui, void *context, const struct picture *picture)
{
    struct tensor_view *view = context;
    (void)ui;
    if (picture->request.kind != PICTURE_TENSOR || !picture->tensor)
        return;
    if (picture->tensor->value != view->drawn)
        view->worst_shown = false;
    view->drawn = picture->tensor->value;
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    (void)context;
    if (tensor)
        sheet_of_tensor(tensor, out);
}

/* ---- remembering ---- */

static json_t *remember(struct ui *ui, void *context)
{
    const struct tensor_view *view = context;
    (void)ui;
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "mode", mode_names[view->mode], "side",
                     side_names[view->side], "plane", (json_int_t)view->plane, "row",
                     (json_int_t)view->cursor_row, "column", (json_int_t)view->cursor_column);
}

/* The place is cut to the tensor when its picture is taken. */
static void restore(struct ui *ui, void *context, const json_t *json)
{
    struct tensor_view *view = context;
    view->mode = (enum tensor_mode)remember_choice(json, "mode", mode_names, TENSOR_MODE_COUNT, 0);
    view->side = (enum tensor_side)remember_choice(json, "side", side_names, TENSOR_SIDE_COUNT, 0);
    view->value = ui->value;
    view->plane = limited(json_integer_value(json_object_get(json, "plane")), INT64_MAX);
    view->cursor_row = limited(json_integer_value(json_object_get(json, "row")), INT64_MAX);
    view->cursor_column = limited(json_integer_value(json_object_get(json, "column")), INT64_MAX);
    view->row = view->cursor_row;
    view->column = view->cursor_column;
    ui_want(ui, PICTURE_TENSOR);
}

static const struct view_hint hints[] = {
    {"tensor worst", "worst"}, {"tensor next-mode", "show"}, {"tensor next-side", "sides"},
    {"check", "check"},        {"blame", "blame"},           {NULL, NULL}};

const struct view_operations view_tensor = {
    .view = LAYOUT_TENSOR,
    .title = "Tensor",
    .help = "One tensor: verdict with its limits, a map of |difference| (! where a number is not "
            "finite), histograms of both sides, numbers of test, reference and difference. Arrows "
            "move, e goes from one of the worst elements to the next, [ and ] to other slices of "
            "tensors of three and more dimensions, i shows one part alone, Space one side.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .picture = picture,
    .wish = wish,
    .remember = remember,
    .restore = restore,
    .save = save,
};
