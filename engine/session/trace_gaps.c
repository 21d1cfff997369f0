#include "engine/session/trace_gaps.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <stdlib.h>

enum { PIECE = 4096 }; /* tensors between looks at an interrupt */

/* Tensors of one kind, and the first of them. */
struct gap {
    int64_t count;
    const char *name, *step;
};

struct gaps {
    struct gap absent, repeated;
};

static void note(struct gap *gap, const char *name, const char *step)
{
    if (gap->count++ == 0) {
        gap->name = name;
        gap->step = step;
    }
}

/* Under this name, or the value that has another one, too. */
static bool computes(const struct target *target, const char *name)
{
    const struct world *world = target->team ? target->team->world : NULL;
    bool found = program_find(target->pair->test->program, name) >= 0;
    for (int rank = 0; !found && world && rank < world->size; rank++)
        found = program_find(world->ranks[rank].run->program, name) >= 0;
    return found;
}

/* Micro-sequences are rows of the tensor that the trace has. */
static bool has(const struct target *target, const char *name)
{
    int parts = target->test->schedule.micro_batch_splits;
    if (parts <= 1 || computes(target, name))
        return computes(target, name);
    char *part = memory_format("%s ms=0/%d", name, parts);
    bool found = computes(target, part);
    free(part);
    return found;
}

static bool search(const struct debugger *debugger, const struct trace_step *step,
                   struct gaps *gaps)
{
    for (int i = 0; step && i < step->count; i++) {
        struct trace_tensor tensor;
        if (i % PIECE == 0 && debugger_cancelled(debugger))
            return false;
        trace_at(step, i, &tensor);
        if (!has(debugger->target, tensor.name))
            note(&gaps->absent, tensor.name, step->name);
        else if (tensor.times > 1)
            note(&gaps->repeated, tensor.name, step->name);
    }
    return true;
}

/* The parameters at first, and the steps that the run has. */
static bool search_all(const struct debugger *debugger, struct gaps *gaps)
{
    const struct trace *trace = debugger->target->trace;
    char name[32];
    bool ok = search(debugger, trace_find_step(trace, "init"), gaps);
    for (int step = 0; ok && step < debugger_steps(debugger); step++)
        ok = search(debugger, trace_find_step(trace, run_step_name(step, name)), gaps);
    return ok;
}

static void say_gap(struct debugger *debugger, const struct gap *gap, const char *what)
{
    char count[32];
    if (gap->count > 0)
        say(debugger, "%s tensor%s of the trace %s %s, first %s (%s).\n",
            text_thousands(gap->count, count), gap->count == 1 ? "" : "s",
            gap->count == 1 ? "is" : "are", what, gap->name, gap->step);
}

/* Parameters that the trace says nothing of, although it has what others began with. */
static void say_unknown_parameters(struct debugger *debugger)
{
    const struct trace_step *init = trace_find_step(debugger->target->trace, "init");
    const struct program *program = debugger->target->pair->test->program;
    int count = 0, first = -1;
    for (int p = program->parameter_count - 1; init && p >= 0; p--)
        if (trace_position(init, program->values[program->parameters[p].value].name) < 0) {
            count++;
            first = program->parameters[p].value;
        }
    if (count > 0)
        say(debugger,
            "%d of %d initial parameters are not in the trace and not compared, first %s.\n", count,
            program->parameter_count, program->values[first].name);
}

void say_trace_gaps(struct debugger *debugger)
{
    struct gaps gaps = {.absent = {0}};
    if (!debugger->target->trace || !search_all(debugger, &gaps))
        return;
    say_unknown_parameters(debugger);
    say_gap(debugger, &gaps.absent, "not in this run and not compared");
    say_gap(debugger, &gaps.repeated, "recorded more than once in a step");
}
