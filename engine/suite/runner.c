#include "engine/suite/runner.h"

#include "engine/base/memory.h"
#include "engine/suite/runner_internal.h"

#include <stdlib.h>
#include <string.h>

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

/* The test whose variant it is compared with, if that is among its dependencies; else -1. */
static int reference_of(const struct test_list *list, int test)
{
    const struct test_case *of = &list->tests[test];
    for (int i = 0; of->reference && i < of->dependency_count; i++) {
        const char *variant = list->tests[of->dependencies[i]].variant;
        if (variant && strcmp(variant, of->reference) == 0)
            return of->dependencies[i];
    }
    return -1;
}

/* How little a test suits a worker. */
enum { SUITS = 0, SUITS_ANY, SUITS_ANOTHER, SUITS_NONE };

static int fit(const struct runner *runner, int test, int worker)
{
    int reference = reference_of(runner->options->list, test);
    if (runner->options->workers <= 1)
        return SUITS;
    if (reference < 0 || runner->run_by[reference] < 0)
        return SUITS_ANY;
    return runner->run_by[reference] == worker ? SUITS : SUITS_ANOTHER;
}

/* Whether the test may run now; one that never may is skipped. */
static bool may_run(struct runner *runner, int test)
{
    if (runner->states[test] != TEST_WAITING || !is_ready(runner, test))
        return false;
    char *reason = obstacle(runner, test);
    if (!reason)
        return true;
    outcome_set(&runner->outcomes[test], OUTCOME_SKIPPED, "%s", reason);
    free(reason);
    runner_finish(runner, test);
    return false;
}

int runner_next(struct runner *runner, int worker)
{
    int best = -1, best_fit = SUITS_NONE;
    for (int i = 0; i < runner->options->count && best_fit != SUITS; i++) {
        int test = runner->options->order[i];
        if (runner_is_done(runner) || !may_run(runner, test))
            continue;
        int fits = fit(runner, test, worker);
        if (fits < best_fit) {
            best = test;
            best_fit = fits;
        }
    }
    if (best < 0 || runner_is_done(runner))
        return -1;
    runner->states[best] = TEST_RUNNING;
    runner->run_by[best] = worker;
    return best;
}

void runner_forget(struct runner *runner, int worker)
{
    for (int i = 0; i < runner->options->list->test_count; i++)
        if (runner->run_by[i] == worker)
            runner->run_by[i] = -1;
}

static void run_here(struct runner *runner)
{
    int test;
    while ((test = runner_next(runner, 0)) >= 0) {
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
    runner.run_by = memory_zeroed((size_t)options->list->test_count, sizeof(*runner.run_by));
    for (int i = 0; i < options->list->test_count; i++) {
        runner.states[i] = TEST_DONE;
        runner.run_by[i] = -1;
    }
    for (int i = 0; i < options->count; i++)
        runner.states[options->order[i]] = TEST_WAITING;
    bool ok = true;
    if (options->workers > 1)
        ok = runner_run_workers(&runner, status);
    else
        run_here(&runner);
    free(runner.run_by);
    free(runner.states);
    return ok;
}
