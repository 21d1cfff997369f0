/* Listing the program. */
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/ranks_motion.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Lines [first, last) of the step in which the run stands. */
static void list_lines(struct debugger *debugger, int first, int last)
{
    const struct run *run = debugger->target->pair->test;
    int count = run->program->instruction_count, next = run_next(run);
    first = first < 0 ? 0 : first;
    last = last > count ? count : last;
    for (int i = first; i < last; i++)
        describe_instruction(debugger, i, i == next ? LISTED_HERE : LISTED_PLAIN);
    if (last == count && next == count)
        say(debugger, "  => end of step %d\n", run->step + 1);
    debugger->list_first = first;
    debugger->list_next = last;
}

static bool list_around(struct debugger *debugger, int index)
{
    int size = debugger->display.list_size;
    int first = index - size / 2;
    if (first < 0)
        first = 0;
    list_lines(debugger, first, first + size);
    return true;
}

static bool list_range(struct debugger *debugger, const char *arguments, struct status *status)
{
    int first, last, length = 0;
    int count = debugger_program(debugger)->instruction_count;
    if (sscanf(arguments, "%d , %d %n", &first, &last, &length) != 2 || arguments[length])
        return status_fail(status, STATUS_INVALID, "a range is FIRST,LAST: 'list 860,880'");
    if (first < 0 || first >= count || last < first)
        return status_fail(status, STATUS_INVALID,
                           "list FIRST,LAST: FIRST before LAST, both of 0 to %d", count - 1);
    list_lines(debugger, first, last < count ? last + 1 : count);
    return true;
}

static bool list_place(struct debugger *debugger, const char *arguments, struct status *status)
{
    const struct program *program = debugger_program(debugger);
    struct place place;
    if (!place_parse(program, debugger_steps(debugger), arguments, &place, status))
        return ranks_say_where(debugger, arguments, status);
    int next = run_next(debugger->target->pair->test);
    int index = place.kind == PLACE_INSTRUCTION
                    ? place.instruction
                    : place_find(program, &place, next < program->instruction_count ? next : 0);
    if (index < 0)
        status_fail(status, STATUS_NOT_FOUND, "no instruction writes or matches '%s'", place.text);
    place_free(&place);
    return index >= 0 && list_around(debugger, index);
}

bool command_list(struct debugger *debugger, const char *arguments, struct status *status)
{
    int size = debugger->display.list_size;
    int count = debugger_program(debugger)->instruction_count;
    if (strcmp(arguments, "-") == 0) {
        int last = debugger->list_next < 0 ? run_next(debugger->target->pair->test) - size / 2
                                           : debugger->list_first;
        if (last <= 0)
            return status_fail(status, STATUS_INVALID, "this is the beginning of the step");
        list_lines(debugger, last - size, last);
        return true;
    }
    if (isdigit((unsigned char)*arguments) && strchr(arguments, ','))
        return list_range(debugger, arguments, status);
    if (*arguments)
        return list_place(debugger, arguments, status);
    if (debugger->list_next < 0)
        return list_around(debugger, run_next(debugger->target->pair->test));
    if (debugger->list_next >= count)
        return status_fail(status, STATUS_INVALID,
                           "this is the end of the step: 'list -' or 'list PLACE'");
    list_lines(debugger, debugger->list_next, debugger->list_next + size);
    return true;
}
