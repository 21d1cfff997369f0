/* What the pair does with single values: sampling, grafting, looking for NaN, parameters. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/train/learning_rate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool pair_sample_test(struct pair_sides *sides, const struct trace_tensor *recorded,
                      struct status *status)
{
    int64_t count = recorded->samples.shape.dims[0];
    size_t size = dtype_size(sides->test.dtype);
    char *samples = memory_try((size_t)count, size);
    if (!samples)
        return status_fail(status, STATUS_MEMORY, "no memory for the samples of %s",
                           recorded->name);
    const char *from = sides->test.data;
    for (int64_t i = 0; i < count; i++)
        memcpy(samples + (size_t)i * size, from + (size_t)(i * recorded->sampling_step) * size,
               size);
    free(sides->test_buffer);
    sides->test_buffer = samples;
    sides->test = tensor_of(samples, sides->test.dtype, shape_of1(count));
    sides->sampling_step = recorded->sampling_step;
    return true;
}

enum { PIECE = 1 << 18 }; /* elements between looks at an interrupt */

/* to = from * scale, as to's type has it. */
static bool fill_scaled(const struct interrupt *interrupt, struct tensor *to,
                        const struct tensor *from, double scale)
{
    int64_t count = shape_elements(to->shape);
    for (int64_t i = 0; i < count; i++) {
        if (i % PIECE == 0 && interrupt_asked(interrupt))
            return false;
        tensor_store(to, i, tensor_load(from, i) * scale);
    }
    return true;
}

bool pair_put_reference(struct pair *pair, int value, const struct interrupt *interrupt,
                        struct status *status)
{
    const struct value *of = &pair->test->program->values[value];
    struct pair_sides sides;
    if (!pair_view(pair, value, &sides, status))
        return false;
    if (!sides.has_reference || !shape_equal(sides.reference.shape, of->shape)) {
        pair_sides_free(&sides);
        char name[256];
        return status_fail(status, STATUS_NOT_FOUND, "the reference has no whole tensor for %s",
                           program_value_text(pair->test->program, value, name, sizeof(name)));
    }
    char *data = memory_map(value_bytes(of));
    struct tensor target = tensor_of(data, of->dtype, of->shape);
    bool ok = data != NULL;
    if (!ok)
        status_fail(status, STATUS_MEMORY, "no memory for the reference's %s", of->name);
    else if (!fill_scaled(interrupt, &target, &sides.reference, sides.scale))
        ok = interrupt_fail(status);
    ok = ok && executor_write(pair->test->executor, value, data, status);
    memory_unmap(data, value_bytes(of));
    pair_sides_free(&sides);
    return ok;
}

static bool piece_is_finite(const struct tensor *tensor, int64_t first, int64_t end)
{
    if (tensor->dtype == DTYPE_F32 && tensor_is_contiguous(tensor)) {
        const float *data = tensor->data;
        float sum = 0; /* 0 * x is NaN exactly for the infinite and the NaN */
        for (int64_t i = first; i < end; i++)
            sum += 0.0f * data[i];
        return sum == 0.0f;
    }
    for (int64_t i = first; i < end; i++)
        if (!isfinite(tensor_load(tensor, i)))
            return false;
    return true;
}

/* Until one is not, or an interrupt comes. */
static bool all_finite(const struct tensor *tensor, const struct interrupt *interrupt)
{
    int64_t count = shape_elements(tensor->shape);
    bool finite = true;
    for (int64_t first = 0; finite && first < count && !interrupt_asked(interrupt); first += PIECE)
        finite = piece_is_finite(tensor, first, count - first < PIECE ? count : first + PIECE);
    return finite;
}

bool pair_find_not_finite(struct pair *pair, const struct instruction *done,
                          const struct interrupt *interrupt, struct pair_event *event,
                          struct status *status)
{
    for (int k = 0; pair->watch_not_finite && k < done->output_count; k++) {
        const struct value *of = &pair->test->program->values[done->outputs[k]];
        if (!of->name[0] || !dtype_is_float(of->dtype))
            continue;
        void *buffer = NULL;
        struct tensor view;
        bool ok = executor_view(pair->test->executor, of->id, &buffer, &view, status);
        bool finite = ok && all_finite(&view, interrupt);
        free(buffer);
        if (!ok)
            return false;
        if (interrupt_asked(interrupt))
            return interrupt_fail(status);
        if (!finite && event->not_finite < 0)
            event->not_finite = of->id;
    }
    return true;
}

/* The loss scale by which a run's gradients are multiplied (1 unless it computes in fp16), and the
 * updates made so far. */
static double loss_scale(struct run *run, int *updates)
{
    double scaler[SCALER_SIZE] = {[SCALER_LOSS_SCALE] = 1, [SCALER_STEP] = run->step};
    struct status ignored = STATUS_NONE;
    executor_read(run->executor, run->program->outputs.scaler, scaler, &ignored);
    *updates = (int)scaler[SCALER_STEP];
    return scaler[SCALER_LOSS_SCALE];
}

static int recorded_updates(const struct recording *recording, int steps)
{
    int updates = 0;
    for (int step = 0; step < steps && step < recording->steps; step++)
        updates += !recording->reports[step].skipped;
    return updates;
}

/* What a trace has skipped is not known. */
void pair_read_scales(struct pair *pair)
{
    const struct recording *recording = pair->options.recording;
    int step = pair->test->step, test, reference = pair->options.trace ? step : 0;
    pair->test_scale = loss_scale(pair->test, &test);
    pair->reference_scale = pair->reference ? loss_scale(pair->reference, &reference) : 1;
    if (recording && step < recording->steps) {
        pair->reference_scale = recording->loss_scales[step];
        reference = recorded_updates(recording, step);
    }
    pair->updates = 1 + (test > reference ? test : reference);
}

struct limits pair_state_limits(const struct pair *pair, bool moment)
{
    const double model_tests = 1e-4;
    double rate = learning_rate_sum(&pair->options.test->optimizer, pair->updates);
    if (moment)
        rate = fmax(rate, model_tests * pair->updates);
    bool half = pair->options.test->distributed.compute_dtype != PRECISION_FP32;
    return (struct limits){.rms_relative = INFINITY,
                           .max_relative = INFINITY,
                           .rms_absolute = rate * (half ? 0.9 : 0.05),
                           .max_absolute = rate * 2.5,
                           .scale = 1};
}

void pair_judge_shapes(struct pair_result *result)
{
    result->compared = true;
    result->verdict = (struct verdict){.failures = FAILURE_SHAPE, .worst = INFINITY};
}

static bool compare_parameter(struct pair *pair, int value, struct pair_result *result,
                              struct status *status)
{
    struct pair_sides sides;
    bool queued = false;
    if (pair_shapes_differ(pair, value)) {
        pair_judge_shapes(result);
        return true;
    }
    if (!pair_compare_on_device(pair, value, &queued, status))
        return false;
    if (queued)
        return !interrupt_asked(pair->interrupt) || interrupt_fail(status);
    if (!pair_view(pair, value, &sides, status))
        return false;
    if (sides.has_reference) {
        result->compared = metrics_compute_unless(pair->interrupt, &sides.reference, &sides.test, 1,
                                                  pair->options.threads, &result->metrics);
        result->verdict = metrics_judge(&result->metrics, result->limits);
    }
    pair_sides_free(&sides);
    return !interrupt_asked(pair->interrupt) || interrupt_fail(status);
}

static bool compare_parameters(struct pair *pair, struct status *status)
{
    const struct program *program = pair->test->program;
    for (int p = 0; p < program->parameter_count; p++) {
        int value = program->parameters[p].value;
        struct pair_result *result = &pair->results[value];
        pair->limits[value] =
            *tolerances_find(pair->options.tolerances, "init", program->values[value].name);
        result->limits = &pair->limits[value];
        if (!result->limits->ignore && !compare_parameter(pair, value, result, status))
            return false;
    }
    return true;
}

bool pair_compare_parameters(struct pair *pair, struct status *status)
{
    const struct program *program = pair->test->program;
    const struct trace_step *entered = pair->trace_step;
    bool defer = pair->defer;
    if (!pair->options.tolerances)
        return true;
    pair->defer = true; /* none of them changes meanwhile */
    if (pair->options.trace)
        pair->trace_step = trace_find_step(pair->options.trace, "init");
    bool ok = compare_parameters(pair, status);
    pair->trace_step = entered;
    pair->defer = defer;
    if (!ok || !pair_settle(pair, status))
        return false;
    for (int p = 0; p < program->parameter_count; p++)
        pair->initial[p] = pair->results[program->parameters[p].value];
    return true;
}

bool pair_is_split(const struct pair *pair, const struct value *value)
{
    int parts = pair->options.test->schedule.micro_batch_splits;
    char *whole = pair_whole_name(value);
    char *part = memory_format("%s ms=0/%d", value->name, parts);
    bool split = whole ? program_find(pair->reference_program, whole) >= 0
                       : parts > 1 && program_find(pair->test->program, part) >= 0;
    free(whole);
    free(part);
    return split;
}

/* A log point of one side that the other side does not compute, and that the rules do not ignore.
 */
static bool is_unmatched(const struct pair *pair, const struct value *value, bool matched)
{
    if (!value->log_point || matched || value->what == WHAT_PARAM || pair_is_split(pair, value))
        return false;
    const struct limits *limits = tolerances_find(pair->options.tolerances, "train_1", value->name);
    return limits && !limits->ignore;
}

int pair_unmatched(const struct pair *pair,
                   void (*report)(void *context, const char *name, bool missing), void *context)
{
    int count = 0;
    if (!pair->reference_program || !pair->options.tolerances)
        return 0;
    const struct program *test = pair->test->program, *reference = pair->reference_program;
    for (int v = 0; v < test->value_count; v++)
        if (is_unmatched(pair, &test->values[v], pair->reference_value[v] >= 0)) {
            report(context, test->values[v].name, false);
            count++;
        }
    for (int v = 0; v < reference->value_count; v++)
        if (is_unmatched(pair, &reference->values[v], pair->test_value[v] >= 0)) {
            report(context, reference->values[v].name, true);
            count++;
        }
    return count;
}
