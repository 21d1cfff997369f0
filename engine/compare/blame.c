/* The walk from a divergent value to the instruction that introduced the error.
 *
 * Behind a diverged value lie its inputs. Those that were compared are within limits, or diverged
 * themselves; the others (temporaries, names that only one side has) are looked through: the region
 * of a value is everything between it and the compared values that it was computed from. While a
 * value at the border of the region diverged, the walk goes on from the worst of these. Where none
 * did, the error was introduced inside of the region: by the instruction that the reference does
 * not have like that, else by the one whose result float64 does not confirm. If there is no such
 * one, the error came in below the limits and grew: then the walk goes on through inputs whose
 * errors are within limits, but more than rounding, and takes what it finds there; if it finds
 * nothing, the instruction that made the last diverged value is as far as it gets. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct value_error value_error_of(const struct pair *pair, int value)
{
    const struct pair_result *result = &pair->results[value];
    if (!result->compared)
        return (struct value_error){.relative = NAN};
    double scale = result->metrics.rms_reference;
    double relative = scale > 0 ? result->metrics.rms_difference / scale
                                : (result->metrics.rms_difference > 0 ? INFINITY : 0);
    if (result->verdict.failures & FAILURE_NOT_FINITE)
        relative = INFINITY;
    return (struct value_error){true, result->verdict.failures != 0, relative};
}

int first_divergence(const struct pair *pair)
{
    const struct program *program = pair->test->program;
    for (int i = 0; i < program->instruction_count; i++)
        for (int k = 0; k < program->instructions[i].output_count; k++)
            if (value_error_of(pair, program->instructions[i].outputs[k]).diverged)
                return program->instructions[i].outputs[k];
    return -1;
}

enum {
    MAX_REPLAYS = 64, /* of one walk: a replay may have to run the step again */
    MAX_REGIONS = 1000,
};

/* A value of the region, what the reference has in its place (-1: unknown), and the node that reads
 * it (-1 for the value where the region starts). */
struct node {
    int value, other, parent;
};

struct region {
    struct node *nodes; /* nearest to the start first */
    int count, capacity;
    unsigned char *seen; /* by value */
    int worst;           /* the worst diverged value at the border, -1 if none diverged */
    int worst_reader;    /* the node that reads it */
    double worst_ratio;
    int faint; /* the border value with the largest error within limits, -1 if there is only noise
                */
    int faint_reader;
    double faint_error;
};

/* What is known of a walk so far. */
struct walk {
    struct pair *pair;
    struct blame *blame;
    int replays;   /* so far */
    bool diverged; /* something on the way was beyond its limits */
};

static void region_free(struct region *region)
{
    free(region->nodes);
    free(region->seen);
}

static const struct instruction *producer_of(const struct program *program, int value)
{
    int producer = value < 0 ? -1 : program->values[value].producer;
    return producer < 0 ? NULL : &program->instructions[producer];
}

static bool same_parameters(const struct op_parameters *a, const struct op_parameters *b,
                            int64_t first_row)
{
    return a->value == b->value && a->factor == b->factor && a->epsilon == b->epsilon &&
           a->scale == b->scale && a->beta1 == b->beta1 && a->beta2 == b->beta2 &&
           a->decay == b->decay && a->first_row == b->first_row + first_row &&
           a->window == b->window && a->heads == b->heads && a->head_groups == b->head_groups &&
           a->head_size == b->head_size && a->activation == b->activation &&
           a->causal == b->causal && a->transpose_a == b->transpose_a &&
           a->transpose_b == b->transpose_b && a->inverse == b->inverse &&
           a->dynamic == b->dynamic && a->average == b->average;
}

/* Whether two operands can stand for each other. A temporary stands for any other one: where it
 * comes from is looked at in its own turn. */
static bool same_operand(const struct pair *pair, int test, int reference)
{
    const struct value *x = &pair->test->program->values[test];
    const struct value *y = &pair->reference->program->values[reference];
    int counterpart = pair->reference_value[test];
    if (counterpart >= 0)
        return counterpart == reference;
    if (x->kind != VALUE_COMPUTED)
        return x->kind == y->kind && pair->test_value[reference] < 0;
    return true;
}

/* The first row of a micro-sequence in what the reference computes whole; -1 where it is not one.
 */
static int64_t part_of_whole(const struct pair *pair, int value, int other)
{
    const struct value *part = &pair->test->program->values[value];
    const struct value *whole = &pair->reference->program->values[other];
    int parts = part->origin.micro_sequences;
    bool split = parts > 1 && whole->origin.micro_sequences <= 1 &&
                 part->shape.dims[0] * parts == whole->shape.dims[0];
    return split ? part->shape.dims[0] * part->origin.micro_sequence : -1;
}

/* The shape that `value` would have were it computed as `other` is. */
static struct shape shape_there(const struct pair *pair, int value, int other)
{
    struct shape shape = pair->reference->program->values[other].shape;
    if (part_of_whole(pair, value, other) >= 0)
        shape.dims[0] = pair->test->program->values[value].shape.dims[0];
    return shape;
}

/* Positions in a micro-sequence count from its first row. */
static int64_t first_row_of(const struct pair *pair, int value, int other, enum op op)
{
    bool counts = op == OP_ROTARY || op == OP_ATTENTION || op == OP_ATTENTION_GRADIENT;
    int64_t row = counts ? part_of_whole(pair, value, other) : 0;
    return row > 0 ? row : 0;
}

/* Whether the test puts together from parts what the reference computes whole. */
static bool assembles(const struct pair *pair, int value, int other)
{
    const struct instruction *a = producer_of(pair->test->program, value);
    const struct instruction *b = producer_of(pair->reference->program, other);
    return a && b && a->op != b->op && a->origin.micro_sequences > 1 &&
           (a->op == OP_WRITE_ROWS || a->op == OP_ACCUMULATE);
}

/* Whether the reference computes `other` as the test computes `value`. */
static bool same_instruction(const struct pair *pair, int value, int other)
{
    const struct instruction *a = producer_of(pair->test->program, value);
    const struct instruction *b = producer_of(pair->reference->program, other);
    if (!a || !b || a->op != b->op || a->input_count != b->input_count ||
        !same_parameters(&a->parameters, &b->parameters, first_row_of(pair, value, other, a->op)))
        return false;
    const struct value *x = &pair->test->program->values[value];
    const struct value *y = &pair->reference->program->values[other];
    if (x->dtype != y->dtype || !shape_equal(x->shape, shape_there(pair, value, other)))
        return false;
    for (int i = 0; i < a->input_count; i++)
        if (!same_operand(pair, a->inputs[i], b->inputs[i]))
            return false;
    return true;
}

/* What the reference has in place of input `i` of a node: the same operand of the same instruction,
 * or, for a part, the whole. The zeros that parts are written into stand for nothing. */
static int operand_there(const struct pair *pair, const struct node *node, int i)
{
    const struct instruction *in = producer_of(pair->test->program, node->value);
    if (!pair->reference || node->other < 0)
        return -1;
    if (same_instruction(pair, node->value, node->other))
        return producer_of(pair->reference->program, node->other)->inputs[i];
    if (!assembles(pair, node->value, node->other))
        return -1;
    const struct instruction *before = producer_of(pair->test->program, in->inputs[i]);
    bool zeros = in->op == OP_WRITE_ROWS && before && before->op == OP_FILL;
    return zeros ? -1 : node->other;
}

static void add_node(const struct pair *pair, struct region *region, int value, int other,
                     int parent)
{
    if (pair->reference && pair->reference_value[value] >= 0)
        other = pair->reference_value[value];
    ARRAY_PUSH(region->nodes, region->count, region->capacity,
               ((struct node){value, other, parent}));
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
    const struct node node = region->nodes[n];
    const struct instruction *in = producer_of(program, node.value);
    for (int i = 0; i < in->input_count; i++) {
        int input = in->inputs[i];
        if (value_error_of(pair, input).known || !producer_of(program, input))
            look_at_border(pair, region, n, input);
        else if (!region->seen[input])
            add_node(pair, region, input, operand_there(pair, &node, i), n);
    }
}

static struct region region_behind(struct pair *pair, int value)
{
    struct region region = {.worst = -1, .faint = -1};
    region.seen = memory_zeroed((size_t)pair->test->program->value_count, 1);
    add_node(pair, &region, value, -1, -1);
    for (int n = 0; n < region.count; n++)
        look_behind(pair, &region, n);
    return region;
}

static bool differs(const struct pair *pair, const struct node *node)
{
    return pair->reference && node->other >= 0 &&
           !same_instruction(pair, node->value, node->other) &&
           !assembles(pair, node->value, node->other);
}

/* The node whose result is furthest from its float64 replay; -1 if all are right. */
static int wrong_node(struct walk *walk, const struct region *region, struct status *status)
{
    struct pair *pair = walk->pair;
    int wrong = -1, step = pair->test->step;
    double worst = 0;
    for (int n = 0; n < region->count && walk->replays < MAX_REPLAYS; n++, walk->replays++) {
        struct check check;
        int instruction = pair->test->program->values[region->nodes[n].value].producer;
        if (!check_instruction(pair, step, instruction, &check, status))
            return -1;
        double ratio = check.introduced_relative / check.expected_relative;
        if (check.supported && check.wrong && (wrong < 0 || ratio > worst)) {
            wrong = n;
            worst = ratio;
        }
    }
    return wrong;
}

/* The node of a region, at whose border nothing diverged, that introduced the error. -1: none. */
static int guilty_node(struct walk *walk, const struct region *region, struct status *status)
{
    for (int n = 0; n < region->count; n++)
        if (differs(walk->pair, &region->nodes[n]))
            return n;
    return wrong_node(walk, region, status);
}

static void add_link(const struct pair *pair, struct blame *blame, int value)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = producer_of(program, value);
    struct blame_link link = {.step = pair->test->step,
                              .instruction = program->values[value].producer,
                              .value = value,
                              .error = value_error_of(pair, value).relative,
                              .diverged = value_error_of(pair, value).diverged,
                              .input_error = NAN};
    for (int i = 0; i < in->input_count; i++) {
        struct value_error error = value_error_of(pair, in->inputs[i]);
        if (error.known && !(link.input_error >= error.relative))
            link.input_error = error.relative;
        link.inputs_diverged |= error.diverged;
    }
    ARRAY_PUSH(blame->links, blame->count, blame->capacity, link);
}

/* The links from the start of the region, without it, to node `n`. */
static void add_path(const struct pair *pair, struct blame *blame, const struct region *region,
                     int n)
{
    if (n <= 0)
        return;
    add_path(pair, blame, region, region->nodes[n].parent);
    add_link(pair, blame, region->nodes[n].value);
}

/* A state that diverged was written by the step before: go there, to its end. */
static int enter_previous_step(struct pair *pair, int state, struct status *status)
{
    const struct program *program = pair->test->program;
    if (pair->test->step == 0 ||
        !pair_go_to(pair, pair->test->step - 1, program->instruction_count, status))
        return -1;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state == state)
            return v;
    return -1;
}

/* The last link made it. */
static void accuse(struct walk *walk, const struct node *node)
{
    const struct pair *pair = walk->pair;
    struct blame *blame = walk->blame;
    blame->guilty = blame->count - 1;
    blame->different = differs(pair, node);
    blame->counterpart = pair->reference && node->other >= 0
                             ? pair->reference->program->values[node->other].producer
                             : -1;
}

/* The value to go on from behind the region, -1 at the end. */
static int next_value(struct walk *walk, const struct region *region, struct status *status)
{
    struct pair *pair = walk->pair;
    int n = region->worst_reader, next = region->worst;
    if (next < 0) {
        n = guilty_node(walk, region, status);
        add_path(pair, walk->blame, region, n);
        if (n >= 0) {
            accuse(walk, &region->nodes[n]);
            return -1;
        }
        if (walk->diverged && walk->blame->guilty < 0)
            accuse(walk, &region->nodes[0]);
        n = region->faint_reader;
        next = region->faint;
    }
    if (next < 0)
        return -1;
    add_path(pair, walk->blame, region, n);
    walk->diverged |= region->worst >= 0;
    if (pair->test->program->values[next].kind == VALUE_STATE)
        next = enter_previous_step(pair, next, status);
    if (region->worst >= 0 && !producer_of(pair->test->program, next))
        accuse(walk, &region->nodes[n]);
    return next;
}

static bool walk_back(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    struct walk walk = {
        .pair = pair, .blame = blame, .diverged = value_error_of(pair, value).diverged};
    for (int i = 0; i < MAX_REGIONS && producer_of(pair->test->program, value); i++) {
        if (status->code != STATUS_OK)
            return false;
        add_link(pair, blame, value);
        struct region region = region_behind(pair, value);
        value = next_value(&walk, &region, status);
        region_free(&region);
    }
    if (blame->guilty >= 0)
        blame->count = blame->guilty + 1;
    return status->code == STATUS_OK;
}

bool blame_walk(struct pair *pair, int value, struct blame *blame, struct status *status)
{
    *blame = (struct blame){.guilty = -1, .counterpart = -1};
    int step = pair->test->step, next = run_next(pair->test);
    bool ok = walk_back(pair, value, blame, status);
    if (ok && blame->guilty >= 0) {
        const struct blame_link *link = &blame->links[blame->guilty];
        ok = check_instruction(pair, link->step, link->instruction, &blame->check, status);
    }
    bool moved = pair->test->step != step || run_next(pair->test) != next;
    return (!moved || pair_go_to(pair, step, next, status)) && ok;
}

void blame_free(struct blame *blame)
{
    free(blame->links);
    blame->links = NULL;
    blame->count = blame->capacity = 0;
}
