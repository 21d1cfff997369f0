/* "omp simd" tells the compiler that equal input and output memory (in place) is fine: a run-time
 * overlap check would otherwise send exactly those calls to a scalar loop. */
#include "engine/device/cpu/kernel/functions.h"
#include "engine/device/cpu/kernel/math.h"
#include "engine/device/cpu/kernel/vector.h"

void KERNEL(scale)(float *out, const float *x, float factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = factor * x[i];
}

void KERNEL(add)(float *out, const float *a, const float *b, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

void KERNEL(add_scaled)(float *out, const float *x, float factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] += factor * x[i];
}

float KERNEL(dot)(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

double KERNEL(sum_squares)(const float *x, int64_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

bool KERNEL(all_finite)(const float *x, int64_t n)
{
    uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
    for (int64_t i = 0; i < n; i++)
        bad |= (math_bits(x[i]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    return bad == 0;
}

/* NaN never is the maximum: comparisons with it are false. */
float KERNEL(maximum_scaled)(const float *x, float factor, int64_t n)
{
    float most = -INFINITY;
    vector16 lanes = (vector16){0} - INFINITY;
    int64_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        vector16 value = factor * *(const vector16 *)(x + i);
        lanes = VECTOR_SELECT(value > lanes, value, lanes);
    }
    for (; i < n; i++)
        most = factor * x[i] > most ? factor * x[i] : most;
    for (int lane = 0; lane < VECTOR_LANES; lane++)
        most = lanes[lane] > most ? lanes[lane] : most;
    return most;
}

float KERNEL(sum_exp)(const float *x, float factor, float shift, int64_t n)
{
    float sum = 0;
    if (math_is_beyond_fusing(shift)) {
        for (int64_t i = 0; i < n; i++)
            sum += math_exp_flush(math_product_less(factor, x[i], shift));
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += math_exp_flush(factor * x[i] - shift);
    return sum;
}

void KERNEL(exp_scaled)(float *out, const float *x, float factor, float shift, float coefficient,
                        int64_t n)
{
    if (math_is_beyond_fusing(shift)) {
        for (int64_t i = 0; i < n; i++)
            out[i] = coefficient * math_exp_flush(math_product_less(factor, x[i], shift));
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        out[i] = coefficient * math_exp_flush(factor * x[i] - shift);
}

void KERNEL(rotary)(float *out, const float *x, const float *table, float sign, int heads, int size)
{
    int half = size / 2;
    for (int head = 0; head < heads; head++) {
        const float *in = x + (int64_t)head * size;
        float *to = out + (int64_t)head * size;
#pragma omp simd
        for (int i = 0; i < half; i++) {
            float re = in[i], im = in[i + half];
            float cosine = table[i], sine = sign * table[i + half];
            to[i] = re * cosine - im * sine;
            to[i + half] = im * cosine + re * sine;
        }
    }
}

void KERNEL(adamw)(const struct kernel_adamw *parameters, float *p_out, float *m_out, float *v_out,
                   const float *p, const float *g, const float *m, const float *v, int64_t n)
{
    const struct kernel_adamw c = *parameters;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gradient = c.gradient_factor * g[i];
        float first = c.beta1 * m[i] + c.one_minus_beta1 * gradient;
        float second = c.beta2 * v[i] + c.one_minus_beta2 * gradient * gradient;
        float step = first * c.inverse_c1 / (sqrtf(second * c.inverse_c2) + c.epsilon);
        p_out[i] = p[i] - c.rate * (step + c.decay * p[i]);
        m_out[i] = first;
        v_out[i] = second;
    }
}
