/* Breakpoints, watchpoints, and stopping on divergence. */
#include "engine/base/memory.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/ranks_motion.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `rank`: whose program has the place; -1: the selected one's. */
static void say_added(struct debugger *debugger, const struct breakpoint *breakpoint, int rank)
{
    const struct program *program = ranks_program(debugger, rank);
    char text[400];
    int places = 0, first = -1;
    bool after = breakpoint_is_after(breakpoint);
    for (int i = 0; i < program->instruction_count; i++)
        if (after ? place_matches(program, &breakpoint->place, i)
                  : place_entered(program, &breakpoint->place, i)) {
            first = first < 0 ? i : first;
            places++;
        }
    breakpoint_text(breakpoint, text, sizeof(text));
    text[0] = (char)(text[0] - 'a' + 'A');
    say(debugger, "%s: %s ", text, after ? "after" : "before");
    if (places == 0)
        say(debugger, "nothing: no instruction writes or matches it\n");
    else
        say(debugger, "%d%s", first, places > 1 ? " and others" : "");
    if (places > 0 && rank >= 0)
        say(debugger, " of rank %d", rank);
    if (places > 0)
        say(debugger, "\n");
    if (places > 1)
        say(debugger, "    %d places in a step\n", places);
    debugger_publish(debugger);
}

/* Only tensors can be watched: what else has no old and new value. */
static bool parse(struct debugger *debugger, int rank, const char *text, bool watch,
                  struct breakpoint *breakpoint, struct status *status)
{
    if (!breakpoint_parse(ranks_program(debugger, rank), debugger_steps(debugger), text, breakpoint,
                          status))
        return false;
    breakpoint->watch = watch;
    if (!watch || breakpoint->place.kind == PLACE_TENSOR)
        return true;
    status_fail(status, STATUS_INVALID,
                "'%s' is no tensor: only tensors can be watched ('break' takes places)",
                breakpoint->place.text);
    breakpoint_release(breakpoint);
    return false;
}

/* A place that the selected rank does not have may be another's, who stops all. A breakpoint that
 * cannot be made takes no number. */
static bool parse_anywhere(struct debugger *debugger, const char *text, bool watch, int *rank,
                           struct breakpoint *parsed, struct status *status)
{
    *rank = -1;
    bool ok = parse(debugger, -1, text, watch, parsed, status);
    bool elsewhere = !ok && status->code == STATUS_NOT_FOUND && ranks_count(debugger) > 1;
    for (int other = 0; elsewhere && !ok && other < ranks_count(debugger); other++) {
        struct status ignored = STATUS_NONE;
        *rank = other;
        ok = parse(debugger, other, text, watch, parsed, &ignored);
    }
    if (!ok)
        return false;
    parsed->lost = elsewhere;
    *status = STATUS_NONE;
    return true;
}

/* Whoever brings breakpoints back posts their commands with them, as lines behind the first: nobody
 * can type those. */
static struct breakpoint *add_to_list(struct debugger *debugger, const char *text, bool watch,
                                      int *rank, struct status *status)
{
    struct breakpoint parsed;
    size_t length = strcspn(text, "\n");
    char *place = memory_string_part(text, length);
    bool ok = parse_anywhere(debugger, place, watch, rank, &parsed, status);
    free(place);
    if (!ok)
        return NULL;
    if (text[length])
        parsed.commands = memory_format("%s\n", text + length + 1);
    return breakpoints_add(&debugger->breakpoints, &parsed);
}

static bool add(struct debugger *debugger, const char *arguments, bool temporary,
                struct status *status)
{
    char here[32];
    if (!*arguments || strncmp(arguments, "if ", 3) == 0) { /* gdb: at the counter */
        int step, next;
        debugger_place(debugger, &step, &next);
        snprintf(here, sizeof(here), "%d ", next);
    } else {
        here[0] = '\0';
    }
    char *text = memory_format("%s%s", here, arguments);
    int rank;
    struct breakpoint *breakpoint = add_to_list(debugger, text, false, &rank, status);
    free(text);
    if (!breakpoint)
        return false;
    breakpoint->temporary = temporary;
    say_added(debugger, breakpoint, rank);
    return true;
}

bool command_break(struct debugger *debugger, const char *arguments, struct status *status)
{
    return add(debugger, arguments, false, status);
}

bool command_tbreak(struct debugger *debugger, const char *arguments, struct status *status)
{
    return add(debugger, arguments, true, status);
}

static void remember_old(struct debugger *debugger, struct breakpoint *breakpoint)
{
    struct pair *pair = debugger->target->pair;
    struct run *run = pair->test;
    for (int i = breakpoint->place.value_count - 1; i >= 0 && !breakpoint->has_last; i--) {
        int value = breakpoint->place.values[i];
        void *buffer = NULL;
        struct tensor view;
        struct status ignored = STATUS_NONE;
        if (!executor_holds(run->executor, value) ||
            !executor_view(run->executor, value, &buffer, &view, &ignored))
            continue;
        breakpoint->has_last =
            statistics_compute(debugger_interrupt(debugger), &view, &breakpoint->last);
        free(buffer);
    }
}

bool command_watch(struct debugger *debugger, const char *arguments, struct status *status)
{
    int rank;
    struct breakpoint *breakpoint = add_to_list(debugger, arguments, true, &rank, status);
    if (!breakpoint)
        return false;
    if (!breakpoint->lost)
        remember_old(debugger, breakpoint);
    say_added(debugger, breakpoint, rank);
    return true;
}

static void say_stops(struct debugger *debugger)
{
    say(debugger, "stop on divergence: %s\nstop on nan: %s\n",
        debugger->stop_on_divergence ? "on" : "off", debugger->stop_on_not_finite ? "on" : "off");
}

bool command_stop(struct debugger *debugger, const char *arguments, struct status *status)
{
    static const char *const words[] = {"divergence", "nan"};
    char word[32];
    argument_word(&arguments, word, sizeof(word));
    bool off = strcmp(word, "off") == 0, on = strcmp(word, "on") == 0;
    if (!word[0]) {
        say_stops(debugger);
        return true;
    }
    if (!on && !off)
        return status_fail(status, STATUS_INVALID,
                           "'stop on divergence', 'stop on nan', or 'stop off'");
    argument_word(&arguments, word, sizeof(word));
    if (off && !word[0]) {
        debugger->stop_on_divergence = debugger->stop_on_not_finite = false;
        return true;
    }
    int choice =
        argument_choice(word, words, ARRAY_LENGTH(words), on ? "stop on" : "stop off", status);
    if (choice < 0)
        return false;
    if (choice == 0)
        debugger->stop_on_divergence = on;
    else
        debugger->stop_on_not_finite = on;
    return true;
}

/* gdb's name for the number that was given last: files of breakpoints do not know theirs. */
static bool is_newest(const char *word)
{
    return strcmp(word, "$bpnum") == 0;
}

/* "3", "1-4" or "$bpnum"; what comes behind is left in *text. */
static bool read_range(const struct breakpoints *all, const char **text, int *first, int *last,
                       struct status *status)
{
    char word[32], *end;
    argument_word(text, word, sizeof(word));
    if (is_newest(word)) {
        *first = *last = all->next_number;
        return true;
    }
    long low = strtol(word, &end, 10), high = low;
    if (*end == '-' && end > word)
        high = strtol(end + 1, &end, 10);
    if (*end || end == word || low < 1 || high < low || high > INT_MAX)
        return status_fail(status, STATUS_INVALID,
                           "'%s' is no number of a breakpoint, nor a range such as 1-3", word);
    *first = (int)low;
    *last = (int)high;
    return true;
}

bool breakpoints_for_numbers(struct debugger *debugger, const char *arguments,
                             void (*apply)(struct debugger *debugger, int number),
                             struct status *status)
{
    struct breakpoints *all = &debugger->breakpoints;
    int first, last;
    const char *rest = arguments;
    char word[32];
    argument_word(&rest, word, sizeof(word));
    if (strcmp(word, "breakpoints") == 0) /* gdb's longer form */
        arguments = rest;
    for (const char *at = arguments; *at;) {
        if (!read_range(all, &at, &first, &last, status))
            return false;
        if (first == last && !breakpoints_find(all, first))
            return status_fail(status, STATUS_NOT_FOUND,
                               "there is no breakpoint '%d': see 'info breakpoints'", first);
    }
    for (int i = all->count - 1; !*arguments && i >= 0; i--)
        apply(debugger, all->list[i].number);
    while (*arguments && read_range(all, &arguments, &first, &last, status))
        for (int i = all->count - 1; i >= 0; i--)
            if (all->list[i].number >= first && all->list[i].number <= last)
                apply(debugger, all->list[i].number);
    debugger_publish(debugger);
    return true;
}

static void apply_delete(struct debugger *debugger, int number)
{
    breakpoints_remove(&debugger->breakpoints, number);
}

static void set_enabled(struct debugger *debugger, int number, bool enabled)
{
    struct breakpoint *breakpoint = breakpoints_find(&debugger->breakpoints, number);
    if (breakpoint)
        breakpoint->enabled = enabled;
}

static void apply_enable(struct debugger *debugger, int number)
{
    set_enabled(debugger, number, true);
}

static void apply_disable(struct debugger *debugger, int number)
{
    set_enabled(debugger, number, false);
}

bool command_delete(struct debugger *debugger, const char *arguments, struct status *status)
{
    return breakpoints_for_numbers(debugger, arguments, apply_delete, status);
}

bool command_enable(struct debugger *debugger, const char *arguments, struct status *status)
{
    return breakpoints_for_numbers(debugger, arguments, apply_enable, status);
}

bool command_disable(struct debugger *debugger, const char *arguments, struct status *status)
{
    return breakpoints_for_numbers(debugger, arguments, apply_disable, status);
}

bool command_condition(struct debugger *debugger, const char *arguments, struct status *status)
{
    char word[32], text[400];
    int number;
    argument_word(&arguments, word, sizeof(word));
    if (!*word)
        return status_fail(status, STATUS_INVALID,
                           "condition NUMBER [CONDITION]: without one the breakpoint has none");
    if (is_newest(word))
        number = debugger->breakpoints.next_number;
    else if (!argument_count(word, 0, &number, status))
        return false;
    struct breakpoint *breakpoint = breakpoints_find(&debugger->breakpoints, number);
    if (!breakpoint)
        return status_fail(status, STATUS_NOT_FOUND,
                           "there is no breakpoint '%d': see 'info breakpoints'", number);
    if (!breakpoint_set_condition(breakpoint, arguments, status))
        return false;
    say(debugger, "%s\n", breakpoint_text(breakpoint, text, sizeof(text)));
    debugger_publish(debugger);
    return true;
}
