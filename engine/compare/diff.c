#include "engine/compare/diff.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>

/* One step of both traces. */
struct step_pair {
    const struct trace_step *reference, *test;
    const struct tolerances *tolerances;
    struct comparison_log *log;
    bool only_common;
    struct split reference_split, test_split;
};

static const struct limits *limits_of(const struct step_pair *pair, const char *name)
{
    return tolerances_find(pair->tolerances, pair->test->name, name);
}

static bool is_ignored(const struct tolerances *tolerances, const char *step, const char *name)
{
    return tolerances_find(tolerances, step, name)->ignore;
}

/* A step of which everything is ignored does not exist. */
static bool step_exists(const struct trace_step *step, const struct tolerances *tolerances)
{
    for (int i = 0; i < step->count; i++)
        if (!is_ignored(tolerances, step->name, trace_name(step, i)))
            return true;
    return false;
}

static struct tensor_result result_of(const struct step_pair *pair,
                                      const struct trace_tensor *reference,
                                      const struct trace_tensor *test)
{
    const struct trace_tensor *any = test ? test : reference;
    struct tensor_result result = {.step = pair->test->name,
                                   .name = any->name,
                                   .position = any->order,
                                   .limits = *limits_of(pair, any->name)};
    if (reference) {
        result.dtype_reference = reference->dtype;
        result.shape_reference = reference->shape;
        result.stride_reference = reference->sampling_step;
    }
    if (test) {
        result.dtype_test = test->dtype;
        result.shape_test = test->shape;
        result.stride_test = test->sampling_step;
    }
    return result;
}

static void add_unmatched(const struct step_pair *pair, const struct trace_tensor *reference,
                          const struct trace_tensor *test, enum failure failure)
{
    struct tensor_result result = result_of(pair, reference, test);
    result.verdict.failures = (int)failure;
    comparison_log_add(pair->log, &result);
}

/* Two samplings are of the same places or are not compared: what fails says so. */
static bool sampled_alike(const struct trace_tensor *reference, const struct trace_tensor *test)
{
    if (reference->sampling_step == 0 || test->sampling_step == 0)
        return true;
    return reference->sampling_step == test->sampling_step &&
           shape_elements(reference->samples.shape) == shape_elements(test->samples.shape);
}

bool diff_align(const struct trace_tensor *reference, const struct trace_tensor *test,
                struct meeting *meeting)
{
    return shape_equal(reference->shape, test->shape) && sampled_alike(reference, test) &&
           samples_meet(reference, test, 0, meeting);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What the traces counted over the whole tensors, for places that were not sampled. */
static void add_recorded_counts(const struct trace_tensor *reference,
                                const struct trace_tensor *test, struct metrics *metrics)
{
    metrics->nan_reference = larger(metrics->nan_reference, reference->nan_count);
    metrics->nan_test = larger(metrics->nan_test, test->nan_count);
    metrics->infinity_reference = larger(metrics->infinity_reference, reference->infinity_count);
    metrics->infinity_test = larger(metrics->infinity_test, test->infinity_count);
    if (metrics->nan_reference + metrics->nan_test > 0)
        metrics->max_ulp = UINT64_MAX;
}

/* Judges what meets of the two, and logs it. */
static void judge_views(const struct step_pair *pair, const struct trace_tensor *reference,
                        const struct trace_tensor *test, const struct tensor *reference_view,
                        const struct tensor *test_view, struct tensor_result *result)
{
    struct worst_element worst[DIFF_WORST_ELEMENTS];
    double scale = result->limits.scale > 0 ? result->limits.scale : 1;
    metrics_compute(reference_view, test_view, scale, 0, &result->metrics);
    add_recorded_counts(reference, test, &result->metrics);
    result->verdict = metrics_judge(&result->metrics, &result->limits);
    if (!result->limits.ignore_duplicates && (reference->times > 1 || test->times > 1)) {
        result->verdict.failures |= FAILURE_DUPLICATE;
        result->verdict.worst = INFINITY;
    }
    if (result->verdict.failures) {
        result->worst_count =
            metrics_worst(reference_view, test_view, scale, worst, DIFF_WORST_ELEMENTS);
        result->worst = worst;
    }
    comparison_log_add(pair->log, result);
}

static void compare_tensors(const struct step_pair *pair, const struct trace_tensor *reference,
                            const struct trace_tensor *test)
{
    struct tensor_result result = result_of(pair, reference, test);
    struct meeting meeting;
    if (!shape_equal(reference->shape, test->shape)) {
        add_unmatched(pair, reference, test, FAILURE_SHAPE);
    } else if (!diff_align(reference, test, &meeting)) {
        add_unmatched(pair, reference, test, FAILURE_SAMPLING);
    } else {
        result.stride = meeting.stride;
        judge_views(pair, reference, test, &meeting.whole, &meeting.part, &result);
    }
}

/* What a whole tensor looks like to one of its parts: of its shape and name. What was counted over
 * all of it may lie in another part; whatever was kept is looked at. */
static struct trace_tensor rows_of(const struct trace_tensor *whole,
                                   const struct trace_tensor *part)
{
    struct trace_tensor rows = *whole;
    rows.name = part->name;
    rows.shape = part->shape;
    rows.order = part->order;
    if (whole->sampling_step == 0)
        rows.nan_count = rows.infinity_count = 0;
    return rows;
}

/* A micro-sequence of one side with its rows of the other side's whole tensor. */
static void compare_part(const struct step_pair *pair, const struct trace_tensor *whole,
                         const struct trace_tensor *part, int index, int count, bool part_is_test)
{
    struct trace_tensor rows = rows_of(whole, part);
    const struct trace_tensor *reference = part_is_test ? &rows : part;
    const struct trace_tensor *test = part_is_test ? part : &rows;
    struct tensor_result result = result_of(pair, reference, test);
    struct meeting meeting;
    switch (part_align(whole, part, index, count, &meeting)) {
    case PART_MEETS:
        result.start = meeting.first;
        result.stride = meeting.stride;
        judge_views(pair, reference, test, part_is_test ? &meeting.whole : &meeting.part,
                    part_is_test ? &meeting.part : &meeting.whole, &result);
        break;
    case PART_SAMPLED:
        pair->log->parts_sampled++;
        break;
    case PART_SHAPE:
        if (shape_equal(whole->shape, part->shape)) /* a loss: their sum is recorded, too */
            pair->log->parts_alone++;
        else
            add_unmatched(pair, part_is_test ? whole : part, part_is_test ? part : whole,
                          FAILURE_SHAPE);
        break;
    }
}

/* A micro-sequence of which the reference has the whole. */
static bool compare_with_whole(const struct step_pair *pair, const struct trace_tensor *test)
{
    struct trace_tensor whole;
    char *name = NULL;
    int index, count;
    bool found = part_of_name(test->name, &index, &count, &name) &&
                 parts_are_rows(&pair->test_split, name) &&
                 trace_find(pair->reference, name, &whole);
    if (found)
        compare_part(pair, &whole, test, index, count, true);
    free(name);
    return found;
}

/* How many of the parts of a whole tensor the step has. */
static int count_parts(const struct trace_step *step, const struct split *split, const char *whole)
{
    int found = 0;
    for (int i = 0; i < split->micro_sequences; i++) {
        char *name = part_name(whole, i, split->micro_sequences);
        found += trace_position(step, name) >= 0;
        free(name);
    }
    return found;
}

/* Whether the parts of `whole` in that step are not its rows but add up to it, as losses do: each
 * has its shape. Their sum is recorded under the name of the whole; traces of versions that did
 * not do so lack it. */
static bool parts_are_summands(const struct trace_step *step, const struct split *split,
                               const struct trace_tensor *whole)
{
    char *name = part_name(whole->name, 0, split->micro_sequences);
    struct trace_tensor part;
    bool alike = split->micro_sequences > 1 && trace_find(step, name, &part) &&
                 shape_equal(part.shape, whole->shape);
    free(name);
    return alike;
}

/* A whole tensor of which the reference has all micro-sequences. */
static bool compare_with_parts(const struct step_pair *pair, const struct trace_tensor *test)
{
    int count = pair->reference_split.micro_sequences;
    if (count == 0 || !parts_are_rows(&pair->reference_split, test->name) ||
        count_parts(pair->reference, &pair->reference_split, test->name) < count ||
        parts_are_summands(pair->reference, &pair->reference_split, test))
        return false;
    for (int i = 0; i < count; i++) {
        char *name = part_name(test->name, i, count);
        struct trace_tensor part;
        trace_find(pair->reference, name, &part);
        compare_part(pair, test, &part, i, count, false);
        free(name);
    }
    return true;
}

/* Only in the test. */
static void compare_extra(const struct step_pair *pair, const struct trace_tensor *test)
{
    if (compare_with_whole(pair, test) || compare_with_parts(pair, test))
        return;
    if (split_explains(&pair->test_split, &pair->reference_split, test->name))
        pair->log->parts_alone++;
    else if (pair->only_common)
        pair->log->only_test++;
    else
        add_unmatched(pair, NULL, test, FAILURE_EXTRA);
}

/* Whether a tensor that only the reference has is compared all the same: all its parts are in the
 * test, or it is a part of what is there. */
static bool is_compared_elsewhere(const struct step_pair *pair, const struct trace_tensor *tensor)
{
    int parts = pair->test_split.micro_sequences, index, count;
    const char *name = tensor->name;
    char *whole = NULL;
    if (parts > 0 && parts_are_rows(&pair->test_split, name) &&
        count_parts(pair->test, &pair->test_split, name) == parts)
        return !parts_are_summands(pair->test, &pair->test_split, tensor);
    bool compared = part_of_name(name, &index, &count, &whole) &&
                    parts_are_rows(&pair->reference_split, whole) &&
                    trace_position(pair->test, whole) >= 0 &&
                    count_parts(pair->reference, &pair->reference_split, whole) == count;
    free(whole);
    return compared;
}

static void add_missing_one(const struct step_pair *pair, int position)
{
    const char *name = trace_name(pair->reference, position);
    struct trace_tensor tensor;
    if (trace_position(pair->test, name) >= 0 || limits_of(pair, name)->ignore)
        return;
    trace_at(pair->reference, position, &tensor);
    if (is_compared_elsewhere(pair, &tensor))
        return;
    if (split_explains(&pair->reference_split, &pair->test_split, name))
        pair->log->parts_alone++;
    else if (pair->only_common)
        pair->log->only_reference++;
    else
        add_unmatched(pair, &tensor, NULL, FAILURE_MISSING);
}

/* Notes what the reference has before position `end` and the test has not. */
static void add_missing(const struct step_pair *pair, int *cursor, int end)
{
    for (; *cursor < end; (*cursor)++)
        add_missing_one(pair, *cursor);
}

static void compare_step(const struct step_pair *pair)
{
    int cursor = 0;
    for (int i = 0; i < pair->test->count; i++) {
        const char *name = trace_name(pair->test, i);
        struct trace_tensor reference, test;
        if (limits_of(pair, name)->ignore) {
            pair->log->ignored++;
            continue;
        }
        trace_at(pair->test, i, &test);
        int there = trace_position(pair->reference, name);
        if (there < 0) {
            compare_extra(pair, &test);
            continue;
        }
        add_missing(pair, &cursor, there);
        trace_at(pair->reference, there, &reference);
        compare_tensors(pair, &reference, &test);
    }
    add_missing(pair, &cursor, pair->reference->count);
}

static const struct trace_step *existing_step(const struct trace *trace, const char *name,
                                              const struct tolerances *tolerances)
{
    const struct trace_step *step = trace_find_step(trace, name);
    return step && step_exists(step, tolerances) ? step : NULL;
}

/* A step that the other trace does not have, or has without a tensor that counts. */
static void add_lone_step(struct comparison_log *log, const char *name, const struct trace *test,
                          const struct trace *reference)
{
    const struct trace *other = test ? test : reference;
    if (trace_find_step(other, name))
        comparison_log_problem(log, "step %s has nothing to compare in the %s", name,
                               test ? "test" : "reference");
    else
        comparison_log_problem(
            log, test ? "step %s is missing in the test" : "step %s is only in the test", name);
}

/* How many tensors of a step are not ignored. */
static int count_existing(const struct trace_step *step, const struct tolerances *tolerances)
{
    int count = 0;
    for (int i = 0; i < step->count; i++)
        count += !is_ignored(tolerances, step->name, trace_name(step, i));
    return count;
}

/* As add_lone_step, where only what both have is judged. */
static void leave_out_step(struct comparison_log *log, const struct trace_step *step,
                           const struct tolerances *tolerances, bool of_test)
{
    *(of_test ? &log->only_test : &log->only_reference) += count_existing(step, tolerances);
    comparison_log_note(log, "step %s has nothing to compare in the %s: left out", step->name,
                        of_test ? "reference" : "test");
}

struct diff *diff_traces(const struct trace *reference, const struct trace *test,
                         const struct tolerances *tolerances, bool only_common,
                         struct status *status)
{
    (void)status; /* trace_open has checked all that is read here */
    struct diff *diff = memory_zeroed(1, sizeof(*diff));
    diff->title = memory_format("%s against %s, tolerances %s", test->directory,
                                reference->directory, tolerances->name ? tolerances->name : "-");
    diff_note_runs(reference, test, tolerances->name, &diff->log);
    for (int i = 0; i < reference->step_count; i++) {
        const struct trace_step *step = &reference->steps[i];
        if (!step_exists(step, tolerances) || existing_step(test, step->name, tolerances))
            continue;
        if (only_common)
            leave_out_step(&diff->log, step, tolerances, false);
        else
            add_lone_step(&diff->log, step->name, test, NULL);
    }
    for (int i = 0; i < test->step_count; i++) {
        const struct trace_step *step = &test->steps[i];
        if (!step_exists(step, tolerances)) {
            diff->log.ignored += step->count;
            continue;
        }
        struct step_pair pair = {.reference = existing_step(reference, step->name, tolerances),
                                 .test = step,
                                 .tolerances = tolerances,
                                 .log = &diff->log,
                                 .only_common = only_common};
        if (pair.reference) {
            pair.reference_split = split_of(pair.reference);
            pair.test_split = split_of(pair.test);
            compare_step(&pair);
        } else if (only_common) {
            leave_out_step(&diff->log, step, tolerances, true);
        } else {
            add_lone_step(&diff->log, step->name, NULL, reference);
        }
    }
    return diff;
}

void diff_free(struct diff *diff)
{
    if (!diff)
        return;
    comparison_log_free(&diff->log);
    free(diff->title);
    free(diff);
}

void diff_report(const struct diff *diff, const struct report_options *options, struct text *text)
{
    struct report_options titled = *options;
    if (!titled.title)
        titled.title = diff->title;
    comparison_log_report(&diff->log, &titled, text);
}

void diff_json(const struct diff *diff, struct text *text)
{
    comparison_log_json(&diff->log, text);
}
