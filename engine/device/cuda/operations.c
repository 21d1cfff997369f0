/* Which function runs which kind of operation, and the types of operands that it takes. */
#include "engine/device/cuda/cuda.h"

/* clang-format off */
#define PLAIN(name, inputs, outputs) {cuda_run_##name, NULL, inputs, outputs}
#define WITH(name, inputs, outputs) {cuda_run_##name, cuda_workspace_##name, inputs, outputs}

const struct cuda_operation cuda_operations[OP_COUNT] = {
    [OP_FILL] = PLAIN(fill, "", "F"),
    [OP_COPY] = PLAIN(copy, "F", "F"),
    [OP_SCALE] = PLAIN(scale, "F", "F"),
    [OP_ADD] = PLAIN(add, "FF", "F"),
    [OP_ACCUMULATE] = PLAIN(add, "sf", "s"),
    [OP_SLICE_ROWS] = PLAIN(slice_rows, "F", "F"),
    [OP_WRITE_ROWS] = PLAIN(write_rows, "FF", "F"),
    [OP_EMBEDDING] = PLAIN(embedding, "if", "f"),
    [OP_EMBEDDING_GRADIENT] = PLAIN(embedding_gradient, "if", "f"),
    [OP_ADD_BIAS] = PLAIN(add_bias, "ff", "f"),
    [OP_BIAS_GRADIENT] = WITH(bias_gradient, "f", "f"),
    [OP_MATMUL] = WITH(matmul, "fff", "f"),
    [OP_LAYER_NORM] = PLAIN(layer_norm, "fff", "fss"),
    [OP_LAYER_NORM_GRADIENT] = WITH(layer_norm_gradient, "fffss", "fff"),
    [OP_RMS_NORM] = PLAIN(rms_norm, "ff", "fs"),
    [OP_RMS_NORM_GRADIENT] = WITH(rms_norm_gradient, "fffs", "ff"),
    [OP_ROTARY] = PLAIN(rotary, "fs", "f"),
    [OP_ATTENTION] = PLAIN(attention, "ffi", "fs"),
    [OP_ATTENTION_GRADIENT] = WITH(attention_gradient, "fffifs", "ff"),
    [OP_ACTIVATION] = PLAIN(activation, "f", "f"),
    [OP_ACTIVATION_GRADIENT] = PLAIN(activation_gradient, "ff", "f"),
    [OP_GATED_ACTIVATION] = PLAIN(gated_activation, "f", "f"),
    [OP_GATED_ACTIVATION_GRADIENT] = PLAIN(gated_activation_gradient, "ff", "f"),
    [OP_CROSS_ENTROPY] = WITH(cross_entropy, "fid", "ss"),
    [OP_CROSS_ENTROPY_GRADIENT] = PLAIN(cross_entropy_gradient, "fidsd", "f"),
    [OP_TOP_K] = PLAIN(top_k, "f", "is"),
    [OP_TOP_K_GRADIENT] = PLAIN(top_k_gradient, "sis", "f"),
    [OP_LOAD_BALANCE] = WITH(load_balance, "fi", "s"),
    [OP_LOAD_BALANCE_GRADIENT] = WITH(load_balance_gradient, "fid", "f"),
    [OP_ROUTE_ROWS] = PLAIN(route_rows, "i", "ii"),
    [OP_GATHER_ROWS] = PLAIN(gather_rows, "fi", "f"),
    [OP_GATHER_ROWS_GRADIENT] = WITH(gather_rows_gradient, "fi", "f"),
    [OP_GROUPED_MATMUL] = PLAIN(grouped_matmul, "ffi", "f"),
    [OP_GROUPED_MATMUL_GRADIENT] = PLAIN(grouped_matmul_gradient, "ffi", "f"),
    [OP_COMBINE_ROWS] = WITH(combine_rows, "fsi", "f"),
    [OP_COMBINE_ROWS_GRADIENT] = PLAIN(combine_rows_gradient, "ffsi", "fs"),
    [OP_SUM_SQUARES] = WITH(sum_squares, "df", "d"),
    [OP_OPTIMIZER_FACTORS] = PLAIN(optimizer_factors, "ddd", "dds"),
    [OP_CROSS_ENTROPY_PART] = PLAIN(cross_entropy_part, "fi", "ss"),
    [OP_CROSS_ENTROPY_PARALLEL] = WITH(cross_entropy_parallel, "fidss", "ss"),
    [OP_ADAMW] = PLAIN(adamw, "ssssd", "sss"),
};
/* clang-format on */
