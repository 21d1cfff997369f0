/* Which function runs which kind of operation. */
#include "engine/device/cuda/cuda.h"

/* clang-format off */
#define PLAIN(name) {cuda_run_##name, NULL}
#define WITH(name) {cuda_run_##name, cuda_workspace_##name}

const struct cuda_operation cuda_operations[OP_COUNT] = {
    [OP_FILL] = PLAIN(fill),
    [OP_COPY] = PLAIN(copy),
    [OP_SCALE] = PLAIN(scale),
    [OP_ADD] = PLAIN(add),
    [OP_ACCUMULATE] = PLAIN(add),
    [OP_SLICE_ROWS] = PLAIN(slice_rows),
    [OP_WRITE_ROWS] = PLAIN(write_rows),
    [OP_EMBEDDING] = PLAIN(embedding),
    [OP_EMBEDDING_GRADIENT] = PLAIN(embedding_gradient),
    [OP_ADD_BIAS] = PLAIN(add_bias),
    [OP_BIAS_GRADIENT] = WITH(bias_gradient),
    [OP_MATMUL] = WITH(matmul),
    [OP_LAYER_NORM] = PLAIN(layer_norm),
    [OP_LAYER_NORM_GRADIENT] = WITH(layer_norm_gradient),
    [OP_RMS_NORM] = PLAIN(rms_norm),
    [OP_RMS_NORM_GRADIENT] = WITH(rms_norm_gradient),
    [OP_ROTARY] = PLAIN(rotary),
    [OP_ATTENTION] = PLAIN(attention),
    [OP_ATTENTION_GRADIENT] = WITH(attention_gradient),
    [OP_ACTIVATION] = PLAIN(activation),
    [OP_ACTIVATION_GRADIENT] = PLAIN(activation_gradient),
    [OP_GATED_ACTIVATION] = PLAIN(gated_activation),
    [OP_GATED_ACTIVATION_GRADIENT] = PLAIN(gated_activation_gradient),
    [OP_CROSS_ENTROPY] = WITH(cross_entropy),
    [OP_CROSS_ENTROPY_GRADIENT] = PLAIN(cross_entropy_gradient),
    [OP_TOP_K] = PLAIN(top_k),
    [OP_TOP_K_GRADIENT] = PLAIN(top_k_gradient),
    [OP_LOAD_BALANCE] = WITH(load_balance),
    [OP_LOAD_BALANCE_GRADIENT] = WITH(load_balance_gradient),
    [OP_ROUTE_ROWS] = WITH(route_rows),
    [OP_GATHER_ROWS] = PLAIN(gather_rows),
    [OP_GATHER_ROWS_GRADIENT] = WITH(gather_rows_gradient),
    [OP_GROUPED_MATMUL] = PLAIN(grouped_matmul),
    [OP_GROUPED_MATMUL_GRADIENT] = PLAIN(grouped_matmul_gradient),
    [OP_COMBINE_ROWS] = WITH(combine_rows),
    [OP_COMBINE_ROWS_GRADIENT] = PLAIN(combine_rows_gradient),
    [OP_SUM_SQUARES] = WITH(sum_squares),
    [OP_OPTIMIZER_FACTORS] = PLAIN(optimizer_factors),
    [OP_CROSS_ENTROPY_PART] = PLAIN(cross_entropy_part),
    [OP_CROSS_ENTROPY_PARALLEL] = WITH(cross_entropy_parallel),
    [OP_ADAMW] = PLAIN(adamw),
};
/* clang-format on */
