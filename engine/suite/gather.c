/* From the comparisons of a pair to the list that is reported. */
#include "engine/suite/execute_internal.h"

#include <math.h>

enum { WORST_ELEMENTS = 10 };

static void add_worst(struct pair *pair, int value, struct tensor_result *result,
                      struct worst_element *elements)
{
    struct pair_sides sides;
    struct status ignored = STATUS_NONE; /* without its elements a failure is still a failure */
    if (!pair_view(pair, value, &sides, &ignored))
        return;
    if (sides.has_reference) {
        result->worst_count =
            metrics_worst(&sides.reference, &sides.test, sides.scale, elements, WORST_ELEMENTS);
        result->worst = elements;
        result->dtype_reference = sides.reference.dtype;
    }
    pair_sides_free(&sides);
}

static void set_shapes(const struct pair *pair, int value, struct tensor_result *result)
{
    const struct value *test = &pair->test->program->values[value];
    int other = pair->reference_program ? pair->reference_value[value] : -1;
    result->name = test->name;
    result->position = test->producer;
    result->dtype_test = result->dtype_reference = test->dtype;
    result->shape_test = result->shape_reference = test->shape;
    if (other < 0)
        return;
    result->dtype_reference = pair->reference_program->values[other].dtype;
    result->shape_reference = pair->reference_program->values[other].shape;
}

static void add(struct gathering *gathering, const char *step, int value,
                const struct pair_result *from)
{
    struct worst_element elements[WORST_ELEMENTS];
    struct tensor_result result = {
        .step = step, .metrics = from->metrics, .verdict = from->verdict, .limits = *from->limits};
    set_shapes(gathering->pair, value, &result);
    if (from->verdict.failures && from->metrics.count > 0)
        add_worst(gathering->pair, value, &result, elements);
    comparison_log_add(gathering->log, &result);
}

void gather_result(void *context, const struct pair *pair, int step, int value,
                   const struct pair_result *result)
{
    char name[32];
    (void)pair; /* the same as the gathering's, which may be looked into */
    add(context, run_step_name(step, name), value, result);
}

void gather_initial(struct gathering *gathering)
{
    const struct program *program = gathering->pair->test->program;
    for (int p = 0; p < program->parameter_count; p++) {
        int value = program->parameters[p].value;
        if (gathering->pair->results[value].compared)
            add(gathering, "init", value, &gathering->pair->results[value]);
    }
}

static void add_unmatched(void *context, const char *name, bool missing)
{
    struct gathering *gathering = context;
    const struct program *program =
        missing ? gathering->pair->reference_program : gathering->pair->test->program;
    int value = program_find(program, name);
    struct tensor_result result = {.step = "train_1", .name = name, .position = -1};
    result.verdict.failures = missing ? FAILURE_MISSING : FAILURE_EXTRA;
    result.verdict.worst = INFINITY;
    if (value >= 0) {
        struct shape shape = program->values[value].shape;
        *(missing ? &result.shape_reference : &result.shape_test) = shape;
        *(missing ? &result.dtype_reference : &result.dtype_test) = program->values[value].dtype;
    }
    comparison_log_add(gathering->log, &result);
}

void gather_unmatched(struct gathering *gathering)
{
    if (gathering->pair->reference_program && gathering->pair->options.tolerances)
        pair_unmatched(gathering->pair, add_unmatched, gathering);
}
