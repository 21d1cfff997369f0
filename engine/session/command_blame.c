/* Where an error comes from. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "engine/session/backtrace.h"
#include "engine/session/commands.h"
#include "engine/session/describe.h"
#include "engine/session/motion.h"
#include "engine/session/ranks_motion.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool pick_instruction(struct debugger *debugger, const char *arguments, int *step,
                             int *instruction, struct status *status)
{
    const struct run *run = debugger->target->pair->test;
    *step = run->step;
    *instruction = run_next(run) - 1;
    if (*arguments) {
        struct place place;
        if (!place_parse(run->program, run->steps, arguments, &place, status))
            return ranks_say_where(debugger, arguments, status);
        *instruction = place_find(run->program, &place, 0);
        *step = place.step >= 0 ? place.step : run->step;
        place_free(&place);
    }
    if (*instruction < 0)
        return status_fail(status, STATUS_INVALID, "no instruction has run in this step yet");
    if (*step > run->step || (*step == run->step && *instruction >= run_next(run)))
        return status_fail(status, STATUS_INVALID, "instruction %d was not run yet: until %d first",
                           *instruction, *instruction + 1);
    return true;
}

static double largest_input_error(const struct debugger *debugger, int instruction, bool *diverged)
{
    const struct instruction *in = &debugger_program(debugger)->instructions[instruction];
    double largest = NAN;
    *diverged = false;
    for (int i = 0; i < in->input_count; i++) {
        struct value_error error = backtrace_error_of(debugger, in->inputs[i]);
        *diverged = *diverged || error.diverged;
        if (error.known && !(largest >= error.relative))
            largest = error.relative;
    }
    return largest;
}

static void say_check(struct debugger *debugger, const struct check *check)
{
    const struct pair *pair = debugger->target->pair;
    const struct instruction *in = &pair->test->program->instructions[check->instruction];
    bool diverged;
    double inherited = largest_input_error(debugger, check->instruction, &diverged);
    char text[32];
    if (!check->supported) {
        say(debugger, "%d %s: a collective has no float64 reference on one rank\n",
            check->instruction, op_name(in->op));
        return;
    }
    if (check->step == pair->test->step)
        say(debugger, "%d %s: inputs %s (error against the reference: %s)\n", check->instruction,
            op_name(in->op), diverged ? "diverged" : "within limits",
            backtrace_error_text(inherited, text));
    else
        say(debugger, "%d %s of step %d:\n", check->instruction, op_name(in->op), check->step + 1);
    say(debugger,
        "    float64 of the same inputs differs from what was computed by %.1e %s %.1e "
        "(what rounding explains)\n",
        check->introduced_relative, check->wrong ? ">" : "<=", check->expected_relative);
    say(debugger, "    %s\n",
        check->wrong ? "The kernel computed wrong: the error was introduced here."
                     : "The kernel computed what the instruction says.");
}

bool command_check(struct debugger *debugger, const char *arguments, struct status *status)
{
    int step, instruction;
    struct check check;
    int64_t before = debugger_position(debugger);
    if (!pick_instruction(debugger, arguments, &step, &instruction, status))
        return false;
    if (!check_instruction(debugger->target->pair, step, instruction, &check, status)) {
        motion_after_failure(debugger, before, status);
        return false;
    }
    say_check(debugger, &check);
    return true;
}

static void say_instruction(struct debugger *debugger, const char *label,
                            const struct program *program, int index)
{
    char text[400];
    say(debugger, "    %-10s %s\n", label,
        program_instruction_text(program, index, text, sizeof(text)));
}

/* What the programs say: the same instruction, or another one. */
static void say_difference(struct debugger *debugger, const struct blame *blame)
{
    const struct pair *pair = debugger->target->pair;
    const struct blame_link *link = &blame->links[blame->guilty];
    const struct program *test = pair->test->program;
    if (blame->counterpart < 0)
        return;
    const struct program *reference = pair->reference->program;
    const char *here = op_name(test->instructions[link->instruction].op);
    const char *there = op_name(reference->instructions[blame->counterpart].op);
    say_instruction(debugger, "test", test, link->instruction);
    say_instruction(debugger, "reference", reference, blame->counterpart);
    if (!blame->different)
        return;
    if (here == there)
        say(debugger, "    both are `%s`, with other operands or parameters\n", here);
    else
        say(debugger, "    the reference has `%s`, the test has `%s`\n", there, here);
}

/* What is left when the kernel is right: the dtype, or the program. */
static const char *computes_elsewise(struct debugger *debugger, int value, char *buffer, int size)
{
    const struct pair *pair = debugger->target->pair;
    int other = pair->reference ? pair->reference_value[value] : -1;
    enum dtype here = pair->test->program->values[value].dtype;
    enum dtype there = other >= 0 ? pair->reference->program->values[other].dtype : here;
    if (here == there)
        return "the program is wrong";
    snprintf(buffer, (size_t)size,
             "it is the rounding of %s (the reference has %s), or the program", dtype_name(here),
             dtype_name(there));
    return buffer;
}

static void say_errors(struct debugger *debugger, const struct blame_link *link)
{
    char text[32];
    if (isnan(link->error)) {
        say(debugger, "    it is not compared itself; what is computed from it diverged\n");
        return;
    }
    say(debugger, "    error %s against the reference", backtrace_error_text(link->error, text));
    if (isnan(link->input_error))
        say(debugger, "; none of its inputs can be compared\n");
    else
        say(debugger, "; its inputs are %s (%s)\n",
            link->inputs_diverged ? "diverged" : "within limits",
            backtrace_error_text(link->input_error, text));
}

/* Nobody is guilty: the precision is. */
static void say_rounding(struct debugger *debugger, const struct blame *blame)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    const struct blame_link *link = &blame->links[blame->rounding];
    enum precision here = pair->options.test->distributed.compute_dtype;
    enum precision there = pair->options.reference->distributed.compute_dtype;
    char name[256];
    if (blame->elsewhere >= 0) {
        say(debugger, "The programs differ, but not where it comes from:\n");
        say_instruction(debugger, "test", program, blame->elsewhere);
        if (blame->counterpart >= 0)
            say_instruction(debugger, "reference", pair->reference->program, blame->counterpart);
    }
    say(debugger, "No instruction behind it is to blame: none is found to be another one in the "
                  "reference, or to\nbe computed wrong. What is left is rounding: ");
    if (here == there)
        say(debugger, "of %s, at other places than in the reference.\n", precision_name(here));
    else
        say(debugger, "%s here, %s in the reference.\n", precision_name(here),
            precision_name(there));
    say(debugger, "Instruction %d (%s, step %d) is the first that it took beyond the limits: %s\n",
        link->instruction, op_name(program->instructions[link->instruction].op), link->step + 1,
        program_value_text(program, link->value, name, sizeof(name)));
    say_errors(debugger, link);
    say(debugger, "    float64 of the same inputs differs from what was computed by %.1e <= %.1e\n",
        blame->check.introduced_relative, blame->check.expected_relative);
    if (blame->elsewhere >= 0)
        say(debugger, "next: list %d, continue\n", blame->elsewhere);
    else
        say(debugger, "next: continue, or %s\n",
            here == there ? "wider limits: --set compare_factor=2"
                          : "--against a run of the same precision");
}

/* The reference is a trace that does not have what these compute. */
static void say_suspects(struct debugger *debugger, const struct blame *blame)
{
    const struct program *program = debugger_program(debugger);
    const struct blame_link *link = &blame->links[blame->guilty];
    char name[256];
    say(debugger, "One of these %d instructions introduced it (step %d): %s\n",
        blame->suspect_count, link->step + 1,
        program_value_text(program, link->value, name, sizeof(name)));
    for (int i = 0; i < blame->suspect_count; i++)
        say_instruction(debugger, "", program, blame->suspects[i]);
    say_errors(debugger, link);
    say(debugger,
        "    The trace does not have what they compute on the way, and float64 of the same inputs\n"
        "    agrees with each: the kernels are right, so the program is wrong in one of them.\n"
        "next: goto %d:%d, list %d, graft %s\n",
        link->step + 1, blame->suspects[0], blame->suspects[0], name);
}

static void say_blame(struct debugger *debugger, const struct blame *blame)
{
    const struct program *program = debugger_program(debugger);
    char name[256], text[128];
    if (blame->rounding >= 0) {
        say_rounding(debugger, blame);
        return;
    }
    if (blame->guilty < 0) {
        say(debugger, "No instruction stands out: everything behind it is within limits.\n");
        return;
    }
    if (blame->suspect_count > 1) {
        say_suspects(debugger, blame);
        return;
    }
    const struct blame_link *link = &blame->links[blame->guilty];
    const struct instruction *in = &program->instructions[link->instruction];
    say(debugger, "Instruction %d (%s, step %d) introduced it: %s\n", link->instruction,
        op_name(in->op), link->step + 1,
        program_value_text(program, link->value, name, sizeof(name)));
    say_errors(debugger, link);
    if (!blame->check.supported)
        say(debugger, "    a collective: float64 cannot check it on one rank\n");
    else if (blame->check.wrong)
        say(debugger,
            "    float64 of the same inputs differs from what was computed by %.1e > %.1e:\n"
            "    the kernel computed wrong.\n",
            blame->check.introduced_relative, blame->check.expected_relative);
    else
        say(debugger,
            "    float64 of the same inputs agrees with what was computed (%.1e <= %.1e):\n"
            "    the kernel is right, so %s.\n",
            blame->check.introduced_relative, blame->check.expected_relative,
            computes_elsewise(debugger, link->value, text, sizeof(text)));
    say_difference(debugger, blame);
    /* What the reference does not have cannot be grafted: then what came of it. */
    int graft = link->value;
    for (int i = blame->guilty; i >= 0 && debugger->target->pair->reference_value[graft] < 0; i--)
        graft = blame->links[i].value;
    say(debugger, "next: goto %d:%d, list %d, graft %s\n", link->step + 1, link->instruction,
        link->instruction, program_value_text(program, graft, name, sizeof(name)));
}

static void say_chain(struct debugger *debugger, const struct blame *blame)
{
    for (int i = 0; i < blame->count && i < BACKTRACE_FRAMES; i++) {
        const struct blame_link *link = &blame->links[i];
        bool several = blame->suspect_count > 1;
        const char *verdict = i == blame->guilty     ? several ? "diverged" : "introduced"
                              : i == blame->rounding ? "rounding"
                              : link->diverged       ? "inherited"
                              : isnan(link->error)   ? "not compared"
                                                     : "within";
        backtrace_frame(debugger, i, link->instruction, link->value, verdict, link->error);
    }
}

static bool walk(struct debugger *debugger, int value, struct status *status)
{
    struct blame blame;
    int64_t before = debugger_position(debugger);
    if (!value_error_of(debugger->target->pair, value).diverged)
        say(debugger, "It has not diverged in this step; the chain behind it:\n");
    if (debugger->target->team)
        return blame_ranks(debugger, value, status);
    if (!blame_walk(debugger->target->pair, value, &blame, status)) {
        blame_free(&blame);
        motion_after_failure(debugger, before, status);
        return false;
    }
    say_chain(debugger, &blame);
    say_blame(debugger, &blame);
    blame_free(&blame);
    return true;
}

/* For work that goes elsewhere and returns to `home`: an interrupt leaves the run on the way. */
static bool has_come(struct debugger *debugger, bool arrived, int64_t home, struct status *status)
{
    if (arrived)
        return true;
    interrupt_fail(status);
    motion_after_failure(debugger, home, status);
    return false;
}

static bool travel(struct debugger *debugger, int64_t place, int64_t home, struct status *status)
{
    bool arrived;
    return motion_go_to(debugger, place, &arrived, status) &&
           has_come(debugger, arrived, home, status);
}

/* The first divergence of all lies in an earlier step: look at it there, and come back. */
static bool walk_elsewhere(struct debugger *debugger, int step, int value, struct status *status)
{
    const struct program *program = debugger_program(debugger);
    int64_t here = debugger_position(debugger);
    int64_t there =
        (int64_t)step * program->instruction_count + program->values[value].producer + 1;
    char name[256];
    say(debugger, "The first divergence is in step %d: %s\n", step + 1,
        program_value_text(program, value, name, sizeof(name)));
    if (!travel(debugger, there, here, status))
        return false;
    bool ok = walk(debugger, value, status);
    if (!ok && status->code == STATUS_CANCELLED)
        return false;
    struct status other = STATUS_NONE;
    return travel(debugger, here, here, ok ? status : &other) && ok;
}

bool command_blame(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    int step, value = -1;
    if (target_is_alone(debugger->target))
        return status_fail(status, STATUS_INVALID, "the run stands alone: nothing to compare with");
    if (!*arguments && debugger->last_value < 0 &&
        record_first_failure(&debugger->record, pair->test->program, &step, &value) &&
        step != pair->entered_step)
        return walk_elsewhere(debugger, step, value, status);
    value = describe_pick_value(debugger, arguments, status);
    if (value < 0)
        return false;
    if (pair->test->program->values[value].producer < 0)
        return status_fail(status, STATUS_INVALID, "no instruction writes it: it is given");
    return walk(debugger, value, status);
}

/* Without a name: what diverged, since nothing else is worth it. */
static int pick_graft(struct debugger *debugger, const char *arguments, struct status *status)
{
    const struct pair *pair = debugger->target->pair;
    int value = debugger->last_value;
    if (*arguments)
        return tensor_find(pair->test->program, arguments, run_next(pair->test), status);
    if (value < 0 || !value_error_of(pair, value).diverged)
        value = first_divergence(pair);
    if (value < 0)
        status_fail(status, STATUS_INVALID, "nothing has diverged in this step: graft TENSOR");
    return value;
}

/* Every rank's part, or with one rank selected its part and what others hold of the same. The step
 * runs again from its start, since ranks come to the place at different times. */
static bool graft_ranks(struct debugger *debugger, int value, const char *name,
                        struct status *status)
{
    struct team *team = debugger->target->team;
    int64_t here = debugger_position(debugger);
    int64_t start = (int64_t)team->step * debugger_program(debugger)->instruction_count;
    int parts = 0;
    if (!team_graft(team, debugger->rank, value, debugger->all_ranks, &parts, status) ||
        !travel(debugger, start, here, status) || !travel(debugger, here, here, status))
        return false;
    say(debugger, "%s is now the reference's on %d rank%s; what follows it was computed again.\n",
        name, parts, parts == 1 ? "" : "s");
    say(debugger, "next: continue\n");
    debugger_publish(debugger);
    return true;
}

/* To where the value was written. If the next instruction has read it already (an interrupt of its
 * comparison leaves the run before it), that is somewhere else, too, even if the place is `here`.
 */
static bool travel_to_write(struct debugger *debugger, int64_t there, int64_t here,
                            struct status *status)
{
    const struct run *run = debugger->target->pair->test;
    bool arrived;
    if (there == here && executor_has_read(run->executor) &&
        (!motion_go_to_step(debugger, run->step, &arrived, status) ||
         !has_come(debugger, arrived, here, status)))
        return false;
    return travel(debugger, there, here, status);
}

/* As if the tensor had been right when it was written: what was computed from it since is computed
 * again. */
bool command_graft(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int value = pick_graft(debugger, arguments, status);
    if (value < 0)
        return false;
    int producer = program->values[value].producer;
    char name[256];
    program_value_text(program, value, name, sizeof(name));
    if (producer < 0 || producer >= run_next(pair->test))
        return status_fail(status, STATUS_INVALID, "%s was not written in this step yet: until %s",
                           name, name);
    if (debugger->target->team)
        return graft_ranks(debugger, value, name, status);
    int64_t here = debugger_position(debugger);
    int64_t there = (int64_t)pair->test->step * program->instruction_count + producer + 1;
    if (!travel_to_write(debugger, there, here, status))
        return false;
    bool ok = pair_graft(pair, value, status);
    if (ok)
        record_judge_again(&debugger->record, pair, value);
    struct status other = STATUS_NONE;
    if (there < here && !travel(debugger, here, here, ok ? status : &other))
        return false;
    if (!ok)
        return false;
    say(debugger, "%s is now the reference's%s.\nnext: continue\n", name,
        there < here ? "; what follows it was computed again" : "");
    debugger_publish(debugger);
    return true;
}
