#include "engine/suite/outcome.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *outcome_kind_name(enum outcome_kind kind)
{
    static const char *const names[] = {"NOT RUN", "PASSED", "FAILED", "SKIPPED"};
    return names[kind];
}

void outcome_free(struct outcome *outcome)
{
    free(outcome->reason);
    free(outcome->detail);
    free(outcome->debug);
    free(outcome->comparison);
    free(outcome->closest);
    free(outcome->device);
    free(outcome->passed_over);
    free(outcome->steps);
    free(outcome->ranks);
    free(outcome->output);
    free(outcome->remark);
    *outcome = (struct outcome){0};
}

void outcome_set(struct outcome *outcome, enum outcome_kind kind, const char *format, ...)
{
    char reason[2048];
    va_list arguments;
    if (outcome->kind == OUTCOME_FAILED)
        return;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    free(outcome->reason);
    outcome->reason = reason[0] ? memory_string(reason) : NULL;
    outcome->kind = kind;
}

/* JSON knows no NaN and no infinity: null, and the names that Python's json reads. */
static json_t *number(double value)
{
    if (isnan(value))
        return json_null();
    return isinf(value) ? json_string(value > 0 ? "inf" : "-inf") : json_real(value);
}

static double to_number(const json_t *json)
{
    if (json_is_number(json))
        return json_number_value(json);
    if (json_is_string(json))
        return json_string_value(json)[0] == '-' ? -INFINITY : INFINITY;
    return NAN;
}

static void set_string(json_t *object, const char *key, const char *string)
{
    /* names come from files, which need not hold UTF-8 */
    json_t *value = string ? json_string(string) : json_null();
    json_object_set_new(object, key, value ? value : json_string("(not UTF-8)"));
}

static char *take_string(const json_t *object, const char *key)
{
    return memory_string(json_string_value(json_object_get(object, key)));
}

static json_t *encode_step(const struct step_report *step)
{
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:b, s:I, s:o}", "step", step->step, "loss",
                     number(step->loss), "gradient_norm", number(step->gradient_norm),
                     "learning_rate", number(step->learning_rate), "loss_scale",
                     number(step->loss_scale), "skipped", step->skipped, "tokens",
                     (json_int_t)step->tokens, "seconds", number(step->seconds));
}

static struct step_report decode_step(const json_t *json)
{
    return (struct step_report){
        .step = (int)json_integer_value(json_object_get(json, "step")),
        .loss = to_number(json_object_get(json, "loss")),
        .gradient_norm = to_number(json_object_get(json, "gradient_norm")),
        .learning_rate = to_number(json_object_get(json, "learning_rate")),
        .loss_scale = to_number(json_object_get(json, "loss_scale")),
        .skipped = json_is_true(json_object_get(json, "skipped")),
        .tokens = json_integer_value(json_object_get(json, "tokens")),
        .seconds = to_number(json_object_get(json, "seconds")),
    };
}

static json_t *encode_ranks(const struct outcome *outcome)
{
    json_t *ranks = json_array();
    for (int i = 0; i < outcome->rank_count; i++) {
        const struct rank_usage *rank = &outcome->ranks[i];
        json_array_append_new(
            ranks, json_pack("[o, o, o, I, I]", number(rank->resources.max_reserved),
                             number(rank->resources.max_allocated), number(rank->seconds),
                             (json_int_t)rank->printed[0], (json_int_t)rank->printed[1]));
    }
    return ranks;
}

static void decode_ranks(const json_t *ranks, struct outcome *outcome)
{
    outcome->rank_count = (int)json_array_size(ranks);
    outcome->ranks = memory_zeroed((size_t)outcome->rank_count, sizeof(*outcome->ranks));
    for (int i = 0; i < outcome->rank_count; i++) {
        const json_t *from = json_array_get(ranks, (size_t)i);
        outcome->ranks[i] = (struct rank_usage){
            .resources = {NAN, NAN, to_number(json_array_get(from, 0)),
                          to_number(json_array_get(from, 1))},
            .seconds = to_number(json_array_get(from, 2)),
            .printed = {json_integer_value(json_array_get(from, 3)),
                        json_integer_value(json_array_get(from, 4))},
        };
    }
}

char *outcome_encode(const struct outcome *outcome, int test)
{
    const struct resources *resources = &outcome->resources;
    json_t *steps = json_array();
    for (int i = 0; i < outcome->step_count; i++)
        json_array_append_new(steps, encode_step(&outcome->steps[i]));
    json_t *json =
        json_pack("{s:i, s:i, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "test", test,
                  "kind", (int)outcome->kind, "worst", number(outcome->worst), "tensors",
                  (json_int_t)outcome->tensors, "elements", (json_int_t)outcome->elements,
                  "elements_whole", (json_int_t)outcome->elements_whole, "seconds",
                  number(outcome->seconds), "reserved", number(resources->reserved), "allocated",
                  number(resources->allocated), "max_reserved", number(resources->max_reserved),
                  "max_allocated", number(resources->max_allocated), "steps", steps);
    set_string(json, "reason", outcome->reason);
    set_string(json, "detail", outcome->detail);
    set_string(json, "debug", outcome->debug);
    set_string(json, "comparison", outcome->comparison);
    set_string(json, "closest", outcome->closest);
    set_string(json, "device", outcome->device);
    set_string(json, "passed_over", outcome->passed_over);
    set_string(json, "output", outcome->output);
    set_string(json, "remark", outcome->remark);
    json_object_set_new(json, "ranks", encode_ranks(outcome));
    char *line = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return line;
}

bool outcome_decode(const char *line, struct outcome *outcome, int *test)
{
    json_t *json = json_loads(line, 0, NULL);
    json_t *number_of = json_object_get(json, "test"), *steps = json_object_get(json, "steps");
    json_int_t kind = json_integer_value(json_object_get(json, "kind"));
    if (!json_is_integer(number_of) || kind < OUTCOME_NONE || kind > OUTCOME_SKIPPED) {
        json_decref(json);
        return false;
    }
    *test = (int)json_integer_value(number_of);
    *outcome = (struct outcome){
        .kind = (enum outcome_kind)kind,
        .reason = take_string(json, "reason"),
        .detail = take_string(json, "detail"),
        .debug = take_string(json, "debug"),
        .comparison = take_string(json, "comparison"),
        .closest = take_string(json, "closest"),
        .device = take_string(json, "device"),
        .passed_over = take_string(json, "passed_over"),
        .output = take_string(json, "output"),
        .remark = take_string(json, "remark"),
        .worst = to_number(json_object_get(json, "worst")),
        .tensors = json_integer_value(json_object_get(json, "tensors")),
        .elements = json_integer_value(json_object_get(json, "elements")),
        .elements_whole = json_integer_value(json_object_get(json, "elements_whole")),
        .seconds = to_number(json_object_get(json, "seconds")),
        .resources = {to_number(json_object_get(json, "reserved")),
                      to_number(json_object_get(json, "allocated")),
                      to_number(json_object_get(json, "max_reserved")),
                      to_number(json_object_get(json, "max_allocated"))},
        .step_count = (int)json_array_size(steps),
    };
    outcome->steps = memory_zeroed((size_t)outcome->step_count, sizeof(*outcome->steps));
    for (int i = 0; i < outcome->step_count; i++)
        outcome->steps[i] = decode_step(json_array_get(steps, (size_t)i));
    decode_ranks(json_object_get(json, "ranks"), outcome);
    json_decref(json);
    return true;
}
