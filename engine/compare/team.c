#include "engine/compare/team.h"

#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/compare/team_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct run *run_of(const struct team *team, int rank)
{
    return team->world->ranks[rank].run;
}

static bool create_reference(struct team *team, struct status *status)
{
    struct team_options *options = &team->options;
    if (!options->reference)
        return true;
    options->reference_options.plan = PLAN_KEEP; /* ranks come for its values in any order */
    team->reference = run_create(options->reference, options->device, options->comm,
                                 &options->reference_options, status);
    return team->reference || status_context(status, "%s", options->reference->name);
}

/* What was asked for, or fewer beside ranks that need the cores. */
static int threads_of(const struct team *team)
{
    int asked = team->options.threads, left = team->world->threads;
    return left > 0 && (asked == 0 || asked > left) ? left : asked;
}

static bool create_pairs(struct team *team, struct status *status)
{
    const struct team_options *options = &team->options;
    struct pair_options each = {.test = options->test,
                                .recording = options->recording,
                                .trace = options->trace,
                                .tolerances = options->tolerances,
                                .device = options->device,
                                .comm = options->comm,
                                .inner_values = options->inner_values,
                                .threads = threads_of(team),
                                .shared_reference = team->reference};
    team->pairs = memory_zeroed((size_t)team->world->size, sizeof(struct pair *));
    for (int rank = 0; rank < team->world->size; rank++) {
        each.test_run = run_of(team, rank);
        if (!(team->pairs[rank] = pair_create(&each, status)))
            return status_context(status, "rank %d", rank);
    }
    return true;
}

struct team *team_create(const struct team_options *options, struct world *world,
                         struct status *status)
{
    struct team *team = memory_zeroed(1, sizeof(*team));
    struct team_event event;
    team->options = *options;
    team->world = world;
    if (create_reference(team, status) && create_pairs(team, status)) {
        team_list_tensors(team);
        if (team_take_parameters(team, &event, status))
            return team;
    }
    team_free(team);
    return NULL;
}

void team_free(struct team *team)
{
    if (!team)
        return;
    for (int rank = 0; team->pairs && rank < team->world->size; rank++)
        pair_free(team->pairs[rank]);
    team_free_tensors(team);
    free(team->given_again);
    free(team->pairs);
    run_free(team->reference);
    world_free(team->world);
    free(team);
}

static bool is_at_end(const struct run *run)
{
    return run_next(run) >= run->program->instruction_count;
}

static bool begin_step(struct team *team, int step, struct status *status)
{
    for (int rank = 0; rank < team->world->size; rank++)
        if (!pair_begin_step(team->pairs[rank], step, status))
            return false;
    team_clear_tensors(team);
    team->step = step;
    return true;
}

/* Whether every rank has done the whole of the team's step. */
static bool all_at_end(const struct team *team)
{
    for (int rank = 0; rank < team->world->size; rank++)
        if (run_of(team, rank)->step == team->step && !is_at_end(run_of(team, rank)))
            return false;
    return true;
}

bool team_allow(struct team *team, int rank, int limit, struct status *status)
{
    const struct run *run = run_of(team, rank);
    if (run->step == team->step && is_at_end(run)) {
        if (run_ended(run))
            return true;
        if (!all_at_end(team))
            return true; /* the reference, and results, still belong to the step of the others */
        if (!begin_step(team, team->step + 1, status))
            return false;
    }
    return world_allow(team->world, rank, limit, status);
}

bool team_allow_step(struct team *team, struct status *status)
{
    bool next = all_at_end(team);
    for (int rank = 0; rank < team->world->size; rank++)
        if ((next || !is_at_end(run_of(team, rank))) &&
            !team_allow(team, rank, run_of(team, rank)->program->instruction_count, status))
            return false;
    return true;
}

bool team_ended(const struct team *team)
{
    for (int rank = 0; rank < team->world->size; rank++)
        if (!run_ended(run_of(team, rank)))
            return false;
    return true;
}

static bool take_instruction(struct team *team, const struct world_event *from,
                             struct team_event *event, struct status *status)
{
    struct pair *pair = team->pairs[from->rank];
    const struct instruction *done = &pair->test->program->instructions[from->instruction];
    if (!pair_take(pair, from->instruction, &event->pair, status))
        return status_context(status, "rank %d", from->rank);
    for (int k = 0; k < done->output_count; k++)
        if (!team_take_value(team, from->rank, done->outputs[k], event, status))
            return false;
    return true;
}

static void describe_failure(const struct team *team, const struct world_event *from,
                             struct team_event *event)
{
    if (from->kind == WORLD_MISMATCH)
        world_waiting_text(team->world, from->rank, event->text, sizeof(event->text));
    else
        snprintf(event->text, sizeof(event->text), "rank %d %s: %s", from->rank,
                 from->kind == WORLD_LOST ? "was lost" : "failed",
                 team->world->ranks[from->rank].reason);
}

static void forget_event(struct team *team)
{
    free(team->given_again);
    team->given_again = NULL;
}

void team_give_again(struct team *team, const struct team_event *event)
{
    forget_event(team);
    team->given_again = memory_zeroed(1, sizeof(*event));
    *team->given_again = *event;
}

bool team_gives_again(const struct team *team, int rank)
{
    return team->given_again && (rank < 0 || team->given_again->rank == rank);
}

bool team_next(struct team *team, double seconds, struct team_event *event, bool *got,
               struct status *status)
{
    struct world_event from;
    if (team->given_again) {
        *event = *team->given_again;
        *got = event->again = true;
        forget_event(team);
        return true;
    }
    *got = world_next(team->world, seconds, &from);
    if (!*got)
        return true;
    *event = (struct team_event){.rank = from.rank, .failed = -1};
    event->pair = (struct pair_event){
        .step = from.step, .instruction = from.instruction, .failed = -1, .not_finite = -1};
    if (from.kind == WORLD_DONE)
        return take_instruction(team, &from, event, status);
    event->kind = TEAM_FAILED;
    describe_failure(team, &from, event);
    return true;
}

bool team_go_to_step(struct team *team, int step, struct status *status)
{
    forget_event(team);
    if (!world_go_to_step(team->world, step, status))
        return false;
    if (team->reference && !run_go_to(team->reference, step, 0, status))
        return false;
    return begin_step(team, step, status);
}

const struct value *team_value(const struct team *team, int rank, int value)
{
    return &team->pairs[rank]->test->program->values[value];
}

int team_first_rank(const struct team_tensor *tensor)
{
    int rank = 0;
    while (tensor->values[rank] < 0)
        rank++;
    return rank;
}
