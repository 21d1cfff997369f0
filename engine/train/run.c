#include "engine/train/run.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/train/feed.h"
#include "engine/train/fit.h"
#include "engine/train/learning_rate.h"
#include "engine/train/schedule.h"
#include "engine/train/states.h"
#include "engine/train/update.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const char *run_step_name(int step, char buffer[32])
{
    snprintf(buffer, 32, "train_%d", step + 1);
    return buffer;
}

/* Makes room for one more point: the first stays, and of the others every second. */
static void thin_points(struct run *run)
{
    int64_t limit = run->options.points_limit;
    int64_t room = limit / (int64_t)(states_bytes(run->program) + 1);
    for (int kept = 0;; kept = 0) {
        for (int step = 0; step < run->steps; step++)
            kept += run->points[step] != NULL;
        if (!limit || kept < room || run->point_distance >= run->steps)
            return;
        run->point_distance *= 2;
        for (int step = 1; step < run->steps; step++)
            if (step % run->point_distance) {
                states_discard(run->points[step]);
                run->points[step] = NULL;
            }
    }
}

/* The states are those at the beginning of `step`. */
static bool keep_point(struct run *run, int step, struct status *status)
{
    struct saved_point **point = &run->points[step];
    if (!run->options.keep_points || *point || step % run->point_distance)
        return true;
    thin_points(run);
    if (step % run->point_distance)
        return true;
    *point = states_save(run, step, status);
    return *point != NULL;
}

static bool create(struct run *run, struct comm *comm, const struct run_options *options,
                   struct status *status)
{
    int ranks = run->config->distributed.world_size;
    if (comm && comm_size(comm, COMM_WORLD) != ranks)
        return status_fail(
            status, STATUS_UNSUPPORTED, "%s needs %d ranks, but there %s %d", run->config->name,
            ranks, comm_size(comm, COMM_WORLD) == 1 ? "is" : "are", comm_size(comm, COMM_WORLD));
    run->program = schedule_compile_rank(run->config, options->rank, status);
    if (!run->program)
        return false;
    if (options->change && !options->change(run->program, options->change_context, status))
        return false;
    run->executor = executor_create(run->program, run->device, comm, options->plan, status);
    if (!run->executor && options->plan == PLAN_REUSE)
        return fit_add(run->config, options->rank, run->device, options->sharers, status);
    if (!run->executor || !feed_open(run, options->data_from, status))
        return false;
    run->executor->interrupt = options->interrupt;
    bool ok = states_initialize(run, options->init_from, status) && keep_point(run, 0, status);
    run->executor->interrupt = run->options.interrupt = NULL;
    return ok;
}

struct run *run_create(const struct config *config, struct device *device, struct comm *comm,
                       const struct run_options *options, struct status *status)
{
    struct run *run = memory_zeroed(1, sizeof(*run));
    run->config = config;
    run->device = device;
    run->steps = config->train_iterations;
    run->micro_batches = schedule_micro_batches(config);
    run->batches = memory_zeroed((size_t)run->micro_batches, sizeof(*run->batches));
    run->reports = memory_zeroed((size_t)run->steps, sizeof(*run->reports));
    run->points = memory_zeroed((size_t)run->steps + 1, sizeof(struct saved_point *));
    run->options = *options;
    run->point_distance = 1;
    if (create(run, comm, options, status))
        return run;
    run_free(run);
    return NULL;
}

void run_free(struct run *run)
{
    if (!run)
        return;
    for (int i = 0; run->points && i <= run->steps; i++)
        states_discard(run->points[i]);
    feed_close(run);
    executor_free(run->executor);
    program_free(run->program);
    free(run->points);
    free(run->reports);
    free(run->batches);
    free(run);
}

int run_next(const struct run *run)
{
    return run->executor->next;
}

bool run_ended(const struct run *run)
{
    return run->step + 1 >= run->steps && run->executor->next >= run->program->instruction_count;
}

static bool start_step(struct run *run, struct status *status)
{
    if (run->started)
        return true;
    if (!feed_step(run, status))
        return false;
    run->started = true;
    run->seconds = 0;
    return true;
}

static bool report_step(struct run *run, struct status *status)
{
    struct step_report *report = &run->reports[run->step];
    const struct program_outputs *outputs = &run->program->outputs;
    *report = (struct step_report){.step = run->step + 1, .seconds = run->seconds};
    for (int i = 0; i < outputs->loss_count; i++) {
        float loss = NAN;
        if (!executor_read(run->executor, outputs->losses[i], &loss, status))
            return false;
        report->loss += (double)loss;
    }
    float norm = NAN;
    double scaler[SCALER_SIZE];
    if (!executor_read(run->executor, outputs->gradient_norm, &norm, status) ||
        !executor_read(run->executor, outputs->scaler, scaler, status))
        return false;
    report->gradient_norm = (double)norm;
    report->loss_scale = scaler[SCALER_LOSS_SCALE];
    report->skipped = update_may_skip(run->config) && !isfinite(norm);
    /* of the update that was made, or given up */
    int update = (int)scaler[SCALER_STEP] + report->skipped;
    report->learning_rate = learning_rate_at(&run->config->optimizer, update);
    report->tokens = (int64_t)run->micro_batches * seat_batches(&run->program->seat) *
                     run->config->data.micro_batch_size;
    if (run->reported < run->step + 1)
        run->reported = run->step + 1;
    return true;
}

bool run_keep_point(struct run *run, struct status *status)
{
    bool at_end = run->executor->next >= run->program->instruction_count;
    return !at_end || run_ended(run) || keep_point(run, run->step + 1, status);
}

static bool next_step(struct run *run, struct status *status)
{
    if (!run_keep_point(run, status))
        return false;
    run->step++;
    run->started = false;
    executor_rewind(run->executor);
    return true;
}

/* Writes the states of a hollow run. */
static bool finish_restore(struct run *run, struct status *status)
{
    const struct saved_point *point = run->points[run->step];
    if (!run->executor->hollow)
        return true;
    run->executor->hollow = !(point ? states_restore(run, point, status)
                                    : states_initialize(run, run->options.init_from, status));
    return !run->executor->hollow;
}

bool run_prepare(struct run *run, struct status *status)
{
    if (run_ended(run))
        return status_fail(status, STATUS_INVALID, "the run has ended");
    if (!finish_restore(run, status))
        return false;
    if (run->executor->next >= run->program->instruction_count && !next_step(run, status))
        return false;
    return start_step(run, status);
}

static bool count_instruction(struct run *run, double seconds, struct status *status)
{
    run->seconds += seconds;
    return run->executor->next < run->program->instruction_count || report_step(run, status);
}

bool run_complete(struct run *run, double seconds, struct status *status)
{
    run->executor->next++;
    return count_instruction(run, seconds, status);
}

bool run_one(struct run *run, struct status *status)
{
    if (!run_prepare(run, status))
        return false;
    double start = clock_seconds();
    return executor_run_one(run->executor, status) &&
           count_instruction(run, clock_seconds() - start, status);
}

bool run_step(struct run *run, struct status *status)
{
    do {
        if (!run_one(run, status))
            return false;
    } while (run->executor->next < run->program->instruction_count);
    return true;
}

/* Whether the current state can simply run on to the place. */
static bool is_ahead(const struct run *run, int step, int instruction)
{
    return step > run->step || (step == run->step && instruction >= run->executor->next);
}

int run_point_before(const struct run *run, int step)
{
    while (step > 0 && !run->points[step])
        step--;
    return step;
}

void run_restore_later(struct run *run, int step)
{
    run->step = step;
    run->started = false;
    executor_rewind(run->executor);
    run->executor->hollow = true;
}

bool run_restore(struct run *run, int step, struct status *status)
{
    run_restore_later(run, step);
    return finish_restore(run, status);
}

bool run_go_to(struct run *run, int step, int instruction, struct status *status)
{
    if (step < 0 || step >= run->steps || instruction < 0 ||
        instruction > run->program->instruction_count)
        return status_fail(status, STATUS_INVALID, "there is no instruction %d in step %d",
                           instruction, step + 1);
    if (!is_ahead(run, step, instruction))
        run_restore_later(run, run_point_before(run, step));
    if (!finish_restore(run, status))
        return false;
    while (run->step < step || run->executor->next < instruction) {
        if (run->step == step - 1 && instruction == 0 &&
            run->executor->next >= run->program->instruction_count)
            return next_step(run, status) && start_step(run, status);
        if (interrupt_asked(run->executor->interrupt))
            return interrupt_fail(status);
        if (!run_one(run, status))
            return false;
    }
    return start_step(run, status);
}

bool run_save_parameters(struct run *run, const char *path, struct status *status)
{
    return states_write_parameters(run, path, status);
}
