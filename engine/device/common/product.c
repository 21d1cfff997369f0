#include "engine/device/common/product.h"

struct matrix_product matrix_product_of(const struct op_call *call)
{
    const struct tensor *a = &call->inputs[0], *b = &call->inputs[1], *out = &call->outputs[0];
    const struct tensor *bias = call->input_count > 2 ? &call->inputs[2] : NULL;
    bool transpose_a = call->parameters.transpose_a;
    struct matrix_product product = {
        .rows = out->shape.rank ? out->shape.dims[0] : 1,
        .columns = shape_columns(out->shape),
        .depth = a->shape.rank && transpose_a ? a->shape.dims[0] : shape_columns(a->shape),
        .a = a->data,
        .b = b->data,
        .out = out->data,
        .a_dtype = a->dtype,
        .b_dtype = b->dtype,
        .out_dtype = out->dtype,
        .a_stride = a->row_stride,
        .b_stride = b->row_stride,
        .out_stride = out->row_stride,
        .transpose_a = transpose_a,
        .transpose_b = call->parameters.transpose_b,
    };
    if (bias) {
        /* Only whether there is one matters to the plan, which is made before memory is there. */
        product.bias = bias->data ? bias->data : bias;
        product.bias_dtype = bias->dtype;
    }
    return product;
}
