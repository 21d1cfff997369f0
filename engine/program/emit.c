/* The emit_*() shorthands of builder.h: output shapes and dtypes from the operands. */
#include "engine/program/builder.h"

#include <stdio.h>

static struct shape shape_of_value(const struct builder *builder, int value)
{
    return builder_value(builder, value)->shape;
}

static int64_t rows(const struct builder *builder, int value)
{
    return builder_value(builder, value)->shape.dims[0];
}

static int64_t columns(const struct builder *builder, int value)
{
    return shape_columns(builder_value(builder, value)->shape);
}

/* Emits an instruction with one output. */
static int emit_one(struct builder *builder, enum op op, const struct op_parameters *parameters,
                    const int *inputs, int input_count, enum dtype dtype, struct shape shape,
                    const char *name)
{
    struct output_spec output = {name, dtype, shape, NULL};
    int index = builder_emit(builder, op, parameters, inputs, input_count, &output, 1);
    return builder->program->instructions[index].outputs[0];
}

static int emit_like(struct builder *builder, enum op op, const struct op_parameters *parameters,
                     const int *inputs, int input_count, const char *name)
{
    const struct value *first = builder_value(builder, inputs[0]);
    return emit_one(builder, op, parameters, inputs, input_count, first->dtype, first->shape, name);
}

static int output_of(const struct builder *builder, int instruction, int output)
{
    return builder->program->instructions[instruction].outputs[output];
}

/* The name of a second output: "norm_1.output" and "inverse" give "norm_1.output.inverse". */
static const char *side_name(const char *name, const char *side, char buffer[128])
{
    if (!name)
        return NULL;
    snprintf(buffer, 128, "%s.%s", name, side);
    return buffer;
}

int emit_copy(struct builder *builder, int x, enum dtype dtype, const char *name)
{
    return emit_one(builder, OP_COPY, NULL, &x, 1, dtype, shape_of_value(builder, x), name);
}

int emit_add(struct builder *builder, int a, int b, const char *name)
{
    return emit_like(builder, OP_ADD, NULL, (int[]){a, b}, 2, name);
}

int emit_slice_rows(struct builder *builder, int x, int64_t first, int64_t count, const char *name)
{
    struct shape shape = shape_of_value(builder, x);
    shape.dims[0] = count;
    return emit_one(builder, OP_SLICE_ROWS, &(struct op_parameters){.first_row = first}, &x, 1,
                    builder_value(builder, x)->dtype, shape, name);
}

int emit_write_rows(struct builder *builder, int base, int x, int64_t first, const char *name)
{
    return emit_like(builder, OP_WRITE_ROWS, &(struct op_parameters){.first_row = first},
                     (int[]){base, x}, 2, name);
}

int emit_fill(struct builder *builder, double value, enum dtype dtype, struct shape shape)
{
    return emit_one(builder, OP_FILL, &(struct op_parameters){.value = value}, NULL, 0, dtype,
                    shape, NULL);
}

int emit_embedding(struct builder *builder, int indices, int weight, const char *name)
{
    const struct shard *shard = &builder_value(builder, weight)->shard;
    struct op_parameters parameters = {.first_row = shard_global_index(shard, 0, 0)};
    return emit_one(builder, OP_EMBEDDING, &parameters, (int[]){indices, weight}, 2, builder->dtype,
                    shape_of2(rows(builder, indices), columns(builder, weight)), name);
}

int emit_linear(struct builder *builder, int x, int weight, int bias, bool transposed,
                const char *name)
{
    int64_t width = transposed ? columns(builder, weight) : rows(builder, weight);
    return emit_one(builder, OP_MATMUL, &(struct op_parameters){.transpose_b = !transposed},
                    (int[]){x, weight, bias}, bias >= 0 ? 3 : 2, builder->dtype,
                    shape_of2(rows(builder, x), width), name);
}

int emit_add_bias(struct builder *builder, int x, int bias, const char *name)
{
    return emit_like(builder, OP_ADD_BIAS, NULL, (int[]){x, bias}, 2, name);
}

int emit_layer_norm(struct builder *builder, int x, int weight, int bias, double epsilon,
                    const char *name)
{
    struct shape per_row = shape_of1(rows(builder, x));
    char side[2][128];
    struct output_spec outputs[] = {
        {name, builder->dtype, shape_of_value(builder, x), NULL},
        {side_name(name, "mean", side[0]), DTYPE_F32, per_row, NULL},
        {side_name(name, "inverse", side[1]), DTYPE_F32, per_row, NULL}};
    int index = builder_emit(builder, OP_LAYER_NORM, &(struct op_parameters){.epsilon = epsilon},
                             (int[]){x, weight, bias}, 3, outputs, 3);
    return output_of(builder, index, 0);
}

int emit_rms_norm(struct builder *builder, int x, int weight, double epsilon, const char *name)
{
    char side[128];
    struct output_spec outputs[] = {
        {name, builder->dtype, shape_of_value(builder, x), NULL},
        {side_name(name, "inverse", side), DTYPE_F32, shape_of1(rows(builder, x)), NULL}};
    int index = builder_emit(builder, OP_RMS_NORM, &(struct op_parameters){.epsilon = epsilon},
                             (int[]){x, weight}, 2, outputs, 2);
    return output_of(builder, index, 0);
}

int emit_rotary(struct builder *builder, int x, int table, int heads, int head_size,
                int64_t first_row, const char *name)
{
    struct op_parameters parameters = {
        .heads = heads, .head_size = head_size, .first_row = first_row};
    return emit_like(builder, OP_ROTARY, &parameters, (int[]){x, table}, 2, name);
}

int emit_attention(struct builder *builder, int q, int kv, int document_start,
                   const struct op_parameters *parameters, const char *name)
{
    char side[128];
    struct output_spec outputs[] = {{name, builder->dtype, shape_of_value(builder, q), NULL},
                                    {side_name(name, "log_sum_exp", side), DTYPE_F32,
                                     shape_of2(rows(builder, q), parameters->heads), NULL}};
    int index = builder_emit(builder, OP_ATTENTION, parameters, (int[]){q, kv, document_start}, 3,
                             outputs, 2);
    return output_of(builder, index, 0);
}

int emit_activation(struct builder *builder, int x, enum activation kind, bool gated,
                    const char *name)
{
    struct op_parameters parameters = {.activation = kind};
    if (!gated)
        return emit_like(builder, OP_ACTIVATION, &parameters, &x, 1, name);
    return emit_one(builder, OP_GATED_ACTIVATION, &parameters, &x, 1, builder->dtype,
                    shape_of2(rows(builder, x), columns(builder, x) / 2), name);
}

int emit_cross_entropy(struct builder *builder, int logits, int labels, int count, double factor,
                       const char *name)
{
    char side[128];
    struct output_spec outputs[] = {
        {name, DTYPE_F32, shape_of1(1), NULL},
        {side_name(name, "log_sum_exp", side), DTYPE_F32, shape_of1(rows(builder, logits)), NULL}};
    int index = builder_emit(builder, OP_CROSS_ENTROPY, &(struct op_parameters){.factor = factor},
                             (int[]){logits, labels, count}, 3, outputs, 2);
    return output_of(builder, index, 0);
}

void emit_top_k(struct builder *builder, int logits, int experts_per_token, int *experts,
                int *scores)
{
    struct shape shape = shape_of2(rows(builder, logits), experts_per_token);
    /* The scores stay unnamed: what reaches them as a gradient is mostly a part common to all
     * experts, which the softmax takes away, so its relative error says nothing. */
    struct output_spec outputs[] = {{NULL, DTYPE_I32, shape, NULL}, {NULL, DTYPE_F32, shape, NULL}};
    int index = builder_emit(builder, OP_TOP_K, NULL, &logits, 1, outputs, 2);
    *experts = output_of(builder, index, 0);
    *scores = output_of(builder, index, 1);
}

int emit_load_balance(struct builder *builder, int logits, int experts, double coefficient,
                      const char *name)
{
    return emit_one(builder, OP_LOAD_BALANCE, &(struct op_parameters){.factor = coefficient},
                    (int[]){logits, experts}, 2, DTYPE_F32, shape_of1(1), name);
}

void emit_route_rows(struct builder *builder, int experts, int expert_count, int *slots, int *ends)
{
    int64_t count = shape_elements(shape_of_value(builder, experts));
    struct output_spec outputs[] = {{NULL, DTYPE_I32, shape_of1(count), NULL},
                                    {NULL, DTYPE_I32, shape_of1(expert_count), NULL}};
    int index = builder_emit(builder, OP_ROUTE_ROWS, NULL, &experts, 1, outputs, 2);
    *slots = output_of(builder, index, 0);
    *ends = output_of(builder, index, 1);
}

int emit_gather_rows(struct builder *builder, int x, int slots, const char *name)
{
    return emit_one(builder, OP_GATHER_ROWS, NULL, (int[]){x, slots}, 2, builder->dtype,
                    shape_of2(rows(builder, slots), columns(builder, x)), name);
}

int emit_grouped_matmul(struct builder *builder, int x, int weight, int ends, bool transposed,
                        const char *name)
{
    int64_t width =
        transposed ? columns(builder, weight) : rows(builder, weight) / rows(builder, ends);
    return emit_one(builder, OP_GROUPED_MATMUL, &(struct op_parameters){.transpose_b = !transposed},
                    (int[]){x, weight, ends}, 3, builder->dtype, shape_of2(rows(builder, x), width),
                    name);
}

int emit_combine_rows(struct builder *builder, int y, int scores, int slots, const char *name)
{
    return emit_one(builder, OP_COMBINE_ROWS, NULL, (int[]){y, scores, slots}, 3, builder->dtype,
                    shape_of2(rows(builder, scores), columns(builder, y)), name);
}
