#include "engine/device/cpu/kernel/functions.h"
#include "engine/device/cpu/kernel/math.h"

void KERNEL(layer_norm)(float *y, const float *x, const float *w, const float *b, double epsilon,
                        float *mean, float *inverse, int64_t n)
{
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    float center = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - center) * (x[i] - center);
    float scale = (float)(1.0 / sqrt((double)squares / (double)n + epsilon));
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - center) * scale * w[i] + b[i];
    *mean = center;
    *inverse = scale;
}

/* x^ = (x-mean)*inverse, g = dy*w: dx = inverse*(g - mean(g) - x^*mean(g*x^)) */
void KERNEL(layer_norm_gradient)(float *dx, float *dw, float *db, const float *dy, const float *x,
                                 const float *w, float mean, float inverse, int64_t n)
{
    float sum = 0, product = 0;
#pragma omp simd reduction(+ : sum, product)
    for (int64_t i = 0; i < n; i++) {
        float normal = (x[i] - mean) * inverse, g = dy[i] * w[i];
        sum += g;
        product += g * normal;
        dw[i] += dy[i] * normal;
        db[i] += dy[i];
    }
    sum /= (float)n;
    product /= (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float normal = (x[i] - mean) * inverse;
        dx[i] = inverse * (dy[i] * w[i] - sum - normal * product);
    }
}

void KERNEL(rms_norm)(float *y, const float *x, const float *w, double epsilon, float *inverse,
                      int64_t n)
{
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    float scale = (float)(1.0 / sqrt((double)squares / (double)n + epsilon));
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * scale * w[i];
    *inverse = scale;
}

void KERNEL(rms_norm_gradient)(float *dx, float *dw, const float *dy, const float *x,
                               const float *w, float inverse, int64_t n)
{
    float product = 0;
#pragma omp simd reduction(+ : product)
    for (int64_t i = 0; i < n; i++) {
        float normal = x[i] * inverse;
        product += dy[i] * w[i] * normal;
        dw[i] += dy[i] * normal;
    }
    product /= (float)n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dx[i] = inverse * (dy[i] * w[i] - x[i] * inverse * product);
}
