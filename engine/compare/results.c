#include "engine/compare/results.h"

#include "engine/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[TENSOR_KINDS] = {
    [TENSOR_FORWARD] = "fw",      [TENSOR_BACKWARD] = "bw", [TENSOR_GRADIENT] = "gradient",
    [TENSOR_PARAMETER] = "param", [TENSOR_STATE] = "state", [TENSOR_OTHER] = "other",
};

enum tensor_kind tensor_kind_of(const char *name)
{
    size_t length = strcspn(name, " ");
    for (int kind = 0; kind < TENSOR_OTHER; kind++)
        if (strlen(kind_names[kind]) == length && strncmp(name, kind_names[kind], length) == 0)
            return (enum tensor_kind)kind;
    return TENSOR_OTHER;
}

const char *tensor_kind_name(enum tensor_kind kind)
{
    return kind_names[kind];
}

bool tensor_result_was_compared(const struct tensor_result *result)
{
    return !(result->verdict.failures &
             (FAILURE_MISSING | FAILURE_EXTRA | FAILURE_SHAPE | FAILURE_SAMPLING));
}

int64_t tensor_result_elements(const struct tensor_result *result)
{
    bool in_test = result->shape_test.rank > 0;
    return shape_elements(in_test ? result->shape_test : result->shape_reference);
}

static char *step_name(struct comparison_log *log, const char *step)
{
    for (int i = log->step_count - 1; i >= 0; i--)
        if (strcmp(log->steps[i], step) == 0)
            return log->steps[i];
    ARRAY_PUSH(log->steps, log->step_count, log->step_capacity, memory_string(step));
    return log->steps[log->step_count - 1];
}

/* Brings the summary up to date with one more result. */
static void count(struct comparison_log *log, int index)
{
    const struct tensor_result *result = &log->results[index];
    struct kind_total *kind = &log->kinds[tensor_kind_of(result->name)];
    kind->tensors++;
    log->elements_whole += tensor_result_elements(result);
    if (tensor_result_was_compared(result)) {
        log->compared++;
        log->elements += result->metrics.count;
    }
    if (result->verdict.failures) {
        kind->failed++;
        log->failed++;
        if (log->first_failure < 0)
            log->first_failure = index;
    } else if (log->closest < 0 ||
               result->verdict.worst > log->results[log->closest].verdict.worst) {
        log->closest = index;
    }
}

int comparison_log_add(struct comparison_log *log, const struct tensor_result *result)
{
    if (log->count == 0)
        log->first_failure = log->closest = -1;
    struct tensor_result copy = *result;
    copy.step = step_name(log, result->step);
    copy.name = memory_string(result->name);
    copy.worst = NULL;
    if (result->worst_count > 0) {
        size_t size = (size_t)result->worst_count * sizeof(*result->worst);
        copy.worst = memcpy(memory_zeroed(1, size), result->worst, size);
    }
    ARRAY_PUSH(log->results, log->count, log->capacity, copy);
    count(log, log->count - 1);
    return log->count - 1;
}

void comparison_log_problem(struct comparison_log *log, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ARRAY_PUSH(log->problems, log->problem_count, log->problem_capacity,
               memory_format_list(format, arguments));
    va_end(arguments);
}

void comparison_log_note(struct comparison_log *log, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    ARRAY_PUSH(log->notes, log->note_count, log->note_capacity,
               memory_format_list(format, arguments));
    va_end(arguments);
}

static void free_result(struct tensor_result *result)
{
    free((void *)(uintptr_t)result->name); /* the log's own copies */
    free((void *)(uintptr_t)result->worst);
}

bool comparison_log_passed(const struct comparison_log *log)
{
    return log->elements > 0 && log->failed == 0 && log->problem_count == 0;
}

const struct tensor_result *comparison_log_first_failure(const struct comparison_log *log)
{
    return log->count > 0 && log->first_failure >= 0 ? &log->results[log->first_failure] : NULL;
}

const struct tensor_result *comparison_log_closest(const struct comparison_log *log)
{
    return log->count > 0 && log->closest >= 0 ? &log->results[log->closest] : NULL;
}

void comparison_log_free(struct comparison_log *log)
{
    for (int i = 0; i < log->count; i++)
        free_result(&log->results[i]);
    for (int i = 0; i < log->step_count; i++)
        free(log->steps[i]);
    for (int i = 0; i < log->problem_count; i++)
        free(log->problems[i]);
    for (int i = 0; i < log->note_count; i++)
        free(log->notes[i]);
    free(log->results);
    free(log->steps);
    free(log->problems);
    free(log->notes);
    *log = (struct comparison_log){0};
}
