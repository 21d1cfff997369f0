#include "ui/filter.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void filter_free(struct filter *filter)
{
    for (int i = 0; i < filter->word_count; i++)
        free(filter->words[i]);
    for (int i = 0; i < filter->condition_count; i++)
        condition_free(filter->conditions[i]);
    free(filter->words);
    free(filter->conditions);
    free(filter->text);
    *filter = (struct filter){0};
}

static char *trimmed(const char *text, size_t length)
{
    while (length > 0 && (*text == ' ' || *text == '"')) {
        text++;
        length--;
    }
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '"'))
        length--;
    return memory_string_part(text, length);
}

static bool add_part(struct filter *filter, char *part, struct status *status)
{
    const char *tilde = strchr(part, '~');
    struct status why = STATUS_NONE;
    if (!part[0])
        return status_fail(status, STATUS_INVALID,
                           "filter: a part of a name or a condition is missing beside \"&&\"");
    if (tilde) {
        ARRAY_PUSH(filter->words, filter->word_count, filter->word_capacity,
                   trimmed(tilde + 1, strlen(tilde + 1)));
        return true;
    }
    struct condition *condition = condition_parse(part, &why);
    if (condition)
        ARRAY_PUSH(filter->conditions, filter->condition_count, filter->condition_capacity,
                   condition);
    else if (strpbrk(part, "<>=!|()"))
        return status_fail(status, STATUS_INVALID, "%s", why.text);
    else
        ARRAY_PUSH(filter->words, filter->word_count, filter->word_capacity, memory_string(part));
    return true;
}

bool filter_set(struct filter *filter, const char *text, struct status *status)
{
    struct filter made = {0};
    bool ok = true;
    for (const char *part = text; ok && *text && part;) {
        const char *end = strstr(part, "&&");
        char *copy = trimmed(part, end ? (size_t)(end - part) : strlen(part));
        ok = add_part(&made, copy, status);
        free(copy);
        part = end ? end + 2 : NULL;
    }
    if (!ok) {
        filter_free(&made);
        return false;
    }
    made.text = text[0] ? memory_string(text) : NULL;
    filter_free(filter);
    *filter = made;
    return true;
}

static void fill_variables(double *variables, const struct program_picture *program,
                           const struct picture_result *result, int step)
{
    const struct metrics *metrics = &result->metrics;
    int producer = program->values[result->value].producer;
    for (int i = 0; i < VARIABLE_COUNT; i++)
        variables[i] = NAN;
    variables[VARIABLE_WORST] = result->worst;
    variables[VARIABLE_REL_RMS] = result->error;
    variables[VARIABLE_DIVERGED] = result->status >= MARK_DIVERGED;
    variables[VARIABLE_STEP] = step + 1;
    variables[VARIABLE_RANK] = 0;
    variables[VARIABLE_INSTRUCTION] = producer;
    if (producer >= 0) {
        variables[VARIABLE_MB] = program->instructions[producer].micro_batch;
        variables[VARIABLE_MS] = program->instructions[producer].micro_sequence;
        variables[VARIABLE_STAGE] = program->instructions[producer].stage;
    }
    if (!result->measured)
        return;
    variables[VARIABLE_REL_RMS] = result->verdict.rms_relative;
    variables[VARIABLE_REL_MAX] = result->verdict.max_relative;
    variables[VARIABLE_RMS] = metrics->rms_difference;
    variables[VARIABLE_MAX] = metrics->max_difference;
    variables[VARIABLE_COSINE] = metrics->cosine;
    variables[VARIABLE_NORM_RATIO] = metrics->rms_test / metrics->rms_reference;
    variables[VARIABLE_DIFFERENT] = (double)metrics->different;
    variables[VARIABLE_ULP] = (double)metrics->max_ulp;
    variables[VARIABLE_NAN] = (double)metrics->nan_test;
    variables[VARIABLE_INF] = (double)metrics->infinity_test;
}

bool filter_passes(const struct filter *filter, const struct program_picture *program,
                   const struct picture_result *result, int step)
{
    double variables[VARIABLE_COUNT];
    for (int i = 0; i < filter->word_count; i++)
        if (!strstr(program->values[result->value].name, filter->words[i]))
            return false;
    if (filter->condition_count > 0)
        fill_variables(variables, program, result, step);
    for (int i = 0; i < filter->condition_count; i++)
        if (!condition_holds(filter->conditions[i], variables))
            return false;
    return true;
}
