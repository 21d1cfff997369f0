/* Running forward. */
#include "engine/session/commands.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"

static bool no_arguments(const char *arguments, const char *command, struct status *status)
{
    return !*arguments || status_fail(status, STATUS_INVALID, "'%s' takes no arguments", command);
}

/* A run that has ended cannot go on. */
static bool can_move(struct debugger *debugger, struct status *status)
{
    if (!ranks_can_move(debugger, status))
        return false;
    if (debugger->state == RUN_FAILED)
        return status_fail(status, STATUS_INVALID,
                           "an instruction failed: go back (reverse-stepi), or run again");
    if (pair_ended(debugger->target->pair))
        return status_fail(status, STATUS_INVALID,
                           "the run has ended: go back (reverse-continue, goto), or run again");
    return true;
}

static bool to_beginning(struct debugger *debugger, bool *arrived, struct status *status)
{
    *arrived = true;
    int lost = ranks_lost(debugger);
    if (lost >= 0) {
        say(debugger, "Rank %d is lost: the ranks are started again.\n", lost);
        return load_again(debugger, status);
    }
    if (debugger->state == RUN_FAILED)
        debugger->state = RUN_STOPPED;
    return motion_go_to(debugger, 0, arrived, status);
}

bool command_run_program(struct debugger *debugger, const char *arguments, struct status *status)
{
    bool arrived; /* else the motion is interrupted before it begins, and says so */
    if (!no_arguments(arguments, "run", status) || !to_beginning(debugger, &arrived, status))
        return false;
    return motion_run(debugger, &(struct motion){.goal = -1, .fresh = true}, status);
}

bool command_start(struct debugger *debugger, const char *arguments, struct status *status)
{
    bool arrived; /* as for run */
    if (!no_arguments(arguments, "start", status) || !to_beginning(debugger, &arrived, status))
        return false;
    return motion_run(debugger, &(struct motion){.goal = 0}, status);
}

bool command_kill(struct debugger *debugger, const char *arguments, struct status *status)
{
    if (!no_arguments(arguments, "kill", status))
        return false;
    if (debugger_position(debugger) == 0)
        return status_fail(status, STATUS_INVALID, "the run has not begun");
    bool arrived;
    if (!to_beginning(debugger, &arrived, status))
        return false;
    debugger->last_value = -1;
    debugger_set_state(debugger, RUN_STOPPED, arrived ? "killed" : "interrupted");
    if (!arrived)
        return true;
    say(debugger, "The run was killed; 'run' or 'start' begins it again.\n");
    return true;
}

bool command_continue(struct debugger *debugger, const char *arguments, struct status *status)
{
    int count;
    if (!argument_count(arguments, 1, &count, status) || !can_move(debugger, status))
        return false;
    for (int i = 0; i < count && !pair_ended(debugger->target->pair); i++)
        if (debugger_cancelled(debugger) ||
            !motion_run(debugger, &(struct motion){.goal = -1}, status))
            return status->code == STATUS_OK;
    return true;
}

bool command_stepi(struct debugger *debugger, const char *arguments, struct status *status)
{
    int count;
    if (!argument_count(arguments, 1, &count, status) || !can_move(debugger, status))
        return false;
    return motion_run(debugger, &(struct motion){.goal = debugger_position(debugger) + count},
                      status);
}

static bool run_groups(struct debugger *debugger, const char *arguments, enum group_level level,
                       struct status *status)
{
    int count;
    if (!argument_count(arguments, 1, &count, status) || !can_move(debugger, status))
        return false;
    int64_t goal = debugger_position(debugger);
    for (int i = 0; i < count && goal < debugger_end(debugger); i++)
        goal = motion_group_end(debugger, goal, level);
    return motion_run(debugger, &(struct motion){.goal = goal}, status);
}

bool command_step(struct debugger *debugger, const char *arguments, struct status *status)
{
    return run_groups(debugger, arguments, LEVEL_PART, status);
}

bool command_next(struct debugger *debugger, const char *arguments, struct status *status)
{
    return run_groups(debugger, arguments, LEVEL_LAYER, status);
}

bool command_finish(struct debugger *debugger, const char *arguments, struct status *status)
{
    return no_arguments(arguments, "finish", status) &&
           run_groups(debugger, "", LEVEL_PHASE, status);
}

/* A place that the selected rank goes through: what is nowhere would only be found to be missing at
 * the end of the run. */
static bool parse_until(const struct debugger *debugger, const char *text, struct breakpoint *until,
                        struct status *status)
{
    const struct program *program = debugger_program(debugger);
    if (!breakpoint_parse(program, debugger_steps(debugger), text, until, status))
        return false;
    if (place_find(program, &until->place, 0) >= 0)
        return true;
    status_fail(status, STATUS_NOT_FOUND, "no instruction writes or matches '%s'",
                until->place.text);
    breakpoint_release(until);
    return false;
}

/* STEP:INSTRUCTION that the run has passed would be missed in the same way. */
static bool lies_ahead(const struct debugger *debugger, const struct place *place,
                       struct status *status)
{
    int64_t position =
        (int64_t)place->step * debugger_program(debugger)->instruction_count + place->instruction;
    return place->kind != PLACE_INSTRUCTION || place->step < 0 ||
           position > debugger_position(debugger) ||
           status_fail(status, STATUS_INVALID,
                       position < debugger_position(debugger)
                           ? "%s lies behind: 'goto %s' goes back to it"
                           : "%s is where the run stands",
                       place->text, place->text);
}

bool command_until(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct breakpoint until;
    if (!can_move(debugger, status))
        return false;
    int elsewhere = -1; /* the rank whose program has the place, if the selected one's has not */
    if (!parse_until(debugger, arguments, &until, status) &&
        (elsewhere = ranks_parse_elsewhere(debugger, arguments, &until, status)) < 0)
        return false;
    struct motion motion = {.goal = -1, .until = &until, .elsewhere = elsewhere >= 0};
    bool ok = (motion.elsewhere || lies_ahead(debugger, &until.place, status)) &&
              motion_run(debugger, &motion, status);
    breakpoint_release(&until);
    return ok;
}
