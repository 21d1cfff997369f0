#include "helper_kinds.h"

#include "engine/base/memory.h"
#include "engine/tensor/shard.h"

#include <stdlib.h>

/* Divided by 8 ranks and two parts. */
enum { TOKENS = 16, WIDTH = TOKENS, HEAD = 2, HEADS = WIDTH / HEAD, EXPERTS = KIND_EXPERTS };

/* ---- operands ---- */

static struct tensor *next_input(struct sample *sample, enum dtype dtype, struct shape shape)
{
    struct tensor *input = &sample->inputs[sample->input_count++];
    size_t bytes = (size_t)shape_elements(shape) * dtype_size(dtype);
    *input = tensor_of(memory_zeroed(bytes, 1), dtype, shape);
    return input;
}

static void add_numbers(struct sample *sample, struct random *random, struct shape shape)
{
    struct tensor *input = next_input(sample, DTYPE_F32, shape);
    for (int64_t i = 0; i < shape_elements(shape); i++)
        tensor_store(input, i,
                     random_uniform(random, 0.25, 1) * (random_bits(random) & 1 ? 1 : -1));
}

static void add_matrix(struct sample *sample, struct random *random, int64_t rows, int64_t columns)
{
    add_numbers(sample, random, shape_of2(rows, columns));
}

static void add_scalars(struct sample *sample, struct random *random, int count)
{
    struct tensor *input = next_input(sample, DTYPE_F64, shape_of1(count));
    for (int i = 0; i < count; i++)
        tensor_store(input, i, random_uniform(random, 0.5, 2));
}

static void add_indices(struct sample *sample, struct random *random, int count, int low, int high)
{
    struct tensor *input = next_input(sample, DTYPE_I32, shape_of1(count));
    for (int i = 0; i < count; i++)
        tensor_store(input, i, (double)random_integer(random, low, high));
}

/* Where each token goes: to every expert, in an order of its own. */
static void add_experts(struct sample *sample, struct random *random)
{
    struct tensor *input = next_input(sample, DTYPE_I32, shape_of2(TOKENS, EXPERTS));
    for (int t = 0; t < TOKENS; t++) {
        int first = (int)random_integer(random, 0, EXPERTS - 1);
        for (int c = 0; c < EXPERTS; c++)
            tensor_store(input, t * EXPERTS + c, (first + c) % EXPERTS);
    }
}

static void add_slots(struct sample *sample, struct random *random)
{
    sample->inputs_mean[sample->input_count] = MEANS_SLOTS;
    struct tensor *input = next_input(sample, DTYPE_I32, shape_of1(TOKENS * EXPERTS));
    for (int t = 0; t < TOKENS; t++) {
        int first = (int)random_integer(random, 0, EXPERTS - 1);
        for (int e = 0; e < EXPERTS; e++)
            tensor_store(input, e * TOKENS + t, t * EXPERTS + (first + e) % EXPERTS);
    }
}

static void add_ends(struct sample *sample)
{
    sample->inputs_mean[sample->input_count] = MEANS_ENDS;
    struct tensor *input = next_input(sample, DTYPE_I32, shape_of1(EXPERTS));
    for (int e = 0; e < EXPERTS; e++)
        tensor_store(input, e, (e + 1) * TOKENS);
}

/* ---- kinds ---- */

/* A letter for each operand: see add_operand. */
static const char *const operands[OP_COUNT] = {
    [OP_FILL] = "",
    [OP_COPY] = "m",
    [OP_SCALE] = "m",
    [OP_ADD] = "mm",
    [OP_ACCUMULATE] = "mm",
    [OP_SLICE_ROWS] = "m",
    [OP_WRITE_ROWS] = "mo",
    [OP_EMBEDDING] = "im",
    [OP_EMBEDDING_GRADIENT] = "im",
    [OP_ADD_BIAS] = "mv",
    [OP_BIAS_GRADIENT] = "m",
    [OP_MATMUL] = "mmv",
    [OP_LAYER_NORM] = "mvv",
    [OP_LAYER_NORM_GRADIENT] = "mmvvv",
    [OP_RMS_NORM] = "mv",
    [OP_RMS_NORM_GRADIENT] = "mmvv",
    [OP_ROTARY] = "mr",
    [OP_ATTENTION] = "mkz",
    [OP_ATTENTION_GRADIENT] = "mmkzmh",
    [OP_ACTIVATION] = "m",
    [OP_ACTIVATION_GRADIENT] = "mm",
    [OP_GATED_ACTIVATION] = "d",
    [OP_GATED_ACTIVATION_GRADIENT] = "md",
    [OP_CROSS_ENTROPY] = "mls",
    [OP_CROSS_ENTROPY_GRADIENT] = "mlsvs",
    [OP_TOP_K] = "x",
    [OP_TOP_K_GRADIENT] = "xex",
    [OP_LOAD_BALANCE] = "xe",
    [OP_LOAD_BALANCE_GRADIENT] = "xes",
    [OP_ROUTE_ROWS] = "e",
    [OP_GATHER_ROWS] = "mS",
    [OP_GATHER_ROWS_GRADIENT] = "nS",
    [OP_GROUPED_MATMUL] = "nwE",
    [OP_GROUPED_MATMUL_GRADIENT] = "nnE",
    [OP_COMBINE_ROWS] = "nxS",
    [OP_COMBINE_ROWS_GRADIENT] = "mnxS",
    [OP_SUM_SQUARES] = "sm",
    [OP_OPTIMIZER_FACTORS] = "ss4",
    [OP_ADAMW] = "mmmq5",
    [OP_CROSS_ENTROPY_PART] = "ml",
    [OP_CROSS_ENTROPY_PARALLEL] = "mlspv",
    [OP_ALL_REDUCE] = "m",
    [OP_ALL_GATHER] = "m",
    [OP_REDUCE_SCATTER] = "m",
    [OP_BROADCAST] = "m",
    [OP_SEND] = "m",
    [OP_RECEIVE] = "",
};

static void add_operand(struct sample *it, char letter, struct random *random)
{
    switch (letter) {
    case 'm': /* of tokens, or a weight */
        add_matrix(it, random, TOKENS, WIDTH);
        break;
    case 'o': /* some of the rows */
        add_matrix(it, random, TOKENS / 2, WIDTH);
        break;
    case 'd': /* gate and up */
        add_matrix(it, random, TOKENS, 2 * WIDTH);
        break;
    case 'n': /* the rows of all experts */
        add_matrix(it, random, TOKENS * EXPERTS, WIDTH);
        break;
    case 'w': /* the weights of all experts */
        add_matrix(it, random, EXPERTS * WIDTH, WIDTH);
        break;
    case 'x': /* of tokens and experts */
        add_matrix(it, random, TOKENS, EXPERTS);
        break;
    case 'r':
        add_matrix(it, random, TOKENS, HEAD);
        break;
    case 'k': /* keys and values */
        add_matrix(it, random, TOKENS, 2 * it->parameters.head_groups * HEAD);
        break;
    case 'h':
        add_matrix(it, random, TOKENS, HEADS);
        break;
    case 'p': /* sums of four parts of a vocabulary */
        add_matrix(it, random, 4, TOKENS);
        break;
    case 'q': /* a mean of squares */
        add_matrix(it, random, TOKENS, WIDTH);
        for (int i = 0; i < TOKENS * WIDTH; i++)
            tensor_store(&it->inputs[it->input_count - 1], i, random_uniform(random, 0.1, 1));
        break;
    case 'v': /* one for each token, or each column */
        add_numbers(it, random, shape_of1(WIDTH));
        break;
    case 's':
        add_scalars(it, random, 1);
        break;
    case '4':
        add_scalars(it, random, 4);
        break;
    case '5': /* no skip */
        add_scalars(it, random, 5);
        tensor_store(&it->inputs[it->input_count - 1], 1, 0);
        break;
    case 'i': /* rows of a table */
        add_indices(it, random, TOKENS, 0, WIDTH - 1);
        break;
    case 'l': /* labels, some of them masked */
        add_indices(it, random, TOKENS, -1, WIDTH - 1);
        break;
    case 'z': /* one document */
        add_indices(it, random, TOKENS, 0, 0);
        break;
    case 'e':
        add_experts(it, random);
        break;
    case 'S':
        add_slots(it, random);
        break;
    case 'E':
        add_ends(it);
        break;
    default:
        abort();
    }
}

static void choose_parameters(struct sample *it, struct random *random)
{
    struct op_parameters *p = &it->parameters;
    bool coin = random_bits(random) & 1, other = random_bits(random) & 1;
    p->activation = (enum activation)random_integer(random, 0, ACTIVATION_COUNT - 1);
    p->epsilon = 1e-5;
    p->factor = random_uniform(random, 0.5, 2);
    p->scale = 0.5;
    p->heads = HEADS, p->head_size = HEAD, p->head_groups = coin ? HEADS : 1;
    p->causal = p->transpose_a = other;
    p->transpose_b = coin;
    p->beta1 = 0.9, p->beta2 = 0.95, p->decay = 0.1;
    if (it->op == OP_FILL)
        p->value = coin ? 0 : random_uniform(random, 1, 2);
    if (it->op == OP_SLICE_ROWS)
        p->first_row = TOKENS / 4;
    if (op_is_collective(it->op))
        p->group = (int)random_integer(random, 0, COMM_GROUP_COUNT - 1);
    if (it->op == OP_ALL_REDUCE || it->op == OP_REDUCE_SCATTER)
        p->average = random_integer(random, 0, 3) == 0;
    if (it->op == OP_CROSS_ENTROPY_PART || it->op == OP_CROSS_ENTROPY_PARALLEL)
        p->window = WIDTH;
}

static void make_inputs(struct sample *it, struct random *random)
{
    choose_parameters(it, random);
    bool bias = random_bits(random) & 1;
    for (const char *letter = operands[it->op]; *letter; letter++)
        if (it->op != OP_MATMUL || *letter != 'v' || bias)
            add_operand(it, *letter, random);
    if (it->op == OP_ROUTE_ROWS) {
        it->outputs_mean[0] = MEANS_SLOTS;
        it->outputs_mean[1] = MEANS_ENDS;
    }
}

/* ---- results ---- */

static int64_t rows(const struct op_call *call, int input)
{
    return call->inputs[input].shape.dims[0];
}

static int64_t columns(const struct op_call *call, int input)
{
    return shape_columns(call->inputs[input].shape);
}

static void add_output(struct op_call *call, enum dtype dtype, struct shape shape)
{
    call->outputs[call->output_count++] = tensor_of(NULL, dtype, shape);
}

static void add_like(struct op_call *call, int input)
{
    add_output(call, call->inputs[input].dtype, call->inputs[input].shape);
}

static void add_float(struct op_call *call, struct shape shape)
{
    add_output(call, DTYPE_F32, shape);
}

/* Results of norms and their gradients: of the forward input `x`. */
static void set_norm_outputs(struct op_call *call)
{
    bool gradient = call->op == OP_LAYER_NORM_GRADIENT || call->op == OP_RMS_NORM_GRADIENT;
    bool layer = call->op == OP_LAYER_NORM || call->op == OP_LAYER_NORM_GRADIENT;
    struct shape side = shape_of1(gradient ? columns(call, 1) : rows(call, 0));
    add_like(call, gradient);
    add_float(call, side);
    if (layer)
        add_float(call, side);
}

static void set_loss_outputs(struct op_call *call)
{
    bool part = call->op == OP_CROSS_ENTROPY_PART;
    if (call->op == OP_CROSS_ENTROPY_GRADIENT) {
        add_like(call, 0);
        return;
    }
    add_float(call, part ? shape_of2(1, rows(call, 0)) : shape_of1(1));
    add_float(call, shape_of1(rows(call, 0)));
}

/* Of experts; `whole` is the shape of a first output that has an expected layout. */
static void set_expert_outputs(struct op_call *call, struct shape whole)
{
    switch (call->op) {
    case OP_TOP_K:
        add_output(call, DTYPE_I32, shape_of2(rows(call, 0), EXPERTS));
        add_float(call, shape_of2(rows(call, 0), EXPERTS));
        break;
    case OP_LOAD_BALANCE:
        add_float(call, shape_of1(1));
        break;
    case OP_ROUTE_ROWS:
        add_output(call, DTYPE_I32, shape_of1(rows(call, 0) * EXPERTS));
        add_output(call, DTYPE_I32, shape_of1(EXPERTS));
        break;
    case OP_GATHER_ROWS:
        add_float(call, shape_of2(rows(call, 1), columns(call, 0)));
        break;
    case OP_GATHER_ROWS_GRADIENT:
        add_float(call, whole);
        break;
    case OP_GROUPED_MATMUL:
        add_float(call,
                  shape_of2(rows(call, 0), call->parameters.transpose_b ? rows(call, 1) / EXPERTS
                                                                        : columns(call, 1)));
        break;
    case OP_GROUPED_MATMUL_GRADIENT:
        add_float(call, shape_of2(EXPERTS * columns(call, 0), columns(call, 1)));
        break;
    case OP_COMBINE_ROWS:
        add_float(call, shape_of2(rows(call, 1), columns(call, 0)));
        break;
    case OP_COMBINE_ROWS_GRADIENT:
        add_like(call, 1);
        add_like(call, 2);
        break;
    default:
        add_like(call, 0);
    }
}

static void set_collective_outputs(struct op_call *call, const struct seat *seat)
{
    int size = seat ? seat_size(seat, (enum comm_group)call->parameters.group) : 1;
    struct shape shape = call->inputs[0].shape;
    if (call->op == OP_ALL_GATHER)
        shape.dims[0] *= size;
    if (call->op == OP_REDUCE_SCATTER)
        shape.dims[0] /= size;
    if (call->op != OP_SEND)
        add_float(call, shape);
}

/* `first`: the shape of the first output where it does not follow from the operands. */
static void set_outputs(struct op_call *call, struct shape first, const struct seat *seat)
{
    const struct op_parameters *p = &call->parameters;
    switch (call->op) {
    case OP_FILL:
    case OP_RECEIVE:
    case OP_EMBEDDING_GRADIENT:
        add_float(call, first);
        break;
    case OP_SLICE_ROWS:
        add_float(call, shape_of2(TOKENS / 2, columns(call, 0)));
        break;
    case OP_EMBEDDING:
        add_float(call, shape_of2(rows(call, 0), columns(call, 1)));
        break;
    case OP_BIAS_GRADIENT:
        add_float(call, shape_of1(columns(call, 0)));
        break;
    case OP_MATMUL:
        add_float(call, shape_of2(p->transpose_a ? columns(call, 0) : rows(call, 0),
                                  p->transpose_b ? rows(call, 1) : columns(call, 1)));
        break;
    case OP_LAYER_NORM:
    case OP_LAYER_NORM_GRADIENT:
    case OP_RMS_NORM:
    case OP_RMS_NORM_GRADIENT:
        set_norm_outputs(call);
        break;
    case OP_ATTENTION:
        add_like(call, 0);
        add_float(call, shape_of2(rows(call, 0), p->heads));
        break;
    case OP_ATTENTION_GRADIENT:
        add_like(call, 1);
        add_like(call, 2);
        break;
    case OP_GATED_ACTIVATION:
        add_float(call, shape_of2(rows(call, 0), columns(call, 0) / 2));
        break;
    case OP_GATED_ACTIVATION_GRADIENT:
        add_like(call, 1);
        break;
    case OP_CROSS_ENTROPY:
    case OP_CROSS_ENTROPY_GRADIENT:
    case OP_CROSS_ENTROPY_PART:
    case OP_CROSS_ENTROPY_PARALLEL:
        set_loss_outputs(call);
        break;
    case OP_OPTIMIZER_FACTORS:
        add_output(call, DTYPE_F64, shape_of1(5));
        add_output(call, DTYPE_F64, shape_of1(4));
        add_float(call, shape_of1(1));
        break;
    case OP_ADAMW:
        for (int i = 0; i < 3; i++)
            add_like(call, 0);
        break;
    case OP_ALL_REDUCE:
    case OP_ALL_GATHER:
    case OP_REDUCE_SCATTER:
    case OP_BROADCAST:
    case OP_SEND:
        set_collective_outputs(call, seat);
        break;
    default:
        set_expert_outputs(call, first);
    }
}

void sample_make(struct sample *sample, enum op op, struct random *random)
{
    *sample = (struct sample){.op = op};
    make_inputs(sample, random);
    struct op_call call = {
        .op = op, .parameters = sample->parameters, .input_count = sample->input_count};
    for (int i = 0; i < sample->input_count; i++)
        call.inputs[i] = sample->inputs[i];
    set_outputs(&call, shape_of2(TOKENS, WIDTH), NULL);
    sample->output_count = call.output_count;
    for (int i = 0; i < call.output_count; i++)
        sample->outputs[i] = call.outputs[i];
}

void sample_free(struct sample *sample)
{
    for (int i = 0; i < sample->input_count; i++)
        free(sample->inputs[i].data);
}

/* ---- of one rank ---- */

static int64_t first_of(const struct layout *layout, const struct seat *seat, struct shape local,
                        int dimension)
{
    struct shard shard = layout_shard(layout, seat, local);
    return shard.global.rank ? shard_global_index(&shard, dimension, 0) : 0;
}

static void set_parameters(const struct layout *layouts, const struct layout *expected,
                           const struct seat *seat, struct shape first, struct op_call *call)
{
    struct op_parameters *p = &call->parameters;
    int query = call->op == OP_ATTENTION_GRADIENT;
    struct shape x = call->input_count > 0 ? call->inputs[0].shape : first;
    switch (call->op) {
    case OP_EMBEDDING:
        p->first_row = first_of(&layouts[1], seat, call->inputs[1].shape, 0);
        break;
    case OP_EMBEDDING_GRADIENT:
        p->first_row = expected ? first_of(expected, seat, first, 0) : 0;
        break;
    case OP_ROTARY:
        p->first_row = first_of(&layouts[0], seat, x, 0);
        p->heads = (int)columns(call, 0) / HEAD;
        break;
    case OP_ATTENTION:
    case OP_ATTENTION_GRADIENT:
        p->first_row = first_of(&layouts[query], seat, call->inputs[query].shape, 0);
        p->heads = (int)columns(call, query) / HEAD;
        p->head_groups = (int)columns(call, query + 1) / (2 * HEAD);
        break;
    case OP_CROSS_ENTROPY_GRADIENT:
        p->window = columns(call, 0) < WIDTH ? WIDTH : 0;
        p->first_row = first_of(&layouts[0], seat, x, 1);
        break;
    case OP_CROSS_ENTROPY_PART:
    case OP_CROSS_ENTROPY_PARALLEL:
        p->window = WIDTH;
        p->first_row = first_of(&layouts[0], seat, x, 1);
        break;
    default:
        break;
    }
}

bool sample_local(const struct sample *sample, const struct layout *layouts,
                  const struct layout *expected, const struct seat *seat, struct op_call *call)
{
    struct shape first = sample->output_count > 0 ? sample->outputs[0].shape : shape_of1(1);
    *call = (struct op_call){
        .op = sample->op, .parameters = sample->parameters, .input_count = sample->input_count};
    for (int i = 0; i < sample->input_count; i++) {
        struct shape shape = sample->inputs[i].shape;
        if (!layout_local_shape(&layouts[i], seat, &shape))
            return false;
        call->inputs[i] = tensor_of(NULL, sample->inputs[i].dtype, shape);
    }
    if (expected && !layout_local_shape(expected, seat, &first))
        return false;
    set_parameters(layouts, expected, seat, first, call);
    set_outputs(call, first, seat);
    return true;
}
