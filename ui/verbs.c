/* The commands of the screens themselves. What a view does with a command comes first, the session
 * last: see ui_command(). */
#include "ui/save.h"
#include "ui/state.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verb {
    const char *name, *help;
    void (*run)(struct ui *ui, const char *rest);
};

static void run_back(struct ui *ui, const char *rest)
{
    (void)rest;
    enum layout_view focus = ui->request.focus;
    if (ui->request.zoomed) {
        ui->request.zoomed = false;
    } else if (focus != LAYOUT_PROGRAM && focus != LAYOUT_TESTS && focus != LAYOUT_TENSOR &&
               focus != LAYOUT_DIVERGENCES) {
        ui_close(ui, focus);
    } else if (ui->snapshot && ui->snapshot->state != RUN_NONE) {
        ui_focus(ui, LAYOUT_PROGRAM);
    }
}

static void say_no_view(struct ui *ui, const char *name, const char *more)
{
    struct text names = {0};
    for (int i = 0; i < LAYOUT_VIEW_COUNT; i++)
        text_format(&names, "%s%s", i ? ", " : "", layout_view_name((enum layout_view)i));
    ui_say(ui, THEME_ERROR, "no view \"%s\": there are %s%s", name, names.data, more);
    text_free(&names);
}

static void run_focus(struct ui *ui, const char *rest)
{
    int view = layout_view_find(rest);
    if (strcmp(rest, "next") == 0)
        ui->request.focus = layout_next_view(&ui->request, 1);
    else if (strcmp(rest, "previous") == 0)
        ui->request.focus = layout_next_view(&ui->request, -1);
    else if (view >= 0)
        ui_focus(ui, (enum layout_view)view);
    else
        say_no_view(ui, rest, ", next, previous");
    for (int kind = PICTURE_TENSOR; kind < PICTURE_KIND_COUNT; kind++)
        ui_want(ui, (enum picture_kind)kind);
}

static void run_view(struct ui *ui, const char *rest)
{
    int view = layout_view_find(rest);
    if (view >= 0)
        ui_focus(ui, (enum layout_view)view);
    else
        say_no_view(ui, rest, "");
}

static void run_close(struct ui *ui, const char *rest)
{
    (void)rest;
    ui_close(ui, ui->request.focus);
}

static void run_zoom(struct ui *ui, const char *rest)
{
    (void)rest;
    ui->request.zoomed = !ui->request.zoomed;
    ui_want(ui, PICTURE_TENSOR);
}

static void run_resize(struct ui *ui, const char *rest)
{
    bool bottom = layout_view_slot(ui->request.focus) == LAYOUT_BOTTOM;
    if (strcmp(rest, "narrower") != 0 && strcmp(rest, "wider") != 0) {
        ui_say(ui, THEME_ERROR, "resize wider or narrower, not \"%s\"", rest);
        return;
    }
    int *percent = bottom ? &ui->request.bottom_percent : &ui->request.left_percent;
    int least = 10, most = bottom ? 80 : 90, step = strcmp(rest, "narrower") == 0 ? -5 : 5;
    if (!bottom && layout_view_slot(ui->request.focus) == LAYOUT_RIGHT)
        step = -step;
    if (*percent == 0)
        *percent = bottom ? 30 : 50;
    *percent += step;
    *percent = *percent < least ? least : *percent > most ? most : *percent;
    ui_want(ui, PICTURE_TENSOR);
}

static void run_prompt(struct ui *ui, const char *rest)
{
    char *text = memory_format("%s%s", rest, rest[0] ? " " : ""); /* to be completed */
    if (strcmp(rest, "filter") == 0)
        ui_open_prompt(ui, PROMPT_FILTER, "");
    else
        ui_open_prompt(ui, PROMPT_COMMAND, text);
    free(text);
}

static void search(struct ui *ui, const char *text, int direction)
{
    const struct view_operations *operations = ui_operations(ui->request.focus);
    if (!operations->search)
        ui_say(ui, THEME_WARNING, "nothing to look through in this view");
    else if (!operations->search(ui, ui->states[ui->request.focus], text, direction))
        ui_say(ui, THEME_WARNING, "no \"%s\" here", text);
}

/* Views that have no filter take the words as something to look for. */
static void run_filter(struct ui *ui, const char *rest)
{
    if (!rest[0])
        return;
    free(ui->searched);
    ui->searched = memory_string(rest);
    search(ui, rest, 1);
}

static void run_find(struct ui *ui, const char *rest)
{
    if (strcmp(rest, "next") != 0 && strcmp(rest, "previous") != 0)
        ui_say(ui, THEME_ERROR, "find next or previous, not \"%s\"", rest);
    else if (!ui->searched)
        ui_say(ui, THEME_WARNING, "nothing was looked for yet: / takes a text");
    else
        search(ui, ui->searched, strcmp(rest, "previous") == 0 ? -1 : 1);
}

/* 'save breakpoints FILE' is the session's. */
static void run_save(struct ui *ui, const char *rest)
{
    const char *file;
    if (command_is(rest, "breakpoints", &file) && file[0])
        ui_post(ui, "save %s", rest);
    else
        ui_save(ui, rest, false);
}

static void run_save_over(struct ui *ui, const char *rest)
{
    ui_save(ui, rest, true);
}

static bool ui_save_screen(struct ui *ui, const char *path, struct status *status)
{
    struct text screen = {0};
    ui_draw(ui);
    term_dump(&screen);
    bool ok = file_write(path, screen.data, screen.length, FILE_REPLACE, status);
    text_free(&screen);
    return ok;
}

static void run_save_screen(struct ui *ui, const char *rest)
{
    struct status status = STATUS_NONE;
    if (!rest[0])
        ui_say(ui, THEME_ERROR, "save-screen needs a file");
    else if (!ui_save_screen(ui, rest, &status))
        ui_say(ui, THEME_ERROR, "%s", status.text);
}

/* From wherever the focus is. */
static void run_copy(struct ui *ui, const char *rest)
{
    char *command = memory_format("copy %s", rest);
    view_tensor.act(ui, ui->states[LAYOUT_TENSOR], command, false);
    free(command);
}

static void run_redraw(struct ui *ui, const char *rest)
{
    (void)rest;
    term_redraw();
    ui_dirty(ui);
}

static void run_suspend(struct ui *ui, const char *rest)
{
    (void)rest;
    if (!ui->options->script)
        term_suspend();
    run_redraw(ui, rest);
}

static void run_mouse(struct ui *ui, const char *rest)
{
    bool toggle = strcmp(rest, "toggle") == 0;
    if (toggle)
        term_set_mouse(!term_mouse());
    if (rest[0] && !toggle)
        ui_say(ui, THEME_ERROR, "mouse toggle, not \"%s\"", rest);
    else
        ui_say(ui, THEME_NORMAL, "mouse %s", term_mouse() ? "on (Shift selects text)" : "off");
}

static void run_interrupt(struct ui *ui, const char *rest)
{
    (void)rest;
    ui->interrupts++;
    if (ui->interrupts > 1) {
        ui->asks_to_quit = true;
    } else if (ui_is_busy(ui)) {
        session_interrupt(ui->session);
        ui_say(ui, THEME_WARNING, "stopping; Ctrl-C again to leave");
    } else if (ui->asked[PICTURE_TENSOR] > 0) {
        session_interrupt(ui->session);
        ui->given_up = true;
        ui_say(ui, THEME_WARNING, "the rest of the tensor is not looked at; Ctrl-C again to leave");
    } else {
        ui_say(ui, THEME_NORMAL, "nothing runs; Ctrl-C again to leave");
    }
}

static void run_quit(struct ui *ui, const char *rest)
{
    if (rest[0]) /* an exit code: the session reads it */
        ui_post(ui, "quit %s", rest);
    else if (ui_is_running(ui) || test_run_is_running(ui->tests))
        ui->asks_to_quit = true;
    else
        ui->quit = true;
}

static void run_theme(struct ui *ui, const char *rest)
{
    struct theme theme;
    struct status status = STATUS_NONE;
    if (!theme_load(&theme, rest, NULL, &status)) {
        ui_say(ui, THEME_ERROR, "%s", status.text);
        return;
    }
    term_set_theme(&theme);
    ui_dirty(ui);
}

static void run_show_step(struct ui *ui, const char *rest)
{
    int step = atoi(rest);
    int steps = ui->snapshot ? ui->snapshot->steps : 0;
    if (strcmp(rest, "now") == 0)
        ui->step = -1;
    else if (step >= 1 && step <= steps)
        ui->step = step - 1;
    else
        ui_say(ui, THEME_ERROR, "show-step takes now, or a step from 1 to %d, not \"%s\"", steps,
               rest);
    ui_want(ui, PICTURE_STATE);
}

/* What a view does, said from elsewhere: it is opened first. */
static void run_in(struct ui *ui, enum layout_view view, const char *word, const char *rest)
{
    char *line = memory_format("%s %s", word, rest);
    ui_focus(ui, view);
    ui_operations(view)->act(ui, ui->states[view], line, false);
    free(line);
}

static void run_tensor(struct ui *ui, const char *rest)
{
    run_in(ui, LAYOUT_TENSOR, "tensor", rest);
}

static void run_ranks(struct ui *ui, const char *rest)
{
    run_in(ui, LAYOUT_RANKS, "ranks", rest);
}

/* Order of the help. */
static const struct verb verbs[] = {
    {"view", "view NAME: open a view and go there", run_view},
    {"focus", "focus next|previous|NAME: go to another open view", run_focus},
    {"close", "close the view with the focus", run_close},
    {"back", "leave the zoom or the view", run_back},
    {"zoom", "give the view the whole screen, and back", run_zoom},
    {"resize", "resize wider|narrower: the view with the focus", run_resize},
    {"prompt", "prompt [filter|TEXT]: open the command line", run_prompt},
    {"filter", "filter TEXT: keep or find rows", run_filter},
    {"find", "find next|previous: look for the same again", run_find},
    {"show-step", "show-step N|now: whose comparisons the views show", run_show_step},
    {"tensor", "tensor NAME|worst [N]|slice N|go [I,J]|follow|show PART|side SIDE", run_tensor},
    {"ranks", "ranks merged|split|one|both|stdout|stderr|times|only RANKS|filter TEXT", run_ranks},
    {"save", "save [--format text|csv|json] [FILE]: what the view shows; .csv and .json decide too",
     run_save},
    {"save!", "the same, and a file that exists is replaced", run_save_over},
    {"save-screen", "save-screen FILE: the screen, as text", run_save_screen},
    {"copy", "copy [value|numpy]: of the tensor, to the clipboard (and the log)", run_copy},
    {"redraw", "draw everything again", run_redraw},
    {"suspend", "back to the shell; fg returns", run_suspend},
    {"mouse", "mouse toggle", run_mouse},
    {"theme", "theme dark|light|mono|NAME", run_theme},
    {"interrupt", "stop the run", run_interrupt},
    {"quit", "leave", run_quit},
};

const char *ui_verb_name(int index)
{
    return index < ARRAY_LENGTH(verbs) ? verbs[index].name : NULL;
}

const char *ui_verb_help(int index)
{
    return verbs[index].help;
}

/* a command of the screens; false: none */
static bool ui_verb(struct ui *ui, const char *line)
{
    const char *rest;
    for (int i = 0; i < ARRAY_LENGTH(verbs); i++)
        if (command_is(line, verbs[i].name, &rest)) {
            verbs[i].run(ui, rest);
            ui_dirty(ui);
            return true;
        }
    return false;
}

/* Verbs of views ("move down") that the view with the focus has no use for. */
static bool is_view_verb(const char *line)
{
    static const char *const words[] = {
        "move", "scroll", "open", "toggle",          "fold",
        "sort", "group",  "tail", "next-divergence", "first-divergence"};
    for (int i = 0; i < ARRAY_LENGTH(words); i++)
        if (command_is(line, words[i], NULL))
            return true;
    return false;
}

/* The session does one command after the other. */
static void post_in_turn(struct ui *ui, const char *line)
{
    if (ui_is_busy(ui))
        ui_say(ui, THEME_DIM, "waits until \"%s\" is done; Ctrl-C stops both", ui->posted[0].line);
    ui_post(ui, "%s", line);
}

void ui_command(struct ui *ui, const char *line, bool key)
{
    line += strspn(line, " ");
    const struct view_operations *operations = ui_operations(ui->request.focus);
    ui_dirty(ui);
    if (!line[0])
        return;
    if (!key && ui_takes_list(ui)) {
        ui_post(ui, "%s", line);
        return;
    }
    if (operations->act && operations->act(ui, ui->states[ui->request.focus], line, key))
        return;
    if (ui_verb(ui, line))
        return;
    if (is_view_verb(line)) {
        if (!command_is(line, "scroll", NULL))
            ui_say(ui, THEME_DIM, "\"%s\" does nothing in this view; ? shows the keys", line);
        return;
    }
    if (key && (!ui->snapshot || ui->snapshot->state == RUN_NONE))
        ui_say(ui, THEME_WARNING, "no run is open: choose a test, or :file MODEL/VARIANT");
    else
        post_in_turn(ui, line);
}
