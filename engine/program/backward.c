/* One rule for each kind of forward instruction. A rule reads the gradients of the outputs
 * (gradient_of) and gives contributions to the inputs (backward_contribute). Rules take the
 * instruction by value, because emitting moves the arrays of the program. */
#include "engine/program/backward_internal.h"

static int gradient_of(const struct builder *builder, int value)
{
    return builder->gradient[value];
}

/* Gradients of parameters are kept in f32 whatever the compute dtype. A gradient is cut like what
 * it is the gradient of. */
static struct output_spec gradient_spec(const struct builder *builder, int value)
{
    const struct value *of = builder_value(builder, value);
    enum dtype dtype = builder->parameter_of[value] >= 0 ? DTYPE_F32 : of->dtype;
    return (struct output_spec){NULL, dtype, of->shape, &of->layout};
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

static void contribute_outputs(struct builder *builder, int instruction, const int *targets,
                               int count)
{
    for (int i = 0; i < count; i++)
        backward_contribute(builder, targets[i],
                            builder->program->instructions[instruction].outputs[i]);
}

static void back_copy(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0];
    if (backward_wanted(builder, x))
        backward_contribute(builder, x,
                            emit_copy(builder, g, gradient_spec(builder, x).dtype, NULL));
}

static void back_scale(struct builder *builder, struct instruction in, int g)
{
    int index = emit_gradients(builder, OP_SCALE, &in.parameters, &g, 1, in.inputs, 1);
    contribute_outputs(builder, index, in.inputs, 1);
}

static void back_add(struct builder *builder, struct instruction in, int g)
{
    backward_contribute(builder, in.inputs[0], g);
    backward_contribute(builder, in.inputs[1], g);
}

/* Slices of one value are disjoint (cross-entropy splits): their gradients are written side by
 * side into one tensor instead of being added. */
static void back_slice_rows(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0];
    if (!backward_wanted(builder, x))
        return;
    int base = builder->gradient[x];
    bool gathered =
        base >= 0 && builder_value(builder, base)->producer >= 0 &&
        builder->program->instructions[builder_value(builder, base)->producer].op == OP_WRITE_ROWS;
    if (!gathered) {
        struct output_spec spec = gradient_spec(builder, x);
        struct layout layout = builder_value(builder, x)->layout;
        layout.partial = builder_value(builder, g)->layout.partial;
        base = emit_fill(builder, 0, spec.dtype, spec.shape);
        builder_set_layout(builder, base, &layout);
    }
    int whole = emit_write_rows(builder, base, g, in.parameters.first_row, NULL);
    if (gathered)
        builder->gradient[x] = whole;
    else
        backward_contribute(builder, x, whole);
}

/* The rows that are written over are never read from the base, so the gradient of the base may
 * keep them: it is only looked at where the base itself was written. */
static void back_write_rows(struct builder *builder, struct instruction in, int g)
{
    int base = in.inputs[0], x = in.inputs[1];
    if (backward_wanted(builder, x))
        backward_contribute(builder, x,
                            emit_slice_rows(builder, g, in.parameters.first_row,
                                            builder_value(builder, x)->shape.dims[0], NULL));
    backward_contribute(builder, base, g);
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
    if (!backward_wanted(builder, bias))
        return;
    int index = emit_gradients(builder, OP_BIAS_GRADIENT, NULL, &g, 1, &bias, 1);
    contribute_outputs(builder, index, &bias, 1);
}

static void back_add_bias(struct builder *builder, struct instruction in, int g)
{
    back_bias(builder, in.inputs[1], g);
    backward_contribute(builder, in.inputs[0], g);
}

/* y = x W^T: dW = dy^T x, dx = dy W.   y = x W: dW = x^T dy, dx = dy W^T. */
static void back_matmul(struct builder *builder, struct instruction in, int g)
{
    int x = in.inputs[0], weight = in.inputs[1];
    bool transposed = in.parameters.transpose_b;
    if (backward_wanted(builder, weight)) {
        int operands[] = {transposed ? g : x, transposed ? x : g};
        int index = emit_gradients(builder, OP_MATMUL, &(struct op_parameters){.transpose_a = true},
                                   operands, 2, &weight, 1);
        contribute_outputs(builder, index, &weight, 1);
    }
    if (in.input_count == 3)
        back_bias(builder, in.inputs[2], g);
    if (backward_wanted(builder, x)) {
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
    if (backward_wanted(builder, weight)) {
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
    backward_contribute(builder, in.inputs[0], g);
}

static void back_reduce_scatter(struct builder *builder, struct instruction in, int g)
{
    if (!backward_wanted(builder, in.inputs[0]))
        return;
    enum comm_group group = (enum comm_group)in.parameters.group;
    backward_contribute(builder, in.inputs[0], emit_all_gather(builder, g, group, NULL));
}

/* Each rank has a summand of the gradient of all that was gathered, or, of a value that is found
 * by its name, all of it. */
static void back_all_gather(struct builder *builder, struct instruction in, int g)
{
    enum comm_group group = (enum comm_group)in.parameters.group;
    if (!backward_wanted(builder, in.inputs[0]))
        return;
    if (builder_value(builder, g)->layout.partial >> group & 1)
        backward_scatter_summand(builder, &in, builder->gradient[in.inputs[0]] >= 0);
    else
        backward_contribute(builder, in.inputs[0], emit_own_rows(builder, g, group, NULL));
}

static void back_send(struct builder *builder, struct instruction in, int g)
{
    (void)g;
    int x = in.inputs[0];
    struct output_spec spec = gradient_spec(builder, x);
    struct layout layout = *spec.layout;
    backward_contribute(
        builder, x,
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
        bool needs = in.op == OP_SEND && backward_wanted(builder, in.inputs[0]);
        builder->origin = in.origin;
        builder->origin.phase = PHASE_BACKWARD;
        for (int k = 0; k < in.output_count; k++) {
            needs |= backward_wanted(builder, in.outputs[k]);
            backward_complete(builder, in.outputs[k]);
            backward_name(builder, in.outputs[k]);
        }
        int gradient = in.output_count ? gradient_of(builder, in.outputs[0]) : -1;
        if (!needs || !rules[in.op].emit || (gradient < 0 && !rules[in.op].root))
            continue;
        use_restored_weights(builder, &in);
        rules[in.op].emit(builder, in, gradient);
    }
    builder->origin = saved;
}
