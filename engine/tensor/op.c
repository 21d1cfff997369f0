#include "engine/tensor/op.h"

#include <string.h>

static const char *const names[OP_COUNT] = {
#define OP_NAME(suffix, name, minimum, maximum, outputs) name,
    OP_LIST(OP_NAME)
#undef OP_NAME
};

const char *op_name(enum op op)
{
    return names[op];
}

bool op_find(const char *name, enum op *op)
{
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *op = (enum op)i;
            return true;
        }
    return false;
}

bool op_is_collective(enum op op)
{
    return op >= OP_ALL_REDUCE;
}

/* Letters of the operands: f f32/bf16/f16, F any type, s f32, d f64, i i32. */
/* clang-format off */
static const struct operand_types {
    const char *inputs, *outputs;
} operand_types[OP_COUNT] = {
    [OP_FILL] = {"", "F"},
    [OP_COPY] = {"F", "F"},
    [OP_SCALE] = {"F", "F"},
    [OP_ADD] = {"FF", "F"},
    [OP_ACCUMULATE] = {"sf", "s"},
    [OP_SLICE_ROWS] = {"F", "F"},
    [OP_WRITE_ROWS] = {"FF", "F"},
    [OP_EMBEDDING] = {"if", "f"},
    [OP_EMBEDDING_GRADIENT] = {"if", "f"},
    [OP_ADD_BIAS] = {"ff", "f"},
    [OP_BIAS_GRADIENT] = {"f", "f"},
    [OP_MATMUL] = {"fff", "f"},
    [OP_LAYER_NORM] = {"fff", "fss"},
    [OP_LAYER_NORM_GRADIENT] = {"fffss", "fff"},
    [OP_RMS_NORM] = {"ff", "fs"},
    [OP_RMS_NORM_GRADIENT] = {"fffs", "ff"},
    [OP_ROTARY] = {"fs", "f"},
    [OP_ATTENTION] = {"ffi", "fs"},
    [OP_ATTENTION_GRADIENT] = {"fffifs", "ff"},
    [OP_ACTIVATION] = {"f", "f"},
    [OP_ACTIVATION_GRADIENT] = {"ff", "f"},
    [OP_GATED_ACTIVATION] = {"f", "f"},
    [OP_GATED_ACTIVATION_GRADIENT] = {"ff", "f"},
    [OP_CROSS_ENTROPY] = {"fid", "ss"},
    [OP_CROSS_ENTROPY_GRADIENT] = {"fidsd", "f"},
    [OP_TOP_K] = {"f", "is"},
    [OP_TOP_K_GRADIENT] = {"sis", "f"},
    [OP_LOAD_BALANCE] = {"fi", "s"},
    [OP_LOAD_BALANCE_GRADIENT] = {"fid", "f"},
    [OP_ROUTE_ROWS] = {"i", "ii"},
    [OP_GATHER_ROWS] = {"fi", "f"},
    [OP_GATHER_ROWS_GRADIENT] = {"fi", "f"},
    [OP_GROUPED_MATMUL] = {"ffi", "f"},
    [OP_GROUPED_MATMUL_GRADIENT] = {"ffi", "f"},
    [OP_COMBINE_ROWS] = {"fsi", "f"},
    [OP_COMBINE_ROWS_GRADIENT] = {"ffsi", "fs"},
    [OP_SUM_SQUARES] = {"df", "d"},
    [OP_OPTIMIZER_FACTORS] = {"ddd", "dds"},
    [OP_ADAMW] = {"ssssd", "sss"},
    [OP_CROSS_ENTROPY_PART] = {"fi", "ss"},
    [OP_CROSS_ENTROPY_PARALLEL] = {"fidss", "ss"},
};
/* clang-format on */

static bool operand_fits(char letter, const struct tensor *tensor)
{
    enum dtype dtype = tensor->dtype;
    /* Vectors are read as one piece. Only the pointwise kinds ('F') take strided ones. */
    bool dense = tensor->shape.rank > 1 || tensor_is_contiguous(tensor);
    switch (letter) {
    case 'f':
        return (dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16) && dense;
    case 's':
        return dtype == DTYPE_F32 && dense;
    case 'd':
        return dtype == DTYPE_F64 && dense;
    case 'i':
        return dtype == DTYPE_I32 && dense;
    default:
        return true;
    }
}

bool op_takes(const struct op_call *call)
{
    const struct operand_types *types = &operand_types[call->op];
    if (!types->inputs)
        return false;
    for (int i = 0; i < call->input_count; i++)
        if (!types->inputs[i] || !operand_fits(types->inputs[i], &call->inputs[i]))
            return false;
    for (int i = 0; i < call->output_count; i++)
        if (!types->outputs[i] || !operand_fits(types->outputs[i], &call->outputs[i]))
            return false;
    return true;
}

int op_in_place(enum op op, int output)
{
    switch (op) {
    case OP_SCALE:
    case OP_ADD:
    case OP_ACCUMULATE:
    case OP_WRITE_ROWS:
    case OP_ADD_BIAS:
    case OP_ROTARY:
    case OP_ACTIVATION_GRADIENT:
    case OP_SUM_SQUARES:
    case OP_ALL_REDUCE:
    case OP_BROADCAST:
        return output == 0 ? 0 : -1;
    case OP_OPTIMIZER_FACTORS:
        return output == 1 ? 2 : -1;
    case OP_ADAMW: /* outputs p, m, v; inputs p, g, m, v */
        return output == 0 ? 0 : output + 1;
    default:
        return -1;
    }
}
