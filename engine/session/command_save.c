/* save: the stops as lines that 'source' takes. */
#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/ranks_motion.h"

#include <stdlib.h>
#include <string.h>

const char *const save_names[SAVE_NAMES] = {"breakpoints"};

/* The line that makes it, without a number: it gets a new one. */
static void add_definition(struct text *text, const struct breakpoint *breakpoint)
{
    const char *verb = breakpoint->watch ? "watch" : breakpoint->temporary ? "tbreak" : "break";
    text_format(text, "%s %s", verb, breakpoint->place.text);
    if (breakpoint->condition_text)
        text_format(text, " if %s", breakpoint->condition_text);
    text_add(text, "\n");
    if (breakpoint->commands)
        text_format(text, "commands\n%send\n", breakpoint->commands);
    if (!breakpoint->enabled)
        text_add(text, "disable $bpnum\n");
}

/* Of another program than the one that is loaded: its line would fail, and end the file. */
static bool is_nowhere(const struct debugger *debugger, const struct breakpoint *breakpoint)
{
    return breakpoint->lost && ranks_with_place(debugger, breakpoint->place.text) < 0;
}

/* Lines of `from` as comments. */
static void add_comments(struct text *text, const struct text *from)
{
    for (const char *line = from->data; *line;) {
        int length = (int)strcspn(line, "\n");
        text_format(text, "# %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}

/* Returns how many are only comments. */
static int add_breakpoints(struct debugger *debugger, struct text *text)
{
    int nowhere = 0;
    for (int i = 0; i < debugger->breakpoints.count; i++) {
        const struct breakpoint *breakpoint = &debugger->breakpoints.list[i];
        struct text lines = {0};
        add_definition(&lines, breakpoint);
        if (is_nowhere(debugger, breakpoint)) {
            text_format(text, "# not in %s:\n", debugger->target ? debugger->target->name : "it");
            add_comments(text, &lines);
            nowhere++;
        } else {
            text_add(text, lines.data);
        }
        text_free(&lines);
    }
    return nowhere;
}

static bool save_breakpoints(struct debugger *debugger, const char *path, struct status *status)
{
    struct text text = {0};
    int nowhere = add_breakpoints(debugger, &text);
    if (debugger->stop_on_divergence)
        text_add(&text, "stop on divergence\n");
    if (debugger->stop_on_not_finite)
        text_add(&text, "stop on nan\n");
    bool nothing = text.length == 0;
    bool ok = nothing || file_write(path, text.data, text.length, FILE_REPLACE, status);
    text_free(&text);
    if (ok && nothing)
        say(debugger, "Nothing to save.\n");
    else if (ok)
        say(debugger, "Saved to file '%s'.\n", path);
    if (ok && nowhere > 0)
        say(debugger, "%d of them as comments: this run does not have their places.\n", nowhere);
    return ok;
}

bool command_save(struct debugger *debugger, const char *arguments, struct status *status)
{
    char word[COMMAND_WORD_SIZE];
    argument_word(&arguments, word, sizeof(word));
    if (argument_choice(word, save_names, SAVE_NAMES, "save", status) < 0)
        return false;
    if (!*arguments)
        return status_fail(status, STATUS_INVALID, "save breakpoints FILE");
    char *path = argument_path(arguments);
    bool ok = save_breakpoints(debugger, path, status);
    free(path);
    return ok;
}
