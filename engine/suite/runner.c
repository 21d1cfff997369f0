#include "engine/suite/runner.h"

#include "engine/base/memory.h"
#include "engine/suite/runner_internal.h"

#include <stdlib.h>

bool runner_is_done(const struct runner *runner)
{
    return runner->stopped || runner->done == runner->options->count ||
           (runner->options->interrupted && *runner->options->interrupted);
}

void runner_finish(struct runner *runner, int test)
{
    const struct runner_options *options = runner->options;
    const struct outcome *outcome = &runner->outcomes[test];
    runner->states[test] = TEST_DONE;
    runner->done++;
    runner->failures += outcome->kind == OUTCOME_FAILED;
    if (options->maximum_failures > 0 && runner->failures >= options->maximum_failures)
        runner->stopped = true;
    if (options->report)
        options->report(options->report_context, test, outcome, runner->done);
}

/* Why the test cannot run: a dependency that did not pass. NULL if there is none. */
static char *obstacle(const struct runner *runner, int test)
{
    const struct test_list *list = runner->options->list;
    const struct test_case *of = &list->tests[test];
    for (int i = 0; i < of->dependency_count; i++) {
        const struct outcome *outcome = &runner->outcomes[of->dependencies[i]];
        const char *id = list->tests[of->dependencies[i]].id;
        if (outcome->kind == OUTCOME_FAILED)
            return memory_format("depends on %s, which failed", id);
        if (outcome->kind == OUTCOME_SKIPPED)
            return memory_format("depends on %s, which was skipped", id);
        if (outcome->kind == OUTCOME_NONE)
            return memory_format("depends on %s, which was not run", id);
    }
    return NULL;
}

static bool is_ready(const struct runner *runner, int test)
{
    const struct test_case *of = &runner->options->list->tests[test];
    for (int i = 0; i < of->dependency_count; i++)
        if (runner->states[of->dependencies[i]] != TEST_DONE)
            return false;
    return true;
}

int runner_next(struct runner *runner)
{
    for (int i = 0; i < runner->options->count && !runner_is_done(runner); i++) {
        int test = runner->options->order[i];
        if (runner->states[test] != TEST_WAITING || !is_ready(runner, test))
            continue;
        runner->states[test] = TEST_RUNNING;
        char *reason = obstacle(runner, test);
        if (!reason)
            return test;
        outcome_set(&runner->outcomes[test], OUTCOME_SKIPPED, "%s", reason);
        free(reason);
        runner_finish(runner, test);
    }
    return -1;
}

static void run_here(struct runner *runner)
{
    int test;
    while ((test = runner_next(runner)) >= 0) {
        test_execute(runner->options->environment, runner->options->list, test,
                     &runner->outcomes[test]);
        if (runner->outcomes[test].kind == OUTCOME_NONE)
            return; /* interrupted */
        runner_finish(runner, test);
    }
}

bool runner_run(const struct runner_options *options, struct outcome *outcomes,
                struct status *status)
{
    struct runner runner = {.options = options, .outcomes = outcomes};
    runner.states = memory_zeroed((size_t)options->list->test_count, sizeof(*runner.states));
    for (int i = 0; i < options->list->test_count; i++)
        runner.states[i] = TEST_DONE;
    for (int i = 0; i < options->count; i++)
        runner.states[options->order[i]] = TEST_WAITING;
    bool ok = true;
    if (options->workers > 1)
        ok = runner_run_workers(&runner, status);
    else
        run_here(&runner);
    free(runner.states);
    return ok;
}
