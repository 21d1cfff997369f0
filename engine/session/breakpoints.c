#include "engine/session/breakpoints.h"

#include "engine/base/memory.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The "if" between place and condition: a word of its own, outside of an expression's slashes. */
static const char *find_if(const char *text)
{
    const char *at = text;
    while (isspace((unsigned char)*at))
        at++;
    if (*at == '/') {
        const char *slash = strstr(at + 1, "/ if ");
        return slash ? slash + 2 : NULL;
    }
    for (; *at; at++)
        if ((at == text || isspace((unsigned char)at[-1])) && strncmp(at, "if", 2) == 0 &&
            (isspace((unsigned char)at[2]) || !at[2]))
            return at;
    return NULL;
}

bool breakpoint_parse(const struct program *program, int steps, const char *text,
                      struct breakpoint *breakpoint, struct status *status)
{
    *breakpoint = (struct breakpoint){.enabled = true};
    const char *separator = find_if(text);
    size_t length = separator ? (size_t)(separator - text) : strlen(text);
    if (separator) {
        const char *condition = separator + 2;
        while (isspace((unsigned char)*condition))
            condition++;
        breakpoint->condition = condition_parse(condition, status);
        if (!breakpoint->condition)
            return false;
        breakpoint->condition_text = memory_string(condition);
    }
    char *place = memory_string_part(text, length);
    bool ok = place_parse(program, steps, place, &breakpoint->place, status);
    free(place);
    if (!ok)
        breakpoint_release(breakpoint);
    return ok;
}

void breakpoint_release(struct breakpoint *breakpoint)
{
    place_free(&breakpoint->place);
    condition_free(breakpoint->condition);
    free(breakpoint->condition_text);
    free(breakpoint->commands);
    *breakpoint = (struct breakpoint){0};
}

struct breakpoint *breakpoints_add(struct breakpoints *breakpoints,
                                   const struct breakpoint *breakpoint)
{
    ARRAY_PUSH(breakpoints->list, breakpoints->count, breakpoints->capacity, *breakpoint);
    struct breakpoint *added = &breakpoints->list[breakpoints->count - 1];
    added->number = ++breakpoints->next_number;
    return added;
}

void breakpoints_copy(struct breakpoints *breakpoints, const struct breakpoint *breakpoint,
                      const struct program *program, int steps)
{
    struct status ignored = STATUS_NONE;
    struct breakpoint copy = {.number = breakpoint->number,
                              .watch = breakpoint->watch,
                              .temporary = breakpoint->temporary,
                              .enabled = breakpoint->enabled};
    if (!place_parse(program, steps, breakpoint->place.text, &copy.place, &ignored))
        return;
    copy.condition_text = memory_string(breakpoint->condition_text);
    if (copy.condition_text)
        copy.condition = condition_parse(copy.condition_text, &ignored);
    ARRAY_PUSH(breakpoints->list, breakpoints->count, breakpoints->capacity, copy);
}

bool breakpoint_set_condition(struct breakpoint *breakpoint, const char *text,
                              struct status *status)
{
    struct condition *condition = *text ? condition_parse(text, status) : NULL;
    if (*text && !condition)
        return false;
    condition_free(breakpoint->condition);
    free(breakpoint->condition_text);
    breakpoint->condition = condition;
    breakpoint->condition_text = *text ? memory_string(text) : NULL;
    return true;
}

struct breakpoint *breakpoints_find(struct breakpoints *breakpoints, int number)
{
    for (int i = 0; i < breakpoints->count; i++)
        if (breakpoints->list[i].number == number)
            return &breakpoints->list[i];
    return NULL;
}

bool breakpoints_remove(struct breakpoints *breakpoints, int number)
{
    struct breakpoint *found = breakpoints_find(breakpoints, number);
    if (!found)
        return false;
    breakpoint_release(found);
    int after = breakpoints->count - (int)(found - breakpoints->list) - 1;
    memmove(found, found + 1, (size_t)after * sizeof(*found));
    breakpoints->count--;
    return true;
}

void breakpoints_clear(struct breakpoints *breakpoints)
{
    for (int i = 0; i < breakpoints->count; i++)
        breakpoint_release(&breakpoints->list[i]);
    free(breakpoints->list);
    *breakpoints = (struct breakpoints){.next_number = breakpoints->next_number};
}

void breakpoints_rebind(struct breakpoints *breakpoints, const struct program *program, int steps)
{
    for (int i = 0; i < breakpoints->count; i++) {
        struct breakpoint *breakpoint = &breakpoints->list[i];
        struct status ignored = STATUS_NONE;
        struct place place;
        breakpoint->lost = !place_parse(program, steps, breakpoint->place.text, &place, &ignored);
        breakpoint->has_last = false;
        if (breakpoint->lost)
            continue;
        place_free(&breakpoint->place);
        breakpoint->place = place;
    }
}

bool breakpoint_is_after(const struct breakpoint *breakpoint)
{
    return breakpoint->watch || breakpoint->place.kind == PLACE_TENSOR ||
           (breakpoint->condition && condition_uses_tensor(breakpoint->condition));
}

static void fill_comparison(const struct pair_result *result, double *variables)
{
    const struct metrics *metrics = &result->metrics;
    const double numbers[] = {
        [VARIABLE_REL_RMS] = result->verdict.rms_relative,
        [VARIABLE_REL_MAX] = result->verdict.max_relative,
        [VARIABLE_RMS] = metrics->rms_difference,
        [VARIABLE_MAX] = metrics->max_difference,
        [VARIABLE_COSINE] = metrics->cosine,
        [VARIABLE_NORM_RATIO] =
            metrics->rms_reference > 0 ? metrics->rms_test / metrics->rms_reference : NAN,
        [VARIABLE_DIFFERENT] = (double)metrics->different,
        [VARIABLE_ULP] = (double)metrics->max_ulp,
        [VARIABLE_WORST] = result->verdict.worst,
        [VARIABLE_DIVERGED] = result->verdict.failures != 0,
        [VARIABLE_NAN] = (double)metrics->nan_test,
        [VARIABLE_INF] = (double)metrics->infinity_test,
    };
    memcpy(variables, numbers, sizeof(numbers));
}

/* NaN and infinities can be counted without a reference. */
static void fill_not_finite(struct pair *pair, int value, double *variables)
{
    const struct value *of = &pair->test->program->values[value];
    void *buffer = NULL;
    struct tensor view;
    struct status ignored = STATUS_NONE;
    if (!dtype_is_float(of->dtype) ||
        !executor_view(pair->test->executor, value, &buffer, &view, &ignored))
        return;
    int64_t nan, infinite;
    statistics_not_finite(&view, &nan, &infinite);
    free(buffer);
    variables[VARIABLE_NAN] = (double)nan;
    variables[VARIABLE_INF] = (double)infinite;
}

static void fill_variables(struct pair *pair, int step, int instruction, int value,
                           double *variables)
{
    const struct origin *origin = &pair->test->program->instructions[instruction].origin;
    for (int i = 0; i < VARIABLE_COUNT; i++)
        variables[i] = NAN;
    variables[VARIABLE_STEP] = step + 1;
    variables[VARIABLE_RANK] = pair->test->program->seat.rank;
    variables[VARIABLE_MB] = origin->micro_batch;
    variables[VARIABLE_MS] = origin->micro_sequence;
    variables[VARIABLE_STAGE] = origin->stage;
    variables[VARIABLE_INSTRUCTION] = instruction;
    if (value >= 0 && pair->results[value].compared)
        fill_comparison(&pair->results[value], variables);
    else if (value >= 0)
        fill_not_finite(pair, value, variables);
}

static bool is_active(const struct breakpoint *breakpoint, int step)
{
    return breakpoint->enabled && !breakpoint->lost &&
           (breakpoint->place.step < 0 || breakpoint->place.step == step);
}

bool breakpoint_stops_before(const struct breakpoint *breakpoint, struct pair *pair, int step,
                             int instruction)
{
    const struct program *program = pair->test->program;
    if (!is_active(breakpoint, step) || breakpoint_is_after(breakpoint) ||
        !place_entered(program, &breakpoint->place, instruction))
        return false;
    if (!breakpoint->condition)
        return true;
    double variables[VARIABLE_COUNT];
    fill_variables(pair, step, instruction, -1, variables);
    return condition_holds(breakpoint->condition, variables);
}

static bool is_watched(const struct place *place, int value)
{
    if (place->kind != PLACE_TENSOR)
        return true;
    for (int i = 0; i < place->value_count; i++)
        if (place->values[i] == value)
            return true;
    return false;
}

bool breakpoint_stops_after(const struct breakpoint *breakpoint, struct pair *pair,
                            const struct pair_event *event, int *value)
{
    const struct program *program = pair->test->program;
    if (!is_active(breakpoint, event->step) || !breakpoint_is_after(breakpoint) ||
        !place_matches(program, &breakpoint->place, event->instruction))
        return false;
    const struct instruction *in = &program->instructions[event->instruction];
    for (int k = 0; k < in->output_count; k++) {
        if (!is_watched(&breakpoint->place, in->outputs[k]))
            continue;
        double variables[VARIABLE_COUNT];
        if (breakpoint->condition)
            fill_variables(pair, event->step, event->instruction, in->outputs[k], variables);
        if (breakpoint->condition && !condition_holds(breakpoint->condition, variables))
            continue;
        *value = in->outputs[k];
        return true;
    }
    return false;
}

const char *breakpoint_text(const struct breakpoint *breakpoint, char *buffer, int size)
{
    const char *kind = breakpoint->watch       ? "watchpoint"
                       : breakpoint->temporary ? "temporary breakpoint"
                                               : "breakpoint";
    snprintf(buffer, (size_t)size, "%s %d, %s%s%s", kind, breakpoint->number,
             breakpoint->place.text, breakpoint->condition_text ? " if " : "",
             breakpoint->condition_text ? breakpoint->condition_text : "");
    return buffer;
}
