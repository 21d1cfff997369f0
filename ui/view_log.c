/* The log: commands, what they said, messages, and whatever libraries print in this process. */
#include "ui/state.h"
#include "ui/text_width.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { HANGING = 8 };

struct log_view {
    struct list list; /* of rows on the screen: a long line takes several */
    bool stay;        /* do not follow the newest line */
    bool cut;         /* long lines are cut instead */
    int skip;         /* then: columns of the lines that are left of the edge */
    int cols;         /* of the box, as drawn last */
    int64_t seen;     /* lines there were when drawn last, with those that fell off */
};

static const char *const prefixes[] = {"(lockstep) ", "", "! ", "- ", "| "};

static void *create(struct ui *ui)
{
    (void)ui;
    return memory_zeroed(1, sizeof(struct log_view));
}

static void destroy(void *state)
{
    free(state);
}

static enum theme_role role_of(enum log_kind kind)
{
    static const enum theme_role roles[] = {THEME_PROMPT, THEME_NORMAL, THEME_ERROR, THEME_WARNING,
                                            THEME_STDERR};
    return roles[kind];
}

/* ---- rows of lines ---- */

static int prefix_width(const struct log_line *line)
{
    return (int)strlen(prefixes[line->kind]);
}

/* What of a line's text stands in one row: bytes [from, end). Zeroed: before the first row. */
struct log_part {
    size_t from, end;
    int row;
};

/* The next row of a line, which ends at a blank if one is near its edge; false: no more. What goes
 * on is set in. */
static bool next_part(const struct log_view *view, const struct log_line *line,
                      struct log_part *part)
{
    size_t length = strlen(line->text);
    int room = view->cols - (part->row == 0 ? prefix_width(line) : HANGING);
    if (part->row > 0 && part->end >= length)
        return false;
    part->from = part->end + strspn(line->text + part->end, part->row > 0 ? " " : "");
    size_t fits = text_fit(line->text + part->from, length - part->from, room, NULL);
    part->end = fits > 0 ? part->from + fits : length;
    part->row++;
    for (size_t at = part->end; part->end < length && at > part->from + fits * 2 / 3; at--)
        if (line->text[at] == ' ') {
            part->end = at;
            break;
        }
    return part->from < length || part->row == 1;
}

/* Counted once for each width. */
static int rows_of(const struct log_view *view, struct log_line *line)
{
    struct log_part part = {0};
    if (view->cut || view->cols <= 0 || prefix_width(line) + line->width <= view->cols)
        return 1;
    if (line->counted_for == view->cols)
        return line->rows;
    line->counted_for = view->cols;
    for (line->rows = 0; next_part(view, line, &part); line->rows++)
        continue;
    return line->rows;
}

/* The first row of a line; of log->count: all rows there are. */
static int row_of_line(const struct log_view *view, const struct log *log, int line)
{
    int row = 0;
    for (int i = 0; i < line; i++)
        row += rows_of(view, &log->lines[i]);
    return row;
}

/* The line that a row belongs to; *part: which row of it. */
static int line_of_row(const struct log_view *view, const struct log *log, int row, int *part)
{
    int line = 0;
    for (; line < log->count && row >= rows_of(view, &log->lines[line]); line++)
        row -= rows_of(view, &log->lines[line]);
    *part = row;
    return line;
}

/* Rows are others in a box of another width: the selected line stays. */
static void set_columns(struct log_view *view, const struct log *log, int cols, bool cut)
{
    int part, line = line_of_row(view, log, view->list.selected, &part);
    view->cols = cols;
    view->cut = cut;
    list_resize(&view->list, row_of_line(view, log, log->count));
    list_reveal(&view->list, row_of_line(view, log, line));
}

/* ---- drawing ---- */

static void put_row(struct pen *pen, const struct log_view *view, const struct log_line *line,
                    int row)
{
    struct log_part part = {0};
    while (part.row <= row && next_part(view, line, &part))
        continue;
    char *text = memory_string_part(line->text + part.from, part.end - part.from);
    if (row == 0)
        pen_put(pen, role_of(line->kind), prefixes[line->kind]);
    else
        pen_skip(pen, HANGING);
    pen_put(pen, role_of(line->kind), text);
    free(text);
}

/* A line that is cut has a mark there, unless it was scrolled sideways. */
static void put_cut_line(struct pen *pen, const struct log_line *line, int skip)
{
    struct text part = {0};
    if (skip == 0) {
        pen_put(pen, role_of(line->kind), prefixes[line->kind]);
        pen_cell(pen, pen_room(pen), role_of(line->kind), line->text);
        return;
    }
    text_clip(&part, line->text, strlen(line->text), skip, pen_room(pen));
    pen_put(pen, role_of(line->kind), part.data ? part.data : "");
    text_free(&part);
}

/* What is new is shown from its beginning. */
static void look(const struct ui *ui, struct log_view *view)
{
    int64_t lines = ui->log.dropped + ui->log.count;
    if (lines != view->seen && !view->stay)
        view->skip = 0;
    view->seen = lines;
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct log_view *view = context;
    const struct log *log = &ui->log; /* its lines are counted */
    struct pen pen = pen_at(box, 0);
    int part;
    look(ui, view);
    if (view->cols != box.cols)
        set_columns(view, log, box.cols, view->cut);
    list_resize(&view->list, row_of_line(view, log, log->count));
    if (!view->stay)
        list_select(&view->list, view->list.count - 1);
    list_show(&view->list, box.rows);
    int line = line_of_row(view, log, view->list.top, &part);
    for (int i = 0; i < box.rows && line < log->count; i++) {
        bool selected = focus && view->stay && view->list.top + i == view->list.selected;
        pen_line(&pen, i, selected ? (int)THEME_CURRENT : -1);
        if (view->cut)
            put_cut_line(&pen, &log->lines[line], view->skip);
        else
            put_row(&pen, view, &log->lines[line], part);
        if (++part >= rows_of(view, &log->lines[line])) {
            part = 0;
            line++;
        }
    }
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    struct log_view *view = context;
    look(ui, view);
    text_format(out, "  %d lines%s", ui->log.count, view->stay ? "" : ", following");
    if (view->skip > 0)
        text_format(out, ", from column %d (Left goes back)", view->skip + 1);
}

/* Not beyond the longest line on the screen. */
static void scroll_sideways(const struct ui *ui, struct log_view *view, int by)
{
    int longest = 0;
    for (int i = 0; i < view->list.page && view->list.top + i < ui->log.count; i++) {
        int width = ui->log.lines[view->list.top + i].width;
        longest = width > longest ? width : longest;
    }
    int skip = view->skip + by;
    if (by < 0 || skip < longest)
        view->skip = skip < 0 ? 0 : skip;
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct log_view *view = context;
    (void)key;
    bool sideways =
        command_is(command, "move left", NULL) || command_is(command, "move right", NULL);
    if (sideways && !view->cut)
        return false; /* all of each line is there */
    if (sideways) {
        scroll_sideways(ui, view, command_is(command, "move right", NULL) ? 20 : -20);
        return true;
    }
    if (list_act(&view->list, command))
        view->stay = view->list.selected < view->list.count - 1;
    else if (command_is(command, "tail", NULL))
        view->stay = !view->stay;
    else if (command_is(command, "toggle", NULL))
        set_columns(view, &ui->log, view->cols, !view->cut);
    else
        return false;
    return true;
}

/* A line that is clicked stays where it is. */
static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct log_view *view = context;
    (void)ui;
    if (list_click(&view->list, 0, click->row))
        view->stay = true;
}

static bool search(struct ui *ui, void *context, const char *text, int direction)
{
    struct log_view *view = context;
    int count = ui->log.count, part;
    int from = line_of_row(view, &ui->log, view->list.selected, &part);
    for (int k = 1; k <= count; k++) {
        int i = ((from + direction * k) % count + count) % count;
        if (!strstr(ui->log.lines[i].text, text))
            continue;
        view->stay = true;
        list_resize(&view->list, row_of_line(view, &ui->log, count));
        list_reveal(&view->list, row_of_line(view, &ui->log, i));
        return true;
    }
    return false;
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    static const char *const kinds[] = {"command", "output", "error", "message", "captured"};
    struct sheet_table *table = sheet_add_table(out, "lines", "kind text");
    (void)context;
    for (int i = 0; i < ui->log.count; i++) {
        table_text(table, kinds[ui->log.lines[i].kind]);
        table_text(table, ui->log.lines[i].text);
        unicode_add_printable(&out->plain, ui->log.lines[i].text, strlen(ui->log.lines[i].text));
        text_add(&out->plain, "\n");
    }
}

static const struct view_hint hints[] = {{"tail", "follow"}, {"toggle", "wrap/cut"}, {NULL, NULL}};

const struct view_operations view_log = {
    .view = LAYOUT_LOG,
    .title = "Log",
    .help = "Commands and all that they said, messages, and what libraries print to standard "
            "output and error (after |). F follows the newest line or stays; Space cuts long lines "
            "instead of wrapping them, Left and Right then show the rest; / finds.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .search = search,
    .save = save,
};
