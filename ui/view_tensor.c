/* One tensor of both sides: verdict, map of the differences, histograms, numbers. */
#include "ui/sheets.h"
#include "ui/state.h"
#include "ui/tensor_parts.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = {"",           "numbers",        "map",
                                         "histograms", "worst elements", "followed"};
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
                ui_program(ui) && !ui_is_running(ui)
                    ? " choose an instruction or a divergence and press Enter"
                    : ui_why_empty(ui));
        return;
    }
    bool followed = view->mode == TENSOR_FOLLOWED; /* may be of another tensor */
    if (!followed && ui_is_running(ui) && ui->value >= 0 && tensor->value != ui->value) {
        pen_put(&pen, THEME_DIM, " is shown when the run stops");
        return;
    }
    int used = followed ? 0 : tensor_draw_verdict(box, tensor);
    struct layout_rectangle rest = {box.row + used, box.col, box.rows - used, box.cols};
    if (rest.rows <= 0)
        return;
    struct tensor_layout layout =
        tensor_layout_of(rest, view->mode, view->side, heat_rows_of_cell(tensor_heat_drawing()));
    measure(ui, view, &layout);
    view->layout = layout;
    view->follow_page = layout.followed.rows - TENSOR_FOLLOW_HEADING;
    if (followed)
        tensor_draw_follow(layout.followed, tensor, view);
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
    if (view->mode == TENSOR_FOLLOWED) {
        text_add(out, "  followed elements");
        return;
    }
    if (tensor->partial)
        text_add(out, ui->patient || ui->asked[PICTURE_TENSOR] > 0
                          ? "  looking at all of it"
                          : "  not all of it was looked at");
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

/* The next of the worst elements, or number `number` (from 1), comes into the middle. */
static void show_worst(struct ui *ui, struct tensor_view *view, int number)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor || tensor->worst_count == 0) {
        ui_say(ui, THEME_WARNING, "%s",
               tensor && tensor->partial ? "not all elements were looked at yet"
                                         : "no reference: no element is worse than others");
        return;
    }
    if (number > 0)
        view->worst = number <= tensor->worst_count ? number - 1 : tensor->worst_count - 1;
    else
        view->worst = view->worst_shown ? (view->worst + 1) % tensor->worst_count : 0;
    view->worst_shown = true;
    const struct worst_element *worst = &tensor->worst[view->worst];
    char place[100];
    go_to_element(ui, view, tensor, worst->index);
    ui_say(ui, THEME_NORMAL, "worst element %d of %d: %s  test %.6g  reference %.6g",
           view->worst + 1, tensor->worst_count, tensor_place(tensor, worst->index, place),
           worst->test, worst->reference);
}

/* ---- commands ---- */

/* "[3,4,5]" as a flat index of what the picture shows; -1 with the reason said. */
static int64_t read_place(struct ui *ui, const struct tensor_picture *tensor, const char *text)
{
    const struct shape *shape = &tensor->whole;
    int64_t index = 0;
    char *end = NULL, buffer[80];
    const char *at = text + (*text == '[');
    for (int d = 0; d < shape->rank; d++) {
        long long number = strtoll(at, &end, 10);
        bool last = d == shape->rank - 1;
        if (end == at || number < 0 || number >= shape->dims[d] ||
            (last ? *end && strcmp(end, "]") != 0 : *end != ',')) {
            ui_say(ui, THEME_ERROR, "\"%s\" is no element of %s: [I,J,...]", text,
                   shape_text(*shape, buffer));
            return -1;
        }
        index = index * shape->dims[d] + number;
        at = end + 1;
    }
    if (index % tensor->stride) {
        ui_say(ui, THEME_ERROR, "only every %lldth element was recorded",
               (long long)tensor->stride);
        return -1;
    }
    return index / tensor->stride;
}

static void go_to_place(struct ui *ui, struct tensor_view *view, const char *text)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    int64_t index = tensor ? read_place(ui, tensor, text) : -1;
    if (index >= 0)
        go_to_element(ui, view, tensor, index);
}

/* A slice by its number, from 1. */
static void go_to_slice(struct ui *ui, struct tensor_view *view, const char *text)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    long long number = strtoll(text, NULL, 10);
    if (!tensor)
        return;
    if (number < 1 || number > tensor->planes) {
        ui_say(ui, THEME_ERROR, "slices are 1 to %lld: the dimensions before the last two",
               (long long)tensor->planes);
        return;
    }
    view->plane = number - 1;
    ui_want(ui, PICTURE_TENSOR);
}

/* Follows the element at the cursor through the run, and shows the elements that are followed. */
static void follow(struct ui *ui, struct tensor_view *view)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    int64_t index = tensor ? tensor_cursor(tensor, view) : -1;
    char place[100];
    if (index < 0)
        return;
    ui_post(ui, "follow %s%s", tensor->name, tensor_place(tensor, index, place));
    ui->posted[ui->posted_count - 1].moves = true; /* it is seen here: not the log's table too */
    view->mode = TENSOR_FOLLOWED;
    view->follow = INT32_MAX;
    view->follow_back = 0;
}

static void change_follow(struct ui *ui, struct tensor_view *view, int by)
{
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    if (!tensor)
        return;
    view->follow = (int)limited(tensor_follow_shown(tensor, view) + by, tensor->follow_count - 1);
    view->follow_back = 0;
}

static bool choose(const char *word, const char *const *names, int count, int *choice)
{
    for (int i = 0; i < count; i++)
        if (strncmp(names[i][0] ? names[i] : "all", word, strlen(word)) == 0 && word[0]) {
            *choice = i;
            return true;
        }
    return false;
}

/* A tensor by its name goes into the view. */
static bool show_named(struct ui *ui, const char *name)
{
    int value = ui_find_value(ui, name);
    if (value >= 0)
        ui_show_value(ui, value);
    return value >= 0;
}

static bool act_on_tensor(struct ui *ui, struct tensor_view *view, const char *command)
{
    const char *rest;
    int choice;
    bool followed = view->mode == TENSOR_FOLLOWED;
    if (command_is(command, "next-mode", NULL))
        view->mode = (view->mode + 1) % TENSOR_MODE_COUNT;
    else if (command_is(command, "next-side", NULL))
        view->side = (view->side + 1) % TENSOR_SIDE_COUNT;
    else if (command_is(command, "show", &rest) &&
             choose(rest, mode_names, TENSOR_MODE_COUNT, &choice))
        view->mode = (enum tensor_mode)choice;
    else if (command_is(command, "side", &rest) &&
             choose(rest, side_names, TENSOR_SIDE_COUNT, &choice))
        view->side = (enum tensor_side)choice;
    else if (command_is(command, "worst", &rest))
        show_worst(ui, view, (int)strtol(rest, NULL, 10));
    else if (command_is(command, "next-slice", NULL))
        followed ? change_follow(ui, view, 1) : change_plane(ui, view, 1);
    else if (command_is(command, "previous-slice", NULL))
        followed ? change_follow(ui, view, -1) : change_plane(ui, view, -1);
    else if (command_is(command, "slice", &rest))
        go_to_slice(ui, view, rest);
    else if (command_is(command, "go", &rest))
        go_to_place(ui, view, rest);
    else if (command_is(command, "follow", NULL))
        follow(ui, view);
    else
        return show_named(ui, command);
    return true;
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct tensor_view *view = context;
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    const char *rest;
    if (command_is(command, "copy", &rest)) {
        tensor_copy(ui, tensor, view, rest);
        return true;
    }
    bool moves = command_is(command, "move", &rest) || command_is(command, "scroll", &rest);
    if (moves && view->mode == TENSOR_FOLLOWED && tensor)
        return tensor_follow_move(tensor, view, rest, view->follow_page);
    if (moves)
        return move(ui, view, rest);
    if (!command_is(command, "tensor", &rest))
        return key && tensor && ui_act_on_value(ui, tensor->value, command);
    bool done = !rest[0] || act_on_tensor(ui, view, rest); /* alone it opens the view */
    if (!done && !ui_program(ui))
        ui_say(ui, THEME_WARNING, "no tensor \"%s\":%s", rest, ui_why_empty(ui));
    else if (!done)
        ui_say(ui, THEME_ERROR,
               "no tensor \"%s\", and none of: worst [N], slice N, go [I,J], follow, side "
               "all|test|reference|difference, show all|numbers|map|histograms|worst|followed",
               rest);
    ui_want(ui, PICTURE_TENSOR);
    return true;
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct tensor_view *view = context;
    const struct tensor_picture *tensor = tensor_of_ui(ui);
    const struct tensor_layout *layout = &view->layout;
    int row = click->box.row + click->row, col = click->box.col + click->col;
    int64_t at_row, at_column;
    if (!tensor)
        return;
    int worst = row - layout->worst.row; /* below its heading */
    if (tensor_number_at(layout->numbers, tensor, view->side, row, col, &at_row, &at_column) ||
        tensor_heat_at(layout->heat, tensor, row, col, &at_row, &at_column))
        move_to(ui, view, at_row, at_column);
    else if (worst > 0 && worst < layout->worst.rows && worst <= tensor->worst_count)
        show_worst(ui, view, worst);
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
    if (view->copy_waits)
        tensor_copy(ui, tensor_of_ui(ui), view, "value");
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

static const struct view_hint hints[] = {{"tensor worst", "worst"},
                                         {"tensor next-mode", "show"},
                                         {"tensor next-side", "sides"},
                                         {"tensor follow", "follow"},
                                         {"check", "check"},
                                         {"blame", "blame"},
                                         {NULL, NULL}};

const struct view_operations view_tensor = {
    .view = LAYOUT_TENSOR,
    .title = "Tensor",
    .help =
        "One tensor: verdict with its limits, a map of the difference (! where a number is not "
        "finite), histograms of both sides, numbers of test, reference and difference. Arrows "
        "move, e goes from one of the worst elements to the next, [ and ] to other slices of "
        "tensors of three and more dimensions, i shows one part alone, Space one side. F "
        "follows the element at the cursor through steps and micro-batches. y copies the number "
        "at the cursor, Y a NumPy expression of what is shown.",
    .at_stops = true,
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .picture = picture,
    .wish = wish,
    .remember = remember,
    .restore = restore,
    .save = save,
};
