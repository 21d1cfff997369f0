/* The inner loops of the CPU device: plain C on contiguous float32, compiled once per instruction
 * set (KERNEL_VARIANT names the set). Nothing here allocates, fails or starts threads. `n` counts
 * elements. Outputs may be exactly the same memory as an input unless said otherwise. */
#ifndef ENGINE_DEVICE_CPU_KERNEL_KERNEL_H
#define ENGINE_DEVICE_CPU_KERNEL_KERNEL_H

#include "engine/tensor/op.h"

struct kernel_adamw {
    float gradient_factor, beta1, beta2, one_minus_beta1, one_minus_beta2;
    float inverse_c1, inverse_c2, epsilon, rate, decay; /* rate: lr * factor */
};

enum { PRODUCT_DEPTH = 256 };

struct kernels {
    const char *name;
    /* Conversions of f32, bf16, f16; not in place. */
    void (*to_float)(float *to, const void *from, enum dtype dtype, int64_t n);
    void (*from_float)(void *to, enum dtype dtype, const float *from, int64_t n);

    void (*scale)(float *out, const float *x, float factor, int64_t n);
    void (*add)(float *out, const float *a, const float *b, int64_t n);
    void (*add_scaled)(float *out, const float *x, float factor, int64_t n); /* out += factor*x */
    float (*dot)(const float *a, const float *b, int64_t n);
    double (*sum_squares)(const float *x, int64_t n); /* products and sums in double */

    void (*activation)(enum activation kind, float *out, const float *x, int64_t n);
    void (*activation_gradient)(enum activation kind, float *out, const float *dy, const float *x,
                                int64_t n);
    void (*gated)(enum activation kind, float *out, const float *gate, const float *up, int64_t n);
    void (*gated_gradient)(enum activation kind, float *dgate, float *dup, const float *dy,
                           const float *gate, const float *up, int64_t n); /* not in place */

    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, double epsilon,
                       float *mean, float *inverse, int64_t n);
    /* Adds this row's part to dw and db. */
    void (*layer_norm_gradient)(float *dx, float *dw, float *db, const float *dy, const float *x,
                                const float *w, float mean, float inverse, int64_t n);
    void (*rms_norm)(float *y, const float *x, const float *w, double epsilon, float *inverse,
                     int64_t n);
    void (*rms_norm_gradient)(float *dx, float *dw, const float *dy, const float *x, const float *w,
                              float inverse, int64_t n);

    /* One row of heads*size columns; table holds size/2 cosines, then size/2 sines. */
    void (*rotary)(float *out, const float *x, const float *table, float sign, int heads, int size);

    float (*maximum_scaled)(const float *x, float factor, int64_t n); /* -inf for n = 0 */
    /* sum of exp(factor*x - shift), for factor*x - shift <= 88 */
    float (*sum_exp)(const float *x, float factor, float shift, int64_t n);
    /* out = coefficient * exp(factor*x - shift) */
    void (*exp_scaled)(float *out, const float *x, float factor, float shift, float coefficient,
                       int64_t n);

    void (*adamw)(const struct kernel_adamw *parameters, float *p_out, float *m_out, float *v_out,
                  const float *p, const float *g, const float *m, const float *v, int64_t n);

    /* c [rows,columns] (+)= a b, where a(i,k) = a[i*row_stride + k*column_stride] and b is
     * [depth,columns]; columns is a multiple of 16. With `sparse`, zeros of a are skipped, so that
     * they do not turn NaN or infinity of b into NaN. Does not overlap. */
    void (*tile_multiply)(int rows, int columns, int depth, const float *a, int64_t row_stride,
                          int64_t column_stride, const float *b, int64_t b_stride, float *c,
                          int64_t c_stride, bool accumulate, bool sparse);
    /* A row of scores [n], n a multiple of 16, in place: those outside [first,end) become 0, the
     * others exp(scale*s - shift). Returns the sum. */
    float (*softmax_part)(float *scores, int first, int end, float scale, float shift, int n);
    /* Largest of scale * scores[first..end); reads up to the next multiple of 16. */
    float (*range_maximum)(const float *scores, int first, int end, float scale);
    /* ds = p * (dp - delta) * scale on n elements; p and dp as they come, ds over dp. */
    void (*softmax_gradient)(float *dp, const float *p, float delta, float scale, int n);
    /* to [rows,padded] = rows of `size` elements, `stride` elements apart; the padding 0. */
    void (*pack_rows)(float *to, int padded, const void *from, enum dtype dtype, int64_t stride,
                      int size, int rows);
    bool (*all_finite)(const float *x, int64_t n);

    /* Matrix products are made of tiles of this size. */
    void (*product_sizes)(int *rows, int *columns);
    /* c [rows,columns] (+)= a b for a tile or the rest of one, with the panels of a whole tile:
     * a(i,k) = a[i*PRODUCT_DEPTH + k], b is [depth,columns of a tile]; depth up to PRODUCT_DEPTH.
     */
    void (*product_tile)(int rows, int columns, int depth, const float *a, const float *b, float *c,
                         int64_t c_stride, bool accumulate);
    /* to[i*to_stride + j] = from[j*stride + i] for i < rows, j < columns; f32, bf16 or f16. */
    void (*pack_transposed)(float *to, int64_t to_stride, const void *from, enum dtype dtype,
                            int64_t stride, int rows, int columns);
};

#define KERNEL_JOIN2(name, variant) kernel_##name##_##variant
#define KERNEL_JOIN(name, variant) KERNEL_JOIN2(name, variant)
/* The name of a function in this variant. */
#define KERNEL(name) KERNEL_JOIN(name, KERNEL_VARIANT)

extern const struct kernels kernel_table_generic, kernel_table_avx2, kernel_table_avx512;

#endif
