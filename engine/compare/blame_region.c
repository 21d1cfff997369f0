#include "engine/compare/blame_region.h"

#include "engine/base/memory.h"

#include <stdlib.h>

void region_free(struct region *region)
{
    free(region->nodes);
    free(region->seen);
}

void region_add(const struct pair *pair, struct region *region, int value, int other, int parent)
{
    if (pair->reference && pair->reference_value[value] >= 0)
        other = pair->reference_value[value];
    ARRAY_PUSH(region->nodes, region->count, region->capacity,
               ((struct structure_node){value, other, parent}));
    region->seen[value] = 1;
}

/* The error of a state that was not compared in this step: it is that of the update before. */
static double state_error(struct pair *pair, int value)
{
    struct pair_sides sides;
    struct metrics metrics = {0};
    struct status ignored = STATUS_NONE;
    if (!pair->reference || pair->reference_value[value] < 0 || pair->test->step == 0 ||
        !dtype_is_float(pair->test->program->values[value].dtype) ||
        !pair_view(pair, value, &sides, &ignored))
        return 0;
    if (sides.has_reference)
        metrics_compute(&sides.reference, &sides.test, sides.scale, pair->options.threads,
                        &metrics);
    pair_sides_free(&sides);
    return metrics.rms_reference > 0 ? metrics.rms_difference / metrics.rms_reference : 0;
}

/* Relative errors up to this may be nothing but rounding. */
static double noise_of(const struct value *value)
{
    return 64 * dtype_epsilon(value->dtype == DTYPE_F64 ? DTYPE_F32 : value->dtype);
}

/* An input at the border of the region. */
static void look_at_border(struct pair *pair, struct region *region, int n, int input)
{
    const struct value *value = &pair->test->program->values[input];
    struct value_error error = value_error_of(pair, input);
    if (!error.known && value->kind == VALUE_STATE)
        error.relative = state_error(pair, input);
    double ratio = error.diverged ? pair->results[input].verdict.worst : 0;
    if (error.diverged && (region->worst < 0 || ratio > region->worst_ratio)) {
        region->worst = input;
        region->worst_reader = n;
        region->worst_ratio = ratio;
    }
    if (dtype_is_float(value->dtype) && error.relative > noise_of(value) &&
        error.relative > region->faint_error) {
        region->faint = input;
        region->faint_reader = n;
        region->faint_error = error.relative;
    }
}

/* Looks at the inputs of node `n`: those that nothing is known of join the region. */
static void look_behind(struct pair *pair, struct region *region, int n)
{
    const struct program *program = pair->test->program;
    const struct structure_node node = region->nodes[n];
    const struct instruction *in = structure_producer(program, node.value);
    for (int i = 0; i < in->input_count; i++) {
        int input = in->inputs[i];
        if (value_error_of(pair, input).known || !structure_producer(program, input))
            look_at_border(pair, region, n, input);
        else if (!region->seen[input])
            region_add(pair, region, input, structure_operand(pair, &node, i), n);
    }
}

struct region region_empty(const struct pair *pair)
{
    return (struct region){.seen = memory_zeroed((size_t)pair->test->program->value_count, 1),
                           .worst = -1,
                           .faint = -1};
}

struct region region_behind(struct pair *pair, int value)
{
    struct region region = region_empty(pair);
    region_add(pair, &region, value, -1, -1);
    for (int n = 0; n < region.count; n++)
        look_behind(pair, &region, n);
    return region;
}

void region_grow_whole(const struct pair *pair, struct region *region, bool *reads_states)
{
    const struct program *program = pair->test->program;
    for (int n = 0; n < region->count; n++) {
        const struct structure_node node = region->nodes[n];
        const struct instruction *in = structure_producer(program, node.value);
        for (int i = 0; i < in->input_count; i++) {
            int input = in->inputs[i];
            *reads_states |= program->values[input].kind == VALUE_STATE;
            if (!region->seen[input] && structure_producer(program, input))
                region_add(pair, region, input, structure_operand(pair, &node, i), n);
        }
    }
}

static int micro_batches_of(const struct config *config)
{
    return config->schedule.depth_first_micro_batches *
           config->schedule.breadth_first_micro_batches;
}

bool region_can_compare(const struct pair *pair)
{
    const struct config *test = pair->options.test, *reference = pair->options.reference;
    return pair->reference && micro_batches_of(test) == micro_batches_of(reference);
}

int region_different_node(const struct pair *pair, const struct region *region)
{
    for (int n = 0; n < region->count; n++) {
        const struct structure_node *node = &region->nodes[n];
        bool temporary = node->parent >= 0 && pair->reference_value[node->value] < 0;
        if (structure_differs(pair, node))
            return temporary && structure_elsewhere(pair, node->value) ? node->parent : n;
    }
    return -1;
}
