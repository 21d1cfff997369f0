#include "engine/suite/execute.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/tables.h"
#include "engine/program/faults.h"
#include "engine/suite/execute_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void environment_close(struct environment *environment)
{
    references_free(&environment->references);
    rank_pool_free(environment->pool);
    capture_free(environment->capture);
    comm_close(environment->comm);
    device_close(environment->device);
    environment->comm = NULL;
    environment->device = NULL;
    environment->pool = NULL;
    environment->capture = NULL;
}

static bool environment_open(struct environment *environment, struct status *status)
{
    struct device_options options = {
        .threads = environment->threads, .index = environment->gpu, .counts_round = true};
    if (environment->device)
        return true;
    environment->device = device_open(environment->device_name, &options, status);
    if (!environment->device)
        return false;
    environment->comm = comm_self();
    return true;
}

bool execution_goes_on(const struct execution *execution, struct status *status)
{
    const volatile sig_atomic_t *interrupted = execution->environment->interrupted;
    if (interrupted && *interrupted)
        return interrupt_fail(status);
    return true;
}

struct run_options execution_options(const struct execution *execution)
{
    const struct environment *environment = execution->environment;
    struct run_options options = {0};
    bool chosen =
        !environment->choices || environment->choices[execution->test].choice == CHOICE_RUN;
    if (environment->fault && chosen) {
        options.change = faults_change;
        options.change_context = (void *)(uintptr_t)environment->fault;
    }
    return options;
}

void execution_take_steps(struct execution *execution, const struct run *run)
{
    struct outcome *outcome = execution->outcome;
    free(outcome->steps);
    outcome->steps = memory_zeroed((size_t)run->reported, sizeof(*outcome->steps));
    outcome->step_count = run->reported;
    if (run->reported > 0)
        memcpy(outcome->steps, run->reports, (size_t)run->reported * sizeof(*outcome->steps));
    outcome_judge_steps(outcome, run->steps);
}

void outcome_judge_steps(struct outcome *outcome, int steps)
{
    for (int i = 0; i < outcome->step_count; i++) {
        const struct step_report *step = &outcome->steps[i];
        if (!isfinite(step->loss))
            outcome_set(outcome, OUTCOME_FAILED, "the loss of step %d is %g", step->step,
                        step->loss);
        else if (!isfinite(step->gradient_norm) && !step->skipped)
            outcome_set(outcome, OUTCOME_FAILED, "the gradient norm of step %d is %g", step->step,
                        step->gradient_norm);
    }
    if (outcome->step_count < steps)
        outcome_set(outcome, OUTCOME_FAILED, "only %d of %d steps were run", outcome->step_count,
                    steps);
}

/* Bytes that the run's values use at most. */
static double allocated(const struct run *run)
{
    const struct memory_plan *plan = run->executor->plan;
    return (double)(plan->persistent_bytes + plan->workspace_bytes + plan->live[plan->peak]);
}

void execution_take_memory(struct execution *execution, const struct run *run,
                           const struct run *other)
{
    struct resources *resources = &execution->outcome->resources;
    struct device_memory memory;
    device_memory(execution->environment->device, &memory);
    resources->max_reserved = (double)memory.peak_total;
    resources->max_allocated = allocated(run) + (other ? allocated(other) : 0);
}

/* "llama/bf4", or NULL after an error. */
static struct config *load(const struct execution *execution, const char *variant,
                           struct status *status)
{
    char *name = memory_format("%s/%s", test_model_name(execution->list, execution->test), variant);
    struct config *config = config_load(execution->environment->search, name, status);
    free(name);
    return config;
}

static bool goes_on(const void *context, struct status *status)
{
    return execution_goes_on(context, status);
}

static bool is_cuda(const struct device *device)
{
    return strcmp(device_name(device), "cuda") == 0;
}

/* How many of the tests that run compare with this baseline; none: not worth recording. */
static int count_users(const struct execution *execution)
{
    const struct test_list *list = execution->list;
    const struct test_choice *choices = execution->environment->choices;
    const struct test_case *baseline = &list->tests[execution->test];
    bool has_cuda = is_cuda(execution->environment->device);
    int users = 0;
    for (int i = 0; i < list->test_count; i++) {
        const struct test_case *other = &list->tests[i];
        bool compares = other->kind == TEST_COMPARISON || other->kind == TEST_DISTRIBUTED;
        bool runs = !other->unsupported && (!other->requires_cuda || has_cuda) &&
                    (!choices || choice_runs(&choices[i]));
        users += compares && runs && other->model == baseline->model &&
                 strcmp(other->reference, baseline->variant) == 0;
    }
    return users;
}

/* Runs the rest of a run. */
static bool execution_run_to_end(struct execution *execution, struct run *run,
                                 struct status *status)
{
    while (!run_ended(run))
        if (!execution_goes_on(execution, status) || !run_one(run, status))
            return false;
    return true;
}

/* Runs to the end; keeps what it computed, with the configuration, in the environment. */
static bool record_run(struct execution *execution, struct config **config, struct run *run,
                       int users, struct status *status)
{
    struct references *references = &execution->environment->references;
    struct recording *recording =
        recording_make(run, &references->spare, goes_on, execution, status);
    if (!recording)
        return false;
    references_add(references, *config, recording, users);
    *config = NULL;
    return true;
}

/* Without labels losses and gradients are 0, and all that is compared with them would pass. */
static void judge_labels(struct outcome *outcome)
{
    bool has_loss = false;
    for (int i = 0; i < outcome->step_count; i++)
        has_loss |= outcome->steps[i].loss != 0;
    if (!has_loss)
        outcome_set(outcome, OUTCOME_FAILED, "the loss of every step is 0: no token has a label");
}

static bool execute_baseline(struct execution *execution, struct status *status)
{
    struct environment *environment = execution->environment;
    const struct test_case *test = &execution->list->tests[execution->test];
    struct run_options options = execution_options(execution);
    struct config *config = load(execution, test->variant, status);
    struct run *run =
        config ? run_create(config, environment->device, environment->comm, &options, status)
               : NULL;
    int users = count_users(execution);
    bool record = run && !options.change && users > 0 && references_fit(run->program, run->steps);
    bool ok = run && (record ? record_run(execution, &config, run, users, status)
                             : execution_run_to_end(execution, run, status));
    if (ok) {
        execution_take_steps(execution, run);
        execution_take_memory(execution, run, NULL);
        judge_labels(execution->outcome);
        outcome_set(execution->outcome, OUTCOME_PASSED, "%s", "");
    }
    run_free(run);
    config_free(config);
    return ok;
}

void execution_end_comparison(struct execution *execution, struct comparison *comparison)
{
    if (comparison->reference)
        references_release(&execution->environment->references, comparison->reference->hash);
    config_free(comparison->test);
    config_free(comparison->reference);
    variant_free(comparison->variant);
    tolerances_free(comparison->tolerances);
    free(comparison->title);
}

bool execution_skip_layout(struct execution *execution, struct comparison *comparison,
                           struct status *status)
{
    outcome_set(execution->outcome, OUTCOME_SKIPPED, "not supported: %s", status->text);
    *status = STATUS_NONE;
    execution_end_comparison(execution, comparison);
    return true;
}

bool comparison_load(const struct execution *execution, struct comparison *comparison,
                     struct status *status)
{
    const struct environment *environment = execution->environment;
    const struct test_case *test = &execution->list->tests[execution->test];
    const char *device = is_cuda(environment->device) ? "cuda" : "cpu";
    struct status ignored = STATUS_NONE;
    comparison->test = load(execution, test->variant, status);
    comparison->reference = load(execution, test->reference, comparison->test ? status : &ignored);
    if (!comparison->test || !comparison->reference ||
        !(comparison->variant = variant_load(environment->search, test->variant, status)))
        return false;
    const char *own = comparison->variant->tolerances;
    const char *table = own ? table_of_wholes(own) : "default";
    comparison->tolerances = tolerances_load(environment->search, table, device, status);
    if (!comparison->tolerances)
        return false;
    double factor = comparison->variant->compare_factor * comparison->test->compare_factor;
    tolerances_rescale(comparison->tolerances, factor);
    comparison->title = memory_format("%s against %s, tolerances %s x %.3g", comparison->test->name,
                                      comparison->reference->name, table, factor);
    return true;
}

/* Runs the pair to its end and gathers what it compares. Not deferred: of a failure the worst
 * elements are looked up at once, as the memory of both sides may be used again. */
static bool run_pair(const struct execution *execution, struct pair *pair,
                     struct comparison_log *log, struct status *status)
{
    struct gathering gathering = {pair, log};
    struct pair_event event;
    char step[32];
    gather_initial(&gathering);
    gather_unmatched(&gathering);
    pair_observe(pair, gather_result, &gathering);
    while (!pair_ended(pair)) {
        if (!execution_goes_on(execution, status))
            return false;
        if (!pair_run_one(pair, &event, status)) {
            comparison_log_problem(log, "%s: %s", run_step_name(pair->test->step, step),
                                   status->text);
            return false;
        }
    }
    pair_observe(pair, NULL, NULL);
    return true;
}

/* Nobody met what a live reference has after the last tensor of its last step. */
bool execution_judge_ends(struct execution *execution, const struct comparison *comparison,
                          struct run *live, const struct recording *recording,
                          struct comparison_log *log, struct status *status)
{
    if (live && !execution_run_to_end(execution, live, status))
        return false;
    execution_judge_losses(execution->outcome, comparison,
                           live ? live->reports : recording->reports,
                           live ? live->reported : recording->steps, log);
    return true;
}

/* Of a GPU that had no place for all of the recording, so that tensors were fetched. */
static void tell_place(struct comparison *comparison, const struct recording *recording,
                       const struct device *device)
{
    char there[32], all[32];
    if (!recording || device_host_memory(device) || recording->there_bytes == recording->bytes)
        return;
    char *title =
        memory_format("%s; %s of the reference's %s are on the GPU, the rest is fetched",
                      comparison->title, text_bytes((uint64_t)recording->there_bytes, there),
                      text_bytes((uint64_t)recording->bytes, all));
    free(comparison->title);
    comparison->title = title;
}

static bool execute_comparison(struct execution *execution, struct status *status)
{
    struct environment *environment = execution->environment;
    struct comparison comparison = {0};
    struct comparison_log log = {0};
    struct pair *pair = NULL;
    if (comparison_load(execution, &comparison, status)) {
        const struct recording *recording =
            references_find(&environment->references, comparison.reference->hash);
        struct pair_options options = {.test = comparison.test,
                                       .reference = recording ? NULL : comparison.reference,
                                       .recording = recording,
                                       .tolerances = comparison.tolerances,
                                       .device = environment->device,
                                       .comm = environment->comm,
                                       .test_options = execution_options(execution),
                                       .threads = environment->threads};
        pair = pair_create(&options, status);
    } else if (status->code == STATUS_UNSUPPORTED) {
        return execution_skip_layout(execution, &comparison, status);
    }
    bool ok = pair && run_pair(execution, pair, &log, status);
    if (ok) {
        tell_place(&comparison, pair->options.recording, environment->device);
        execution_take_steps(execution, pair->test);
        execution_take_memory(execution, pair->test, pair->reference);
        ok = execution_judge_ends(execution, &comparison, pair->reference, pair->options.recording,
                                  &log, status);
    }
    if (pair && status->code != STATUS_CANCELLED)
        execution_judge(execution, &comparison, &log);
    pair_free(pair);
    comparison_log_free(&log);
    execution_end_comparison(execution, &comparison);
    return ok;
}

/* A test whose kernel died leaves a device on which no other test can run: the next one opens it
 * anew. */
static void leave_lost_device(struct environment *environment)
{
    if (!device_lost(environment->device))
        return;
    references_free(&environment->references); /* what they have on the device is lost, too */
    device_close(environment->device);
    comm_close(environment->comm);
    environment->device = NULL;
    environment->comm = NULL;
}

static bool execute(struct execution *execution, struct status *status)
{
    const struct test_case *test = &execution->list->tests[execution->test];
    if (!environment_open(execution->environment, status))
        return false;
    struct device *device = execution->environment->device;
    device_memory_reset_peak(device);
    if (test->requires_cuda && !is_cuda(device)) {
        outcome_set(execution->outcome, OUTCOME_SKIPPED, "Cuda not available.");
        return true;
    }
    switch (test->kind) {
    case TEST_BASELINE:
        return execute_baseline(execution, status);
    case TEST_COMPARISON:
        return execute_comparison(execution, status);
    case TEST_FROZEN:
        return execute_frozen(execution, status);
    case TEST_DISTRIBUTED:
        return execute_distributed(execution, status);
    case TEST_NOT_BUILT:
        break;
    }
    return status_fail(status, STATUS_UNSUPPORTED, "%s is not implemented", test->id);
}

void test_execute(struct environment *environment, const struct test_list *list, int test,
                  struct outcome *outcome)
{
    struct execution execution = {environment, list, test, outcome};
    struct status status = STATUS_NONE;
    double start = clock_seconds();
    outcome->resources = (struct resources){NAN, NAN, NAN, NAN};
    if (list->tests[test].unsupported)
        outcome_set(outcome, OUTCOME_SKIPPED,
                    "Configuration not supported (skip_tests of the model).");
    else if (!execute(&execution, &status) && status.code != STATUS_CANCELLED)
        outcome_set(outcome, OUTCOME_FAILED, "%s", status.text);
    outcome->seconds = clock_seconds() - start;
    if (environment->device)
        outcome->device = memory_string(device_name(environment->device));
    if (environment->device)
        outcome->passed_over = memory_string(device_passed_over(environment->device));
    if (environment->device && !isnan(outcome->resources.max_reserved)) {
        struct device_memory memory;
        device_memory(environment->device, &memory);
        outcome->resources.reserved = outcome->resources.allocated = (double)memory.live_total;
    }
    leave_lost_device(environment);
}
