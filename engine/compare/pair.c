#include "engine/compare/pair.h"

#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool pair_is_compared(const struct pair *pair, int value)
{
    const struct value *of = &pair->test->program->values[value];
    if (!of->name[0] || !dtype_is_float(of->dtype) || of->kind != VALUE_COMPUTED)
        return false;
    return of->log_point || pair->options.inner_values || of->state >= 0;
}

/* Gradients and input gradients are scaled, values of the forward pass are not. */
double pair_scale_of(const struct pair *pair, int value)
{
    enum what what = pair->test->program->values[value].what;
    if (what != WHAT_BW && what != WHAT_GRADIENT)
        return 1;
    /* The updated scale is only stored at the end of the step, when gradients are complete. */
    return pair->test_scale / pair->reference_scale;
}

static const char *step_name(const struct pair *pair, char buffer[32])
{
    return run_step_name(pair->test->step, buffer);
}

/* The tables are made for log points: absolute limits for the sizes of layer outputs and gradients,
 * relative ones for tensors with light tails. Inner values may be of any size, and in 16 bit some
 * (gated activations) have heavy tails: healthy runs reach 2.3 times the relative limits. */
static void widen_for_inner_value(const struct pair *pair, struct limits *limits)
{
    bool half = pair->options.test->distributed.compute_dtype != PRECISION_FP32;
    limits->rms_absolute = limits->max_absolute = INFINITY;
    limits->rms_relative *= half ? 2 : 1;
    limits->max_relative *= half ? 4 : 1;
}

static const struct limits *limits_of(struct pair *pair, const struct value *value)
{
    char step[32];
    struct limits *limits = &pair->limits[value->id];
    if (!pair->options.tolerances)
        return NULL;
    if (value->state >= 0) {
        bool moment = pair->test->program->values[value->state].what != WHAT_PARAM;
        *limits = moment ? pair->moment_limits : pair->parameter_limits;
        return limits;
    }
    /* the norm of all gradients is judged as a gradient, not as one of a normalization */
    const char *name = value->what == WHAT_STATE ? "gradient" : value->name;
    *limits = *tolerances_find(pair->options.tolerances, step_name(pair, step), name);
    if (!value->log_point)
        widen_for_inner_value(pair, limits);
    return limits;
}

/* Both sides, every element, by the host. */
static bool compare_sides(struct pair *pair, int value, const struct interrupt *interrupt,
                          struct pair_result *result, struct status *status)
{
    struct pair_sides sides;
    bool ok = true;
    if (!pair_view(pair, value, &sides, status))
        return false;
    if (sides.has_reference) {
        ok = metrics_compute_unless(interrupt, &sides.reference, &sides.test, sides.scale,
                                    pair->options.threads, &result->metrics);
        result->verdict = metrics_judge(&result->metrics, result->limits);
        result->compared = ok;
    }
    pair_sides_free(&sides);
    return ok || interrupt_fail(status);
}

static bool compare_value(struct pair *pair, int value, const struct interrupt *interrupt,
                          struct status *status)
{
    struct pair_result *result = &pair->results[value];
    const struct value *of = &pair->test->program->values[value];
    *result = (struct pair_result){.limits = limits_of(pair, of)};
    if (!result->limits || result->limits->ignore)
        return true;
    bool queued = false;
    if (pair_shapes_differ(pair, value))
        pair_judge_shapes(result);
    else if (!pair_compare_on_device(pair, value, &queued, status) ||
             (!queued && !compare_sides(pair, value, interrupt, result, status)))
        return false;
    if (!queued)
        pair_tell(pair, value);
    return true;
}

static bool compare_outputs(struct pair *pair, const struct instruction *done,
                            const struct interrupt *interrupt, struct pair_event *event,
                            struct status *status)
{
    for (int k = 0; k < done->output_count; k++) {
        int value = done->outputs[k];
        if (!pair_is_compared(pair, value))
            continue;
        int other = pair->reference ? pair->reference_value[value] : -1;
        if (other >= 0 && !pair_bring_reference(pair, other, status))
            return false;
        if (!compare_value(pair, value, interrupt, status))
            return false;
        const struct pair_result *result = &pair->results[value];
        if (!result->compared)
            continue;
        event->compared[event->compared_count++] = value;
        if (result->verdict.failures && event->failed < 0)
            event->failed = value;
    }
    return true;
}

/* The test enters a step: the reference leaves its step, results of the last one are dropped. */
bool pair_enter_step(struct pair *pair, struct status *status)
{
    if (!pair_settle(pair, status))
        return false;
    memset(pair->results, 0, (size_t)pair->test->program->value_count * sizeof(*pair->results));
    if (pair->reference) {
        while (pair->reference->step < pair->test->step)
            if (!pair_reference_run_one(pair, status))
                return false;
        pair_drop_held(pair);
    }
    char name[32];
    pair->trace_step =
        pair->options.trace ? trace_find_step(pair->options.trace, step_name(pair, name)) : NULL;
    pair_read_scales(pair);
    pair->parameter_limits = pair_state_limits(pair, false);
    pair->moment_limits = pair_state_limits(pair, true);
    pair->entered_step = pair->test->step;
    for (int p = 0; pair->test->step == 0 && p < pair->test->program->parameter_count; p++)
        pair->results[pair->test->program->parameters[p].value] = pair->initial[p];
    return true;
}

/* Scales and the learning rate are those of the step before the run enters it: read while every
 * rank still stands at the end of the one before. */
bool pair_begin_step(struct pair *pair, int step, struct status *status)
{
    int now = pair->test->step;
    pair->test->step = step;
    bool ok = pair_enter_step(pair, status);
    pair->test->step = now;
    return ok;
}

/* Puts the reference's tensor in, and judges it again if it had been judged. Interrupted, it may be
 * there and not be judged. */
static bool put_and_judge(struct pair *pair, int value, const struct interrupt *put,
                          const struct interrupt *judge, struct status *status)
{
    bool compared = pair->results[value].compared;
    return pair_put_reference(pair, value, put, status) &&
           (!compared || compare_value(pair, value, judge, status));
}

static bool apply_grafts(struct pair *pair, const struct interrupt *interrupt,
                         struct pair_event *event, struct status *status)
{
    int done = event->instruction;
    for (int i = 0; i < pair->graft_count; i++) {
        const struct graft *graft = &pair->grafts[i];
        int producer = pair->test->program->values[graft->value].producer;
        if (graft->step != pair->test->step || producer != done)
            continue;
        if (!put_and_judge(pair, graft->value, interrupt, interrupt, status))
            return false;
        if (event->failed == graft->value && !pair->results[graft->value].verdict.failures)
            event->failed = -1;
    }
    return true;
}

void pair_forget_results(struct pair *pair, int instruction)
{
    const struct program *program = pair->test->program;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].producer >= instruction)
            pair->results[v] = (struct pair_result){0};
}

/* Compares what just ran, and grafts. Interrupted, the instruction is taken back: with what follows
 * from it it is one thing. */
static bool look_at_done(struct pair *pair, bool may_give_up, struct pair_event *event,
                         struct status *status)
{
    struct executor *executor = pair->test->executor;
    const struct instruction *done = &pair->test->program->instructions[event->instruction];
    const struct interrupt *interrupt = may_give_up ? pair->interrupt : NULL;
    if (compare_outputs(pair, done, interrupt, event, status) &&
        pair_find_not_finite(pair, done, interrupt, event, status) &&
        apply_grafts(pair, interrupt, event, status)) {
        pair_release_held(pair, done);
        return true;
    }
    if (may_give_up && status->code == STATUS_CANCELLED) {
        executor_take_back(executor);
        pair_forget_results(pair, event->instruction);
    }
    return false;
}

bool pair_run_one(struct pair *pair, struct pair_event *event, struct status *status)
{
    struct run *test = pair->test;
    if (interrupt_asked(pair->interrupt))
        return interrupt_fail(status);
    if (!pair_arrive(pair, status) || !pair_catch_up(pair, status) ||
        !pair_try(pair, test, run_keep_point, status))
        return false;
    /* The first instruction takes the states with it into the step: it is not given up. */
    bool inside =
        pair->entered_step == test->step && run_next(test) < test->program->instruction_count;
    if (!(inside ? pair_try(pair, test, run_one, status) : run_one(test, status)))
        return status_context(status, "%s", test->config->name);
    if (pair->entered_step != test->step && !pair_enter_step(pair, status))
        return false;
    *event = (struct pair_event){
        .step = test->step, .instruction = run_next(test) - 1, .failed = -1, .not_finite = -1};
    return look_at_done(pair, inside, event, status);
}

bool pair_take(struct pair *pair, int instruction, struct pair_event *event, struct status *status)
{
    *event = (struct pair_event){
        .step = pair->test->step, .instruction = instruction, .failed = -1, .not_finite = -1};
    return look_at_done(pair, false, event, status);
}

bool pair_ended(const struct pair *pair)
{
    return run_ended(pair->test);
}

void pair_observe(struct pair *pair, pair_observer *observer, void *context)
{
    pair->observer = observer;
    pair->observer_context = context;
}

bool pair_graft(struct pair *pair, int value, struct status *status)
{
    if (!put_and_judge(pair, value, pair->interrupt, NULL, status))
        return false;
    pair_graft_later(pair, value);
    return true;
}

void pair_graft_later(struct pair *pair, int value)
{
    struct graft graft = {pair->test->step, value};
    ARRAY_PUSH(pair->grafts, pair->graft_count, pair->graft_capacity, graft);
}

/* NULL, with a status that says so, when memory is refused. */
static struct run *create_run(struct pair *pair, const struct config *config,
                              struct run_options *options, enum plan_mode mode,
                              struct status *status)
{
    options->plan = mode;
    options->sharers = pair->options.reference ? 2 : 1;
    options->interrupt = pair->options.interrupt;
    struct run *run = run_create(config, pair->options.device, pair->options.comm, options, status);
    if (!run)
        status_context(status, "%s", config->name);
    return run;
}

/* Whether two runs of this plan may keep every value. */
static bool within_limit(const struct pair *pair)
{
    int64_t bytes = memory_plan_total(pair->test->executor->plan);
    return bytes * (pair->options.reference ? 2 : 1) <= pair->options.keep_limit;
}

/* False: a failure, or (status->code still is STATUS_OK) more than the limit. */
static bool create_both(struct pair *pair, enum plan_mode mode, struct status *status)
{
    struct pair_options *options = &pair->options;
    pair->test = create_run(pair, options->test, &options->test_options, mode, status);
    if (pair->test && (mode == PLAN_REUSE || within_limit(pair))) {
        if (!options->reference)
            return true;
        pair->reference =
            create_run(pair, options->reference, &options->reference_options, mode, status);
        if (pair->reference)
            return true;
    }
    run_free(pair->test);
    pair->test = NULL;
    return false;
}

/* Both runs keep every value when their plans fit the limit, and the device, together. */
static bool create_runs(struct pair *pair, struct status *status)
{
    struct pair_options *options = &pair->options;
    struct status refused = STATUS_NONE;
    if (options->test_run) { /* of a world */
        pair->test = options->test_run;
        pair->reference = options->shared_reference;
        pair->keep = true;
        return true;
    }
    pair->keep = options->keep_limit > 0 && create_both(pair, PLAN_KEEP, &refused);
    if (pair->keep)
        return true;
    if (refused.code != STATUS_OK && refused.code != STATUS_MEMORY)
        return status_fail(status, refused.code, "%s", refused.text);
    return create_both(pair, PLAN_REUSE, status);
}

/* Before the first instruction; the inputs are there, too, as when the pair comes back. */
static bool begin(struct pair *pair, struct status *status)
{
    bool own = !pair->options.test_run;
    return (!own || run_prepare(pair->test, status)) &&
           (!own || !pair->reference || run_prepare(pair->reference, status)) &&
           pair_enter_step(pair, status);
}

struct pair *pair_create(const struct pair_options *options, struct status *status)
{
    struct pair *pair = memory_zeroed(1, sizeof(*pair));
    pair->options = *options;
    pair->entered_step = -1;
    pair->interrupt = options->interrupt;
    pair->test_scale = pair->reference_scale = 1;
    if (!create_runs(pair, status)) {
        pair_free(pair);
        return NULL;
    }
    size_t values = (size_t)pair->test->program->value_count;
    pair->results = memory_zeroed(values, sizeof(*pair->results));
    pair->limits = memory_zeroed(values, sizeof(*pair->limits));
    pair->reference_value = memory_zeroed(values, sizeof(int));
    pair->reference_row = memory_zeroed(values, sizeof(*pair->reference_row));
    for (size_t v = 0; v < values; v++)
        pair->reference_row[v] = pair->reference_value[v] = -1;
    if (pair->reference)
        pair->reference_program = pair->reference->program;
    else if (options->recording)
        pair->reference_program = options->recording->program;
    if (pair->reference_program) {
        size_t others = (size_t)pair->reference_program->value_count;
        pair->test_value = memory_zeroed(others, sizeof(int));
        pair->held = pair->reference ? memory_zeroed(others, sizeof(*pair->held)) : NULL;
        pair_match_names(pair);
    }
    pair->initial =
        memory_zeroed((size_t)pair->test->program->parameter_count, sizeof(*pair->initial));
    if (begin(pair, status) && pair_compare_parameters(pair, status))
        return pair;
    pair_free(pair);
    return NULL;
}

void pair_free(struct pair *pair)
{
    if (!pair)
        return;
    if (pair->reference)
        pair_drop_held(pair);
    pair_queue_free(pair);
    if (!pair->options.test_run) {
        run_free(pair->test);
        run_free(pair->reference);
    }
    free(pair->results);
    free(pair->initial);
    free(pair->limits);
    free(pair->reference_value);
    free(pair->reference_row);
    free(pair->test_value);
    free(pair->held);
    free(pair->grafts);
    free(pair);
}
