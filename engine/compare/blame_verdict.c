/* What is said of the walk's end: who else may have done it, and who has not. */
#include "engine/compare/blame_region.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdlib.h>

enum { ROUNDINGS = 8 }; /* as many times may an instruction enlarge what went into it */

static bool makes_right_one(const struct pair *pair, const struct instruction *in)
{
    for (int k = 0; k < in->output_count; k++) {
        struct value_error error = value_error_of(pair, in->outputs[k]);
        if (error.known && !error.diverged)
            return true;
    }
    return false;
}

/* Whether something right was computed with it, or of it at once: then it is hardly wrong. */
static bool is_cleared(const struct pair *pair, int value)
{
    const struct program *program = pair->test->program;
    bool cleared = makes_right_one(pair, structure_producer(program, value));
    for (int i = 0; i < program->instruction_count && !cleared; i++) {
        const struct instruction *in = &program->instructions[i];
        bool reads = false;
        for (int k = 0; k < in->input_count; k++)
            reads |= in->inputs[k] == value;
        cleared = reads && makes_right_one(pair, in);
    }
    return cleared;
}

void blame_suspect_all(const struct pair *pair, const struct region *region, struct blame *blame)
{
    const struct program *program = pair->test->program;
    if (pair->reference || region->count < 2)
        return;
    /* A node comes after the node that reads it: what is only behind cleared ones is not asked. */
    unsigned char *suspected = memory_zeroed((size_t)program->instruction_count, 1);
    unsigned char *cleared = memory_zeroed((size_t)region->count, 1);
    for (int n = 0; n < region->count; n++) {
        const struct structure_node *node = &region->nodes[n];
        cleared[n] = node->parent >= 0 && (cleared[node->parent] || is_cleared(pair, node->value) ||
                                           !dtype_is_float(program->values[node->value].dtype));
        suspected[program->values[node->value].producer] |= !cleared[n];
    }
    blame->suspects = memory_zeroed((size_t)region->count, sizeof(*blame->suspects));
    blame->suspect_count = 0;
    for (int i = 0; i < program->instruction_count; i++)
        if (suspected[i])
            blame->suspects[blame->suspect_count++] = i;
    free(cleared);
    free(suspected);
}

/* What no updated state and no loss depends on is nobody's fault. Those that the reference has not
 * say nothing about what lies behind them. */
static void add_results(const struct pair *pair, struct region *region)
{
    const struct program *program = pair->test->program;
    const struct program_outputs *outputs = &program->outputs;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state >= 0 && structure_producer(program, v) &&
            pair->reference_value[v] >= 0)
            region_add(pair, region, v, -1, -1);
    for (int i = 0; i < outputs->loss_count; i++)
        if (!region->seen[outputs->losses[i]])
            region_add(pair, region, outputs->losses[i], -1, -1);
}

/* An instruction anywhere in the step that the reference does not have like that. */
static void find_elsewhere(const struct pair *pair, struct blame *blame)
{
    struct region region = region_empty(pair);
    bool ignored = false;
    add_results(pair, &region);
    region_grow_whole(pair, &region, &ignored);
    int n = region_can_compare(pair) ? region_different_node(pair, &region) : -1;
    if (n >= 0) {
        const struct structure_node *node = &region.nodes[n];
        blame->elsewhere = pair->test->program->values[node->value].producer;
        blame->counterpart =
            node->other >= 0 ? pair->reference->program->values[node->other].producer : -1;
    }
    region_free(&region);
}

/* Whether the sides round differently: in other precisions, or both in 16 bits, where a sum that is
 * made in other pieces is rounded at other places. */
static bool rounds_differently(const struct pair *pair)
{
    const struct config *test = pair->options.test, *reference = pair->options.reference;
    return pair->reference &&
           (test->distributed.compute_dtype != reference->distributed.compute_dtype ||
            test->distributed.compute_dtype != PRECISION_FP32);
}

/* Whether the error of the guilty one is not much more than those of its inputs and one rounding.
 */
static bool is_explained(const struct blame *blame)
{
    const struct blame_link *link = &blame->links[blame->guilty];
    double inputs = isnan(link->input_error) ? 0 : link->input_error;
    return blame->check.supported &&
           link->error <= ROUNDINGS * (inputs + blame->check.expected_relative);
}

void blame_acquit(const struct pair *pair, bool within, struct blame *blame)
{
    if (blame->guilty < 0 || blame->sure || blame->check.wrong)
        return;
    if (!within && rounds_differently(pair) && blame->counterpart >= 0 && is_explained(blame)) {
        blame->rounding = blame->guilty;
        blame->counterpart = -1;
        find_elsewhere(pair, blame);
    }
    if (within || blame->rounding >= 0)
        blame->guilty = -1;
}
