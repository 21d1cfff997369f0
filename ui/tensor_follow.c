/* The followed elements of the tensor view: a table of one of them over steps and micro-batches,
 * and lines that show its course. */
#include "ui/pen.h"
#include "ui/state.h"
#include "ui/tensor_parts.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER = 13 };

int tensor_follow_shown(const struct tensor_picture *tensor, const struct tensor_view *view)
{
    int last = tensor->follow_count - 1;
    return view->follow < last ? view->follow : last;
}

static double number_of(const struct picture_follow_row *row, enum tensor_side side)
{
    return side == TENSOR_TEST        ? row->test
           : side == TENSOR_REFERENCE ? row->reference
                                      : row->test - row->reference;
}

/* One column of a sparkline: where `number` is between low and high; "!" if it is not finite. Pure;
 * static storage. */
static const char *tensor_spark(double number, double low, double high, bool ascii)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    static const char *const plain[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
    if (!isfinite(number))
        return "!";
    double part = high > low ? (number - low) / (high - low) : 0;
    int step = (int)(part * 8);
    step = step < 0 ? 0 : step > 7 ? 7 : step;
    return ascii ? plain[step] : blocks[step];
}

/* The newest that fit, a column for each time. */
static void put_course(struct pen *pen, const struct picture_follow *follow, enum tensor_side side)
{
    static const char *const names[] = {"", "test", "reference", "difference"};
    static const enum theme_role roles[] = {THEME_NORMAL, THEME_TEST, THEME_REFERENCE,
                                            THEME_DIVERGED};
    double low = INFINITY, high = -INFINITY;
    char from[32], to[32];
    for (int i = 0; i < follow->row_count; i++) {
        low = fmin(low, number_of(&follow->rows[i], side)); /* these pass over NaN */
        high = fmax(high, number_of(&follow->rows[i], side));
    }
    pen_format(pen, THEME_DIM, " %-10s ", names[side]);
    if (low > high) {
        pen_put(pen, THEME_DIM, "-");
        return;
    }
    int room = pen_room(pen) - 24;
    room = room < 1 ? 1 : room;
    int first = follow->row_count > room ? follow->row_count - room : 0;
    for (int i = first; i < follow->row_count; i++) {
        double number = number_of(&follow->rows[i], side);
        pen_cell(pen, 1, isfinite(number) ? roles[side] : THEME_NAN,
                 tensor_spark(number, low, high, term_ascii()));
    }
    pen_format(pen, THEME_DIM, "  %s..%s", number_text(low, from), number_text(high, to));
}

static void put_number(struct pen *pen, enum theme_role role, double number, bool known)
{
    char text[32];
    if (known && isnan(number))
        snprintf(text, sizeof(text), "nan"); /* the sign of a NaN means nothing */
    else
        snprintf(text, sizeof(text), known ? "%.5e" : "-", number);
    pen_right(pen, NUMBER, known && !isfinite(number) ? THEME_NAN : role, text);
}

static void put_row(struct pen *pen, const struct picture_follow_row *row)
{
    bool known = !isnan(row->reference);
    double difference = row->test - row->reference;
    pen_format(pen, THEME_NORMAL, " %5d %-14s", row->step + 1, row->batch);
    if (row->instruction >= 0)
        pen_format(pen, THEME_DIM, "%7d", row->instruction);
    else
        pen_format(pen, THEME_DIM, "%7s", "-");
    put_number(pen, THEME_TEST, row->test, true);
    put_number(pen, THEME_REFERENCE, row->reference, known);
    put_number(pen, difference == 0 ? THEME_DIM : THEME_DIVERGED, difference, known);
    pen_skip(pen, 1);
    if (row->failed)
        pen_mark(pen, THEME_DIVERGED, THEME_MARK_DIVERGED);
}

void tensor_draw_follow(struct layout_rectangle box, const struct tensor_picture *tensor,
                        const struct tensor_view *view)
{
    struct pen pen = pen_at(box, 0);
    int shown = tensor_follow_shown(tensor, view);
    if (box.rows < 1)
        return;
    if (shown < 0) {
        pen_put(&pen, THEME_DIM, " no element is followed: F follows the one at the cursor");
        return;
    }
    const struct picture_follow *follow = &tensor->follows[shown];
    pen_format(&pen, THEME_NAME, " %s", follow->name);
    pen_format(&pen, THEME_DIM, "  number %d, %d of %d", follow->number, shown + 1,
               tensor->follow_count);
    pen_line(&pen, 1, -1);
    put_course(&pen, follow, TENSOR_TEST);
    pen_line(&pen, 2, -1);
    put_course(&pen, follow, TENSOR_DIFFERENCE);
    pen_line(&pen, 3, -1);
    pen_format(&pen, THEME_DIM, " %5s %-14s%7s%*s%*s%*s", "step", "batch", "instr", NUMBER, "test",
               NUMBER, "reference", NUMBER, "difference");
    int rows = box.rows - TENSOR_FOLLOW_HEADING, most = follow->row_count - rows;
    int first = most - view->follow_back; /* the newest last, unless moved back */
    first = first < 0 ? 0 : first;
    for (int i = 0; i < rows && first + i < follow->row_count; i++) {
        pen_line(&pen, TENSOR_FOLLOW_HEADING + i, -1);
        put_row(&pen, &follow->rows[first + i]);
    }
    if (follow->row_count == 0) {
        pen_line(&pen, TENSOR_FOLLOW_HEADING, -1);
        pen_put(&pen, THEME_DIM, " not written yet");
    }
}

bool tensor_follow_move(const struct tensor_picture *tensor, struct tensor_view *view,
                        const char *where, int page)
{
    const struct {
        const char *word;
        int by;
    } moves[] = {{"down", -1},
                 {"up", 1},
                 {"page-down", -page},
                 {"page-up", page},
                 {"last", -INT32_MAX / 2},
                 {"first", INT32_MAX / 2}};
    int shown = tensor_follow_shown(tensor, view);
    int rows = shown >= 0 ? tensor->follows[shown].row_count : 0;
    for (int i = 0; i < ARRAY_LENGTH(moves); i++)
        if (strcmp(moves[i].word, where) == 0) {
            int back = view->follow_back + moves[i].by;
            view->follow_back = back < 0 ? 0 : back > rows - 1 ? rows > 0 ? rows - 1 : 0 : back;
            return true;
        }
    return false;
}
