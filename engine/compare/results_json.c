/* The comparison for programs. */
#include "engine/base/text.h"
#include "engine/compare/results.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* JSON has no NaN and no infinity. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *string(const char *value)
{
    json_t *json = json_string(value);
    return json ? json : json_string("(a name that is not UTF-8)");
}

static json_t *shape_json(struct shape shape)
{
    json_t *json = json_array();
    for (int i = 0; i < shape.rank; i++)
        json_array_append_new(json, json_integer(shape.dims[i]));
    return json;
}

const char *failure_name(int bit)
{
    static const char *const names[] = {
        "rms_relative", "rms_absolute", "max_relative", "max_absolute", "not_finite",
        "missing",      "extra",        "shape",        "duplicate",    "sampling"};
    return bit >= 0 && bit < (int)(sizeof(names) / sizeof(names[0])) ? names[bit] : NULL;
}

static json_t *failures_json(int failures)
{
    json_t *json = json_array();
    for (int bit = 0; failure_name(bit); bit++)
        if (failures & 1 << bit)
            json_array_append_new(json, json_string(failure_name(bit)));
    return json;
}

static void set_metrics(json_t *json, const struct tensor_result *result)
{
    const struct metrics *metrics = &result->metrics;
    json_object_set_new(json, "elements", json_integer(metrics->count));
    json_object_set_new(json, "rms_difference", number(metrics->rms_difference));
    json_object_set_new(json, "rms_reference", number(metrics->rms_reference));
    json_object_set_new(json, "rms_test", number(metrics->rms_test));
    json_object_set_new(json, "rms_relative", number(result->verdict.rms_relative));
    json_object_set_new(json, "max_difference", number(metrics->max_difference));
    json_object_set_new(json, "max_relative", number(result->verdict.max_relative));
    json_object_set_new(json, "cosine", number(metrics->cosine));
    json_object_set_new(json, "different", json_integer(metrics->different));
    /* Counts of f64 or with NaN may pass what a JSON integer holds. */
    json_object_set_new(json, "max_ulp",
                        metrics->max_ulp <= INT64_MAX ? json_integer((json_int_t)metrics->max_ulp)
                                                      : json_null());
    json_object_set_new(json, "nan_reference", json_integer(metrics->nan_reference));
    json_object_set_new(json, "nan_test", json_integer(metrics->nan_test));
    json_object_set_new(json, "infinity_reference", json_integer(metrics->infinity_reference));
    json_object_set_new(json, "infinity_test", json_integer(metrics->infinity_test));
    json_object_set_new(json, "of_limit", number(result->verdict.worst));
    if (metrics->max_index < 0)
        return;
    int64_t stride = result->stride > 0 ? result->stride : 1;
    json_object_set_new(json, "max_index",
                        json_integer(result->start + metrics->max_index * stride));
    if (result->parts > 0)
        json_object_set_new(json, "rank", json_integer(result->rank));
    json_object_set_new(json, "max_reference", number(metrics->max_reference));
    json_object_set_new(json, "max_test", number(metrics->max_test_value));
}

static json_t *limits_json(const struct limits *limits)
{
    json_t *json = json_object();
    json_object_set_new(json, "rms_relative", number(limits->rms_relative));
    json_object_set_new(json, "rms_absolute", number(limits->rms_absolute));
    json_object_set_new(json, "max_relative", number(limits->max_relative));
    json_object_set_new(json, "max_absolute", number(limits->max_absolute));
    json_object_set_new(json, "rms_epsilon", number(limits->rms_epsilon));
    json_object_set_new(json, "scale", number(limits->scale));
    return json;
}

/* An element may be no number, and that is what there is to say of it: as text, which Python's
 * float() reads. */
static json_t *element(double value)
{
    const char *word = isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    return isfinite(value) ? json_real(value) : json_string(word);
}

/* Flat elements of the whole tensor, the largest difference first. */
static json_t *worst_json(const struct tensor_result *result)
{
    json_t *json = json_array();
    int64_t stride = result->stride > 0 ? result->stride : 1;
    for (int i = 0; i < result->worst_count; i++) {
        const struct worst_element *worst = &result->worst[i];
        json_array_append_new(json, json_pack("{s:I, s:o, s:o}", "index",
                                              (json_int_t)(result->start + worst->index * stride),
                                              "reference", element(worst->reference), "test",
                                              element(worst->test)));
    }
    return json;
}

static json_t *result_json(const struct tensor_result *result)
{
    json_t *json = json_object();
    json_object_set_new(json, "step", string(result->step));
    json_object_set_new(json, "name", string(result->name));
    json_object_set_new(json, "position", json_integer(result->position));
    json_object_set_new(json, "passed", json_boolean(result->verdict.failures == 0));
    json_object_set_new(json, "failures", failures_json(result->verdict.failures));
    if (result->shape_reference.rank > 0) {
        json_object_set_new(json, "shape_reference", shape_json(result->shape_reference));
        json_object_set_new(json, "dtype_reference",
                            json_string(dtype_name(result->dtype_reference)));
    }
    if (result->shape_test.rank > 0) {
        json_object_set_new(json, "shape_test", shape_json(result->shape_test));
        json_object_set_new(json, "dtype_test", json_string(dtype_name(result->dtype_test)));
    }
    if (!tensor_result_was_compared(result))
        return json;
    set_metrics(json, result);
    json_object_set_new(json, "limits", limits_json(&result->limits));
    if (result->worst_count > 0)
        json_object_set_new(json, "worst", worst_json(result));
    char guess[256];
    if (result->verdict.failures && metrics_guess(&result->metrics, guess, sizeof(guess)))
        json_object_set_new(json, "looks_like", string(guess));
    return json;
}

static json_t *log_json(const struct comparison_log *log)
{
    json_t *json = json_object(), *results = json_array(), *problems = json_array();
    json_object_set_new(json, "passed", json_boolean(comparison_log_passed(log)));
    json_object_set_new(json, "compared", json_integer(log->compared));
    json_object_set_new(json, "failed", json_integer(log->failed));
    json_object_set_new(json, "ignored", json_integer(log->ignored));
    json_object_set_new(json, "not_compared", json_integer(log->parts_alone + log->parts_sampled));
    json_object_set_new(json, "only_reference", json_integer(log->only_reference));
    json_object_set_new(json, "only_test", json_integer(log->only_test));
    json_object_set_new(json, "elements", json_integer(log->elements));
    json_object_set_new(json, "elements_whole", json_integer(log->elements_whole));
    const struct tensor_result *first = comparison_log_first_failure(log);
    json_object_set_new(json, "first_divergence", first ? string(first->name) : json_null());
    for (int i = 0; i < log->problem_count; i++)
        json_array_append_new(problems, string(log->problems[i]));
    json_object_set_new(json, "problems", problems);
    json_t *notes = json_array();
    for (int i = 0; i < log->note_count; i++)
        json_array_append_new(notes, string(log->notes[i]));
    json_object_set_new(json, "notes", notes);
    for (int i = 0; i < log->count; i++)
        json_array_append_new(results, result_json(&log->results[i]));
    json_object_set_new(json, "tensors", results);
    return json;
}

void comparison_log_json(const struct comparison_log *log, struct text *text)
{
    json_t *json = log_json(log);
    char *dumped = json_dumps(json, JSON_INDENT(2));
    text_add(text, dumped ? dumped : "{}");
    text_add(text, "\n");
    free(dumped);
    json_decref(json);
}
