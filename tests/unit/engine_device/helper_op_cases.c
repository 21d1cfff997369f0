#include "helper_op_cases.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t any(struct op_case *it, int64_t low, int64_t high)
{
    return random_integer(it->random, low, high);
}

static double between(struct op_case *it, double low, double high)
{
    return random_uniform(it->random, low, high);
}

int64_t op_case_size(struct op_case *it)
{
    switch (any(it, 0, 5)) {
    case 0:
        return 1;
    case 1:
        return any(it, 2, 9);
    case 2:
        return 8 * any(it, 1, 8);
    case 3:
        return any(it, 60, 100);
    default:
        return any(it, 10, 48);
    }
}

/* Half of the matrices have a gap after each row; half of all tensors start anywhere. */
static struct tensor *add_operand(struct op_case *it, struct op_block *block, struct tensor *tensor,
                                  enum dtype dtype, struct shape shape)
{
    size_t size = dtype_size(dtype);
    *tensor = tensor_of(NULL, dtype, shape);
    if (shape.rank > 1 && any(it, 0, 1))
        tensor->row_stride += any(it, 1, 9);
    block->offset = 64 + (any(it, 0, 1) ? (size_t)any(it, 1, 15) * size : 0);
    block->bytes = block->offset + (size_t)(tensor->row_stride * shape.dims[0]) * size + 64;
    block->memory = memory_zeroed(block->bytes, 1);
    memset(block->memory, 0xff, block->bytes);
    tensor->data = block->memory + block->offset;
    return tensor;
}

static enum dtype choose(struct op_case *it, enum dtype dtype, bool mixed)
{
    if (dtype != DTYPE_COUNT) /* on a device of f64 floats, f32 operands are f64 */
        return it->dtype == DTYPE_F64 && dtype == DTYPE_F32 ? DTYPE_F64 : dtype;
    return mixed && any(it, 0, 1) ? DTYPE_F32 : it->dtype;
}

struct tensor *op_case_input(struct op_case *it, enum dtype dtype, struct shape shape)
{
    int index = it->call.input_count++;
    return add_operand(it, &it->blocks[index], &it->call.inputs[index],
                       choose(it, dtype, it->mixed_inputs), shape);
}

struct tensor *op_case_output(struct op_case *it, enum dtype dtype, struct shape shape)
{
    int index = it->call.output_count++;
    return add_operand(it, &it->blocks[OP_MAX_INPUTS + index], &it->call.outputs[index],
                       choose(it, dtype, it->mixed_outputs), shape);
}

void op_case_normal(struct op_case *it, struct tensor *tensor, double scale)
{
    for (int64_t i = 0; i < shape_elements(tensor->shape); i++)
        tensor_store(tensor, i, scale * random_normal(it->random));
}

static void uniform(struct op_case *it, struct tensor *tensor, double low, double high)
{
    for (int64_t i = 0; i < shape_elements(tensor->shape); i++)
        tensor_store(tensor, i, between(it, low, high));
}

struct tensor *op_case_normal_input(struct op_case *it, enum dtype dtype, struct shape shape)
{
    struct tensor *tensor = op_case_input(it, dtype, shape);
    op_case_normal(it, tensor, 1);
    return tensor;
}

static void scalar_input(struct op_case *it, enum dtype dtype, double number)
{
    tensor_store(op_case_input(it, dtype, shape_of1(1)), 0, number);
}

void op_case_reference(const struct op_case *it, enum op op, const struct tensor *inputs,
                       int input_count, const struct shape *shapes, int output_count,
                       struct tensor results[OP_MAX_OUTPUTS])
{
    struct op_call call = {.op = op, .parameters = it->call.parameters};
    struct status status = STATUS_NONE;
    memcpy(call.inputs, inputs, (size_t)input_count * sizeof(*inputs));
    call.input_count = input_count;
    for (int i = 0; i < output_count; i++) {
        enum dtype dtype =
            op == OP_ROUTE_ROWS || (op == OP_TOP_K && i == 0) ? DTYPE_I32 : DTYPE_F32;
        call.outputs[call.output_count++] = tensor_of(NULL, dtype, shapes[i]);
    }
    if (!reference_run(&call, results, &status))
        fail_msg("%s", status.text);
}

void op_case_take(struct tensor *to, struct tensor *result)
{
    for (int64_t i = 0; i < shape_elements(to->shape); i++)
        tensor_store(to, i, tensor_load(result, i));
    free(result->data);
}

static void make_elementwise(struct op_case *it)
{
    struct op_parameters *parameters = &it->call.parameters;
    struct shape shape =
        any(it, 0, 4) ? shape_of2(op_case_size(it), op_case_size(it)) : shape_of1(op_case_size(it));
    int64_t rows = shape.dims[0], part = any(it, 1, rows), columns = shape_columns(shape);
    struct shape part_shape = shape.rank == 1 ? shape_of1(part) : shape_of2(part, columns);
    parameters->value = parameters->factor = between(it, -3, 3);
    switch (it->call.op) {
    case OP_FILL:
        break;
    case OP_SLICE_ROWS:
    case OP_WRITE_ROWS:
        parameters->first_row = any(it, 0, rows - part);
        op_case_normal_input(it, DTYPE_COUNT, shape);
        if (it->call.op == OP_SLICE_ROWS)
            shape = part_shape;
        else
            op_case_normal_input(it, DTYPE_COUNT, part_shape);
        break;
    case OP_ACCUMULATE:
        op_case_normal_input(it, DTYPE_F32, shape);
        op_case_normal_input(it, DTYPE_COUNT, shape);
        op_case_output(it, DTYPE_F32, shape);
        return;
    case OP_ADD_BIAS:
        op_case_normal_input(it, DTYPE_COUNT, shape = shape_of2(rows, columns));
        op_case_normal_input(it, DTYPE_COUNT, shape_of1(columns));
        break;
    case OP_BIAS_GRADIENT:
        op_case_normal_input(it, DTYPE_COUNT, shape_of2(rows, columns));
        shape = shape_of1(columns);
        break;
    default: /* COPY, SCALE, ADD */
        op_case_normal_input(it, DTYPE_COUNT, shape);
        if (it->call.op == OP_ADD)
            op_case_normal_input(it, DTYPE_COUNT, shape);
    }
    op_case_output(it, DTYPE_COUNT, shape);
}

static void make_embedding(struct op_case *it)
{
    int64_t tokens = op_case_size(it), rows = op_case_size(it);
    int64_t columns = any(it, 0, 3) == 0 ? any(it, 300, 1200) : op_case_size(it);
    bool forward = it->call.op == OP_EMBEDDING;
    int64_t first = it->call.parameters.first_row = any(it, 0, 1) ? 0 : any(it, 1, 20);
    struct tensor *indices = op_case_input(it, DTYPE_I32, shape_of1(tokens));
    for (int64_t t = 0; t < tokens; t++)
        tensor_store(indices, t, (double)any(it, first - 2, first + rows + 1));
    op_case_normal_input(it, DTYPE_COUNT, shape_of2(forward ? rows : tokens, columns));
    op_case_output(it, DTYPE_COUNT, shape_of2(forward ? tokens : rows, columns));
}

static void make_matmul(struct op_case *it)
{
    int64_t m = op_case_size(it), k = op_case_size(it), n = op_case_size(it);
    bool ta = any(it, 0, 1), tb = any(it, 0, 1);
    it->call.parameters.transpose_a = ta;
    it->call.parameters.transpose_b = tb;
    op_case_normal_input(it, DTYPE_COUNT, ta ? shape_of2(k, m) : shape_of2(m, k));
    op_case_normal_input(it, DTYPE_COUNT, tb ? shape_of2(n, k) : shape_of2(k, n));
    if (any(it, 0, 2) == 0)
        op_case_normal_input(it, DTYPE_COUNT, shape_of1(n));
    op_case_output(it, DTYPE_COUNT, shape_of2(m, n));
}

/* Rows whose mean is not zero, and some of 300 to 1200 columns. */
static struct tensor *norm_input(struct op_case *it, struct shape shape)
{
    struct tensor *x = op_case_input(it, DTYPE_COUNT, shape);
    for (int64_t i = 0; i < shape.dims[0]; i++) {
        double mean = between(it, -2, 2), scale = exp(between(it, -2, 2));
        for (int64_t j = 0; j < shape.dims[1]; j++)
            tensor_store(x, i * shape.dims[1] + j, mean + scale * random_normal(it->random));
    }
    return x;
}

static void make_norm(struct op_case *it)
{
    enum op op = it->call.op;
    bool layer = op == OP_LAYER_NORM || op == OP_LAYER_NORM_GRADIENT;
    bool gradient = op == OP_LAYER_NORM_GRADIENT || op == OP_RMS_NORM_GRADIENT;
    int64_t columns = any(it, 0, 7) ? op_case_size(it) : any(it, 300, 1200);
    struct shape shape = shape_of2(op_case_size(it), columns), per_row = shape_of1(shape.dims[0]);
    struct tensor results[OP_MAX_OUTPUTS], bias = {0};
    it->call.parameters.epsilon = any(it, 0, 1) ? 1e-5 : 0.1;
    if (gradient)
        op_case_normal_input(it, DTYPE_COUNT, shape);
    struct tensor x = *norm_input(it, shape);
    struct tensor w = *op_case_normal_input(it, DTYPE_COUNT, shape_of1(columns));
    if (!gradient) {
        if (layer)
            op_case_normal_input(it, DTYPE_COUNT, shape_of1(columns));
        op_case_output(it, DTYPE_COUNT, shape);
        for (int i = 0; i < (layer ? 2 : 1); i++)
            op_case_output(it, DTYPE_F32, per_row);
        return;
    }
    bias = w; /* any bias: only the mean and the inverse are wanted */
    op_case_reference(it, layer ? OP_LAYER_NORM : OP_RMS_NORM, (const struct tensor[]){x, w, bias},
                      layer ? 3 : 2, (const struct shape[]){shape, per_row, per_row}, layer ? 3 : 2,
                      results);
    free(results[0].data);
    for (int i = 1; i < (layer ? 3 : 2); i++)
        op_case_take(op_case_input(it, DTYPE_F32, per_row), &results[i]);
    op_case_output(it, DTYPE_COUNT, shape);
    for (int i = 0; i < (layer ? 2 : 1); i++)
        op_case_output(it, DTYPE_COUNT, shape_of1(columns));
}

static void make_rotary(struct op_case *it)
{
    struct op_parameters *parameters = &it->call.parameters;
    int64_t rows = op_case_size(it), rest = any(it, 0, 1) ? 0 : any(it, 1, 40);
    parameters->heads = (int)any(it, 1, 5);
    parameters->head_size = 2 * (int)any(it, 1, 20);
    parameters->first_row = any(it, 0, 1) ? 0 : any(it, 1, 30);
    parameters->inverse = any(it, 0, 1);
    struct shape shape = shape_of2(rows, parameters->heads * parameters->head_size + rest);
    int64_t positions = parameters->first_row + rows + any(it, 0, 5);
    int half = parameters->head_size / 2;
    op_case_normal_input(it, DTYPE_COUNT, shape);
    struct tensor *table =
        op_case_input(it, DTYPE_F32, shape_of2(positions, parameters->head_size));
    for (int64_t i = 0; i < positions * half; i++) {
        double angle = between(it, -4, 4), factor = 1.2;
        tensor_store(table, i / half * 2 * half + i % half, factor * cos(angle));
        tensor_store(table, i / half * 2 * half + i % half + half, factor * sin(angle));
    }
    op_case_output(it, DTYPE_COUNT, shape);
}

static void attention_parameters(struct op_case *it)
{
    struct op_parameters *parameters = &it->call.parameters;
    parameters->head_groups = (int)any(it, 1, 3);
    parameters->heads = parameters->head_groups * (int)any(it, 1, 3);
    parameters->head_size = any(it, 0, 1) ? 8 << any(it, 0, 3) : (int)any(it, 1, 40);
    parameters->scale = any(it, 0, 1) ? 1 / sqrt(parameters->head_size) : 0.5;
    parameters->first_row = any(it, 0, 1) ? 0 : any(it, 1, 40);
    parameters->causal = any(it, 0, 2) != 0;
    parameters->window = parameters->causal && any(it, 0, 2) == 0 ? any(it, 1, 40) : 0;
}

static void make_attention(struct op_case *it)
{
    attention_parameters(it);
    const struct op_parameters *by = &it->call.parameters;
    bool gradient = it->call.op == OP_ATTENTION_GRADIENT;
    int64_t tokens = op_case_size(it), keys = by->first_row + tokens + any(it, 0, 1) * 5;
    struct shape q_shape = shape_of2(tokens, by->heads * by->head_size);
    struct shape kv_shape = shape_of2(keys, 2 * by->head_groups * by->head_size);
    struct shape lse_shape = shape_of2(tokens, by->heads);
    struct tensor results[OP_MAX_OUTPUTS];
    if (gradient)
        op_case_normal_input(it, DTYPE_COUNT, q_shape);
    struct tensor *q = op_case_normal_input(it, DTYPE_COUNT, q_shape);
    op_case_normal_input(it, DTYPE_COUNT, kv_shape);
    struct tensor *starts = op_case_input(it, DTYPE_I32, shape_of1(keys));
    int64_t length = any(it, 1, 60), start = 0;
    for (int64_t j = 0; j < keys; j++) {
        start = j && any(it, 0, length) == 0 ? j : start;
        tensor_store(starts, j, (double)start);
    }
    if (gradient) {
        op_case_reference(it, OP_ATTENTION, q, 3, (const struct shape[]){q_shape, lse_shape}, 2,
                          results);
        op_case_take(op_case_input(it, DTYPE_COUNT, q_shape), &results[0]);
        op_case_take(op_case_input(it, DTYPE_F32, lse_shape), &results[1]);
    }
    op_case_output(it, DTYPE_COUNT, q_shape);
    if (gradient)
        op_case_output(it, DTYPE_COUNT, kv_shape);
    else
        op_case_output(it, DTYPE_F32, lse_shape);
}

static void make_activation(struct op_case *it)
{
    enum op op = it->call.op;
    bool gradient = op == OP_ACTIVATION_GRADIENT || op == OP_GATED_ACTIVATION_GRADIENT;
    bool gated = op == OP_GATED_ACTIVATION || op == OP_GATED_ACTIVATION_GRADIENT;
    int64_t rows = op_case_size(it), columns = op_case_size(it);
    struct shape in = shape_of2(rows, gated ? 2 * columns : columns);
    struct shape out = shape_of2(rows, columns);
    it->call.parameters.activation = (enum activation)any(it, 0, ACTIVATION_COUNT - 1);
    if (gradient)
        op_case_normal_input(it, DTYPE_COUNT, out);
    op_case_normal(it, op_case_input(it, DTYPE_COUNT, in), any(it, 0, 3) ? 1 : 4);
    op_case_output(it, DTYPE_COUNT, gradient ? in : out);
}

/* Some logits are a part of a larger vocabulary, whose labels may be outside of the part. */
static void make_labels(struct op_case *it, int64_t tokens, int64_t columns)
{
    struct op_parameters *parameters = &it->call.parameters;
    bool part = it->call.op == OP_CROSS_ENTROPY_PART || it->call.op == OP_CROSS_ENTROPY_PARALLEL ||
                (it->call.op == OP_CROSS_ENTROPY_GRADIENT && any(it, 0, 1));
    if (part) {
        parameters->first_row = any(it, 0, 2) * columns;
        parameters->window = parameters->first_row + columns * any(it, 1, 3);
    }
    int64_t vocabulary = part ? parameters->window : columns;
    struct tensor *labels = op_case_input(it, DTYPE_I32, shape_of1(tokens));
    for (int64_t t = 0; t < tokens; t++)
        tensor_store(labels, t, (double)any(it, any(it, 0, 3) ? 0 : -vocabulary, vocabulary - 1));
}

/* The log-sum-exps of whole rows; those of a larger vocabulary are larger. */
static void make_sums(struct op_case *it, int64_t tokens)
{
    struct tensor results[OP_MAX_OUTPUTS];
    struct shape per_row = shape_of1(tokens), row = shape_of2(1, tokens);
    op_case_reference(it, OP_CROSS_ENTROPY_PART, it->call.inputs, 2,
                      (const struct shape[]){row, per_row}, 2, results);
    free(results[1].data);
    for (int64_t t = 0; t < tokens && it->call.parameters.window > 0; t++)
        ((double *)results[0].data)[t] += between(it, 0, 2);
    results[0] = tensor_of(results[0].data, results[0].dtype, per_row);
    op_case_take(op_case_input(it, DTYPE_F32, per_row), &results[0]);
}

static void make_cross_entropy(struct op_case *it)
{
    int64_t tokens = op_case_size(it);
    int64_t vocabulary = any(it, 0, 3) ? op_case_size(it) : any(it, 300, 1200);
    struct shape per_row = shape_of1(tokens), shape = shape_of2(tokens, vocabulary);
    it->call.parameters.factor = any(it, 0, 1) ? 1 : between(it, 0.2, 2);
    op_case_normal(it, op_case_input(it, DTYPE_COUNT, shape), any(it, 0, 3) ? 1 : 10);
    make_labels(it, tokens, vocabulary);
    if (it->call.op == OP_CROSS_ENTROPY_PART) {
        op_case_output(it, DTYPE_F32, shape_of2(1, tokens));
        op_case_output(it, DTYPE_F32, per_row);
        return;
    }
    scalar_input(it, DTYPE_F64, any(it, 0, 9) ? (double)any(it, 1, 2 * tokens) : 0);
    if (it->call.op == OP_CROSS_ENTROPY_GRADIENT) {
        make_sums(it, tokens);
        scalar_input(it, DTYPE_F64, between(it, 0.5, 100));
        op_case_output(it, DTYPE_COUNT, shape);
        return;
    }
    if (it->call.op == OP_CROSS_ENTROPY_PARALLEL) {
        op_case_normal_input(it, DTYPE_F32, shape_of2(any(it, 1, 4), tokens));
        op_case_normal_input(it, DTYPE_F32, per_row);
    }
    op_case_output(it, DTYPE_F32, shape_of1(1));
    op_case_output(it, DTYPE_F32, per_row);
}

static void make_optimizer(struct op_case *it)
{
    struct op_parameters *parameters = &it->call.parameters;
    parameters->beta1 = any(it, 0, 1) ? 0.9 : between(it, 0, 0.99);
    parameters->beta2 = any(it, 0, 1) ? 0.999 : between(it, 0, 0.99);
    if (it->call.op == OP_SUM_SQUARES) {
        scalar_input(it, DTYPE_F64, any(it, 0, 1) ? 0 : between(it, 0, 50));
        op_case_normal_input(it, DTYPE_COUNT, shape_of2(op_case_size(it), op_case_size(it)));
        op_case_output(it, DTYPE_F64, shape_of1(1));
        return;
    }
    if (it->call.op == OP_OPTIMIZER_FACTORS) {
        parameters->factor = any(it, 0, 1) ? between(it, 0.1, 2) : 0;
        parameters->dynamic = any(it, 0, 2) != 0;
        parameters->window = any(it, 1, 4);
        parameters->hysteresis = any(it, 1, 4);
        double scale = (double)(1 << any(it, 0, 16));
        double near = scale * between(it, 0.2, 3) * parameters->factor; /* the limit of clipping */
        double far = any(it, 0, 2) ? between(it, 0, 1e4) : INFINITY;
        scalar_input(it, DTYPE_F64, near > 0 && any(it, 0, 1) ? near * near : far);
        scalar_input(it, DTYPE_F64, between(it, 0, 0.1));
        struct tensor *scaler = op_case_input(it, DTYPE_F64, shape_of1(4));
        tensor_store(scaler, 0, scale);
        tensor_store(scaler, 1, (double)any(it, 0, parameters->window - 1));
        tensor_store(scaler, 2, (double)any(it, 0, 2));
        tensor_store(scaler, 3, (double)any(it, any(it, 0, 1), 2000));
        op_case_output(it, DTYPE_F64, shape_of1(5));
        op_case_output(it, DTYPE_F64, shape_of1(4));
        op_case_output(it, DTYPE_F32, shape_of1(1));
        return;
    }
    struct shape shape =
        any(it, 0, 1) ? shape_of2(op_case_size(it), op_case_size(it)) : shape_of1(op_case_size(it));
    bool skip = any(it, 0, 4) == 0;
    parameters->factor = any(it, 0, 1) ? 1 : between(it, 0.1, 2);
    parameters->epsilon = 1e-8;
    parameters->decay = any(it, 0, 1) ? 0 : 0.1;
    op_case_normal_input(it, DTYPE_F32, shape);
    struct tensor *gradient = op_case_normal_input(it, DTYPE_F32, shape);
    op_case_normal_input(it, DTYPE_F32, shape);
    uniform(it, op_case_input(it, DTYPE_F32, shape), 0, 1);
    if (skip)
        tensor_store(gradient, any(it, 0, shape_elements(shape) - 1), NAN);
    struct tensor *factors = op_case_input(it, DTYPE_F64, shape_of1(5));
    tensor_store(factors, 0, between(it, 0.01, 1));
    tensor_store(factors, 1, skip);
    tensor_store(factors, 2, between(it, 0, 0.1));
    tensor_store(factors, 3, between(it, 0.1, 1));
    tensor_store(factors, 4, between(it, 0.001, 1));
    for (int i = 0; i < 3; i++)
        op_case_output(it, DTYPE_F32, shape);
}

bool op_case_has_dtype(enum op op, enum dtype dtype)
{
    bool fixed = op == OP_ROUTE_ROWS || op == OP_OPTIMIZER_FACTORS || op == OP_ADAMW;
    return !fixed || dtype == DTYPE_F32 || dtype == DTYPE_F64;
}

void op_case_make(struct op_case *it, enum op op, enum dtype dtype, struct random *random)
{
    *it = (struct op_case){.call.op = op, .dtype = dtype, .random = random};
    int64_t mix = dtype == DTYPE_F64 ? 9 : any(it, 0, 9);
    it->mixed_outputs = mix <= 3;
    it->mixed_inputs = mix <= 1;
    if (op_case_is_routed(op))
        op_case_make_routed(it, op);
    else if (op == OP_EMBEDDING || op == OP_EMBEDDING_GRADIENT)
        make_embedding(it);
    else if (op <= OP_BIAS_GRADIENT)
        make_elementwise(it);
    else if (op == OP_MATMUL)
        make_matmul(it);
    else if (op <= OP_RMS_NORM_GRADIENT)
        make_norm(it);
    else if (op == OP_ROTARY)
        make_rotary(it);
    else if (op <= OP_ATTENTION_GRADIENT)
        make_attention(it);
    else if (op <= OP_GATED_ACTIVATION_GRADIENT)
        make_activation(it);
    else if (op <= OP_CROSS_ENTROPY_GRADIENT || op == OP_CROSS_ENTROPY_PART ||
             op == OP_CROSS_ENTROPY_PARALLEL)
        make_cross_entropy(it);
    else
        make_optimizer(it);
}

void op_case_free(struct op_case *it)
{
    for (int i = 0; i < OP_CASE_OPERANDS; i++)
        free(it->blocks[i].memory);
}
