/* The log: commands, what they said, messages, and whatever libraries print in this process. */
#include "ui/state.h"
#include "ui/text_width.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"

#include <stdlib.h>
#include <string.h>

struct log_view {
    struct list list; /* of the lines that are shown */
    bool stay;        /* do not follow the newest line */
    int skip;         /* columns of the lines that are left of the edge */
    int64_t seen;     /* lines there were when drawn last, with those that fell off */
};

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

static void put_line(struct pen *pen, const struct log_line *line, int skip)
{
    static const char *const prefixes[] = {"(lockstep) ", "", "! ", "- ", "| "};
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
    const struct log *log = &ui->log;
    struct pen pen = pen_at(box, 0);
    look(ui, view);
    list_resize(&view->list, log->count);
    if (!view->stay)
        list_select(&view->list, log->count - 1);
    list_show(&view->list, box.rows);
    for (int i = 0; i < box.rows && view->list.top + i < log->count; i++) {
        bool selected = focus && view->stay && view->list.top + i == view->list.selected;
        pen_line(&pen, i, selected ? (int)THEME_CURRENT : -1);
        put_line(&pen, &log->lines[view->list.top + i], view->skip);
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
        const char *text = ui->log.lines[view->list.top + i].text;
        int width = text_width(text, strlen(text));
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
    if (command_is(command, "move left", NULL) || command_is(command, "move right", NULL)) {
        scroll_sideways(ui, view, command_is(command, "move right", NULL) ? 20 : -20);
        return true;
    }
    if (list_act(&view->list, command))
        view->stay = view->list.selected < view->list.count - 1;
    else if (command_is(command, "tail", NULL))
        view->stay = !view->stay;
    else
        return false;
    return true;
}

static bool search(struct ui *ui, void *context, const char *text, int direction)
{
    struct log_view *view = context;
    int count = ui->log.count;
    for (int k = 1; k <= count; k++) {
        int i = ((view->list.selected + direction * k) % count + count) % count;
        if (!strstr(ui->log.lines[i].text, text))
            continue;
        view->stay = true;
        list_resize(&view->list, count);
        list_reveal(&view->list, i);
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

static const struct view_hint hints[] = {{"tail", "follow"}, {NULL, NULL}};

const struct view_operations view_log = {
    .view = LAYOUT_LOG,
    .title = "Log",
    .help =
        "Commands and all that they said, messages, and what libraries print to standard "
        "output and error (after |). F follows the newest line or stays; Left and Right show the "
        "rest of long lines; / finds.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .search = search,
    .save = save,
};
