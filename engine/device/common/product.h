/* Matrix products as every device sees them: a call in terms of memory and strides. */
#ifndef ENGINE_DEVICE_COMMON_PRODUCT_H
#define ENGINE_DEVICE_COMMON_PRODUCT_H

#ifdef __cplusplus
extern "C" {
#endif

#include "engine/tensor/op.h"

/* C (+ bias) = op(A) op(B), the matrices being parts of tensors. C is [rows, columns], op(A) is
 * [rows, depth], op(B) is [depth, columns]; strides are in elements, of the matrices as stored. */
struct matrix_product {
    int64_t rows, columns, depth;
    const void *a, *b, *bias; /* bias may be NULL */
    void *out;
    enum dtype a_dtype, b_dtype, bias_dtype, out_dtype;
    int64_t a_stride, b_stride, out_stride;
    bool transpose_a, transpose_b;
};

/* The product that a MATMUL asks for. Its operands need no memory yet: `bias` is then not NULL
 * where there is one, but cannot be read. */
struct matrix_product matrix_product_of(const struct op_call *call);

#ifdef __cplusplus
}
#endif

#endif
