/* A breakpoint's commands, typed into the command line: between 'commands' and its 'end' every line
 * is the session's. Lines may be posted before the session has taken those before them, so what is
 * on its way is counted here, and made good when all has arrived. */
#include "ui/state.h"

#include <string.h>

bool ui_takes_list(const struct ui *ui)
{
    return ui->list_depth > 0;
}

static bool is_end(const char *line)
{
    line += strspn(line, " \t");
    return strncmp(line, "end", 3) == 0 && line[3 + strspn(line + 3, " \t")] == '\0';
}

void ui_note_list(struct ui *ui, const char *line)
{
    const char *name = session_command_name(line);
    if (strcmp(line, SESSION_ABANDON) == 0)
        ui->list_depth = 0;
    else if (name && strcmp(name, "commands") == 0)
        ui->list_depth++;
    else if (ui->list_depth > 0 && is_end(line))
        ui->list_depth--;
}

void ui_settle_list(struct ui *ui, bool quiet)
{
    bool typing = ui->snapshot && ui->snapshot->typing;
    if (ui->posted_count > 0)
        return;
    if (!typing || ui->list_depth == 0)
        ui->list_depth = typing;
    if (typing && !quiet && ui->prompting == PROMPT_CLOSED) {
        ui_open_prompt(ui, PROMPT_LIST, "");
    } else if (!typing && ui->prompting == PROMPT_LIST) { /* its end came from a script */
        lineedit_interrupt(ui->edit);
        ui->prompting = PROMPT_CLOSED;
    }
}
