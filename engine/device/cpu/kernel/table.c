#include "engine/device/cpu/kernel/functions.h"

#define TEXT2(name) #name
#define TEXT(name) TEXT2(name)

const struct kernels KERNEL(table) = {
    .name = TEXT(KERNEL_VARIANT),
    .to_float = KERNEL(to_float),
    .from_float = KERNEL(from_float),
    .scale = KERNEL(scale),
    .add = KERNEL(add),
    .add_scaled = KERNEL(add_scaled),
    .dot = KERNEL(dot),
    .sum_squares = KERNEL(sum_squares),
    .activation = KERNEL(activation),
    .activation_gradient = KERNEL(activation_gradient),
    .gated = KERNEL(gated),
    .gated_gradient = KERNEL(gated_gradient),
    .layer_norm = KERNEL(layer_norm),
    .layer_norm_gradient = KERNEL(layer_norm_gradient),
    .rms_norm = KERNEL(rms_norm),
    .rms_norm_gradient = KERNEL(rms_norm_gradient),
    .rotary = KERNEL(rotary),
    .maximum_scaled = KERNEL(maximum_scaled),
    .sum_exp = KERNEL(sum_exp),
    .exp_scaled = KERNEL(exp_scaled),
    .adamw = KERNEL(adamw),
    .tile_multiply = KERNEL(tile_multiply),
    .softmax_part = KERNEL(softmax_part),
    .range_maximum = KERNEL(range_maximum),
    .softmax_gradient = KERNEL(softmax_gradient),
    .pack_rows = KERNEL(pack_rows),
    .all_finite = KERNEL(all_finite),
    .product_sizes = KERNEL(product_sizes),
    .product_tile = KERNEL(product_tile),
    .pack_transposed = KERNEL(pack_transposed),
};
