/* Help, made from what is in force: the key table, the commands of the screens, the views. */
#include "ui/state.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

struct help_view {
    struct list list;
    char **lines;
    int count, capacity;
    int width;              /* that they are broken for */
    enum layout_view about; /* the view that comes first */
};

static void *create(struct ui *ui)
{
    (void)ui;
    return memory_zeroed(1, sizeof(struct help_view));
}

static void clear_lines(struct help_view *view)
{
    for (int i = 0; i < view->count; i++)
        free(view->lines[i]);
    view->count = 0;
}

static void destroy(void *state)
{
    struct help_view *view = state;
    clear_lines(view);
    free(view->lines);
    free(view);
}

/* The words of `words` in lines of at most `width` columns. */
static void add_paragraph(struct text *out, const char *words, int width)
{
    int used = 0;
    while (*words) {
        int length = (int)strcspn(words, " ");
        if (used > 0 && used + 1 + length > width) {
            text_add(out, "\n");
            used = 0;
        }
        text_format(out, "%s%.*s", used > 0 ? " " : "", length, words);
        used += length + (used > 0);
        words += length;
        words += strspn(words, " ");
    }
    text_add(out, "\n");
}

static void add_view(struct ui *ui, enum layout_view view, int width, struct text *out)
{
    const struct view_operations *operations = ui_operations(view);
    text_format(out, "\n%s\n", operations->title);
    add_paragraph(out, operations->help, width);
    keymap_describe(&ui->keymap, layout_view_name(view), out);
}

/* What the user was looking at comes first. */
static void write_help(struct ui *ui, int width, struct text *out)
{
    add_paragraph(
        out,
        "The letters of gdb move the run; they act on the selected row where that makes "
        "sense. : opens the command line with all commands of the prompt (:help lists "
        "them), / filters or finds, Tab goes to the next pane, Enter opens, Esc goes "
        "back, q leaves. Ctrl-C stops the run. The mouse selects, opens by a double click, "
        "scrolls, pulls the lines between panes, and presses the keys of the lowest line "
        "(Shift: the terminal selects text).",
        width);
    add_view(ui, ui->help_for, width, out);
    text_add(out, "\nKEYS OF ALL VIEWS\n\n");
    keymap_describe(&ui->keymap, "global", out);
    text_add(out, "\nVIEWS\n");
    for (int v = 0; v < LAYOUT_VIEW_COUNT; v++)
        if (v != (int)ui->help_for)
            add_view(ui, (enum layout_view)v, width, out);
    text_add(out, "\nCOMMANDS OF THE SCREENS\n\n");
    for (int i = 0; ui_verb_name(i); i++)
        text_format(out, "  %-12s %s\n", ui_verb_name(i), ui_verb_help(i));
}

static void fill(struct ui *ui, struct help_view *view, int width)
{
    struct text text = {0};
    clear_lines(view);
    view->width = width;
    write_help(ui, width, &text);
    for (const char *line = text.data; line && *line;) {
        size_t length = strcspn(line, "\n");
        ARRAY_PUSH(view->lines, view->count, view->capacity, memory_string_part(line, length));
        line += length + (line[length] == '\n');
    }
    text_free(&text);
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct help_view *view = context;
    struct pen pen = pen_at(box, 0);
    (void)focus;
    if (view->width != box.cols - 2 || view->about != ui->help_for) {
        if (view->about != ui->help_for)
            view->list = (struct list){0};
        view->about = ui->help_for;
        fill(ui, view, box.cols - 2);
    }
    list_resize(&view->list, view->count);
    list_show(&view->list, box.rows);
    for (int i = 0; i < box.rows && view->list.top + i < view->count; i++) {
        const char *line = view->lines[view->list.top + i];
        bool heading = line[0] >= 'A' && line[0] <= 'Z' && line[1] >= 'A' && line[1] <= 'Z';
        pen_line(&pen, i, -1);
        pen_skip(&pen, 1);
        pen_cell(&pen, pen_room(&pen), heading ? THEME_TITLE : THEME_NORMAL, line);
    }
}

/* A page to read has no selection: moving scrolls. */
static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct help_view *view = context;
    const char *rest;
    (void)ui;
    (void)key;
    if (command_is(command, "scroll", &rest)) {
        list_scroll(&view->list, strcmp(rest, "up") == 0 ? -3 : 3);
    } else if (!command_is(command, "move", &rest)) {
        return false;
    } else if (strcmp(rest, "down") == 0 || strcmp(rest, "up") == 0) {
        list_scroll(&view->list, strcmp(rest, "up") == 0 ? -1 : 1);
    } else if (strcmp(rest, "page-down") == 0 || strcmp(rest, "page-up") == 0) {
        list_scroll(&view->list, strcmp(rest, "page-up") == 0 ? -view->list.page : view->list.page);
    } else {
        return list_move(&view->list, rest);
    }
    return true;
}

static bool search(struct ui *ui, void *context, const char *text, int direction)
{
    struct help_view *view = context;
    (void)ui;
    for (int k = 1; k <= view->count; k++) {
        int i = ((view->list.selected + direction * k) % view->count + view->count) % view->count;
        if (strstr(view->lines[i], text)) {
            list_select(&view->list, i);
            view->list.top = i;
            return true;
        }
    }
    return false;
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    struct sheet_table *keys = sheet_add_table(out, "keys", "view key command");
    struct sheet_table *views = sheet_add_table(out, "views", "view help");
    struct sheet_table *commands = sheet_add_table(out, "commands", "command help");
    char name[48];
    (void)context;
    write_help(ui, 100, &out->plain);
    for (int i = 0; i < ui->keymap.count; i++) {
        table_text(keys, ui->keymap.bindings[i].view);
        table_text(keys, keys_name(&ui->keymap.bindings[i].key, name));
        table_text(keys, ui->keymap.bindings[i].command);
    }
    for (int v = 0; v < LAYOUT_VIEW_COUNT; v++) {
        table_text(views, layout_view_name((enum layout_view)v));
        table_text(views, ui_operations((enum layout_view)v)->help);
    }
    for (int i = 0; ui_verb_name(i); i++) {
        table_text(commands, ui_verb_name(i));
        table_text(commands, ui_verb_help(i));
    }
}

const struct view_operations view_help = {
    .view = LAYOUT_HELP,
    .title = "Help",
    .help = "This page, made from the keys that are in force.",
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .act = act,
    .search = search,
    .save = save,
};
