/* Contributions to gradients: how they are added where ranks have parts or summands, and named. */
#include "engine/program/backward_internal.h"

#include <stdio.h>

bool backward_wanted(const struct builder *builder, int value)
{
    return builder_value(builder, value)->needs_gradient;
}

static unsigned partial(const struct builder *builder, int value)
{
    return builder_value(builder, value)->layout.partial;
}

/* OP_COUNT for what no instruction computes. */
static enum op backward_producer_of(const struct builder *builder, int value)
{
    int producer = builder_value(builder, value)->producer;
    return producer < 0 ? OP_COUNT : builder->program->instructions[producer].op;
}

/* The sum belongs to the part that the summand comes from: contributions are named after it. */
static int complete_over(struct builder *builder, int value, unsigned groups)
{
    struct origin saved = builder->origin;
    builder->origin = builder_value(builder, value)->origin;
    int sum = emit_complete_over(builder, value, groups, NULL);
    builder->origin = saved;
    return sum;
}

/* What makes two summands over different groups summands over the same ones. */
static void complete_differences(struct builder *builder, int *a, int *b)
{
    unsigned common = partial(builder, *a) & partial(builder, *b);
    *a = complete_over(builder, *a, ~common);
    *b = complete_over(builder, *b, ~common);
}

/* A contribution that is added to others is named after what it contributes to and the part that
 * it comes from, so that it can be compared: "bw decoder.0.output<-decoder.1.norm_1". */
static void name_contribution(struct builder *builder, int target, int contribution)
{
    const struct value *value = builder_value(builder, contribution);
    if (value->name[0] || value->producer < 0 || value->layout.partial)
        return;
    /* What other pipeline ranks sum up, and what is gathered, has no counterpart elsewhere. */
    if (backward_producer_of(builder, contribution) == OP_RECEIVE ||
        backward_producer_of(builder, target) == OP_RECEIVE ||
        backward_producer_of(builder, target) == OP_ALL_GATHER)
        return;
    char path[256];
    int length = snprintf(path, sizeof(path), "%s<-%s.%s", builder_value(builder, target)->path,
                          value->origin.layer, value->origin.part);
    if (value->origin.chunks > 1 && length < (int)sizeof(path) - 40)
        length += snprintf(path + length, sizeof(path) - (size_t)length, ".chunk_%d_of_%d",
                           value->origin.chunk + 1, value->origin.chunks);
    /* One part may contribute more than once: a router by its scores and by its own loss. */
    for (int n = 2; n < 1000 && length < (int)sizeof(path) - 8 &&
                    program_find_named(builder->program, WHAT_BW, path, &value->origin) >= 0;
         n++)
        snprintf(path + length, sizeof(path) - (size_t)length, "#%d", n);
    program_name_value(builder->program, contribution, WHAT_BW, path, &value->origin);
}

/* Ranks with other samples, and ranks with other tokens of them, each have a summand of the
 * gradient of a parameter: for its reduction they are all data ranks. Copies of a tied weight on
 * other pipeline ranks have summands too. */
static void mark_summand(struct builder *builder, int parameter, int contribution)
{
    const struct seat *seat = &builder->program->seat;
    struct layout layout = builder_value(builder, contribution)->layout;
    bool tokens = seat_size(seat, COMM_SEQUENCE_DATA) > 1, batches = seat_batches(seat) > 1;
    if ((tokens && !(layout.partial >> COMM_SEQUENCE_DATA & 1)) || (batches && !layout.batch))
        builder_error(builder, "a gradient of %s that is not a summand over the data ranks",
                      builder_value(builder, builder->program->parameters[parameter].value)->path);
    layout.partial &= ~(1u << COMM_SEQUENCE_DATA);
    layout.batch = false;
    if (tokens || batches)
        layout.partial |= 1u << COMM_DATA;
    if (builder->program->parameters[parameter].tied)
        layout.partial |= 1u << COMM_TIED;
    builder_set_layout(builder, contribution, &layout);
}

static void contribute_to_parameter(struct builder *builder, int parameter, int contribution)
{
    struct program *program = builder->program;
    int master = program->parameters[parameter].value;
    int total = builder->gradient[master];
    mark_summand(builder, parameter, contribution);
    if (total < 0) {
        total = contribution;
    } else {
        complete_differences(builder, &total, &contribution);
        struct output_spec output = {NULL, DTYPE_F32, builder_value(builder, total)->shape, NULL};
        name_contribution(builder, master, contribution);
        int index =
            builder_emit(builder, OP_ACCUMULATE, NULL, (int[]){total, contribution}, 2, &output, 1);
        total = program->instructions[index].outputs[0];
    }
    program->values[total].gradient_of = parameter;
    program->values[total].memory_class = MEMORY_GRADIENTS;
    program->values[total].needs_gradient = false;
    builder->gradient[master] = total;
}

/* Where every rank has all of a contribution to what was gathered, each passes its own rows of it
 * on at once: summands alone are left, whose sum is scattered in one go. True if it did. */
static bool contribute_own_rows(struct builder *builder, int value, int contribution);

void backward_contribute(struct builder *builder, int value, int contribution)
{
    if (!backward_wanted(builder, value))
        return;
    if (builder->parameter_of[value] >= 0) {
        contribute_to_parameter(builder, builder->parameter_of[value], contribution);
        return;
    }
    if (contribute_own_rows(builder, value, contribution))
        return;
    int before = builder->gradient[value];
    if (before >= 0) {
        complete_differences(builder, &before, &contribution);
        name_contribution(builder, value, before);
        name_contribution(builder, value, contribution);
    }
    if (before >= 0)
        contribution = emit_add(builder, before, contribution, NULL);
    builder->gradient[value] = contribution;
}

/* Beside rows that are passed on, one contribution is named after the part that it comes from; a
 * sum of some of them has no counterpart elsewhere. */
void backward_scatter_summand(struct builder *builder, const struct instruction *gather,
                              bool beside)
{
    int summand = builder->gradient[gather->outputs[0]];
    enum comm_group group = (enum comm_group)gather->parameters.group;
    struct origin saved = builder->origin;
    if (beside)
        builder->origin = backward_producer_of(builder, summand) == OP_ADD
                              ? gather->origin
                              : builder_value(builder, summand)->origin;
    builder->origin.phase = PHASE_BACKWARD;
    int own = emit_reduce_scatter(builder, summand, group, NULL);
    builder->origin = saved;
    backward_contribute(builder, gather->inputs[0], own);
}

static bool contribute_own_rows(struct builder *builder, int value, int contribution)
{
    const struct value *gathered = builder_value(builder, value);
    if (backward_producer_of(builder, value) != OP_ALL_GATHER || gathered->what == WHAT_FW)
        return false;
    struct instruction gather = builder->program->instructions[gathered->producer];
    enum comm_group group = (enum comm_group)gather.parameters.group;
    if (partial(builder, contribution) >> group & 1 || !backward_wanted(builder, gather.inputs[0]))
        return false;
    /* In their order: names count the contributions of a part. */
    if (builder->gradient[value] >= 0)
        backward_scatter_summand(builder, &gather, true);
    builder->gradient[value] = -1;
    backward_contribute(builder, gather.inputs[0],
                        emit_own_rows(builder, contribution, group, NULL));
    return true;
}

/* The gradient of what was gathered over ranks may stay a summand, because its own rule scatters
 * the sum, and so may those of slices of it; with a name it must be found whole. That of rows
 * gathered for experts stays one as well, and has no name then: there are as many rows for each
 * token as it has experts, and only their sum needs to meet the other ranks' (facts, 2.7). */
static bool may_stay_summand(const struct builder *builder, int value)
{
    enum op producer = backward_producer_of(builder, value);
    const struct value *of = builder_value(builder, value);
    while (producer == OP_SLICE_ROWS && of->what != WHAT_FW) {
        int from = builder->program->instructions[of->producer].inputs[0];
        producer = backward_producer_of(builder, from);
        of = builder_value(builder, from);
    }
    return producer == OP_GATHER_ROWS || (producer == OP_ALL_GATHER && of->what != WHAT_FW);
}

void backward_complete(struct builder *builder, int value)
{
    int gradient = builder->gradient[value];
    if (gradient < 0 || builder->parameter_of[value] >= 0 || !partial(builder, gradient) ||
        may_stay_summand(builder, value))
        return;
    gradient = emit_complete(builder, gradient, NULL); /* which moves the table */
    builder->gradient[value] = gradient;
}

/* A gradient that was passed on unchanged (through an addition) is found under both names. What a
 * rank has received has contributions on the rank that sent it, where the gradient is named. */
void backward_name(struct builder *builder, int value)
{
    int gradient = builder->gradient[value];
    const struct value *forward = builder_value(builder, value);
    if (gradient < 0 || forward->what != WHAT_FW || builder->parameter_of[value] >= 0 ||
        partial(builder, gradient) || backward_producer_of(builder, value) == OP_RECEIVE)
        return;
    struct program *program = builder->program;
    if (!program->values[gradient].name[0]) {
        program_name_value(program, gradient, WHAT_BW, forward->path, &forward->origin);
        program->values[gradient].log_point = forward->log_point;
        return;
    }
    char name[256];
    snprintf(name, sizeof(name), "bw%s", forward->name + 2);
    names_set(&program->by_name, name, gradient);
    program->values[gradient].log_point |= forward->log_point;
}
