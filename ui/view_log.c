/* The log: commands, what they said, messages, and whatever libraries print. The view of ranks
 * shows the same lines of the run's own output, below the state of each rank. */
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
    int seen;         /* lines there were when drawn last */
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

static void draw_lines(struct log_view *view, const struct log *log, struct layout_rectangle box,
                       bool focus)
{
    struct pen pen = pen_at(box, 0);
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

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    draw_lines(context, &ui->log, box, focus);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct log_view *view = context;
    text_format(out, "  %d lines%s", ui->log.count, view->stay ? "" : ", following");
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct log_view *view = context;
    (void)ui;
    (void)key;
    if (command_is(command, "move left", NULL) || command_is(command, "move right", NULL)) {
        view->skip += command_is(command, "move right", NULL) ? 20 : -20;
        view->skip = view->skip < 0 ? 0 : view->skip;
        return true;
    }
    if (list_act(&view->list, command))
        view->stay = view->list.selected < view->list.count - 1;
    else if (command_is(command, "follow", NULL))
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

static const struct view_hint hints[] = {{"follow", "follow"}, {NULL, NULL}};

const struct view_operations view_log = {
    .view = LAYOUT_LOG,
    .title = "Log",
    .help = "Commands and all that they said, messages, and what libraries print to standard "
            "output and error (after |). F follows the newest line or stays; / finds.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .search = search,
    .save = save,
};

/* ---- ranks ---- */

static void draw_ranks(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    static const char *const states[] = {"-", "stopped", "running", "ended", "failed"};
    const struct snapshot *now = ui->snapshot;
    const struct program_picture *program = ui_program(ui);
    struct pen pen = pen_at(box, 0);
    char live[32];
    if (!now || now->state == RUN_NONE) {
        pen_put(&pen, THEME_DIM, " no run is open");
        return;
    }
    pen_format(&pen, THEME_DIM, " rank  state     memory      at");
    pen_line(&pen, 1, -1);
    pen_format(&pen, THEME_NORMAL, "    0  %-8s  %-10s  ", states[now->state],
               text_bytes((uint64_t)now->memory_live, live));
    if (program && now->next < program->instruction_count)
        pen_format(&pen, THEME_NORMAL, "%d %s  ", now->next, program->instructions[now->next].text);
    pen_put(&pen, THEME_DIM, now->place);
    if (box.rows < 4)
        return;
    pen_line(&pen, 2, -1);
    pen_put(&pen, THEME_DIM, " output of rank 0");
    struct layout_rectangle rest = {box.row + 3, box.col, box.rows - 3, box.cols};
    struct log captured = {0};
    int capacity = 0;
    for (int i = 0; i < ui->log.count; i++)
        if (ui->log.lines[i].kind == LOG_CAPTURED)
            ARRAY_PUSH(captured.lines, captured.count, capacity, ui->log.lines[i]);
    draw_lines(context, &captured, rest, focus);
    free(captured.lines);
}

static void save_ranks(struct ui *ui, void *context, struct sheet *out)
{
    struct sheet_table *table = sheet_add_table(out, "output", "rank text");
    (void)context;
    for (int i = 0; i < ui->log.count; i++)
        if (ui->log.lines[i].kind == LOG_CAPTURED) {
            table_integer(table, 0);
            table_text(table, ui->log.lines[i].text);
        }
}

const struct view_operations view_ranks = {
    .view = LAYOUT_RANKS,
    .title = "Ranks",
    .help = "Where each rank stands, and what the run and its libraries print. (Runs have one "
            "rank today.)",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw_ranks,
    .act = act,
    .save = save_ranks,
};
