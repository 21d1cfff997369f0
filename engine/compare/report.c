/* The comparison in words. */
#include "engine/base/text.h"
#include "engine/compare/results.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_FAILURES = 10 };

static const char *or_default(const char *name, const char *otherwise)
{
    return name ? name : otherwise;
}

/* Names come from files: what a terminal would obey is not passed on. */
static void add_safely(struct text *text, const char *string)
{
    for (; *string; string++) {
        unsigned char byte = (unsigned char)*string;
        text_add_part(text, byte < 0x20 || byte == 0x7f ? "?" : string, 1);
    }
}

static void add_colored(struct text *text, const struct report_options *options, const char *code,
                        const char *string)
{
    if (options->color)
        text_format(text, "\033[%sm", code);
    add_safely(text, string);
    if (options->color)
        text_add(text, "\033[0m");
}

const char *tensor_result_place(const struct tensor_result *result, int64_t index, char buffer[120])
{
    struct shape shape = result->shape_test.rank > 0 ? result->shape_test : result->shape_reference;
    int64_t flat = result->start + index * (result->stride > 0 ? result->stride : 1);
    struct shape place = shape;
    for (int i = shape.rank - 1; i >= 0; i--) {
        int64_t size = shape.dims[i] > 0 ? shape.dims[i] : 1;
        place.dims[i] = flat % size;
        flat /= size;
    }
    char brackets[80];
    snprintf(buffer, 120, "%s", shape_text(place, brackets));
    return buffer;
}

static void add_header(const struct tensor_result *result, const struct report_options *options,
                       struct text *text)
{
    char shape[80];
    bool in_test = result->shape_test.rank > 0, in_reference = result->shape_reference.rank > 0;
    add_colored(text, options, "1;31", result->name);
    if (in_test && in_reference && result->dtype_test != result->dtype_reference)
        text_format(text, "   %s, reference %s", dtype_name(result->dtype_test),
                    dtype_name(result->dtype_reference));
    else
        text_format(text, "   %s",
                    dtype_name(in_test ? result->dtype_test : result->dtype_reference));
    text_format(text, " %s",
                shape_text(in_test ? result->shape_test : result->shape_reference, shape));
    if (tensor_result_was_compared(result) &&
        result->metrics.count < tensor_result_elements(result))
        text_format(text, "   %" PRId64 " samples", result->metrics.count);
    text_add(text, "\n");
}

static void add_sampling(int64_t stride, const char *side, struct text *text)
{
    if (stride == 0)
        text_format(text, "all of %s", side);
    else
        text_format(text, "every %" PRId64 ". element of %s", stride, side);
}

/* Why the elements did not meet. */
static void add_obstacles(const struct tensor_result *result, const struct report_options *options,
                          int indent, struct text *text)
{
    const char *reference = or_default(options->reference, "reference");
    const char *test = or_default(options->test, "test");
    char shapes[2][80];
    int failures = result->verdict.failures;
    if (failures & FAILURE_MISSING)
        text_format(text, "%*smissing: only in %s\n", indent, "", reference);
    if (failures & FAILURE_EXTRA)
        text_format(text, "%*sextra: only in %s\n", indent, "", test);
    if (failures & FAILURE_DUPLICATE)
        text_format(text, "%*srecorded more than once in one step; the last one is compared\n",
                    indent, "");
    if (failures & FAILURE_SHAPE)
        text_format(text, "%*sshapes differ: %s in %s, %s in %s\n", indent, "",
                    shape_text(result->shape_reference, shapes[0]), reference,
                    shape_text(result->shape_test, shapes[1]), test);
    if (failures & FAILURE_SAMPLING) {
        text_format(text, "%*ssamples are of different places: ", indent, "");
        add_sampling(result->stride_reference, reference, text);
        text_add(text, ", ");
        add_sampling(result->stride_test, test, text);
        text_add(text, "\n");
    }
}

static void add_indented(const char *lines, int indent, struct text *text)
{
    while (lines && *lines) {
        size_t length = strcspn(lines, "\n");
        text_format(text, "%*s", indent, "");
        text_add_part(text, lines, length);
        text_add(text, "\n");
        lines += length + (lines[length] == '\n');
    }
}

static void add_worst(const struct tensor_result *result, const struct report_options *options,
                      int indent, struct text *text)
{
    const char *reference = or_default(options->reference, "reference");
    const char *test = or_default(options->test, "test");
    struct worst_element largest = {result->metrics.max_index, result->metrics.max_reference,
                                    result->metrics.max_test_value};
    const struct worst_element *elements = result->worst_count > 0 ? result->worst : &largest;
    int known = result->worst_count > 0 ? result->worst_count : 1;
    int wanted = options->samples > 0 ? options->samples : 1;
    for (int i = 0; i < known && i < wanted; i++) {
        char place[120], rank[32] = "";
        if (result->parts > 0)
            snprintf(rank, sizeof(rank), " (rank %d)", result->rank);
        if (elements[i].index < 0 || elements[i].reference == elements[i].test)
            continue; /* equal elements explain nothing */
        text_format(text, "%*s%s at %s%s: %.4e %s, %.4e %s\n", indent, "", i ? "     " : "worst",
                    tensor_result_place(result, elements[i].index, place), rank,
                    elements[i].reference, reference, elements[i].test, test);
    }
}

/* One failed result, as in the report, indented by `indent`. */
static void tensor_result_report(const struct tensor_result *result,
                                 const struct report_options *options, int indent,
                                 struct text *text)
{
    text_format(text, "%*s", indent, "");
    add_header(result, options, text);
    add_obstacles(result, options, indent + 4, text);
    if (!tensor_result_was_compared(result))
        return;
    struct text numbers = {0};
    metrics_describe(&result->metrics, &result->verdict, &result->limits, &numbers);
    add_indented(numbers.data, indent + 4, text);
    text_free(&numbers);
    add_worst(result, options, indent + 4, text);
    char guess[256];
    if (metrics_guess(&result->metrics, guess, sizeof(guess)))
        text_format(text, "%*slooks like: %s\n", indent, "", guess);
}

/* What is told about a group of tensors in one line. */
struct group {
    int tensors, failed;
    int64_t elements, whole;
    double worst; /* of those within limits */
};

static void add_to_group(struct group *group, const struct tensor_result *result)
{
    group->tensors++;
    if (result->verdict.failures)
        group->failed++;
    else if (result->verdict.worst > group->worst)
        group->worst = result->verdict.worst;
    group->elements += tensor_result_was_compared(result) ? result->metrics.count : 0;
    group->whole += tensor_result_elements(result);
}

static void add_extent(int64_t elements, int64_t whole, struct text *text)
{
    char numbers[2][32];
    if (whole == 0)
        text_add(text, "no elements");
    else if (elements == whole)
        text_format(text, "%s elements, all of them", text_thousands(elements, numbers[0]));
    else
        text_format(text, "%s of %s elements", text_thousands(elements, numbers[0]),
                    text_thousands(whole, numbers[1]));
}

const char *limit_share_text(double part, char buffer[32])
{
    snprintf(buffer, 32, part < 0.005 ? "<0.01" : "%.2f", part);
    return buffer;
}

static void add_group(const char *names, const struct group *group, struct text *text)
{
    text_format(text, "  %s: %d of %d tensors within limits", names, group->tensors - group->failed,
                group->tensors);
    char share[32];
    if (group->tensors > group->failed && group->worst == 0)
        text_add(text, " (equal)");
    else if (group->tensors > group->failed)
        text_format(text, " (worst %s)", limit_share_text(group->worst, share));
    text_add(text, ", ");
    add_extent(group->elements, group->whole, text);
    text_add(text, "\n");
}

/* Kinds without a failure share a line: "fw, bw: 214 of 214 tensors within limits ...". */
static void add_groups(const struct group groups[TENSOR_KINDS], struct text *text)
{
    struct text names = {0};
    struct group sum = {0};
    for (int kind = 0; kind < TENSOR_KINDS; kind++) {
        const struct group *group = &groups[kind];
        if (group->tensors == 0 || group->failed > 0)
            continue;
        text_format(&names, "%s%s", sum.tensors ? ", " : "", tensor_kind_name(kind));
        sum.tensors += group->tensors;
        sum.elements += group->elements;
        sum.whole += group->whole;
        sum.worst = group->worst > sum.worst ? group->worst : sum.worst;
    }
    if (sum.tensors > 0)
        add_group(names.data, &sum, text);
    text_free(&names);
    for (int kind = 0; kind < TENSOR_KINDS; kind++)
        if (groups[kind].failed > 0)
            add_group(tensor_kind_name(kind), &groups[kind], text);
}

static void add_step(const struct comparison_log *log, const char *step,
                     const struct report_options *options, struct text *text)
{
    struct group groups[TENSOR_KINDS] = {0};
    int failures = 0, most = options->failures > 0 ? options->failures : DEFAULT_FAILURES;
    for (int i = 0; i < log->count; i++)
        if (log->results[i].step == step)
            add_to_group(&groups[tensor_kind_of(log->results[i].name)], &log->results[i]);
    add_safely(text, step);
    text_add(text, "\n");
    add_groups(groups, text);
    for (int i = 0; i < log->count; i++) {
        const struct tensor_result *result = &log->results[i];
        if (result->step != step || result->verdict.failures == 0)
            continue;
        if (failures++ >= most)
            continue;
        if (result == comparison_log_first_failure(log))
            text_add(text, "  first divergence:\n");
        tensor_result_report(result, options, 2, text);
    }
    if (failures > most)
        text_format(text, "  ... and %d more tensor%s failed\n", failures - most,
                    failures - most > 1 ? "s" : "");
}

static void add_summary(const struct comparison_log *log, const struct report_options *options,
                        struct text *text)
{
    bool passed = comparison_log_passed(log);
    add_colored(text, options, passed ? "1;32" : "1;31", passed ? "PASSED" : "FAILED");
    text_format(text, "  %d tensor%s compared in %d step%s, ", log->compared,
                log->compared == 1 ? "" : "s", log->step_count, log->step_count == 1 ? "" : "s");
    add_extent(log->elements, log->elements_whole, text);
    if (log->failed > 0)
        text_format(text, ", %d failed", log->failed);
    if (log->problem_count > 0)
        text_format(text, ", %d problem%s", log->problem_count, log->problem_count > 1 ? "s" : "");
    if (log->ignored > 0)
        text_format(text, ", %d ignored", log->ignored);
    if (log->parts_alone > 0)
        text_format(text, ", %d not compared: only one run is split", log->parts_alone);
    if (log->parts_sampled > 0)
        text_format(text, ", %d not compared: sampled at other places", log->parts_sampled);
    if (log->only_reference + log->only_test > 0)
        text_format(text, ", left out: %d only in the reference, %d only in the test",
                    log->only_reference, log->only_test);
    text_add(text, "\n");
    if (log->elements == 0)
        text_add(text, "  nothing was compared\n");
    const struct tensor_result *closest = comparison_log_closest(log);
    if (closest && closest->verdict.worst > 0) {
        char share[32];
        text_format(text, "  closest to its limit: %s  ",
                    limit_share_text(closest->verdict.worst, share));
        add_safely(text, closest->name);
        text_add(text, "\n");
    }
}

void comparison_log_report(const struct comparison_log *log, const struct report_options *options,
                           struct text *text)
{
    if (options->title) {
        add_safely(text, options->title);
        text_add(text, "\n");
    }
    for (int i = 0; i < log->note_count; i++) {
        add_safely(text, log->notes[i]);
        text_add(text, "\n");
    }
    for (int i = 0; i < log->problem_count; i++) {
        add_colored(text, options, "1;31", log->problems[i]);
        text_add(text, "\n");
    }
    for (int i = 0; i < log->step_count; i++)
        add_step(log, log->steps[i], options, text);
    add_summary(log, options, text);
}
