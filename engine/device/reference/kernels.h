/* Inside the float64 reference: one function per kind of operation, and what they share.
 *
 * A kernel takes a call whose float tensors are all f64 and whose indices are i32, in host
 * memory, rows possibly strided. It computes what engine/tensor/op.h says about its kind, in the
 * plainest way, and fails only on indices that point outside their tensor (STATUS_INVALID) or for
 * want of memory. Shapes are trusted. No state: any thread. */
#ifndef ENGINE_DEVICE_REFERENCE_KERNELS_H
#define ENGINE_DEVICE_REFERENCE_KERNELS_H

#include "engine/base/status.h"
#include "engine/tensor/op.h"

#ifdef _OPENMP
#define PARALLEL_FOR _Pragma("omp parallel for")
#else
#define PARALLEL_FOR
#endif

static inline int64_t rows_of(const struct tensor *tensor)
{
    return tensor->shape.dims[0];
}

static inline int64_t columns_of(const struct tensor *tensor)
{
    return shape_columns(tensor->shape);
}

/* The first element of a row. A vector [C] has C rows of one element. */
static inline double *row_of(const struct tensor *tensor, int64_t row)
{
    return (double *)tensor->data + row * tensor->row_stride;
}

static inline int32_t *indices_of(const struct tensor *tensor, int64_t row)
{
    return (int32_t *)tensor->data + row * tensor->row_stride;
}

/* Sets every element of an f64 tensor to zero (rows only, not the gaps between them). */
void reference_zero(const struct tensor *tensor);

/* y[rows,columns] += a[rows,inner] b[inner,columns]; all row-major, `*_stride` elements from row
 * to row. Terms of one element of y are added in increasing order of `inner`. Leaves y unfinished
 * when an interrupt asks for it. */
void reference_multiply(const struct interrupt *interrupt, double *y, int64_t y_stride,
                        const double *a, int64_t a_stride, const double *b, int64_t b_stride,
                        int64_t rows, int64_t inner, int64_t columns);

/* A contiguous [columns,rows] copy of from[rows,columns]; the caller frees it. NULL and a failed
 * status for want of memory; unfinished when an interrupt asks for it. */
double *reference_transpose(const struct interrupt *interrupt, const double *from, int64_t stride,
                            int64_t rows, int64_t columns, struct status *status);

/* X(function, kind) */
#define REFERENCE_KERNELS(X)                                                                       \
    X(fill, FILL)                                                                                  \
    X(copy, COPY)                                                                                  \
    X(scale, SCALE)                                                                                \
    X(add, ADD)                                                                                    \
    X(accumulate, ACCUMULATE)                                                                      \
    X(slice_rows, SLICE_ROWS)                                                                      \
    X(write_rows, WRITE_ROWS)                                                                      \
    X(embedding, EMBEDDING)                                                                        \
    X(embedding_gradient, EMBEDDING_GRADIENT)                                                      \
    X(add_bias, ADD_BIAS)                                                                          \
    X(bias_gradient, BIAS_GRADIENT)                                                                \
    X(matmul, MATMUL)                                                                              \
    X(layer_norm, LAYER_NORM)                                                                      \
    X(layer_norm_gradient, LAYER_NORM_GRADIENT)                                                    \
    X(rms_norm, RMS_NORM)                                                                          \
    X(rms_norm_gradient, RMS_NORM_GRADIENT)                                                        \
    X(rotary, ROTARY)                                                                              \
    X(attention, ATTENTION)                                                                        \
    X(attention_gradient, ATTENTION_GRADIENT)                                                      \
    X(activation, ACTIVATION)                                                                      \
    X(activation_gradient, ACTIVATION_GRADIENT)                                                    \
    X(gated_activation, GATED_ACTIVATION)                                                          \
    X(gated_activation_gradient, GATED_ACTIVATION_GRADIENT)                                        \
    X(cross_entropy, CROSS_ENTROPY)                                                                \
    X(cross_entropy_gradient, CROSS_ENTROPY_GRADIENT)                                              \
    X(cross_entropy_part, CROSS_ENTROPY_PART)                                                      \
    X(cross_entropy_parallel, CROSS_ENTROPY_PARALLEL)                                              \
    X(top_k, TOP_K)                                                                                \
    X(top_k_gradient, TOP_K_GRADIENT)                                                              \
    X(load_balance, LOAD_BALANCE)                                                                  \
    X(load_balance_gradient, LOAD_BALANCE_GRADIENT)                                                \
    X(route_rows, ROUTE_ROWS)                                                                      \
    X(gather_rows, GATHER_ROWS)                                                                    \
    X(gather_rows_gradient, GATHER_ROWS_GRADIENT)                                                  \
    X(grouped_matmul, GROUPED_MATMUL)                                                              \
    X(grouped_matmul_gradient, GROUPED_MATMUL_GRADIENT)                                            \
    X(combine_rows, COMBINE_ROWS)                                                                  \
    X(combine_rows_gradient, COMBINE_ROWS_GRADIENT)                                                \
    X(sum_squares, SUM_SQUARES)                                                                    \
    X(optimizer_factors, OPTIMIZER_FACTORS)                                                        \
    X(adamw, ADAMW)

#define REFERENCE_DECLARE(function, kind)                                                          \
    bool reference_##function(const struct op_call *call, struct status *status);
REFERENCE_KERNELS(REFERENCE_DECLARE)
#undef REFERENCE_DECLARE

#endif
