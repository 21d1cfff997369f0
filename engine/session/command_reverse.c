/* Going back: the run is taken to the start of the step and run again to the place, which gives
 * the same bits. */
#include "engine/session/commands.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"

#include <string.h>

/* An interrupt left the run where the user never asked it to be. */
static void say_next(struct debugger *debugger, int64_t position)
{
    int count = debugger_program(debugger)->instruction_count;
    if (debugger->must_wait) /* it says so itself */
        return;
    if (position >= debugger_end(debugger))
        say(debugger, "next: goto end\n");
    else
        say(debugger, "next: goto %d:%d\n", (int)(position / count) + 1, (int)(position % count));
}

static void arrive(struct debugger *debugger, const char *reason, bool silent)
{
    if (!silent) {
        motion_show_place(debugger);
        display_all(debugger);
    }
    debugger_flush(debugger);
    debugger_set_state(debugger, pair_ended(debugger->target->pair) ? RUN_ENDED : RUN_STOPPED,
                       reason);
    debugger_emit(debugger, EVENT_STOPPED, reason);
}

/* `wanted`: where an unbroken way would lead to, or lead back to. */
static void arrive_interrupted(struct debugger *debugger, int64_t wanted)
{
    motion_show_place(debugger);
    display_all(debugger);
    say_next(debugger, wanted);
    arrive(debugger, "interrupted", true);
}

static bool travel(struct debugger *debugger, int64_t position, bool *arrived,
                   struct status *status)
{
    debugger_set_state(debugger, RUN_RUNNING, "");
    debugger_emit(debugger, EVENT_RUNNING, NULL);
    return motion_go_to(debugger, position, arrived, status);
}

static bool go(struct debugger *debugger, int64_t position, const char *reason,
               struct status *status)
{
    bool arrived;
    if (!travel(debugger, position, &arrived, status))
        return false;
    if (arrived)
        arrive(debugger, reason, false);
    else
        arrive_interrupted(debugger, position);
    return true;
}

static bool can_go_back(struct debugger *debugger, struct status *status)
{
    return ranks_can_move(debugger, status) &&
           (debugger_position(debugger) > 0 ||
            status_fail(status, STATUS_INVALID,
                        "this is the beginning of the run: nothing lies before it"));
}

bool command_reverse_stepi(struct debugger *debugger, const char *arguments, struct status *status)
{
    int count;
    if (!argument_count(arguments, 1, &count, status) || !can_go_back(debugger, status))
        return false;
    int64_t position = debugger_position(debugger) - count;
    return go(debugger, position > 0 ? position : 0, "went back", status);
}

static bool back_by_groups(struct debugger *debugger, const char *arguments, enum group_level level,
                           struct status *status)
{
    int count;
    if (!argument_count(arguments, 1, &count, status) || !can_go_back(debugger, status))
        return false;
    int64_t position = debugger_position(debugger);
    for (int i = 0; i < count && position > 0; i++)
        position = motion_group_start(debugger, position, level);
    return go(debugger, position, "went back", status);
}

bool command_reverse_step(struct debugger *debugger, const char *arguments, struct status *status)
{
    return back_by_groups(debugger, arguments, LEVEL_PART, status);
}

bool command_reverse_next(struct debugger *debugger, const char *arguments, struct status *status)
{
    return back_by_groups(debugger, arguments, LEVEL_LAYER, status);
}

/* Runs one step again up to `end`, and gives the last position before it where something would
 * have stopped the run, or -1. */
static bool find_last_stop(struct debugger *debugger, int64_t start, int64_t end, int64_t *found,
                           struct stops *stops, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    struct pair_event event;
    bool arrived;
    *found = -1;
    if (!motion_go_to_step(debugger, (int)(start / debugger_program(debugger)->instruction_count),
                           &arrived, status))
        return false;
    pair->watch_not_finite = debugger->stop_on_not_finite;
    while (arrived && debugger_position(debugger) < end) {
        struct stops here;
        stops_clear(&here);
        if (debugger_position(debugger) == start)
            stops_before(debugger, &here);
        if (stops_any(&here)) {
            *found = start;
            *stops = here;
        }
        stops_clear(&here);
        bool interrupted;
        if (!motion_run_one(debugger, &event, &interrupted, status))
            return false;
        if (interrupted)
            break;
        stops_after(debugger, &event, &here);
        stops_before(debugger, &here);
        if (stops_any(&here) && debugger_position(debugger) < end) {
            *found = debugger_position(debugger);
            *stops = here;
        }
    }
    return true;
}

/* What would stop another rank does not count: the position is one of the selected rank. */
static bool last_stop(struct debugger *debugger, int64_t start, int64_t end, int64_t *found,
                      struct stops *stops, struct status *status)
{
    debugger->passing = true;
    bool ok = find_last_stop(debugger, start, end, found, stops, status);
    debugger->passing = false;
    return ok;
}

/* False if nothing is to be said of it. */
static bool say_stop(struct debugger *debugger, const struct stops *stops)
{
    char text[400];
    size_t said = debugger->output.length;
    for (int i = 0; i < stops->number_count; i++)
        stops_tell(debugger, breakpoints_find(&debugger->breakpoints, stops->numbers[i]), text,
                   sizeof(text));
    int value = stops->diverged >= 0 ? stops->diverged : stops->not_finite;
    if (value >= 0)
        say(debugger, "%s: %s\n", stops->diverged >= 0 ? "Divergence" : "NaN or infinity",
            program_value_text(debugger_program(debugger), value, text, sizeof(text)));
    bool silent = hit_commands_are_silent(debugger, stops);
    if (silent)
        text_cut(&debugger->output, said);
    return !silent;
}

/* Where the last stop was, found < 0: at the beginning; nothing is said of it on the way. `home`:
 * where the run stood. */
static bool arrive_at_stop(struct debugger *debugger, int64_t found, int64_t home,
                           const struct stops *stops, struct status *status)
{
    bool arrived = false, given_up = debugger_cancelled(debugger);
    if (given_up)
        say(debugger, "Interrupted on the way.\n");
    else if (!travel(debugger, found < 0 ? 0 : found, &arrived, status))
        return false;
    if (!arrived) {
        arrive_interrupted(debugger, home);
        return true;
    }
    if (found < 0)
        say(debugger, "Nothing stopped the run before: this is the beginning.\n");
    bool silent = !say_stop(debugger, stops);
    arrive(debugger, found < 0 ? "beginning" : "went back", silent);
    debugger->last_value = stops->diverged >= 0     ? stops->diverged
                           : stops->not_finite >= 0 ? stops->not_finite
                                                    : stops->value;
    return true;
}

bool command_reverse_continue(struct debugger *debugger, const char *arguments,
                              struct status *status)
{
    if (*arguments)
        return status_fail(status, STATUS_INVALID, "'reverse-continue' takes no arguments");
    if (!can_go_back(debugger, status))
        return false;
    int count = debugger_program(debugger)->instruction_count;
    int64_t home = debugger_position(debugger), end = home, found = -1;
    struct stops stops;
    stops_clear(&stops);
    debugger_set_state(debugger, RUN_RUNNING, "");
    debugger_emit(debugger, EVENT_RUNNING, NULL);
    while (end > 0 && found < 0 && !debugger_cancelled(debugger)) {
        int64_t start = (end - 1) / count * count;
        if (!last_stop(debugger, start, end, &found, &stops, status))
            return false;
        end = start;
    }
    return arrive_at_stop(debugger, found, home, &stops, status);
}

/* The position that a place means: of an instruction itself, after the writer of a tensor. */
static bool position_of(struct debugger *debugger, const char *text, int64_t *position,
                        struct status *status)
{
    const struct program *program = debugger_program(debugger);
    int step, next;
    debugger_place(debugger, &step, &next);
    if (strcmp(text, "end") == 0) {
        *position = debugger_end(debugger);
        return true;
    }
    struct place place;
    if (!place_parse(program, debugger_steps(debugger), text, &place, status))
        return ranks_say_where(debugger, text, status);
    if (place.step >= 0)
        step = place.step;
    int index =
        place.kind == PLACE_INSTRUCTION ? place.instruction : place_find(program, &place, 0);
    bool after = place.kind == PLACE_TENSOR;
    if (after)
        for (int i = 0; i < program->instruction_count; i++)
            if (place_matches(program, &place, i))
                index = i; /* the last writer */
    place_free(&place);
    if (index < 0)
        return status_fail(status, STATUS_NOT_FOUND, "no instruction writes or matches '%s'", text);
    *position = (int64_t)step * program->instruction_count + index + after;
    return true;
}

bool command_goto(struct debugger *debugger, const char *arguments, struct status *status)
{
    int64_t position = 0;
    return ranks_can_move(debugger, status) &&
           position_of(debugger, arguments, &position, status) &&
           go(debugger, position, "place reached", status);
}
