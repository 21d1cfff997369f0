/* One rule for each kind of forward instruction. A rule reads the gradients of the outputs
 * (gradient_of) and gives contributions to the inputs (contribute). Rules take the instruction by
 * value, because emitting moves the arrays of the program. */
#include "engine/program/backward.h"

#include <stdio.h>

static int gradient_of(const struct builder *builder, int value)
{
    return builder->gradient[value];
}

static bool wanted(const struct builder *builder, int value)
{
    return builder_value(builder, value)->needs_gradient;
}

/* Gradients of parameters are kept in f32 whatever the compute dtype. A gradient is cut like what
 * it is the gradient of. */
static struct output_spec gradient_spec(const struct builder *builder, int value)
{
    const struct value *of = builder_value(builder, value);
    enum dtype dtype = builder->parameter_of[value] >= 0 ? DTYPE_F32 : of->dtype;
    return (struct output_spec){NULL, dtype, of->shape, &of->layout};
}

static unsigned partial(const struct builder *builder, int value)
{
    return builder_value(builder, value)->layout.partial;
}

/* OP_COUNT for what no instruction computes. */
static enum op producer_of(const struct builder *builder, int value)
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

/* Emits one gradient instruction whose outputs are the gradients of `targets`; returns its index.
 */
static int emit_gradients(struct builder *builder, enum op op,
                          const struct op_parameters *parameters, const int *inputs,
                          int input_count, const int *targets, int target_count)
{
    struct output_spec outputs[OP_MAX_OUTPUTS];
    for (int i = 0; i < target_count; i++)
        outputs[i] = gradient_spec(builder, targets[i]);
    return builder_emit(builder, op, parameters, inputs, input_count, outputs, target_count);
}

/* A contribution that is added to others is named after what it contributes to and the part that
 * it comes from, so that it can be compared: "bw decoder.0.output<-decoder.1.norm_1". */
static void name_contribution(struct builder *builder, int target, int contribution)
{
    const struct value *value = builder_value(builder, contribution);
    if (value->name[0] || value->producer < 0 || value->layout.partial)
        return;
    /* What other pipeline ranks sum up, and what is gathered, has no counterpart elsewhere. */
    if (producer_of(builder, contribution) == OP_RECEIVE ||
        producer_of(builder, target) == OP_RECEIVE || producer_of(builder, target) == OP_ALL_GATHER)
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

/* Adds a contribution to the gradient of `value`. */
static void contribute(struct builder *builder, int value, int contribution)
{
    if (!wanted(builder, value))
        return;
    if (builder->parameter_of[value] >= 0) {
        contribute_to_parameter(builder, builder->parameter_of[value], contribution);
        return;
    }
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

static void contribute_outputs(struct builder *builder, int instruction, const int *targets,
                               int count)
{
    for (int i = 0; i < count; i++)
        contribute(builder, targets[i], builder->program->instructions[instruction].outputs[i]);
}

static void back_copy(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0];
    if (wanted(builder, x))
        contribute(builder, x, emit_copy(builder, g, gradient_spec(builder, x).dtype, NULL));
}

static void back_scale(struct builder *builder, struct instruction in, int g)
{
    int index = emit_gradients(builder, OP_SCALE, &in.parameters, &g, 1, in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_add(struct builder *builder, struct instruction in, int g)
{
    contribute(builder, in.inputs[0], g);
    contribute(builder, in.inputs[1], g);
}

/* Slices of one value are disjoint (cross-entropy splits): their gradients are written side by
 * side into one tensor instead of being added. */
static void back_slice_rows(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0];
    if (!wanted(builder, x))
        return;
    int base = builder->gradient[x];
    bool gathered =
        base >= 0 && builder_value(builder, base)->producer >= 0 &&
        builder->program->instructions[builder_value(builder, base)->producer].op == OP_WRITE_ROWS;
    if (!gathered) {
        struct output_spec spec = gradient_spec(builder, x);
        struct layout layout = builder_value(builder, x)->layout;
        layout.partial = partial(builder, g);
        base = emit_fill(builder, 0, spec.dtype, spec.shape);
        builder_set_layout(builder, base, &layout);
    }
    int whole = emit_write_rows(builder, base, g, in.parameters.first_row, NULL);
    if (gathered)
        builder->gradient[x] = whole;
    else
        contribute(builder, x, whole);
}

/* The rows that are written over are never read from the base, so the gradient of the base may
 * keep them: it is only looked at where the base itself was written. */
static void back_write_rows(struct builder *builder, struct instruction in, int g)
{
    int base = in.inputs[0], x = in.inputs[1];
    if (wanted(builder, x))
        contribute(builder, x,
                   emit_slice_rows(builder, g, in.parameters.first_row,
                                   builder_value(builder, x)->shape.dims[0], NULL));
    contribute(builder, base, g);
}

static void back_embedding(struct builder *builder, struct instruction in, int g)
{
    int weight = in.inputs[1];
    int index = emit_gradients(builder, OP_EMBEDDING_GRADIENT, &in.parameters,
                               (int[]){in.inputs[0], g}, 2, &weight, 1);
    contribute_outputs(builder, index, &weight, 1);
}

static void back_bias(struct builder *builder, int bias, int g)
{
    if (!wanted(builder, bias))
        return;
    int index = emit_gradients(builder, OP_BIAS_GRADIENT, NULL, &g, 1, &bias, 1);
    contribute_outputs(builder, index, &bias, 1);
}

static void back_add_bias(struct builder *builder, struct instruction in, int g)
{
    back_bias(builder, in.inputs[1], g);
    contribute(builder, in.inputs[0], g);
}

/* y = x W^T: dW = dy^T x, dx = dy W.   y = x W: dW = x^T dy, dx = dy W^T. */
static void back_matmul(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0], weight = in.inputs[1];
    bool transposed = in.parameters.transpose_b;
    if (wanted(builder, weight)) {
        int operands[] = {transposed ? g : x, transposed ? x : g};
        int index = emit_gradients(builder, OP_MATMUL, &(struct op_parameters){.transpose_a = true},
                                   operands, 2, &weight, 1);
        contribute_outputs(builder, index, &weight, 1);
    }
    if (in.input_count == 3)
        back_bias(builder, in.inputs[2], g);
    if (wanted(builder, x)) {
        int index =
            emit_gradients(builder, OP_MATMUL, &(struct op_parameters){.transpose_b = !transposed},
                           (int[]){g, weight}, 2, &x, 1);
        contribute_outputs(builder, index, &x, 1);
    }
}

static void back_layer_norm(struct builder *builder, struct instruction in, int g)
{
    int index = emit_gradients(builder, OP_LAYER_NORM_GRADIENT, &in.parameters,
                               (int[]){g, in.inputs[0], in.inputs[1], in.outputs[1], in.outputs[2]},
                               5, in.inputs, 3);
    contribute_outputs(builder, index, in.inputs, 3);
}

static void back_rms_norm(struct builder *builder, struct instruction in, int g)
{
    int index =
        emit_gradients(builder, OP_RMS_NORM_GRADIENT, &in.parameters,
                       (int[]){g, in.inputs[0], in.inputs[1], in.outputs[1]}, 4, in.inputs, 2);
    contribute_outputs(builder, index, in.inputs, 2);
}

static void back_rotary(struct builder *builder, struct instruction in, int g)
{
    struct op_parameters parameters = in.parameters;
    parameters.inverse = !parameters.inverse;
    int index =
        emit_gradients(builder, OP_ROTARY, &parameters, (int[]){g, in.inputs[1]}, 2, in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_attention(struct builder *builder, struct instruction in, int g)
{
    int operands[] = {g, in.inputs[0], in.inputs[1], in.inputs[2], in.outputs[0], in.outputs[1]};
    int index =
        emit_gradients(builder, OP_ATTENTION_GRADIENT, &in.parameters, operands, 6, in.inputs, 2);
    contribute_outputs(builder, index, in.inputs, 2);
}

static void back_activation(struct builder *builder, struct instruction in, int g)
{
    enum op op = in.op == OP_ACTIVATION ? OP_ACTIVATION_GRADIENT : OP_GATED_ACTIVATION_GRADIENT;
    int index =
        emit_gradients(builder, op, &in.parameters, (int[]){g, in.inputs[0]}, 2, in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_cross_entropy(struct builder *builder, struct instruction in, int g)
{
    (void)g;
    int operands[] = {in.inputs[0], in.inputs[1], in.inputs[2], in.outputs[1], builder->loss_scale};
    int index = emit_gradients(builder, OP_CROSS_ENTROPY_GRADIENT, &in.parameters, operands, 5,
                               in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_load_balance(struct builder *builder, struct instruction in, int g)
{
    (void)g;
    int operands[] = {in.inputs[0], in.inputs[1], builder->loss_scale};
    int index = emit_gradients(builder, OP_LOAD_BALANCE_GRADIENT, &in.parameters, operands, 3,
                               in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_top_k(struct builder *builder, struct instruction in, int g)
{
    (void)g;
    int scores = gradient_of(builder, in.outputs[1]);
    if (scores < 0)
        return;
    int index = emit_gradients(builder, OP_TOP_K_GRADIENT, NULL,
                               (int[]){scores, in.outputs[0], in.outputs[1]}, 3, in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_gather_rows(struct builder *builder, struct instruction in, int g)
{
    int index = emit_gradients(builder, OP_GATHER_ROWS_GRADIENT, NULL, (int[]){g, in.inputs[1]}, 2,
                               in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_grouped_matmul(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0], weight = in.inputs[1], ends = in.inputs[2];
    bool transposed = in.parameters.transpose_b;
    if (wanted(builder, weight)) {
        int operands[] = {transposed ? g : x, transposed ? x : g, ends};
        int index =
            emit_gradients(builder, OP_GROUPED_MATMUL_GRADIENT, NULL, operands, 3, &weight, 1);
        contribute_outputs(builder, index, &weight, 1);
    }
    int index = emit_gradients(builder, OP_GROUPED_MATMUL,
                               &(struct op_parameters){.transpose_b = !transposed},
                               (int[]){g, weight, ends}, 3, &x, 1);
    contribute_outputs(builder, index, &x, 1);
}

static void back_combine_rows(struct builder *builder, struct instruction in, int g)
{
    int operands[] = {g, in.inputs[0], in.inputs[1], in.inputs[2]};
    int index = emit_gradients(builder, OP_COMBINE_ROWS_GRADIENT, NULL, operands, 4, in.inputs, 2);
    contribute_outputs(builder, index, in.inputs, 2);
}

/* The sum has each summand's gradient. */
static void back_all_reduce(struct builder *builder, struct instruction in, int g)
{
    contribute(builder, in.inputs[0], g);
}

static void back_reduce_scatter(struct builder *builder, struct instruction in, int g)
{
    if (!wanted(builder, in.inputs[0]))
        return;
    enum comm_group group = (enum comm_group)in.parameters.group;
    contribute(builder, in.inputs[0], emit_all_gather(builder, g, group, NULL));
}

/* Each rank has a summand of the gradient of all that was gathered, or all of it. */
static void back_all_gather(struct builder *builder, struct instruction in, int g)
{
    enum comm_group group = (enum comm_group)in.parameters.group;
    if (!wanted(builder, in.inputs[0]))
        return;
    bool summand = partial(builder, g) >> group & 1;
    contribute(builder, in.inputs[0],
               summand ? emit_reduce_scatter(builder, g, group, NULL)
                       : emit_own_rows(builder, g, group, NULL));
}

static void back_send(struct builder *builder, struct instruction in, int g)
{
    (void)g;
    int x = in.inputs[0];
    struct output_spec spec = gradient_spec(builder, x);
    struct layout layout = *spec.layout;
    contribute(builder, x,
               emit_receive(builder, in.parameters.peer, spec.dtype, spec.shape, &layout, NULL));
}

static void back_receive(struct builder *builder, struct instruction in, int g)
{
    emit_send(builder, g, in.parameters.peer);
}

typedef void rule(struct builder *builder, struct instruction in, int gradient);

static const struct {
    rule *emit;
    bool root; /* runs without a gradient of its first output */
} rules[OP_COUNT] = {
    [OP_COPY] = {back_copy, false},
    [OP_SCALE] = {back_scale, false},
    [OP_ADD] = {back_add, false},
    [OP_SLICE_ROWS] = {back_slice_rows, false},
    [OP_WRITE_ROWS] = {back_write_rows, false},
    [OP_EMBEDDING] = {back_embedding, false},
    [OP_ADD_BIAS] = {back_add_bias, false},
    [OP_MATMUL] = {back_matmul, false},
    [OP_LAYER_NORM] = {back_layer_norm, false},
    [OP_RMS_NORM] = {back_rms_norm, false},
    [OP_ROTARY] = {back_rotary, false},
    [OP_ATTENTION] = {back_attention, false},
    [OP_ACTIVATION] = {back_activation, false},
    [OP_GATED_ACTIVATION] = {back_activation, false},
    [OP_CROSS_ENTROPY] = {back_cross_entropy, true},
    [OP_CROSS_ENTROPY_PARALLEL] = {back_cross_entropy, true},
    [OP_TOP_K] = {back_top_k, true},
    [OP_LOAD_BALANCE] = {back_load_balance, true},
    [OP_GATHER_ROWS] = {back_gather_rows, false},
    [OP_GROUPED_MATMUL] = {back_grouped_matmul, false},
    [OP_COMBINE_ROWS] = {back_combine_rows, false},
    [OP_ALL_REDUCE] = {back_all_reduce, false},
    [OP_REDUCE_SCATTER] = {back_reduce_scatter, false},
    [OP_ALL_GATHER] = {back_all_gather, false},
    [OP_SEND] = {back_send, true},
    [OP_RECEIVE] = {back_receive, false},
};

bool backward_has_rule(enum op op)
{
    return rules[op].emit != NULL || op == OP_FILL || op == OP_ROUTE_ROWS ||
           op == OP_CROSS_ENTROPY_PART;
}

/* All contributions to the gradient of a forward value are in: summands of it are added up. Only
 * what was gathered may stay a summand, because its own rule scatters the sum; with a name it must
 * be found whole. */
static void complete_gradient(struct builder *builder, int value)
{
    int gradient = builder->gradient[value];
    if (gradient < 0 || builder->parameter_of[value] >= 0 || !partial(builder, gradient))
        return;
    if (producer_of(builder, value) == OP_ALL_GATHER &&
        builder_value(builder, value)->what != WHAT_FW)
        return;
    gradient = emit_complete(builder, gradient, NULL); /* which moves the table */
    builder->gradient[value] = gradient;
}

/* It gets its canonical name. A gradient that was passed on unchanged (through an addition) is
 * found under both names. What a rank has received has contributions on the rank that sent it,
 * where the gradient is named. */
static void name_gradient(struct builder *builder, int value)
{
    int gradient = builder->gradient[value];
    const struct value *forward = builder_value(builder, value);
    if (gradient < 0 || forward->what != WHAT_FW || builder->parameter_of[value] >= 0 ||
        producer_of(builder, value) == OP_RECEIVE)
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

/* Weights that were gathered for the forward pass may be gone (ZeRO 3). */
static void use_restored_weights(struct builder *builder, struct instruction *in)
{
    for (int i = 0; i < in->input_count; i++)
        if (builder->parameter_of[in->inputs[i]] >= 0)
            in->inputs[i] = builder_weight(builder, builder->parameter_of[in->inputs[i]]);
}

void backward_emit(struct builder *builder, int first, int last)
{
    struct origin saved = builder->origin;
    for (int i = last - 1; i >= first; i--) {
        struct instruction in = builder->program->instructions[i];
        bool needs = in.op == OP_SEND && wanted(builder, in.inputs[0]);
        builder->origin = in.origin;
        builder->origin.phase = PHASE_BACKWARD;
        for (int k = 0; k < in.output_count; k++) {
            needs |= wanted(builder, in.outputs[k]);
            complete_gradient(builder, in.outputs[k]);
            name_gradient(builder, in.outputs[k]);
        }
        int gradient = in.output_count ? gradient_of(builder, in.outputs[0]) : -1;
        if (!needs || !rules[in.op].emit || (gradient < 0 && !rules[in.op].root))
            continue;
        use_restored_weights(builder, &in);
        rules[in.op].emit(builder, in, gradient);
    }
    builder->origin = saved;
}
