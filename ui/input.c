/* Keys, the mouse, and the command line. */
#include "ui/state.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

enum { DOUBLE_CLICK_MS = 400 };

void ui_free_matches(struct ui *ui)
{
    for (int i = 0; i < ui->match_count; i++)
        free(ui->matches[i]);
    free(ui->matches);
    ui->matches = NULL;
    ui->match_count = 0;
}

void ui_open_prompt(struct ui *ui, enum prompting prompting, const char *text)
{
    ui->prompting = prompting;
    lineedit_prompt(ui->edit, prompting == PROMPT_FILTER ? "/"
                              : prompting == PROMPT_LIST ? ">"
                                                         : ":");
    if (text[0])
        lineedit_set_line(ui->edit, text);
    ui_dirty(ui);
}

static void close_prompt(struct ui *ui)
{
    lineedit_interrupt(ui->edit);
    if (ui->prompting == PROMPT_LIST)
        ui_post(ui, "%s", SESSION_ABANDON);
    ui->prompting = PROMPT_CLOSED;
}

/* ---- the mouse ---- */

static void click_pane(struct ui *ui, const struct layout_pane *pane,
                       const struct keys_mouse *mouse)
{
    const struct view_operations *operations = ui_operations(pane->view);
    int64_t now = ui_milliseconds(ui);
    bool twice = mouse->row == ui->clicked_row && mouse->col == ui->clicked_col &&
                 now - ui->clicked_ms < DOUBLE_CLICK_MS;
    ui->clicked_row = mouse->row;
    ui->clicked_col = mouse->col;
    ui->clicked_ms = now;
    ui->request.focus = pane->view;
    for (int kind = PICTURE_TENSOR; kind < PICTURE_KIND_COUNT; kind++)
        ui_want(ui, (enum picture_kind)kind);
    struct view_click click = {.box = pane->inside,
                               .row = mouse->row - pane->inside.row,
                               .col = mouse->col - pane->inside.col,
                               .twice = twice};
    if (operations->click && !pane->collapsed && click.row >= 0 && click.col >= 0)
        operations->click(ui, ui->states[pane->view], &click);
}

static void handle_mouse(struct ui *ui, const struct key *key)
{
    const struct layout_pane *pane = layout_pane_at(&ui->layout, key->mouse.row, key->mouse.col);
    if (!pane || key->mouse.action != KEYS_PRESS)
        return;
    const struct view_operations *operations = ui_operations(pane->view);
    const struct keymap_binding *binding =
        keymap_find(&ui->keymap, layout_view_name(pane->view), key);
    if (!binding)
        return;
    if (command_is(binding->command, "mouse select", NULL))
        click_pane(ui, pane, &key->mouse);
    else if (command_is(binding->command, "scroll", NULL)) /* the pane under the pointer */
        operations->act(ui, ui->states[pane->view], binding->command, true);
    else
        ui_command(ui, binding->command, true);
}

/* ---- the command line ---- */

static void prompt_key(struct ui *ui, const struct key *key)
{
    struct lineedit_state line;
    lineedit_state(ui->edit, &line);
    bool control_c =
        key->code == KEYS_TEXT && key->modifiers == KEYS_CONTROL && strcmp(key->text, "c") == 0;
    bool nothing_left = key->code == KEYS_BACKSPACE && !line.line[0];
    ui_free_matches(ui);
    if (control_c || nothing_left || key->code == KEYS_ESCAPE)
        close_prompt(ui);
    else if (key->code != KEYS_MOUSE && key->code != KEYS_FOCUS_IN && key->code != KEYS_FOCUS_OUT)
        lineedit_push(ui->edit, key->bytes, (size_t)key->byte_count);
}

/* ---- keys ---- */

static void answer(struct ui *ui, const struct key *key)
{
    ui->asks_to_quit = false;
    ui->interrupts = 0;
    if (strcmp(key->text, "y") == 0 || strcmp(key->text, "Y") == 0)
        ui->quit = true;
}

static void command_key(struct ui *ui, const struct key *key)
{
    const struct keymap_binding *binding =
        keymap_find(&ui->keymap, layout_view_name(ui->request.focus), key);
    char name[48];
    free(ui->message);
    ui->message = NULL;
    if (!binding) {
        ui_say(ui, THEME_DIM, "%s does nothing here; ? shows the keys", keys_name(key, name));
        return;
    }
    if (strcmp(binding->command, "interrupt") != 0)
        ui->interrupts = 0;
    char *command = memory_string(binding->command);
    ui_command(ui, command, true);
    free(command);
}

void ui_handle_key(struct ui *ui, const struct key *key)
{
    ui_dirty(ui);
    if (key->code == KEYS_HANGUP)
        ui->quit = true;
    else if (ui->asks_to_quit)
        answer(ui, key);
    else if (ui->prompting != PROMPT_CLOSED)
        prompt_key(ui, key);
    else if (key->code == KEYS_MOUSE)
        handle_mouse(ui, key);
    else if (!key->pasted && key->code != KEYS_FOCUS_IN && key->code != KEYS_FOCUS_OUT &&
             key->code != KEYS_PASTE_BEGIN && key->code != KEYS_PASTE_END)
        command_key(ui, key);
}
