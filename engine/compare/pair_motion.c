/* Going to a place. Back means: from the start of the step, or of an earlier one, again. */
#include "engine/compare/pair_internal.h"

void pair_listen(const struct pair *pair, struct run *run, bool listens)
{
    run->executor->interrupt = listens ? pair->interrupt : NULL;
}

bool pair_try(const struct pair *pair, struct run *run,
              bool (*work)(struct run *run, struct status *status), struct status *status)
{
    pair_listen(pair, run, true);
    bool ok = work(run, status);
    pair_listen(pair, run, false);
    return ok;
}

/* Writes the states that an interrupt left to be written. */
static bool complete(const struct pair *pair, struct run *run, struct status *status)
{
    return !run->executor->hollow || pair_try(pair, run, run_prepare, status);
}

bool pair_arrive(struct pair *pair, struct status *status)
{
    return pair->entered_step >= 0 ||
           (complete(pair, pair->test, status) &&
            (!pair->reference || complete(pair, pair->reference, status)) &&
            pair_enter_step(pair, status));
}

static bool try_go_to(struct pair *pair, struct run *run, int step, struct status *status)
{
    pair_listen(pair, run, true);
    bool ok = run_go_to(run, step, 0, status);
    pair_listen(pair, run, false);
    return ok;
}

/* The last step, up to the one where they are, at whose start both runs can be at once. */
static int common_point(const struct pair *pair)
{
    const struct run *test = pair->test, *reference = pair->reference;
    int step = test->step;
    if (reference && reference->step < step)
        step = reference->step;
    while (step > 0 && (!test->points[step] || (reference && !reference->points[step])))
        step--;
    return step;
}

static void put_to(struct run *run, int step)
{
    if (run->step != step || run_next(run) > 0)
        run_restore_later(run, step);
}

/* Both runs at the start of one step, after a way back that was given up: what that takes is left
 * for later. */
static void settle(struct pair *pair)
{
    int step = common_point(pair);
    pair_forget_results(pair, 0);
    put_to(pair->test, step);
    if (pair->reference)
        put_to(pair->reference, step);
}

/* To the start of `step`, which is behind the test or the step where it is. */
static bool go_back(struct pair *pair, int step, struct status *status)
{
    bool behind = pair->reference && (!pair->keep || pair->reference->step > step);
    pair->entered_step = -1;
    bool ok = try_go_to(pair, pair->test, step, status) &&
              (!behind || try_go_to(pair, pair->reference, step, status));
    if (!ok && status->code == STATUS_CANCELLED)
        settle(pair);
    return ok && pair_arrive(pair, status);
}

bool pair_go_to(struct pair *pair, int step, int instruction, struct status *status)
{
    struct run *test = pair->test;
    if (step < 0 || step >= test->steps || instruction < 0 ||
        instruction > test->program->instruction_count)
        return status_fail(status, STATUS_INVALID, "there is no instruction %d in step %d",
                           instruction, step + 1);
    if (pair->options.test_run) /* of a world, which alone can move it */
        return (step == test->step && instruction == run_next(test)) ||
               status_fail(status, STATUS_UNSUPPORTED,
                           "one rank of several cannot go there by itself: goto %d:%d first",
                           step + 1, instruction);
    bool back = step < test->step || (step == test->step && instruction < run_next(test));
    if (back ? !go_back(pair, step, status) : !pair_arrive(pair, status))
        return false;
    bool ok = true;
    struct pair_event event;
    while (ok && (test->step < step || run_next(test) < instruction))
        ok = pair_run_one(pair, &event, status);
    pair_forget_results(pair, run_next(test));
    return ok;
}
