/* One rank's program beside the reference's: instructions at the same place (layer, part, phase,
 * micro-batch) are the same, but for what a layout changes: collectives come in, sizes are those of
 * parts, rows and vocabulary begin where the part begins. */
#include "engine/compare/pair_internal.h"
#include "engine/compare/team_check.h"
#include "engine/tensor/shard.h"

#include <stdio.h>
#include <string.h>

/* Both programs, and the pair that knows which values are the same tensor. */
struct sides {
    const struct pair *pair;
    const struct program *test, *reference;
};

/* Cross entropy in parts is cross entropy. */
static enum op family(enum op op)
{
    return op == OP_CROSS_ENTROPY_PART || op == OP_CROSS_ENTROPY_PARALLEL ? OP_CROSS_ENTROPY : op;
}

static bool same_string(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_place(const struct origin *a, const struct origin *b)
{
    bool split = a->micro_sequence >= 0 && b->micro_sequence >= 0 && a->micro_sequences > 1 &&
                 b->micro_sequences > 1;
    return a->phase == b->phase && a->micro_batch == b->micro_batch &&
           (!split || a->micro_sequence == b->micro_sequence) && same_string(a->layer, b->layer) &&
           same_string(a->part, b->part);
}

static int count_there(const struct program *program, const struct origin *origin, enum op op,
                       int before)
{
    int count = 0;
    for (int i = 0; i < before; i++)
        count += family(program->instructions[i].op) == op &&
                 same_place(&program->instructions[i].origin, origin);
    return count;
}

/* The reference's instruction of the same kind at the same place: of several, the one with the same
 * number among them; a micro-sequence of something whole takes the only one. -1: none. */
static int counterpart_of(const struct sides *sides, int instruction)
{
    const struct instruction *in = &sides->test->instructions[instruction];
    enum op op = family(in->op);
    int left = in->op == OP_CROSS_ENTROPY_PARALLEL
                   ? 0
                   : count_there(sides->test, &in->origin, op, instruction);
    for (int i = 0; i < sides->reference->instruction_count; i++) {
        const struct instruction *there = &sides->reference->instructions[i];
        if (family(there->op) == op && same_place(&in->origin, &there->origin) && left-- == 0)
            return i;
    }
    return -1;
}

/* Kinds that layouts bring in. */
static bool is_of_layouts(const struct instruction *in)
{
    enum op op = in->op;
    return (op == OP_ACCUMULATE && in->origin.phase == PHASE_REDUCE) || op_is_collective(op) ||
           op == OP_ADD_BIAS || op == OP_SLICE_ROWS || op == OP_WRITE_ROWS || op == OP_COPY ||
           op == OP_FILL || family(op) == OP_CROSS_ENTROPY;
}

/* Whether the reference's instruction makes what `in` makes. */
static bool makes_the_same(const struct sides *sides, const struct instruction *in,
                           const struct instruction *there)
{
    for (int k = 0; in->output_count > 0 && k < there->output_count; k++)
        if (sides->pair->reference_value[in->outputs[0]] == there->outputs[k])
            return true;
    return false;
}

/* An instruction of the reference at the place of `in` that the test has too few of; of several the
 * one that makes what `in` does (a rank may lack others by its layout), else the first. -1: none.
 */
static int missing_there(const struct sides *sides, const struct instruction *in)
{
    const struct origin *origin = &in->origin;
    int first = -1;
    for (int i = 0; i < sides->reference->instruction_count; i++) {
        const struct instruction *there = &sides->reference->instructions[i];
        enum op op = family(there->op);
        if (!same_place(origin, &there->origin) ||
            count_there(sides->reference, origin, op, i + 1) <=
                count_there(sides->test, origin, op, sides->test->instruction_count))
            continue;
        if (makes_the_same(sides, in, there))
            return i;
        first = first < 0 ? i : first;
    }
    return first;
}

/* What a value is a spread-out form of: gathered, summed up, cut to the own rows, rounded. */
static int source_of(const struct program *program, int value)
{
    for (;;) {
        int producer = program->values[value].producer;
        const struct instruction *in = producer < 0 ? NULL : &program->instructions[producer];
        bool restored = in && in->op == OP_COPY && in->origin.phase == PHASE_RESTORE;
        bool moved = in && op_is_collective(in->op) && in->input_count == 1;
        if (program->values[value].name[0] || !(restored || moved))
            return value;
        value = in->inputs[0];
    }
}

static bool same_operand(const struct sides *sides, int test, int reference)
{
    int here = source_of(sides->test, test), there = source_of(sides->reference, reference);
    int counterpart = sides->pair->reference_value[here];
    if (counterpart >= 0)
        return counterpart == there || counterpart == reference ||
               source_of(sides->reference, counterpart) == there;
    /* A state that the reference does not have, where it has one, or something named. */
    if (sides->test->values[here].kind == VALUE_STATE)
        return sides->reference->values[there].kind == VALUE_STATE &&
               sides->pair->test_value[there] < 0;
    return true;
}

/* The first token, or vocabulary index, of the part that an operand is. */
static int64_t first_of(const struct value *value, int dimension)
{
    return value->shard.global.rank > dimension ? shard_global_index(&value->shard, dimension, 0)
                                                : 0;
}

/* Where rows of a micro-sequence's part begin in what the reference computes whole. */
static int64_t first_token(const struct sides *sides, const struct instruction *in,
                           const struct instruction *there, int operand)
{
    const struct value *x = &sides->test->values[in->inputs[operand]];
    int64_t rows = x->shard.global.rank > 0 ? x->shard.global.dims[0] : x->shape.dims[0];
    bool whole = in->origin.micro_sequences > 1 && there->origin.micro_sequences <= 1;
    return first_of(x, 0) + (whole ? in->origin.micro_sequence * rows : 0);
}

/* The first_row that the instruction should have. */
static int64_t expected_first_row(const struct sides *sides, const struct instruction *in,
                                  const struct instruction *there)
{
    const struct value *values = sides->test->values;
    switch (in->op) {
    case OP_EMBEDDING:
        return first_of(&values[in->inputs[1]], 0);
    case OP_EMBEDDING_GRADIENT:
        return first_of(&values[in->outputs[0]], 0);
    case OP_ROTARY:
    case OP_ATTENTION:
        return there->parameters.first_row + first_token(sides, in, there, 0);
    case OP_ATTENTION_GRADIENT:
        return there->parameters.first_row + first_token(sides, in, there, 1);
    case OP_CROSS_ENTROPY_PART:
    case OP_CROSS_ENTROPY_PARALLEL:
    case OP_CROSS_ENTROPY_GRADIENT:
        return first_of(&values[in->inputs[0]], 1);
    default:
        return in->parameters.first_row; /* slices and the like: not to be compared */
    }
}

static const char *different_parameter(const struct sides *sides, const struct instruction *in,
                                       const struct instruction *there)
{
    const struct op_parameters *a = &in->parameters, *b = &there->parameters;
    bool vocabulary = family(in->op) == OP_CROSS_ENTROPY || in->op == OP_CROSS_ENTROPY_GRADIENT;
    if (a->first_row != expected_first_row(sides, in, there))
        return "first_row";
    if (!vocabulary && a->window != b->window)
        return "window";
    if (in->op != OP_FILL && a->value != b->value)
        return "value";
    if ((int64_t)a->heads * b->head_groups != (int64_t)b->heads * a->head_groups &&
        b->head_groups > 1)
        return "heads";
    return a->factor != b->factor             ? "factor"
           : a->epsilon != b->epsilon         ? "epsilon"
           : a->scale != b->scale             ? "scale"
           : a->beta1 != b->beta1             ? "beta1"
           : a->beta2 != b->beta2             ? "beta2"
           : a->decay != b->decay             ? "decay"
           : a->head_size != b->head_size     ? "head_size"
           : a->activation != b->activation   ? "activation"
           : a->causal != b->causal           ? "causal"
           : a->transpose_a != b->transpose_a ? "transpose_a"
           : a->transpose_b != b->transpose_b ? "transpose_b"
           : a->inverse != b->inverse         ? "inverse"
           : a->dynamic != b->dynamic         ? "dynamic"
           : a->hysteresis != b->hysteresis   ? "hysteresis"
                                              : NULL;
}

static bool accuse(struct suspect *suspect, int rank, int instruction, int counterpart)
{
    suspect->rank = rank;
    suspect->instruction = instruction;
    suspect->counterpart = counterpart;
    suspect->suspicion = SUSPICION_DIFFERENT;
    return true;
}

/* The instruction that reads the wrong operand: `in` itself, or the collective that spread it. */
static int reader_of(const struct program *program, int instruction, int operand)
{
    int value = program->instructions[instruction].inputs[operand];
    int source = source_of(program, value);
    while (value != source) {
        instruction = program->values[value].producer;
        value = program->instructions[instruction].inputs[0];
    }
    return instruction;
}

/* The instruction that reads another operand than the reference does; -1: none. */
static int check_operands(const struct sides *sides, int instruction,
                          const struct instruction *there, struct suspect *suspect)
{
    const struct instruction *in = &sides->test->instructions[instruction];
    int count = in->input_count < there->input_count ? in->input_count : there->input_count;
    char here[200], other[200];
    for (int i = 0; i < count; i++) {
        if (same_operand(sides, in->inputs[i], there->inputs[i]))
            continue;
        program_value_text(sides->test, source_of(sides->test, in->inputs[i]), here, sizeof(here));
        program_value_text(sides->reference, source_of(sides->reference, there->inputs[i]), other,
                           sizeof(other));
        snprintf(suspect->why, sizeof(suspect->why),
                 "it reads %.100s, where the reference has %.100s", here, other);
        return reader_of(sides->test, instruction, i);
    }
    return -1;
}

/* One of several chunks of the logits, or of a micro-batch, which the reference computes whole; and
 * what adds them up. */
static bool is_of_chunks(const struct team *team, const struct sides *sides,
                         const struct instruction *in)
{
    const struct config *test = team->options.test, *reference = team->options.reference;
    bool finer =
        reference &&
        (test->base_model.cross_entropy_splits > reference->base_model.cross_entropy_splits ||
         test->schedule.micro_batch_splits > reference->schedule.micro_batch_splits);
    return finer && (in->op == OP_ACCUMULATE || in->op == OP_ADD ||
                     count_there(sides->reference, &in->origin, family(in->op),
                                 sides->reference->instruction_count) > 0);
}

bool team_check_structure(const struct team *team, int rank, int instruction,
                          struct suspect *suspect)
{
    const struct pair *pair = team->pairs[rank];
    struct sides sides = {pair, pair->test->program, pair->reference_program};
    const struct instruction *in = &sides.test->instructions[instruction];
    if (!sides.reference || op_is_collective(in->op))
        return false;
    int other = counterpart_of(&sides, instruction);
    if (other >= 0) {
        const struct instruction *there = &sides.reference->instructions[other];
        const char *parameter = different_parameter(&sides, in, there);
        if (parameter)
            snprintf(suspect->why, sizeof(suspect->why), "its %s is not the reference's",
                     parameter);
        int reader = parameter ? instruction : check_operands(&sides, instruction, there, suspect);
        return reader >= 0 && accuse(suspect, rank, reader, other);
    }
    other = missing_there(&sides, in);
    if (other < 0 && (is_of_layouts(in) || is_of_chunks(team, &sides, in)))
        return false;
    if (other >= 0)
        snprintf(suspect->why, sizeof(suspect->why), "the reference has `%s` here, the test `%s`",
                 op_name(sides.reference->instructions[other].op), op_name(in->op));
    else
        snprintf(suspect->why, sizeof(suspect->why), "the reference has no `%s` here",
                 op_name(in->op));
    return accuse(suspect, rank, instruction, other);
}
