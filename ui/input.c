/* Keys and the command line. */
#include "ui/state.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

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

/* ---- the command line ---- */

/* A paste of several lines is several commands; a filter is one line. A list stays open. */
static void take_pasted_lines(struct ui *ui, bool filter)
{
    if (filter)
        lineedit_interrupt(ui->edit);
    while (!ui->quit && (ui->prompting == PROMPT_CLOSED || ui->prompting == PROMPT_LIST)) {
        bool list = ui->prompting == PROMPT_LIST;
        if (!list)
            lineedit_prompt(ui->edit, ":");
        if (!lineedit_ready(ui->edit))
            break;
        ui->prompting = list ? PROMPT_LIST : PROMPT_COMMAND;
        lineedit_feed(ui->edit);
    }
}

static void prompt_key(struct ui *ui, const struct key *key)
{
    struct lineedit_state line;
    lineedit_state(ui->edit, &line);
    bool control_c =
        key->code == KEYS_TEXT && key->modifiers == KEYS_CONTROL && strcmp(key->text, "c") == 0;
    bool nothing_left = key->code == KEYS_BACKSPACE && !line.line[0] &&
                        ui->prompting != PROMPT_LIST; /* one key too many would drop a whole list */
    bool filter = ui->prompting == PROMPT_FILTER;
    ui_free_matches(ui);
    if (control_c || nothing_left || key->code == KEYS_ESCAPE)
        close_prompt(ui);
    else
        lineedit_push(ui->edit, key->bytes, (size_t)key->byte_count);
    if (ui->prompting == PROMPT_CLOSED || ui->prompting == PROMPT_LIST)
        take_pasted_lines(ui, filter);
}

/* ---- keys ---- */

void ui_forget_message(struct ui *ui)
{
    free(ui->message);
    ui->message = NULL;
}

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
    ui_forget_message(ui);
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
    if (key->code != KEYS_FOCUS_IN && key->code != KEYS_FOCUS_OUT)
        ui->given_up = false;
    if (key->code == KEYS_HANGUP)
        ui->quit = true;
    else if (key->code == KEYS_FOCUS_IN || key->code == KEYS_FOCUS_OUT)
        return;
    else if (key->code == KEYS_MOUSE && !ui->asks_to_quit) /* no answer to a question */
        ui_handle_mouse(ui, key);
    else if (key->code == KEYS_MOUSE)
        return;
    else if (ui->asks_to_quit)
        answer(ui, key);
    else if (ui->prompting != PROMPT_CLOSED)
        prompt_key(ui, key);
    else if (key->code == KEYS_PASTE_BEGIN) /* what is pasted never acts as keys */
        ui_say(ui, THEME_WARNING, "text is pasted into the command line: type : first");
    else if (!key->pasted && key->code != KEYS_PASTE_END)
        command_key(ui, key);
}
