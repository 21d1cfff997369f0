/* A distributed test: all ranks of the run against a single-process baseline. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/team_desync.h"
#include "engine/suite/execute_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MILLISECONDS = 100 }; /* how soon an interrupt ends a test whose ranks wait */

static void add_unmatched(void *context, const char *name, bool missing)
{
    struct tensor_result result = {.step = "train_1", .name = name, .position = -1};
    result.verdict.failures = missing ? FAILURE_MISSING : FAILURE_EXTRA;
    result.verdict.worst = INFINITY;
    comparison_log_add(context, &result);
}

static void log_initial(struct team *team, struct comparison_log *log)
{
    for (int i = 0; i < team->tensor_count; i++)
        if (team->tensors[i].compared)
            team_log(team, i, "init", log);
}

static void log_event(struct team *team, const struct team_event *event, struct comparison_log *log)
{
    char step[32], text[TEAM_DESYNC_TEXT];
    run_step_name(event->pair.step, step);
    for (int i = 0; i < event->completed_count; i++)
        team_log(team, event->completed[i], step, log);
    for (int i = 0; i < event->desynchronised_count; i++)
        comparison_log_problem(log, "%s: %s", step, team_desync_text(team, event, i, text));
}

/* Whatever the ranks have to say until all stand at the end of their step. */
static bool run_step_of_team(struct execution *execution, struct team *team,
                             struct comparison_log *log, struct status *status)
{
    struct team_event event;
    bool got;
    for (;;) {
        if (!execution_goes_on(execution, status))
            return false;
        if (!team_next(team, POLL_MILLISECONDS * 1e-3, &event, &got, status)) {
            comparison_log_problem(log, "%s", status->text);
            return false;
        }
        if (got && event.kind == TEAM_FAILED) {
            comparison_log_problem(log, "%s", event.text);
            return status_fail(status, STATUS_IO, "%s", event.text);
        }
        if (got)
            log_event(team, &event, log);
        else if (world_is_quiet(team->world))
            return true;
    }
}

/* Instructions that all ranks have run together, over all steps. */
static int64_t progress(const struct team *team)
{
    int64_t sum = 0;
    for (int rank = 0; rank < team->world->size; rank++) {
        const struct run *run = team->world->ranks[rank].run;
        sum += (int64_t)run->step * run->program->instruction_count + run_next(run);
    }
    return sum;
}

/* Nothing moves any more, and the run has not ended: some rank waits for one that never comes. */
static bool report_standstill(const struct team *team, struct comparison_log *log,
                              struct status *status)
{
    char text[512] = "the ranks stand still";
    for (int rank = 0; rank < team->world->size; rank++)
        if (team->world->ranks[rank].state == RANK_WAITING) {
            world_waiting_text(team->world, rank, text, sizeof(text));
            break;
        }
    comparison_log_problem(log, "%s", text);
    return status_fail(status, STATUS_IO, "%s", text);
}

/* Runs all ranks to the end and gathers what they compare. */
static bool execution_run_team(struct execution *execution, struct team *team,
                               struct comparison_log *log, struct status *status)
{
    log_initial(team, log);
    team_unmatched(team, add_unmatched, log);
    while (!team_ended(team)) {
        int64_t before = progress(team);
        if (!team_allow_step(team, status) || !run_step_of_team(execution, team, log, status))
            return false;
        if (progress(team) == before)
            return report_standstill(team, log, status);
    }
    return true;
}

static void take_steps(struct execution *execution, const struct team *team)
{
    struct outcome *outcome = execution->outcome;
    const struct run *run = team->world->ranks[0].run;
    free(outcome->steps);
    outcome->steps = memory_zeroed((size_t)run->steps, sizeof(*outcome->steps));
    outcome->step_count = 0;
    while (outcome->step_count < run->steps &&
           world_report(team->world, outcome->step_count, &outcome->steps[outcome->step_count]))
        outcome->step_count++;
    outcome_judge_steps(outcome, run->steps);
}

/* Of all steps; NaN when a rank was lost, or its run given up, before the end of them: that was not
 * measured. */
static double seconds_of(const struct run *run)
{
    double seconds = run->reported < run->steps ? NAN : 0;
    for (int i = 0; i < run->reported; i++)
        seconds += run->reports[i].seconds;
    return seconds;
}

static double larger(double a, double b)
{
    return isnan(a) || b > a ? b : a;
}

/* Of each rank, and the most that one of them needs (facts, 6.7). */
static void take_usage(struct execution *execution, const struct team *team)
{
    struct outcome *outcome = execution->outcome;
    const struct capture *capture = execution->environment->capture;
    outcome->rank_count = team->world->size;
    outcome->ranks = memory_zeroed((size_t)outcome->rank_count, sizeof(*outcome->ranks));
    for (int rank = 0; rank < outcome->rank_count; rank++) {
        const struct run *run = team->world->ranks[rank].run;
        const struct memory_plan *plan = run->executor->plan;
        struct rank_usage *usage = &outcome->ranks[rank];
        double used = (double)(plan->persistent_bytes + plan->workspace_bytes);
        usage->seconds = seconds_of(run);
        usage->resources = (struct resources){NAN, NAN, (double)memory_plan_total(plan),
                                              used + (double)plan->live[plan->peak]};
        for (int stream = 0; stream < 2; stream++)
            usage->printed[stream] = capture ? capture_printed(capture, rank, stream) : 0;
        outcome->resources.max_reserved =
            larger(outcome->resources.max_reserved, usage->resources.max_reserved);
        outcome->resources.max_allocated =
            larger(outcome->resources.max_allocated, usage->resources.max_allocated);
    }
}

/* ---- the processes of ranks ---- */

static int processes_of(const struct environment *environment, int needed)
{
    return environment->ranks > needed ? environment->ranks : needed;
}

static bool begin_capture(struct execution *execution, struct status *status)
{
    struct environment *environment = execution->environment;
    const struct test_case *test = &execution->list->tests[execution->test];
    struct capture_options options = {.results = environment->results,
                                      .direct = environment->no_capture,
                                      .ranks = processes_of(environment, test->ranks)};
    if (!environment->capture)
        environment->capture = capture_create(&options);
    return capture_begin(environment->capture, test_model_name(execution->list, execution->test),
                         test->variant, test->ranks, status);
}

/* Starts them, if they are wanted and not there. Where there is no MPI, and nobody asked for a
 * launcher, ranks run in this process: slower to fail, but with the same numbers. */
static bool start_processes(struct execution *execution, struct status *status)
{
    struct environment *environment = execution->environment;
    const struct rank_launch *launch = &environment->launch;
    int size = processes_of(environment, execution->list->tests[execution->test].ranks);
    struct rank_pool_options options = {.size = size,
                                        .launch = *launch,
                                        .threads = environment->threads,
                                        .worker = environment->gpu,
                                        .on_output = capture_take,
                                        .output_context = environment->capture};
    struct status reason = STATUS_NONE;
    if (environment->pool && rank_pool_size(environment->pool) < size) {
        rank_pool_free(environment->pool);
        environment->pool = NULL;
    }
    if (launch->in_process || environment->pool)
        return true;
    if ((environment->pool = rank_pool_create(&options, &reason)))
        return true;
    if (reason.code != STATUS_UNSUPPORTED || rank_launch_is_chosen(launch))
        return status_fail(status, reason.code, "%s", reason.text);
    environment->launch.in_process = true;
    execution->outcome->remark = memory_format("ranks run inside of one process: %s", reason.text);
    return true;
}

static struct world *create_world(struct execution *execution, const struct config *config,
                                  struct status *status)
{
    struct environment *environment = execution->environment;
    struct run_options options = execution_options(execution);
    if (!start_processes(execution, status))
        return NULL;
    if (!environment->pool)
        return world_create(config, environment->device, &options, status);
    /* they compute ahead, and values are compared later */
    options.plan = PLAN_KEEP;
    return world_create_in_pool(environment->pool, config, environment->search, environment->device,
                                &options, status);
}

static struct team *create_team(struct execution *execution, const struct comparison *comparison,
                                struct status *status)
{
    struct environment *environment = execution->environment;
    /* Ranks, which may be other processes, are not given what references keep there when they are
     * refused memory; and what is compared are parts, which the host does. */
    device_reclaim(environment->device);
    struct world *world = create_world(execution, comparison->test, status);
    if (!world)
        return NULL;
    const struct recording *recording =
        references_find(&environment->references, comparison->reference->hash);
    struct team_options options = {.test = comparison->test,
                                   .reference = recording ? NULL : comparison->reference,
                                   .recording = recording,
                                   .tolerances = comparison->tolerances,
                                   .device = environment->device,
                                   .comm = environment->comm,
                                   .threads = environment->threads};
    struct team *team = team_create(&options, world, status);
    if (!team || world_check_fault(world, execution_options(execution).change_context, status))
        return team;
    team_free(team);
    return NULL;
}

/* ---- what is left of a test ---- */

/* As the original system has it beside the output: facts, 6.2. */
static void write_notes(const struct execution *execution, const struct team *team)
{
    struct capture *capture = execution->environment->capture;
    const struct outcome *outcome = execution->outcome;
    const double mebibyte = 1024.0 * 1024.0;
    struct text text = {0};
    for (int rank = 0; team && rank < outcome->rank_count; rank++) {
        const struct rank_usage *usage = &outcome->ranks[rank];
        text_clear(&text);
        text_format(&text, "{\"max_reserved\": %.3f, \"max_allocated\": %.3f, \"duration\": ",
                    usage->resources.max_reserved / mebibyte,
                    usage->resources.max_allocated / mebibyte);
        text_format(&text, isnan(usage->seconds) ? "null}\n" : "%.3f}\n", usage->seconds);
        capture_note(capture, "report", rank, text.data);
        if (team->world->ranks[rank].reason[0])
            capture_note(capture, "traceback", rank, team->world->ranks[rank].reason);
    }
    capture_note(capture, "success", -1, outcome->kind == OUTCOME_PASSED ? "1" : "0");
    text_free(&text);
}

static void finish(struct execution *execution, const struct team *team, struct status *status)
{
    struct environment *environment = execution->environment;
    enum { ROUNDS = 8 };
    for (int i = 0; environment->pool && i < ROUNDS; i++)
        rank_pool_poll(environment->pool, 0); /* what has been printed, but not come yet */
    if (team)
        take_usage(execution, team);
    if (status->code != STATUS_OK && status->code != STATUS_CANCELLED)
        outcome_set(execution->outcome, OUTCOME_FAILED, "%s", status->text);
    execution->outcome->output = capture_replay(environment->capture);
    write_notes(execution, team);
    const char *problem = capture_problem(environment->capture);
    if (problem && execution->outcome->kind == OUTCOME_PASSED)
        outcome_set(execution->outcome, OUTCOME_FAILED, "its results could not be written: %s",
                    problem);
    capture_end(environment->capture);
}

bool execute_distributed(struct execution *execution, struct status *status)
{
    struct comparison comparison = {0};
    struct comparison_log log = {0};
    struct team *team = NULL;
    if (!begin_capture(execution, status))
        return false;
    if (comparison_load(execution, &comparison, status)) {
        team = create_team(execution, &comparison, status);
    } else if (status->code == STATUS_UNSUPPORTED) {
        capture_end(execution->environment->capture);
        return execution_skip_layout(execution, &comparison, status);
    }
    bool ok = team && execution_run_team(execution, team, &log, status);
    if (ok) {
        take_steps(execution, team);
        ok = execution_judge_ends(execution, &comparison, team->reference, team->options.recording,
                                  &log, status);
    }
    if (team && status->code != STATUS_CANCELLED)
        execution_judge(execution, &comparison, &log);
    finish(execution, team, status);
    team_free(team);
    comparison_log_free(&log);
    execution_end_comparison(execution, &comparison);
    return ok;
}
