#include "engine/session/hit_commands.h"

#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/motion.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool hit_commands_are_typed(const struct debugger *debugger)
{
    return debugger->typed.number_count > 0;
}

void hit_commands_abandon(struct debugger *debugger)
{
    struct typed_commands *typed = &debugger->typed;
    bool was = typed->number_count > 0;
    free(typed->numbers);
    text_free(&typed->lines);
    *typed = (struct typed_commands){0};
    if (was)
        debugger_publish(debugger); /* the front end asks for lines no more */
}

/* Of those that are still there. */
static void give(struct debugger *debugger)
{
    const struct typed_commands *typed = &debugger->typed;
    for (int i = 0; i < typed->number_count; i++) {
        struct breakpoint *breakpoint = breakpoints_find(&debugger->breakpoints, typed->numbers[i]);
        if (!breakpoint)
            continue;
        free(breakpoint->commands);
        breakpoint->commands = memory_string(typed->lines.data); /* NULL when there was none */
    }
}

static bool is_command(const char *line, const char *name)
{
    const char *found = session_command_name(line);
    return found && strcmp(found, name) == 0;
}

void hit_commands_take(struct debugger *debugger, const char *line)
{
    struct typed_commands *typed = &debugger->typed;
    size_t length = strlen(line);
    while (length > 0 && isspace((unsigned char)line[length - 1]))
        length--;
    bool end = length == 3 && strncmp(line, "end", 3) == 0;
    if (strcmp(line, SESSION_ABANDON) == 0) {
        hit_commands_abandon(debugger);
    } else if (end && typed->nested == 0) {
        give(debugger);
        hit_commands_abandon(debugger);
    } else if (length > 0) {
        typed->nested += is_command(line, "commands") - end;
        text_add_part(&typed->lines, line, length);
        text_add(&typed->lines, "\n");
    }
}

static void add_typed(struct debugger *debugger, int number)
{
    struct typed_commands *typed = &debugger->typed;
    ARRAY_PUSH(typed->numbers, typed->number_count, typed->number_capacity, number);
}

static int newest(const struct breakpoints *breakpoints)
{
    int number = 0;
    for (int i = 0; i < breakpoints->count; i++)
        if (breakpoints->list[i].number > number)
            number = breakpoints->list[i].number;
    return number;
}

bool command_commands(struct debugger *debugger, const char *arguments, struct status *status)
{
    int number = newest(&debugger->breakpoints);
    if (number == 0)
        return status_fail(status, STATUS_NOT_FOUND,
                           "there is no breakpoint that could have commands: 'break' makes one");
    if (*arguments && !breakpoints_for_numbers(debugger, arguments, add_typed, status))
        return false;
    if (!*arguments)
        add_typed(debugger, number);
    if (debugger->typed.number_count == 0)
        return status_fail(status, STATUS_NOT_FOUND, "there is no breakpoint in '%s'", arguments);
    debugger->typed.source_depth = debugger->source_depth;
    if (debugger->source_depth == 0 && !debugger->doing)
        say(debugger, "Commands for when it stops the run, one in a line; 'end' ends them.\n");
    debugger_publish(debugger);
    return true;
}

bool hit_commands_check_end(struct debugger *debugger, struct status *status)
{
    const struct typed_commands *typed = &debugger->typed;
    if (typed->number_count == 0 || typed->source_depth != debugger->source_depth)
        return true;
    int number = typed->numbers[0];
    hit_commands_abandon(debugger);
    return status_fail(status, STATUS_INVALID, "the commands of breakpoint %d have no 'end'",
                       number);
}

/* ---- doing them ---- */

static void free_due(struct due_commands *due)
{
    for (int i = 0; i < due->count; i++)
        free(due->list[i].lines);
    free(due->list);
    *due = (struct due_commands){0};
}

void hit_commands_forget(struct debugger *debugger)
{
    free_due(&debugger->due);
}

void hit_commands_note(struct debugger *debugger, const struct breakpoint *breakpoint)
{
    struct due_list due = {breakpoint->number, memory_string(breakpoint->commands)};
    if (due.lines)
        ARRAY_PUSH(debugger->due.list, debugger->due.count, debugger->due.capacity, due);
}

static bool is_silent(const char *line)
{
    return strncmp(line, "silent", 6) == 0 && (line[6] == '\n' || line[6] == '\0');
}

bool hit_commands_are_silent(struct debugger *debugger, const struct stops *stops)
{
    if (stops->number_count == 0 || stops->until || stops->diverged >= 0 ||
        stops->not_finite >= 0 || stops->interrupted || stops->ended)
        return false;
    for (int i = 0; i < stops->number_count; i++) {
        const struct breakpoint *breakpoint =
            breakpoints_find(&debugger->breakpoints, stops->numbers[i]);
        if (!breakpoint->commands || !is_silent(breakpoint->commands))
            return false;
    }
    return true;
}

/* Its lines are cut apart. */
static bool run_list(struct debugger *debugger, struct due_list *due, struct status *status)
{
    char *rest = due->lines, *line;
    bool ok = true, first = true;
    for (; ok && !debugger->moved && !debugger->quit && (line = strsep(&rest, "\n")) && *line;
         first = false)
        ok = debugger_goes_on(debugger, status) &&
             ((first && is_silent(line)) || debugger_execute(debugger, line, status));
    if (!ok)
        status_context(status, "the commands of breakpoint %d", due->number);
    hit_commands_abandon(debugger);
    return ok;
}

/* Those of one stop. */
static bool run_due(struct debugger *debugger, struct due_commands *due, struct status *status)
{
    bool ok = true;
    debugger->moved = false;
    for (int i = 0; i < due->count && ok && !debugger->moved && !debugger->quit; i++)
        ok = run_list(debugger, &due->list[i], status);
    free_due(due);
    return ok;
}

bool hit_commands_run(struct debugger *debugger, struct status *status)
{
    bool ok = true;
    debugger->doing = true;
    while (ok && debugger->due.count > 0 && !debugger->quit) {
        struct due_commands due = debugger->due;
        debugger->due = (struct due_commands){0};
        ok = run_due(debugger, &due, status);
    }
    hit_commands_forget(debugger);
    debugger->doing = false;
    return ok;
}
