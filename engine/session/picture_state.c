#include "engine/session/debugger.h"
#include "engine/session/pictures.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>

/* The comparisons of the pair's own step are at hand in full; of other steps the record keeps how
 * bad they were. */
static enum picture_status status_of(const struct record_entry *entry,
                                     const struct pair_result *result)
{
    bool not_finite = result ? (result->verdict.failures & FAILURE_NOT_FINITE) != 0
                             : entry->failed && isnan(entry->error);
    if (not_finite)
        return MARK_NAN;
    if (entry->failed)
        return MARK_DIVERGED;
    bool same = result ? metrics_same(&result->metrics) : entry->worst == 0;
    return same ? MARK_SAME : MARK_WITHIN;
}

static const struct pair_result *result_of(const struct pair *pair, int step, int value)
{
    if (pair->entered_step != step || !pair->results[value].compared)
        return NULL;
    return &pair->results[value];
}

static void add_result(struct state_picture *picture, int *capacity, int value,
                       const struct record_entry *entry, const struct pair_result *result)
{
    struct picture_result row = {.value = value,
                                 .status = status_of(entry, result),
                                 .worst = entry->worst,
                                 .error = entry->error,
                                 .measured = result != NULL};
    if (result) {
        row.metrics = result->metrics;
        row.verdict = result->verdict;
        row.sampled = result->sampled;
    }
    ARRAY_PUSH(picture->results, picture->result_count, *capacity, row);
}

/* The worst of an instruction's outputs stands for the instruction. */
static void mark_instruction(struct picture_mark *mark, const struct picture_result *result)
{
    if (result->status > mark->status)
        mark->status = result->status;
    if (!(mark->worst >= result->worst))
        mark->worst = result->worst;
    if (!(mark->error >= result->error))
        mark->error = result->error;
}

static void mark_all(struct state_picture *picture, const struct debugger *debugger)
{
    const struct pair *pair = debugger->target->pair;
    const struct program *program = pair->test->program;
    int capacity = 0;
    for (int i = 0; i < program->instruction_count; i++) {
        const struct instruction *in = &program->instructions[i];
        struct picture_mark *mark = &picture->instructions[i];
        bool ran =
            picture->step < picture->now || (picture->step == picture->now && i < picture->next);
        *mark = (struct picture_mark){
            .status = ran ? MARK_DONE : MARK_PENDING, .worst = NAN, .error = NAN};
        for (int k = 0; k < in->output_count; k++) {
            int value = in->outputs[k];
            const struct record_entry *entry = record_at(&debugger->record, picture->step, value);
            if (!entry->compared)
                continue;
            add_result(picture, &capacity, value, entry, result_of(pair, picture->step, value));
            mark_instruction(mark, &picture->results[picture->result_count - 1]);
        }
    }
}

static void mark_breakpoints(struct state_picture *picture, const struct debugger *debugger)
{
    const struct program *program = debugger_program(debugger);
    for (int b = 0; b < debugger->breakpoints.count; b++) {
        const struct breakpoint *breakpoint = &debugger->breakpoints.list[b];
        bool after = breakpoint_is_after(breakpoint);
        char mark = breakpoint->enabled ? 2 : 1;
        for (int i = 0; !breakpoint->lost && i < program->instruction_count; i++) {
            bool here = after ? place_matches(program, &breakpoint->place, i)
                              : place_entered(program, &breakpoint->place, i);
            if (!here || picture->instructions[i].breakpoint >= mark)
                continue;
            picture->instructions[i].breakpoint = mark;
            picture->instructions[i].number = breakpoint->number;
        }
    }
}

static void list_breakpoints(struct state_picture *picture, const struct breakpoints *breakpoints)
{
    picture->breakpoint_count = breakpoints->count;
    picture->breakpoints = memory_zeroed((size_t)breakpoints->count, sizeof(*picture->breakpoints));
    for (int b = 0; b < breakpoints->count; b++) {
        const struct breakpoint *from = &breakpoints->list[b];
        picture->breakpoints[b] = (struct picture_breakpoint){
            .number = from->number,
            .watch = from->watch,
            .temporary = from->temporary,
            .enabled = from->enabled,
            .lost = from->lost,
            .commands = memory_string(from->commands),
            .text = from->condition_text
                        ? memory_format("%s if %s", from->place.text, from->condition_text)
                        : memory_string(from->place.text)};
    }
}

/* Between two steps it is the finished one that there is something to see of. */
static int step_to_show(const struct state_picture *picture)
{
    return picture->next == 0 && picture->now > 0 ? picture->now - 1 : picture->now;
}

struct state_picture *picture_of_state(const struct debugger *debugger, int step)
{
    const struct pair *pair = debugger->target->pair;
    struct state_picture *picture = memory_zeroed(1, sizeof(*picture));
    debugger_place(debugger, &picture->now, &picture->next);
    picture->run = memory_string(debugger->target->name);
    picture->reference = memory_string(debugger->target->reference_name);
    picture->steps = pair->test->steps;
    picture->step = step >= 0 && step < picture->steps ? step : step_to_show(picture);
    picture->instruction_count = pair->test->program->instruction_count;
    picture->instructions =
        memory_zeroed((size_t)picture->instruction_count, sizeof(*picture->instructions));
    picture->focus = debugger->last_value;
    picture->has_reference = pair->reference || pair->options.trace;
    picture->first_step = picture->first_value = -1;
    record_first_failure(&debugger->record, pair->test->program, &picture->first_step,
                         &picture->first_value);
    mark_all(picture, debugger);
    mark_breakpoints(picture, debugger);
    list_breakpoints(picture, &debugger->breakpoints);
    return picture;
}

void state_picture_free(struct state_picture *picture)
{
    if (!picture)
        return;
    for (int b = 0; b < picture->breakpoint_count; b++) {
        free(picture->breakpoints[b].text);
        free(picture->breakpoints[b].commands);
    }
    free(picture->breakpoints);
    free(picture->run);
    free(picture->reference);
    free(picture->instructions);
    free(picture->results);
    free(picture);
}
