/* A distributed test: all ranks of the run against a single-process baseline. */
#include "engine/base/memory.h"
#include "engine/compare/team.h"
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
    char step[32];
    run_step_name(event->pair.step, step);
    for (int i = 0; i < event->completed_count; i++)
        team_log(team, event->completed[i], step, log);
    if (event->desynchronised >= 0)
        comparison_log_problem(log, "%s: %s differs between ranks %d and %d, which hold the same",
                               step, team->tensors[event->desynchronised].name, event->against,
                               event->rank);
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

bool execution_run_team(struct execution *execution, struct team *team, struct comparison_log *log,
                        struct status *status)
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

/* What the rank that needs most needs, as the facts, 8.4 have it. */
static void take_memory(struct execution *execution, const struct team *team)
{
    struct resources *resources = &execution->outcome->resources;
    resources->max_allocated = resources->max_reserved = 0;
    for (int rank = 0; rank < team->world->size; rank++) {
        const struct memory_plan *plan = team->world->ranks[rank].run->executor->plan;
        double reserved = (double)memory_plan_total(plan);
        double allocated =
            (double)(plan->persistent_bytes + plan->workspace_bytes + plan->live[plan->peak]);
        if (reserved > resources->max_reserved)
            resources->max_reserved = reserved;
        if (allocated > resources->max_allocated)
            resources->max_allocated = allocated;
    }
}

static struct team *create_team(struct execution *execution, const struct comparison *comparison,
                                struct status *status)
{
    struct environment *environment = execution->environment;
    struct run_options run_options = execution_options(execution);
    struct world *world = world_create(comparison->test, environment->device, &run_options, status);
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
    return team_create(&options, world, status);
}

bool execute_distributed(struct execution *execution, struct status *status)
{
    struct comparison comparison = {0};
    struct comparison_log log = {0};
    struct team *team = NULL;
    if (comparison_load(execution, &comparison, status))
        team = create_team(execution, &comparison, status);
    bool ok = team && execution_run_team(execution, team, &log, status);
    if (ok) {
        take_steps(execution, team);
        take_memory(execution, team);
    }
    if (team && status->code != STATUS_CANCELLED)
        execution_judge(execution, &comparison, &log);
    team_free(team);
    comparison_log_free(&log);
    comparison_free(&comparison);
    return ok;
}
