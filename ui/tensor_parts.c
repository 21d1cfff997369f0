#include "ui/tensor_parts.h"

#include "ui/pen.h"
#include "ui/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 11, LABEL = 8, KIND = 5 }; /* columns of a number, a row's index, test|ref|diff */

const char *tensor_place(const struct tensor_picture *tensor, int64_t index, char buffer[100])
{
    int64_t at[TENSOR_MAX_RANK] = {0};
    int used = 1;
    index *= tensor->stride;
    for (int i = tensor->whole.rank - 1; i >= 0; i--) {
        at[i] = index % tensor->whole.dims[i];
        index /= tensor->whole.dims[i];
    }
    buffer[0] = '[';
    for (int i = 0; i < tensor->whole.rank; i++)
        used +=
            snprintf(buffer + used, (size_t)(100 - used), "%s%lld", i ? "," : "", (long long)at[i]);
    snprintf(buffer + used, (size_t)(100 - used), "]");
    return buffer;
}

int64_t tensor_cursor(const struct tensor_picture *tensor, const struct tensor_view *view)
{
    int64_t row = view->cursor_row, column = view->cursor_column;
    if (tensor->all_rows <= row || tensor->all_columns <= column)
        return -1;
    return (tensor->plane * tensor->all_rows + row) * tensor->all_columns + column;
}

/* ---- where the parts go ---- */

static int lines_of_side(enum tensor_side side)
{
    return side == TENSOR_SIDES ? 3 : 1;
}

struct tensor_layout tensor_layout_of(struct layout_rectangle box, enum tensor_mode mode,
                                      enum tensor_side side, int heat_lines)
{
    struct tensor_layout layout = {0};
    struct layout_rectangle top = box;
    if (mode == TENSOR_ALL && box.rows >= 13) { /* map and histogram above, numbers below */
        top.rows = box.rows * 45 / 100 < 16 ? box.rows * 45 / 100 : 16;
        layout.numbers =
            (struct layout_rectangle){box.row + top.rows, box.col, box.rows - top.rows, box.cols};
        layout.heat = top;
        layout.heat.cols = top.cols / 2;
        layout.histogram = (struct layout_rectangle){top.row, top.col + layout.heat.cols, top.rows,
                                                     top.cols - layout.heat.cols};
    } else if (mode == TENSOR_ALL || mode == TENSOR_NUMBERS) {
        layout.numbers = box;
    } else if (mode == TENSOR_HEAT) {
        layout.heat = box;
    } else if (mode == TENSOR_HISTOGRAMS) {
        layout.histogram = box;
    } else if (mode == TENSOR_WORST) {
        layout.worst = box;
    } else {
        layout.followed = box;
    }
    layout.window_rows = (layout.numbers.rows - 1) / lines_of_side(side);
    layout.window_columns = (layout.numbers.cols - LABEL - KIND) / CELL;
    layout.heat_rows = tensor_heat_inside(layout.heat).rows * heat_lines;
    layout.heat_columns = tensor_heat_inside(layout.heat).cols;
    int bins = (layout.histogram.cols - 5) / 2; /* of test and reference, side by side */
    layout.bins = layout.histogram.rows > 3 ? (bins < 8 ? 8 : bins > 40 ? 40 : bins) : 0;
    int *sizes[] = {&layout.window_rows, &layout.window_columns, &layout.heat_rows,
                    &layout.heat_columns};
    for (int i = 0; i < 4; i++)
        *sizes[i] = *sizes[i] < 0 ? 0 : *sizes[i];
    return layout;
}

/* ---- the verdict ---- */

static void put_limited(struct pen *pen, const char *name, double number, double limit)
{
    bool failed = !(number <= limit);
    pen_format(pen, THEME_DIM, "%s ", name);
    pen_format(pen, failed ? THEME_DIVERGED : THEME_NUMBER, "%.1e", number);
    if (isinf(limit) && !failed)
        pen_put(pen, THEME_DIM, " (no limit)");
    else
        pen_format(pen, failed ? THEME_DIVERGED : THEME_DIM, " %s %.1e",
                   failed ? ">" : "<=", limit);
}

static void put_metrics(struct pen *pen, const struct tensor_picture *tensor)
{
    const struct metrics *metrics = &tensor->metrics;
    if (tensor->limits.rms_relative > 0)
        put_limited(pen, "rms/scale", tensor->verdict.rms_relative, tensor->limits.rms_relative);
    else
        put_limited(pen, "rms", metrics->rms_difference, tensor->limits.rms_absolute);
    pen_skip(pen, 3);
    if (tensor->limits.max_relative > 0)
        put_limited(pen, "max/scale", tensor->verdict.max_relative, tensor->limits.max_relative);
    else
        put_limited(pen, "max", metrics->max_difference, tensor->limits.max_absolute);
}

static void put_counts(struct pen *pen, const struct tensor_picture *tensor)
{
    const struct metrics *metrics = &tensor->metrics;
    char different[32], count[32];
    bool bad = metrics->nan_test + metrics->infinity_test > 0;
    pen_format(pen, bad ? THEME_NAN : THEME_NORMAL, " NaN %lld inf %lld",
               (long long)metrics->nan_test, (long long)metrics->infinity_test);
    pen_format(pen, THEME_NORMAL, "  cosine %.5f  norm ratio ", metrics->cosine);
    pen_format(pen, THEME_NORMAL, metrics->rms_reference > 0 ? "%.4f" : "-",
               metrics->rms_test / metrics->rms_reference);
    text_thousands(metrics->different, different);
    text_thousands(metrics->count, count);
    if (metrics->different == metrics->count)
        pen_format(pen, THEME_NORMAL, "  all %s different", count);
    else
        pen_format(pen, THEME_NORMAL, "  different %s of %s", different, count);
}

static enum picture_status status_of(const struct tensor_picture *tensor)
{
    if (tensor->verdict.failures & FAILURE_NOT_FINITE)
        return MARK_NAN;
    if (tensor->verdict.failures)
        return MARK_DIVERGED;
    return tensor->metrics.different == 0 ? MARK_SAME : MARK_WITHIN;
}

static const char *status_word(enum picture_status status)
{
    static const char *const words[] = {"not run yet",   "not compared", "same bits",
                                        "within limits", "DIVERGED",     "NOT FINITE"};
    return words[status];
}

static void put_statistics(struct pen *pen, const char *name, enum theme_role role,
                           const struct statistics *statistics)
{
    char low[32], high[32], mean[32], rms[32], zeros[32];
    pen_format(pen, role, " %-10s", name);
    if (statistics->zeros < 0) {
        pen_put(pen, THEME_DIM, "not measured yet");
        return;
    }
    pen_format(pen, THEME_NORMAL, "min %s  max %s  mean %s  rms %s  zeros %s",
               number_text(statistics->minimum, low), number_text(statistics->maximum, high),
               number_text(statistics->mean, mean), number_text(statistics->rms, rms),
               text_thousands(statistics->zeros, zeros));
}

/* Of a compared tensor; returns the last of its lines. */
static int put_verdict(struct pen *pen, const struct tensor_picture *tensor)
{
    const struct metrics *metrics = &tensor->metrics;
    enum picture_status status = status_of(tensor);
    char shape[80], place[100] = "";
    int row = 0;
    if (metrics->max_index >= 0 && metrics->different > 0)
        tensor_place(tensor, metrics->max_index, place);
    pen_skip(pen, 1);
    pen_mark(pen, status_role(status), status_mark(status));
    pen_format(pen, status_role(status), " %s", status_word(status));
    pen_format(pen, THEME_NORMAL, "   %s %s", dtype_name(tensor->dtype),
               shape_text(tensor->whole, shape));
    if (tensor->sampled)
        pen_format(pen, THEME_WARNING, "   %lld samples", (long long)shape_elements(tensor->shape));
    if (status != MARK_NAN) { /* the metrics are of what is finite only */
        pen_line(pen, ++row, -1);
        pen_skip(pen, 1);
        put_metrics(pen, tensor);
    }
    /* the place stands behind what it is the place of, or where there is room for it */
    bool fits = status != MARK_NAN && pen_room(pen) >= (int)strlen(place) + 4;
    if (fits && place[0])
        pen_format(pen, THEME_NORMAL, " at %s", place);
    pen_line(pen, ++row, -1);
    if (!fits && place[0])
        pen_format(pen, THEME_NORMAL, " worst %s ", place);
    put_counts(pen, tensor);
    return row;
}

int tensor_draw_verdict(struct layout_rectangle box, const struct tensor_picture *tensor)
{
    struct pen pen = pen_at(box, 0);
    char shape[80];
    int row = 0;
    if (tensor->compared) {
        row = put_verdict(&pen, tensor);
    } else if (!tensor->problem) {
        pen_format(&pen, THEME_NORMAL, " %s %s", dtype_name(tensor->dtype),
                   shape_text(tensor->whole, shape));
        pen_format(&pen, THEME_DIM, "   not compared in this step%s%s",
                   tensor->reference_problem ? ": " : "",
                   tensor->reference_problem ? tensor->reference_problem : "");
    }
    if (tensor->guess) {
        pen_line(&pen, ++row, -1);
        pen_format(&pen, THEME_WARNING, " looks like: %s", tensor->guess);
    }
    if (tensor->problem) {
        row += tensor->compared;
        pen_line(&pen, row, -1);
        pen_format(&pen, THEME_WARNING, " %s", tensor->problem);
    } else if (box.rows >= 12) {
        pen_line(&pen, ++row, -1);
        put_statistics(&pen, "test", THEME_TEST, &tensor->test_statistics);
        if (tensor->reference) {
            pen_line(&pen, ++row, -1);
            put_statistics(&pen, "reference", THEME_REFERENCE, &tensor->reference_statistics);
        }
    }
    if (tensor->scale != 1) {
        pen_line(&pen, ++row, -1);
        pen_format(&pen, THEME_DIM, " the test's numbers are divided by its loss scale: %g",
                   tensor->scale);
    }
    pen_line(&pen, ++row, -1);
    pen_format(&pen, THEME_DIM, " produced by %s",
               tensor->producer[0] ? tensor->producer + strspn(tensor->producer, " ")
                                   : "no instruction: it is an input or state");
    return row + 1;
}

/* ---- histograms ---- */

static int64_t most_of(const int64_t *bins, int count)
{
    int64_t most = 0;
    for (int i = 0; bins && i < count; i++)
        most = bins[i] > most ? bins[i] : most;
    return most;
}

/* Columns of eighths over `rows` rows; the height is the square root of the count, so that tails
 * are seen. */
static void draw_bins(struct layout_rectangle box, const int64_t *bins, int count,
                      enum theme_role role)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    int64_t most = most_of(bins, count);
    for (int c = 0; bins && most > 0 && c < box.cols && c < count; c++) {
        int height = (int)(sqrt((double)bins[c] / (double)most) * box.rows * 8 + 0.5);
        height = bins[c] > 0 && height == 0 ? 1 : height;
        for (int r = 0; r < box.rows; r++) {
            int here = height - (box.rows - 1 - r) * 8;
            here = here < 0 ? 0 : here > 8 ? 8 : here;
            const char *block = term_ascii() ? (here >= 4 ? "#" : here ? "." : " ") : blocks[here];
            term_put(box.row + r, box.col + c, 1, role, block);
        }
    }
}

void tensor_draw_histograms(struct layout_rectangle box, const struct tensor_picture *tensor)
{
    static const char *const names[] = {"test", "reference", "|difference|"};
    static const enum theme_role roles[] = {THEME_TEST, THEME_REFERENCE, THEME_DIVERGED};
    const int64_t *bins[] = {tensor->test_bins, tensor->reference_bins, tensor->difference_bins};
    char title[120], low[32], high[32], most[32];
    if (box.rows < 4 || box.cols < 12)
        return;
    if (tensor->bins == 0)
        snprintf(title, sizeof(title), " histogram ");
    else
        snprintf(title, sizeof(title), " %s..%s ", number_text(tensor->low, low),
                 number_text(tensor->high, high));
    term_box(box, THEME_FRAME, title);
    struct layout_rectangle inside = {box.row + 1, box.col + 1, box.rows - 2, box.cols - 2};
    struct pen pen = pen_at(inside, inside.rows - 1);
    for (int i = 0; i < 3 && tensor->bins > 0 && bins[i]; i++) {
        int col = 1 + i * (tensor->bins + 1);
        struct layout_rectangle part = {inside.row, inside.col + col, inside.rows - 1,
                                        tensor->bins};
        if (col + tensor->bins > inside.cols)
            break;
        draw_bins(part, bins[i], tensor->bins, roles[i]);
        pen.col = col;
        pen_cell(&pen, tensor->bins, roles[i], names[i]);
        if (i == 2)
            pen_format(&pen, THEME_DIM, " 0..%s", number_text(tensor->difference_high, most));
    }
}

/* ---- numbers ---- */

static bool is_worst(const struct tensor_picture *tensor, int row, int column)
{
    int64_t index = (tensor->plane * tensor->all_rows + tensor->row + row) * tensor->all_columns +
                    tensor->column + column;
    return tensor->worst_count > 0 && tensor->worst[0].index == index && tensor->compared &&
           tensor->metrics.different > 0;
}

static bool is_cursor(const struct tensor_picture *tensor, const struct tensor_view *view, int row,
                      int column)
{
    return view->cursor_row == tensor->row + row && view->cursor_column == tensor->column + column;
}

static void put_element(struct pen *pen, double number, enum theme_role role)
{
    char text[32];
    if (isnan(number))
        snprintf(text, sizeof(text), "nan"); /* the sign of a NaN means nothing */
    else
        snprintf(text, sizeof(text), "%.4g", number);
    pen_right(pen, CELL, role, text);
}

static void put_numbers(struct pen *pen, const struct tensor_picture *tensor,
                        const struct tensor_view *view, int row, enum tensor_side side, bool focus)
{
    static const char *const names[] = {"", "test", "ref", "diff"};
    static const enum theme_role roles[] = {THEME_NORMAL, THEME_TEST, THEME_REFERENCE,
                                            THEME_DIVERGED};
    pen_cell(pen, KIND, roles[side], names[side]);
    for (int c = 0; c < tensor->columns && pen_room(pen) >= CELL; c++) {
        double test = tensor->test[row * tensor->columns + c];
        double reference = tensor->reference ? tensor->reference[row * tensor->columns + c] : NAN;
        double number = side == TENSOR_TEST        ? test
                        : side == TENSOR_REFERENCE ? reference
                                                   : test - reference;
        enum theme_role role = side == TENSOR_DIFFERENCE && number == 0 ? THEME_DIM : roles[side];
        if (is_worst(tensor, row, c))
            role = THEME_MATCH;
        if (!isfinite(number))
            role = THEME_NAN;
        if (is_cursor(tensor, view, row, c))
            role = focus ? THEME_SELECTION : THEME_CURRENT;
        put_element(pen, number, role);
    }
}

void tensor_draw_numbers(struct layout_rectangle box, const struct tensor_picture *tensor,
                         const struct tensor_view *view, bool focus)
{
    enum tensor_side side = view->side;
    struct pen pen = pen_at(box, 0);
    char text[32];
    if (box.rows < 2 || !tensor->test)
        return;
    if (!tensor->reference)
        side = TENSOR_TEST;
    pen_cell(&pen, LABEL + KIND, THEME_DIM, " row\\col");
    for (int c = 0; c < tensor->columns && pen_room(&pen) >= CELL; c++) {
        snprintf(text, sizeof(text), "%lld", (long long)tensor->column + c);
        pen_right(&pen, CELL, THEME_DIM, text);
    }
    for (int r = 0, row = 1; r < tensor->rows && row < box.rows; r++) {
        for (int s = TENSOR_TEST; s <= TENSOR_DIFFERENCE; s++) {
            if (side != TENSOR_SIDES && s != (int)side)
                continue;
            bool first = side != TENSOR_SIDES || s == TENSOR_TEST;
            pen_line(&pen, row++, -1);
            snprintf(text, sizeof(text), "%lld", (long long)tensor->row + r);
            pen_right(&pen, LABEL - 1, THEME_DIM, first ? text : "");
            pen_skip(&pen, 1);
            put_numbers(&pen, tensor, view, r, (enum tensor_side)s, focus);
        }
    }
}

bool tensor_number_at(struct layout_rectangle box, const struct tensor_picture *tensor,
                      enum tensor_side side, int screen_row, int screen_col, int64_t *row,
                      int64_t *column)
{
    int line = screen_row - box.row - 1, col = screen_col - box.col - LABEL - KIND;
    if (!tensor->test || screen_row >= box.row + box.rows || line < 0 || col < 0)
        return false;
    int r = line / lines_of_side(tensor->reference ? side : TENSOR_TEST), c = col / CELL;
    bool cut = LABEL + KIND + (c + 1) * CELL > box.cols; /* not drawn */
    *row = tensor->row + r;
    *column = tensor->column + c;
    return r < tensor->rows && c < tensor->columns && !cut;
}

void tensor_draw_worst(struct layout_rectangle box, const struct tensor_picture *tensor,
                       int selected)
{
    struct pen pen = pen_at(box, 0);
    char place[100];
    if (box.rows < 1)
        return;
    if (tensor->worst_count == 0) {
        pen_format(&pen, THEME_DIM, " %s",
                   tensor->partial ? "not measured yet"
                                   : "no reference: no element is worse than others");
        return;
    }
    pen_format(&pen, THEME_DIM, " %-24s %14s %14s %14s", "element", "test", "reference",
               "difference");
    for (int i = 0; i < tensor->worst_count && i + 1 < box.rows; i++) {
        const struct worst_element *worst = &tensor->worst[i];
        pen_line(&pen, i + 1, i == selected ? (int)THEME_CURRENT : -1);
        pen_format(&pen, THEME_NAME, " %-24s", tensor_place(tensor, worst->index, place));
        pen_format(&pen, THEME_TEST, " %14.7g", worst->test);
        pen_format(&pen, THEME_REFERENCE, " %14.7g", worst->reference);
        pen_format(&pen, THEME_DIVERGED, " %14.7g", worst->test - worst->reference);
    }
}
