/* The verdict of a comparison, in one line, in full, and as a command to go on with. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/suite/execute_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In single quotes if a shell would not take it as one plain word. */
static void add_word(struct text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./=,+:@%";
    if (word[0] && word[strspn(word, plain)] == '\0') {
        text_format(text, " %s", word);
        return;
    }
    text_add(text, " '");
    for (; *word; word++)
        *word == '\'' ? text_add(text, "'\\''") : text_add_part(text, word, 1);
    text_add(text, "'");
}

/* The command line that stops the debugger at the first divergence. */
static char *debug_command(const struct execution *execution, const struct config *config,
                           const struct tensor_result *first)
{
    const struct environment *environment = execution->environment;
    struct text text = {0};
    text_format(&text, "lockstep debug %s", config->name);
    for (int i = 0; environment->search && i < environment->search->directory_count; i++) {
        text_add(&text, " --config-dir");
        add_word(&text, environment->search->directories[i]);
    }
    for (int i = 0; environment->search && i < environment->search->override_count; i++) {
        text_add(&text, " --set");
        add_word(&text, environment->search->overrides[i]);
    }
    if (strcmp(environment->device_name, "auto") != 0) {
        text_add(&text, " --device");
        add_word(&text, environment->device_name);
    }
    if (environment->fault) {
        text_add(&text, " --fault");
        add_word(&text, environment->fault);
    }
    if (!first || strcmp(first->step, "init") != 0)
        text_add(&text, " -ex 'stop on divergence' -ex run");
    return text_take(&text);
}

/* The tensor furthest beyond its limit, or closest to it, of those whose elements met. */
static const struct tensor_result *find_worst(const struct comparison_log *log)
{
    const struct tensor_result *worst = NULL;
    for (int i = 0; i < log->count; i++) {
        const struct tensor_result *result = &log->results[i];
        if (tensor_result_was_compared(result) && !isnan(result->verdict.worst) &&
            (!worst || result->verdict.worst > worst->verdict.worst))
            worst = result;
    }
    return worst;
}

static void fail(struct execution *execution, const struct comparison *comparison,
                 const struct comparison_log *log)
{
    struct outcome *outcome = execution->outcome;
    const struct tensor_result *first = comparison_log_first_failure(log);
    struct report_options options = {.title = comparison->title,
                                     .reference = comparison->reference->name,
                                     .test = comparison->test->name,
                                     .samples = 2,
                                     .failures = 2};
    struct text report = {0};
    comparison_log_report(log, &options, &report);
    outcome->detail = text_take(&report);
    outcome->debug = debug_command(execution, comparison->test, first);
    if (first)
        outcome_set(outcome, OUTCOME_FAILED, "first divergence: %s, %s", first->step, first->name);
    else if (log->problem_count > 0)
        outcome_set(outcome, OUTCOME_FAILED, "%s", log->problems[0]);
    else
        outcome_set(outcome, OUTCOME_FAILED, "nothing was compared");
}

/* The limits of the head's loss, for as many losses as there are heads. */
static struct limits loss_limits(const struct comparison *comparison, const char *step)
{
    struct limits limits = *tolerances_find(comparison->tolerances, step, "fw head.loss");
    limits.rms_absolute *= comparison->test->base_model.prediction_heads;
    limits.max_absolute *= comparison->test->base_model.prediction_heads;
    return limits;
}

static bool losses_agree(double reference, double test, const struct limits *limits)
{
    struct tensor there = tensor_of(&reference, DTYPE_F64, shape_of1(1));
    struct tensor here = tensor_of(&test, DTYPE_F64, shape_of1(1));
    struct metrics metrics;
    metrics_compute(&there, &here, 1, 1, &metrics);
    return limits->ignore || !metrics_judge(&metrics, limits).failures;
}

void execution_judge_losses(const struct outcome *outcome, const struct comparison *comparison,
                            const struct step_report *reference, int steps,
                            struct comparison_log *log)
{
    if (log->failed > 0 || log->problem_count > 0)
        return;
    for (int i = 0; i < outcome->step_count && i < steps; i++) {
        char step[32];
        struct limits limits = loss_limits(comparison, run_step_name(i, step));
        if (!losses_agree(reference[i].loss, outcome->steps[i].loss, &limits))
            comparison_log_problem(log, "%s: the step's loss is %.7g, in %s %.7g", step,
                                   outcome->steps[i].loss, comparison->reference->name,
                                   reference[i].loss);
    }
}

void execution_judge(struct execution *execution, const struct comparison *comparison,
                     const struct comparison_log *log)
{
    struct outcome *outcome = execution->outcome;
    struct text json = {0};
    comparison_log_json(log, &json);
    outcome->comparison = text_take(&json);
    outcome->tensors = log->compared;
    outcome->elements = log->elements;
    outcome->elements_whole = log->elements_whole;
    bool passed = comparison_log_passed(log);
    const struct tensor_result *closest = passed ? comparison_log_closest(log) : find_worst(log);
    if (closest) {
        outcome->closest = memory_string(closest->name);
        outcome->worst = closest->verdict.worst;
    }
    if (!passed)
        fail(execution, comparison, log);
    else
        outcome_set(outcome, OUTCOME_PASSED, "%s", "");
}
