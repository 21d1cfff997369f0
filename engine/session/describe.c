#include "engine/session/describe.h"
#include "engine/session/ranks_motion.h"

#include "engine/compare/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LISTED_WIDTH = 84, SOURCE_COLUMN = 120 };

const char *describe_source(const struct source *source, char *buffer, int size)
{
    buffer[0] = '\0';
    if (!source->file)
        return buffer;
    const char *slash = strrchr(source->file, '/');
    snprintf(buffer, (size_t)size, "%s:%d", slash ? slash + 1 : source->file, source->line);
    return buffer;
}

char describe_mark(const struct pair *pair, int value)
{
    const struct pair_result *result = &pair->results[value];
    return !result->compared ? '-' : result->verdict.failures ? 'x' : '=';
}

static char mark_of_instruction(const struct pair *pair, int index)
{
    const struct instruction *in = &pair->test->program->instructions[index];
    char mark = '-';
    for (int k = 0; k < in->output_count; k++) {
        char one = describe_mark(pair, in->outputs[k]);
        if (one == 'x' || mark == '-')
            mark = one;
    }
    return mark;
}

static char mark_of_breakpoints(const struct debugger *debugger, int index)
{
    char mark = ' ';
    for (int i = 0; i < debugger->breakpoints.count; i++) {
        const struct breakpoint *breakpoint = &debugger->breakpoints.list[i];
        if (breakpoint->lost)
            continue;
        const struct program *program = debugger_program(debugger);
        bool here = breakpoint_is_after(breakpoint)
                        ? place_matches(program, &breakpoint->place, index)
                        : place_entered(program, &breakpoint->place, index);
        if (here && mark != '*')
            mark = breakpoint->enabled ? '*' : 'o';
    }
    return mark;
}

void describe_instruction(struct debugger *debugger, int index, enum listed listed)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    const struct instruction *in = &program->instructions[index];
    /* The next instruction of a step that has not begun was not compared yet. */
    bool next = listed == LISTED_NEXT || listed == LISTED_HERE;
    bool known = !next && pair->entered_step == pair->test->step;
    char text[400], source[64];
    struct text line = {0};
    text_format(&line, "%c%c%s %s", mark_of_breakpoints(debugger, index),
                known ? mark_of_instruction(pair, index) : ' ', next ? "=>" : "  ",
                program_instruction_text(program, index, text, sizeof(text)));
    if (line.length > LISTED_WIDTH) { /* the output comes first; operands are cut */
        line.length = LISTED_WIDTH - 3;
        text_add(&line, "...");
    }
    text_pad(&line, LISTED_WIDTH + 1);
    text_add(&line, in->origin.layer ? in->origin.layer : "");
    if (in->origin.part && in->origin.part[0])
        text_format(&line, " %s", in->origin.part);
    describe_source(&in->origin.source, source, sizeof(source));
    if (source[0]) {
        text_pad(&line, SOURCE_COLUMN);
        text_add(&line, source);
        if (in->origin.source.key && (listed == LISTED_PLAIN || listed == LISTED_HERE))
            text_format(&line, " %s", in->origin.source.key);
    }
    say(debugger, "%s\n", line.data);
    text_free(&line);
}

/* One limited metric. */
struct measure {
    const char *name;
    double number, limit;
};

static double ratio_of(const struct measure *measure)
{
    if (measure->number == 0)
        return 0;
    double ratio = measure->number / measure->limit;
    return isnan(ratio) ? INFINITY : ratio;
}

static void describe_worst(const struct pair_result *result, struct text *text)
{
    const struct limits *limits = result->limits;
    const struct measure measures[] = {
        {"rms/scale", result->verdict.rms_relative, limits->rms_relative},
        {"rms", result->metrics.rms_difference, limits->rms_absolute},
        {"max/scale", result->verdict.max_relative, limits->max_relative},
        {"max", result->metrics.max_difference, limits->max_absolute}};
    int worst = 0;
    for (int i = 1; i < 4; i++)
        if (ratio_of(&measures[i]) > ratio_of(&measures[worst]))
            worst = i;
    const struct measure *measure = &measures[worst];
    text_format(text, "%s %.1e %s %.1e", measure->name, measure->number,
                measure->number <= measure->limit ? "<=" : ">", measure->limit);
}

static void describe_outcome(const struct pair_result *result, struct text *text)
{
    const struct metrics *metrics = &result->metrics;
    if (!result->compared) {
        text_add(text, "not compared");
    } else if (result->verdict.failures & FAILURE_SHAPE) {
        text_add(text, "shapes differ");
    } else if (result->verdict.failures & FAILURE_NOT_FINITE) {
        text_format(text,
                    "not finite: test %" PRId64 " NaN, %" PRId64 " infinite; reference %" PRId64
                    " NaN, %" PRId64 " infinite",
                    metrics->nan_test, metrics->infinity_test, metrics->nan_reference,
                    metrics->infinity_reference);
    } else if (metrics_same(metrics)) {
        text_add(text, "bit-equal");
    } else {
        describe_worst(result, text);
    }
    if (result->compared && result->sampled)
        text_format(text, " (%" PRId64 " samples)", metrics->count);
}

void describe_result(const struct pair *pair, int value, struct text *text)
{
    describe_outcome(&pair->results[value], text);
}

int describe_whole(const struct debugger *debugger, int value)
{
    const struct team *team = debugger->target->team;
    int tensor = team && debugger->all_ranks ? team_tensor_of(team, debugger->rank, value) : -1;
    return tensor >= 0 && team->tensors[tensor].parts > 1 ? tensor : -1;
}

/* How the tensor compares as it is shown: as a whole only when all of its parts have come. */
static struct pair_result outcome_of(const struct debugger *debugger, int value)
{
    int whole = describe_whole(debugger, value);
    const struct pair_result *own = &debugger->target->pair->results[value];
    const struct team_tensor *tensor = whole >= 0 ? &debugger->target->team->tensors[whole] : NULL;
    if (!tensor || !tensor->compared || !tensor->limits)
        return *own;
    struct pair_result result = *own;
    result.compared = true;
    result.metrics = tensor->metrics;
    result.verdict = tensor->verdict;
    result.limits = tensor->limits;
    return result;
}

void describe_value_line(struct debugger *debugger, int value)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    const struct value *of = &program->values[value];
    char name[256], shape[80];
    struct text text = {0};
    int whole = describe_whole(debugger, value);
    struct pair_result result = outcome_of(debugger, value);
    describe_outcome(&result, &text);
    const char *state = !result.compared          ? ""
                        : result.verdict.failures ? "   DIVERGED"
                                                  : "   within limits";
    struct shape shown = whole >= 0 ? debugger->target->team->tensors[whole].global : of->shape;
    say(debugger, "    %s  %s %s   %s%s\n", program_value_text(program, value, name, sizeof(name)),
        dtype_name(of->dtype), shape_text(shown, shape), text.data, state);
    text_free(&text);
}

void describe_statistics(struct debugger *debugger, const char *label,
                         const struct statistics *statistics)
{
    if (isnan(statistics->minimum)) {
        say(debugger, "    %-10s no finite elements  NaN %" PRId64 "  infinite %" PRId64 "\n",
            label, statistics->nan, statistics->infinite);
        return;
    }
    say(debugger,
        "    %-10s mean %.6g  deviation %.6g  rms %.6g  min %.6g  max %.6g  zeros %" PRId64
        "  NaN %" PRId64 "  infinite %" PRId64 "\n",
        label, statistics->mean, statistics->deviation, statistics->rms, statistics->minimum,
        statistics->maximum, statistics->zeros, statistics->nan, statistics->infinite);
}

static int last_written(const struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    int next = run_next(run);
    if (next == 0 || run->program->instructions[next - 1].output_count == 0)
        return -1;
    return run->program->instructions[next - 1].outputs[0];
}

int describe_pick_value(struct debugger *debugger, const char *text, struct status *status)
{
    struct pair *pair = debugger->target->pair;
    if (*text) {
        int named = tensor_find(pair->test->program, text, run_next(pair->test), status);
        if (named < 0)
            ranks_say_where(debugger, text, status);
        return named;
    }
    if (debugger->last_value >= 0)
        return debugger->last_value;
    int value = first_divergence(pair);
    if (value < 0)
        value = last_written(debugger);
    if (value < 0)
        status_fail(status, STATUS_INVALID,
                    "no tensor was written yet in this step: name one, or run first");
    return value;
}
