/* Declares every kernel of the variant being compiled. Included only under kernel/. */
#ifndef ENGINE_DEVICE_CPU_KERNEL_FUNCTIONS_H
#define ENGINE_DEVICE_CPU_KERNEL_FUNCTIONS_H

#include "engine/device/cpu/kernel/kernel.h"

#ifndef KERNEL_VARIANT
#define KERNEL_VARIANT generic
#endif

/* The same declarations as the members of struct kernels, which table.c checks. */
void KERNEL(to_float)(float *to, const void *from, enum dtype dtype, int64_t n);
void KERNEL(from_float)(void *to, enum dtype dtype, const float *from, int64_t n);
void KERNEL(scale)(float *out, const float *x, float factor, int64_t n);
void KERNEL(add)(float *out, const float *a, const float *b, int64_t n);
void KERNEL(add_scaled)(float *out, const float *x, float factor, int64_t n);
float KERNEL(dot)(const float *a, const float *b, int64_t n);
double KERNEL(sum_squares)(const float *x, int64_t n);
void KERNEL(activation)(enum activation kind, float *out, const float *x, int64_t n);
void KERNEL(activation_gradient)(enum activation kind, float *out, const float *dy, const float *x,
                                 int64_t n);
void KERNEL(gated)(enum activation kind, float *out, const float *gate, const float *up, int64_t n);
void KERNEL(gated_gradient)(enum activation kind, float *dgate, float *dup, const float *dy,
                            const float *gate, const float *up, int64_t n);
void KERNEL(layer_norm)(float *y, const float *x, const float *w, const float *b, double epsilon,
                        float *mean, float *inverse, int64_t n);
void KERNEL(layer_norm_gradient)(float *dx, float *dw, float *db, const float *dy, const float *x,
                                 const float *w, float mean, float inverse, int64_t n);
void KERNEL(rms_norm)(float *y, const float *x, const float *w, double epsilon, float *inverse,
                      int64_t n);
void KERNEL(rms_norm_gradient)(float *dx, float *dw, const float *dy, const float *x,
                               const float *w, float inverse, int64_t n);
void KERNEL(rotary)(float *out, const float *x, const float *table, float sign, int heads,
                    int size);
float KERNEL(maximum_scaled)(const float *x, float factor, int64_t n);
float KERNEL(sum_exp)(const float *x, float factor, float shift, int64_t n);
void KERNEL(exp_scaled)(float *out, const float *x, float factor, float shift, float coefficient,
                        int64_t n);
void KERNEL(adamw)(const struct kernel_adamw *parameters, float *p_out, float *m_out, float *v_out,
                   const float *p, const float *g, const float *m, const float *v, int64_t n);
void KERNEL(tile_multiply)(int rows, int columns, int depth, const float *a, int64_t row_stride,
                           int64_t column_stride, const float *b, int64_t b_stride, float *c,
                           int64_t c_stride, bool accumulate, bool sparse);
float KERNEL(softmax_part)(float *scores, int first, int end, float scale, float shift, int n);
float KERNEL(range_maximum)(const float *scores, int first, int end, float scale);
void KERNEL(softmax_gradient)(float *dp, const float *p, float delta, float scale, int n);
void KERNEL(pack_rows)(float *to, int padded, const void *from, enum dtype dtype, int64_t stride,
                       int size, int rows);
bool KERNEL(all_finite)(const float *x, int64_t n);
void KERNEL(product_sizes)(int *rows, int *columns);
void KERNEL(product_tile)(int rows, int columns, int depth, const float *a, const float *b,
                          float *c, int64_t c_stride, bool accumulate);
void KERNEL(pack_transposed)(float *to, int64_t to_stride, const void *from, enum dtype dtype,
                             int64_t stride, int rows, int columns);

#endif
