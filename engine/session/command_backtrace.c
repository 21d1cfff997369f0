/* backtrace: the instructions behind a tensor. */
#include "engine/session/backtrace.h"

#include "engine/session/commands.h"
#include "engine/session/describe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *backtrace_error_text(double error, char buffer[32])
{
    if (isnan(error))
        snprintf(buffer, 32, "-");
    else
        snprintf(buffer, 32, "%.1e", error);
    return buffer;
}

void backtrace_frame(struct debugger *debugger, int number, int instruction, int value,
                     const char *verdict, double error)
{
    const struct program *program = debugger_program(debugger);
    char name[256], text[32];
    struct text line = {0};
    text_format(&line, "#%-3d %4d %-22s ", number, instruction,
                op_name(program->instructions[instruction].op));
    text_add(&line, program_value_text(program, value, name, sizeof(name)));
    text_pad(&line, 84);
    text_format(&line, "%-12s %s", verdict, backtrace_error_text(error, text));
    say(debugger, "%s\n", line.data);
    text_free(&line);
}

/* States are compared where a step ends: what one brings into this step is told of the value that
 * it became in the step before. */
static struct value_error state_error(const struct debugger *debugger, int state)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    for (int v = program->value_count - 1; pair->entered_step > 0 && v >= 0; v--) {
        const struct value *updated = &program->values[v];
        if (updated->state != state || updated->producer < 0)
            continue;
        const struct record_entry *entry =
            record_at(&debugger->record, pair->entered_step - 1, updated->id);
        if (entry->compared)
            return (struct value_error){true, entry->failed, entry->error};
    }
    return (struct value_error){.relative = NAN};
}

struct value_error backtrace_error_of(const struct debugger *debugger, int value)
{
    struct value_error error = value_error_of(debugger->target->pair, value);
    bool given = debugger_program(debugger)->values[value].kind == VALUE_STATE;
    return error.known || !given ? error : state_error(debugger, value);
}

/* The input to follow: the one with the largest known error, else the first float one that an
 * instruction computed. Sets *diverged when some input failed its limits. */
static int next_frame(const struct debugger *debugger, int instruction, bool *diverged)
{
    const struct program *program = debugger_program(debugger);
    const struct instruction *in = &program->instructions[instruction];
    int best = -1, opaque = -1;
    double largest = -1;
    *diverged = false;
    for (int i = 0; i < in->input_count; i++) {
        int input = in->inputs[i];
        struct value_error error = backtrace_error_of(debugger, input);
        *diverged = *diverged || error.diverged;
        if (program->values[input].producer < 0 || !dtype_is_float(program->values[input].dtype))
            continue;
        if (error.known && error.relative > largest) {
            largest = error.relative;
            best = input;
        } else if (!error.known && opaque < 0) {
            opaque = input;
        }
    }
    return best >= 0 && (largest > 0 || opaque < 0) ? best : opaque;
}

/* Whether nothing unknown lies behind an instruction: temporaries and what has no counterpart. */
static bool all_known(const struct pair *pair, int instruction)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = &program->instructions[instruction];
    for (int i = 0; i < in->input_count; i++) {
        const struct value *input = &program->values[in->inputs[i]];
        if (input->producer >= 0 && dtype_is_float(input->dtype) &&
            !value_error_of(pair, input->id).known)
            return false;
    }
    return true;
}

/* The input that came diverged out of the step before, with the largest error; -1: none. */
static int worst_state(const struct debugger *debugger, int instruction, double *relative)
{
    const struct program *program = debugger_program(debugger);
    const struct instruction *in = &program->instructions[instruction];
    int worst = -1;
    *relative = -1;
    for (int i = 0; i < in->input_count; i++) {
        struct value_error error = backtrace_error_of(debugger, in->inputs[i]);
        bool given = program->values[in->inputs[i]].producer < 0;
        if (given && error.diverged && error.relative > *relative) {
            worst = in->inputs[i];
            *relative = error.relative;
        }
    }
    return worst;
}

/* Where the chain leaves the step. */
static bool say_state(struct debugger *debugger, int instruction, int next)
{
    const struct pair *pair = debugger->target->pair;
    double relative;
    int state = worst_state(debugger, instruction, &relative);
    char name[256], text[32];
    if (state < 0 || pair->entered_step == 0 ||
        (next >= 0 && backtrace_error_of(debugger, next).relative > relative))
        return false;
    say(debugger, "%s was wrong already when step %d ended (%s): 'blame' goes on there\n",
        program_value_text(pair->test->program, state, name, sizeof(name)), pair->entered_step,
        backtrace_error_text(relative, text));
    return true;
}

bool command_backtrace(struct debugger *debugger, const char *arguments, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int most = BACKTRACE_FRAMES, frame = 0;
    char *end;
    long count = strtol(arguments, &end, 10); /* gdb's: as many frames */
    if (end > arguments && (!*end || *end == ' ')) {
        if (count < 1 || count > 1000000)
            return status_fail(status, STATUS_INVALID, "backtrace [COUNT] [TENSOR]: from 1");
        most = (int)count;
        arguments = end + strspn(end, " ");
    }
    int value = describe_pick_value(debugger, arguments, status);
    if (value < 0)
        return false;
    if (program->values[value].producer < 0)
        return status_fail(status, STATUS_INVALID, "no instruction writes %s: it is given",
                           program->values[value].name);
    while (value >= 0 && program->values[value].producer >= 0 && frame < most) {
        int instruction = program->values[value].producer;
        struct value_error error = value_error_of(pair, value);
        bool diverged;
        int next = next_frame(debugger, instruction, &diverged);
        const char *verdict = !error.known                   ? "not compared"
                              : !error.diverged              ? "within"
                              : diverged                     ? "inherited"
                              : all_known(pair, instruction) ? "introduced"
                                                             : "diverged";
        backtrace_frame(debugger, frame++, instruction, value, verdict, error.relative);
        value = say_state(debugger, instruction, next) ? -1 : next;
    }
    if (value >= 0 && program->values[value].producer >= 0)
        say(debugger, "(more: backtrace COUNT)\n");
    return true;
}
