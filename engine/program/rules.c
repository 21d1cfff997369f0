/* One small function per family of kinds; `rules` maps the kind to it. */
#include "engine/program/rules.h"

#include <inttypes.h>

static int64_t rows(const struct tensor *tensor)
{
    return tensor->shape.dims[0];
}

static int64_t columns(const struct tensor *tensor)
{
    return shape_columns(tensor->shape);
}

static bool fail(const struct op_call *call, struct status *status, const char *what)
{
    return status_fail(status, STATUS_INTERNAL, "%s: %s", op_name(call->op), what);
}

static bool is_float(const struct tensor *tensor)
{
    return dtype_is_float(tensor->dtype);
}

static bool is_index(const struct tensor *tensor)
{
    return tensor->dtype == DTYPE_I32;
}

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return shape_equal(a->shape, b->shape);
}

static bool is_vector(const struct tensor *tensor, int64_t length)
{
    return tensor->shape.rank == 1 && rows(tensor) == length;
}

/* Every operand has the shape of the first output. */
static bool check_elementwise(const struct op_call *call, struct status *status)
{
    for (int i = 0; i < call->input_count; i++)
        if (!same_shape(&call->inputs[i], &call->outputs[0]))
            return fail(call, status, "operands differ in shape");
    return true;
}

static bool check_rows(const struct op_call *call, struct status *status)
{
    bool write = call->op == OP_WRITE_ROWS;
    const struct tensor *whole = &call->inputs[0];
    const struct tensor *part = write ? &call->inputs[1] : &call->outputs[0];
    int64_t first = call->parameters.first_row;
    if (columns(whole) != columns(part) || whole->dtype != part->dtype)
        return fail(call, status, "rows differ in length or dtype");
    if (first < 0 || first + rows(part) > rows(whole))
        return fail(call, status, "rows outside of the tensor");
    return !write || same_shape(whole, &call->outputs[0]) ||
           fail(call, status, "the result has another shape");
}

static bool check_embedding(const struct op_call *call, struct status *status)
{
    bool gradient = call->op == OP_EMBEDDING_GRADIENT;
    const struct tensor *weight = gradient ? &call->outputs[0] : &call->inputs[1];
    const struct tensor *y = gradient ? &call->inputs[1] : &call->outputs[0];
    if (!is_index(&call->inputs[0]) || !is_vector(&call->inputs[0], rows(y)))
        return fail(call, status, "needs one i32 index for each row");
    return columns(weight) == columns(y) || fail(call, status, "rows differ in length");
}

static bool check_bias(const struct op_call *call, struct status *status)
{
    const struct tensor *bias = call->op == OP_BIAS_GRADIENT ? &call->outputs[0] : &call->inputs[1];
    return is_vector(bias, columns(&call->inputs[0])) ||
           fail(call, status, "the bias does not have one value for each column");
}

static bool check_matmul(const struct op_call *call, struct status *status)
{
    const struct tensor *a = &call->inputs[0], *b = &call->inputs[1], *c = &call->outputs[0];
    bool ta = call->parameters.transpose_a, tb = call->parameters.transpose_b;
    int64_t m = ta ? columns(a) : rows(a), ka = ta ? rows(a) : columns(a);
    int64_t n = tb ? rows(b) : columns(b), kb = tb ? columns(b) : rows(b);
    if (ka != kb || rows(c) != m || columns(c) != n)
        return status_fail(status, STATUS_INTERNAL,
                           "matmul: [%" PRId64 ",%" PRId64 "] x [%" PRId64 ",%" PRId64
                           "] does not give [%" PRId64 ",%" PRId64 "]",
                           m, ka, kb, n, rows(c), columns(c));
    return call->input_count == 2 || is_vector(&call->inputs[2], n) ||
           fail(call, status, "the bias does not have one value for each column");
}

static bool check_norm(const struct op_call *call, struct status *status)
{
    bool gradient = call->op == OP_LAYER_NORM_GRADIENT || call->op == OP_RMS_NORM_GRADIENT;
    const struct tensor *x = &call->inputs[gradient ? 1 : 0];
    const struct tensor *weight = &call->inputs[gradient ? 2 : 1];
    if (!same_shape(x, &call->outputs[0]))
        return fail(call, status, "input and output differ in shape");
    if (!is_vector(weight, columns(x)))
        return fail(call, status, "the weight does not have one value for each column");
    return call->parameters.epsilon >= 0 || fail(call, status, "negative epsilon");
}

static bool check_rotary(const struct op_call *call, struct status *status)
{
    const struct tensor *x = &call->inputs[0], *table = &call->inputs[1];
    const struct op_parameters *p = &call->parameters;
    if (columns(table) != p->head_size || p->head_size % 2 ||
        (int64_t)p->heads * p->head_size > columns(x))
        return fail(call, status, "the heads do not fit the columns or the table");
    return (p->first_row >= 0 && p->first_row + rows(x) <= rows(table) &&
            same_shape(x, &call->outputs[0])) ||
           fail(call, status, "more rows than the table has positions");
}

static bool check_attention(const struct op_call *call, struct status *status)
{
    bool gradient = call->op == OP_ATTENTION_GRADIENT;
    const struct tensor *q = &call->inputs[gradient ? 1 : 0];
    const struct tensor *kv = &call->inputs[gradient ? 2 : 1];
    const struct tensor *documents = &call->inputs[gradient ? 3 : 2];
    const struct op_parameters *p = &call->parameters;
    if (p->head_groups <= 0 || p->heads % p->head_groups)
        return fail(call, status, "heads are not a multiple of head groups");
    if (columns(q) != (int64_t)p->heads * p->head_size ||
        columns(kv) != 2 * (int64_t)p->head_groups * p->head_size)
        return fail(call, status, "columns do not fit heads, groups and head size");
    if (!is_index(documents) || !is_vector(documents, rows(kv)))
        return fail(call, status, "needs one i32 document start for each key");
    return (p->first_row >= 0 && p->first_row + rows(q) <= rows(kv)) ||
           fail(call, status, "queries outside of the keys");
}

static bool check_gated(const struct op_call *call, struct status *status)
{
    const struct tensor *wide =
        call->op == OP_GATED_ACTIVATION ? &call->inputs[0] : &call->outputs[0];
    const struct tensor *narrow =
        call->op == OP_GATED_ACTIVATION ? &call->outputs[0] : &call->inputs[0];
    return (rows(wide) == rows(narrow) && columns(wide) == 2 * columns(narrow)) ||
           fail(call, status, "the gated side is not twice as wide");
}

static bool check_cross_entropy(const struct op_call *call, struct status *status)
{
    const struct tensor *logits = &call->inputs[0];
    if (!is_index(&call->inputs[1]) || !is_vector(&call->inputs[1], rows(logits)))
        return fail(call, status, "needs one i32 label for each row");
    const struct op_parameters *p = &call->parameters;
    bool part = call->op == OP_CROSS_ENTROPY_PART || call->op == OP_CROSS_ENTROPY_PARALLEL;
    if ((part || p->window) && p->first_row + columns(logits) > p->window)
        return fail(call, status, "a part that is not inside of the vocabulary");
    if (call->op == OP_CROSS_ENTROPY_PART)
        return (columns(&call->outputs[0]) == rows(logits) && rows(&call->outputs[0]) == 1) ||
               fail(call, status, "needs one sum for each row");
    if (call->op == OP_CROSS_ENTROPY_PARALLEL &&
        (columns(&call->inputs[3]) != rows(logits) || !is_vector(&call->inputs[4], rows(logits))))
        return fail(call, status, "needs the sums of each row");
    return call->inputs[2].dtype == DTYPE_F64 || fail(call, status, "the count is not f64");
}

static bool check_routing(const struct op_call *call, struct status *status)
{
    const struct tensor *first = &call->inputs[0];
    switch (call->op) {
    case OP_TOP_K:
        return (is_index(&call->outputs[0]) && same_shape(&call->outputs[0], &call->outputs[1]) &&
                columns(&call->outputs[0]) <= columns(first)) ||
               fail(call, status, "more experts for each token than there are");
    case OP_LOAD_BALANCE:
    case OP_LOAD_BALANCE_GRADIENT:
        return (is_index(&call->inputs[1]) && rows(&call->inputs[1]) == rows(first)) ||
               fail(call, status, "needs the experts of each row");
    case OP_ROUTE_ROWS:
        return is_vector(&call->outputs[0], shape_elements(first->shape)) ||
               fail(call, status, "needs a slot for each choice");
    default:
        return true;
    }
}

static bool check_gather(const struct op_call *call, struct status *status)
{
    bool gradient = call->op == OP_GATHER_ROWS_GRADIENT;
    const struct tensor *wide = gradient ? &call->inputs[0] : &call->outputs[0];
    const struct tensor *narrow = gradient ? &call->outputs[0] : &call->inputs[0];
    return (columns(wide) == columns(narrow) && rows(wide) % rows(narrow) == 0 &&
            is_vector(&call->inputs[1], rows(wide))) ||
           fail(call, status, "slots and tokens do not fit");
}

static bool check_grouped(const struct op_call *call, struct status *status)
{
    int64_t experts = rows(&call->inputs[2]);
    const struct tensor *weight =
        call->op == OP_GROUPED_MATMUL ? &call->inputs[1] : &call->outputs[0];
    return (is_index(&call->inputs[2]) && experts > 0 && rows(weight) % experts == 0) ||
           fail(call, status, "the weight's rows are not a multiple of the experts");
}

static bool check_scalars(const struct op_call *call, struct status *status)
{
    for (int i = 0; i < call->input_count; i++)
        if (!is_float(&call->inputs[i]))
            return fail(call, status, "operands are not floating-point");
    return true;
}

typedef bool rule(const struct op_call *call, struct status *status);

static rule *const rules[OP_COUNT] = {
    [OP_COPY] = check_elementwise,
    [OP_SCALE] = check_elementwise,
    [OP_ADD] = check_elementwise,
    [OP_ACCUMULATE] = check_elementwise,
    [OP_SLICE_ROWS] = check_rows,
    [OP_WRITE_ROWS] = check_rows,
    [OP_EMBEDDING] = check_embedding,
    [OP_EMBEDDING_GRADIENT] = check_embedding,
    [OP_ADD_BIAS] = check_bias,
    [OP_BIAS_GRADIENT] = check_bias,
    [OP_MATMUL] = check_matmul,
    [OP_LAYER_NORM] = check_norm,
    [OP_LAYER_NORM_GRADIENT] = check_norm,
    [OP_RMS_NORM] = check_norm,
    [OP_RMS_NORM_GRADIENT] = check_norm,
    [OP_ROTARY] = check_rotary,
    [OP_ATTENTION] = check_attention,
    [OP_ATTENTION_GRADIENT] = check_attention,
    [OP_ACTIVATION] = check_elementwise,
    [OP_ACTIVATION_GRADIENT] = check_elementwise,
    [OP_GATED_ACTIVATION] = check_gated,
    [OP_GATED_ACTIVATION_GRADIENT] = check_gated,
    [OP_CROSS_ENTROPY] = check_cross_entropy,
    [OP_CROSS_ENTROPY_GRADIENT] = check_cross_entropy,
    [OP_CROSS_ENTROPY_PART] = check_cross_entropy,
    [OP_CROSS_ENTROPY_PARALLEL] = check_cross_entropy,
    [OP_TOP_K] = check_routing,
    [OP_TOP_K_GRADIENT] = check_routing,
    [OP_LOAD_BALANCE] = check_routing,
    [OP_LOAD_BALANCE_GRADIENT] = check_routing,
    [OP_ROUTE_ROWS] = check_routing,
    [OP_GATHER_ROWS] = check_gather,
    [OP_GATHER_ROWS_GRADIENT] = check_gather,
    [OP_GROUPED_MATMUL] = check_grouped,
    [OP_GROUPED_MATMUL_GRADIENT] = check_grouped,
    [OP_SUM_SQUARES] = check_scalars,
    [OP_OPTIMIZER_FACTORS] = check_scalars,
    [OP_ADAMW] = check_scalars,
};

static const struct {
    int minimum, maximum, outputs;
} counts[OP_COUNT] = {
#define OP_COUNTS(suffix, name, minimum, maximum, outputs) {minimum, maximum, outputs},
    OP_LIST(OP_COUNTS)
#undef OP_COUNTS
};

bool rules_check(const struct op_call *call, struct status *status)
{
    if (call->input_count < counts[call->op].minimum ||
        call->input_count > counts[call->op].maximum ||
        call->output_count != counts[call->op].outputs)
        return fail(call, status, "wrong number of operands");
    return !rules[call->op] || rules[call->op](call, status);
}
