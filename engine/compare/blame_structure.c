#include "engine/compare/blame_structure.h"

#include <string.h>

const struct instruction *structure_producer(const struct program *program, int value)
{
    int producer = value < 0 ? -1 : program->values[value].producer;
    return producer < 0 ? NULL : &program->instructions[producer];
}

static bool same_precision(const struct pair *pair)
{
    return pair->options.test->distributed.compute_dtype ==
           pair->options.reference->distributed.compute_dtype;
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
           a->average == b->average && a->hysteresis == b->hysteresis;
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

/* How many pieces of the reference's tensor a value of the test may be one of, and which. */
static int pieces_of(const struct origin *part, const struct origin *whole, int *index)
{
    if (part->micro_sequences > 1 && whole->micro_sequences <= 1) {
        *index = part->micro_sequence;
        return part->micro_sequences;
    }
    *index = part->chunk;
    return part->chunks > 1 && whole->chunks <= 1 ? part->chunks : 1;
}

/* The first row of a micro-sequence, or of a chunk of the loss, in what the reference computes
 * whole; -1 where it is not one. */
static int64_t part_of_whole(const struct pair *pair, int value, int other)
{
    const struct value *part = &pair->test->program->values[value];
    const struct value *whole = &pair->reference->program->values[other];
    int index, pieces = pieces_of(&part->origin, &whole->origin, &index);
    bool split = pieces > 1 && part->shape.dims[0] * pieces == whole->shape.dims[0];
    return split ? part->shape.dims[0] * index : -1;
}

/* The shape that `value` would have were it computed as `other` is. */
static struct shape shape_there(const struct pair *pair, int value, int other)
{
    struct shape shape = pair->reference->program->values[other].shape;
    if (part_of_whole(pair, value, other) >= 0)
        shape.dims[0] = pair->test->program->values[value].shape.dims[0];
    return shape;
}

/* Positions in a micro-sequence count from its first row; of attention that is a row of the
 * queries, whatever came of them. */
static int64_t first_row_of(const struct pair *pair, const struct instruction *a,
                            const struct instruction *b)
{
    bool counts = a->op == OP_ROTARY || a->op == OP_ATTENTION || a->op == OP_ATTENTION_GRADIENT;
    int64_t row = counts ? part_of_whole(pair, a->outputs[0], b->outputs[0]) : 0;
    return row > 0 ? row : 0;
}

static bool has_chunks(const struct pair *pair)
{
    return pair->options.test->base_model.cross_entropy_splits >
           pair->options.reference->base_model.cross_entropy_splits;
}

/* Whether the test puts together from parts what the reference computes whole. */
static bool assembles(const struct pair *pair, int value, int other)
{
    const struct instruction *a = structure_producer(pair->test->program, value);
    const struct instruction *b = structure_producer(pair->reference->program, other);
    if (!a || !b || a->op == b->op)
        return false;
    bool parts = a->op == OP_WRITE_ROWS || a->op == OP_ACCUMULATE;
    /* losses of all micro-sequences, or gradients that came to one from those after it */
    bool sums =
        a->op == OP_ADD && (a->origin.micro_sequence < 0 || pair->reference_value[value] < 0);
    return ((parts || sums) && a->origin.micro_sequences > 1) ||
           ((parts || a->op == OP_ADD) && has_chunks(pair));
}

/* What a run in another precision has between values of the same name. */
static bool only_casts(const struct pair *pair, int value)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = structure_producer(program, value);
    return in->op == OP_COPY && !same_precision(pair) &&
           program->values[value].dtype != program->values[in->inputs[0]].dtype;
}

/* Whether it is what the reference has there, only a part of it, or in another precision. */
static bool only_prepares(const struct pair *pair, int value, int other)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = structure_producer(program, value);
    bool slices = in->op == OP_SLICE_ROWS && has_chunks(pair);
    if (!slices && !only_casts(pair, value))
        return false;
    int counterpart = pair->reference_value[in->inputs[0]];
    if (counterpart >= 0)
        return counterpart == other;
    const struct value *input = &program->values[in->inputs[0]];
    const struct value *there = &pair->reference->program->values[other];
    return input->kind != VALUE_COMPUTED && input->kind == there->kind &&
           pair->test_value[other] < 0;
}

/* Whether it is the rows of one micro-sequence, of what the test adds up for all of them and the
 * reference has at once. */
static bool takes_rows(const struct pair *pair, int value, int other)
{
    const struct instruction *in = structure_producer(pair->test->program, value);
    return in && in->op == OP_SLICE_ROWS && in->origin.micro_sequences > 1 &&
           pair->reference_value[in->inputs[0]] < 0 &&
           part_of_whole(pair, value, other) == in->parameters.first_row;
}

/* The summand of the reference's sum `other` that fits: `term` itself, or where that is -1, one
 * that was computed by `op` for this micro-batch. -1: none. */
static int summand_there(const struct pair *pair, int other, int term, enum op op, int micro_batch)
{
    const struct program *program = pair->reference->program;
    for (const struct instruction *in; (in = structure_producer(program, other));) {
        bool sum = in->op == OP_ACCUMULATE;
        int summand = sum ? in->inputs[1] : other;
        const struct instruction *source = structure_producer(program, summand);
        if (term >= 0 ? summand == term
                      : source && source->op == op && source->origin.micro_batch == micro_batch)
            return summand;
        if (!sum)
            break;
        other = in->inputs[0];
    }
    return -1;
}

/* Whether a sum over micro-batches has this summand once only. */
static bool adds_once(const struct program *program, const struct instruction *in)
{
    int term = in->inputs[1];
    while ((in = structure_producer(program, in->inputs[0])) && in->op == OP_ACCUMULATE)
        if (in->inputs[1] == term)
            return false;
    return true;
}

/* Whether both add the same to sums of the same name, perhaps in another order of micro-batches. */
static bool adds_in_other_order(const struct pair *pair, int value, int other)
{
    const struct instruction *a = structure_producer(pair->test->program, value);
    const struct instruction *b = structure_producer(pair->reference->program, other);
    if (!a || !b || a->op != OP_ACCUMULATE || b->op != OP_ACCUMULATE)
        return false;
    int term = pair->reference_value[a->inputs[1]];
    return term >= 0 && summand_there(pair, other, term, OP_ACCUMULATE, 0) >= 0 &&
           adds_once(pair->test->program, a);
}

/* What the reference has for operand `i` of a sum in another order. */
static int operand_of_sum(const struct pair *pair, const struct structure_node *node, int i)
{
    const struct program *program = pair->test->program;
    const struct instruction *in = structure_producer(program, node->value);
    const struct instruction *before = structure_producer(program, in->inputs[i]);
    if (i > 0 || !before)
        return pair->reference_value[in->inputs[i]];
    if (before->op == OP_ACCUMULATE)
        return node->other;
    int summand = summand_there(pair, node->other, -1, before->op, before->origin.micro_batch);
    return summand >= 0 ? summand : node->other;
}

/* Whether the reference computes `other` as the test computes `value`. */
static bool same_instruction(const struct pair *pair, int value, int other)
{
    const struct instruction *a = structure_producer(pair->test->program, value);
    const struct instruction *b = structure_producer(pair->reference->program, other);
    if (!a || !b || a->op != b->op || a->input_count != b->input_count ||
        !same_parameters(&a->parameters, &b->parameters, first_row_of(pair, a, b)) ||
        (a->parameters.dynamic != b->parameters.dynamic && same_precision(pair)))
        return false;
    const struct value *x = &pair->test->program->values[value];
    const struct value *y = &pair->reference->program->values[other];
    if ((x->dtype != y->dtype && same_precision(pair)) ||
        !shape_equal(x->shape, shape_there(pair, value, other)))
        return false;
    for (int i = 0; i < a->input_count; i++)
        if (!same_operand(pair, a->inputs[i], b->inputs[i]))
            return false;
    return true;
}

static bool of_same_layer(const struct pair *pair, const struct instruction *in, int other)
{
    const struct instruction *there = structure_producer(pair->reference->program, other);
    return !there || strcmp(in->origin.layer, there->origin.layer) == 0;
}

int structure_operand(const struct pair *pair, const struct structure_node *node, int i)
{
    const struct instruction *in = structure_producer(pair->test->program, node->value);
    if (!pair->reference || node->other < 0)
        return -1;
    if (same_instruction(pair, node->value, node->other))
        return structure_producer(pair->reference->program, node->other)->inputs[i];
    if (adds_in_other_order(pair, node->value, node->other))
        return operand_of_sum(pair, node, i);
    if (only_prepares(pair, node->value, node->other) || takes_rows(pair, node->value, node->other))
        return node->other;
    if (!assembles(pair, node->value, node->other))
        return -1;
    const struct instruction *before = structure_producer(pair->test->program, in->inputs[i]);
    bool zeros = in->op == OP_WRITE_ROWS && before && before->op == OP_FILL;
    /* The zeros that parts are written into stand for nothing; of several heads each has its own.
     */
    return zeros || (before && !of_same_layer(pair, before, node->other)) ? -1 : node->other;
}

bool structure_differs(const struct pair *pair, const struct structure_node *node)
{
    return pair->reference && node->other >= 0 &&
           !same_instruction(pair, node->value, node->other) &&
           !assembles(pair, node->value, node->other) &&
           !adds_in_other_order(pair, node->value, node->other) &&
           !only_prepares(pair, node->value, node->other) &&
           !takes_rows(pair, node->value, node->other);
}

bool structure_elsewhere(const struct pair *pair, int value)
{
    const struct program *program = pair->test->program, *there = pair->reference->program;
    const struct instruction *in = structure_producer(program, value);
    if (only_casts(pair, value) && pair->reference_value[in->inputs[0]] >= 0)
        return true;
    for (int i = 0; i < there->instruction_count; i++) {
        const struct instruction *other = &there->instructions[i];
        const struct value *result = &there->values[other->outputs[0]];
        bool same = other->op == in->op && other->input_count == in->input_count &&
                    in->input_count > 0 && result->dtype == program->values[value].dtype &&
                    shape_equal(result->shape, program->values[value].shape) &&
                    same_parameters(&in->parameters, &other->parameters, 0);
        for (int k = 0; same && k < in->input_count; k++)
            same = pair->reference_value[in->inputs[k]] == other->inputs[k];
        if (same)
            return true;
    }
    return false;
}
