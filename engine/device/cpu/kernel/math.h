/* Branch-free exp and relatives that compilers vectorise; about 1 ulp. */
#ifndef ENGINE_DEVICE_CPU_KERNEL_MATH_H
#define ENGINE_DEVICE_CPU_KERNEL_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float math_from_bits(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static inline uint32_t math_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, 4);
    return bits;
}

/* exp(x) = 2^k * exp(r), |r| <= ln2/2. Polynomial of Cephes' expf. Adding 1.5*2^23 rounds to the
 * nearest integer, which is then in the low bits; no conversion, so NaN is no special case. */
static inline float math_exp_reduced(float x, uint32_t *power)
{
    const float rounder = 12582912.0f;
    float shifted = x * 1.44269504088896341f + rounder;
    float k = shifted - rounder;
    float r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    *power = math_bits(shifted) - math_bits(rounder);
    return p * r * r + r + 1.0f;
}

/* exp over the whole range: overflow to infinity, gradual underflow, NaN kept. */
static inline float math_exp(float x)
{
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    uint32_t power;
    float value = math_exp_reduced(x, &power);
    uint32_t half = (uint32_t)((int32_t)power >> 1);
    return value * math_from_bits((half + 127u) << 23) *
           math_from_bits((power - half + 127u) << 23);
}

/* exp for x <= 88; results below the normal range are 0 (a masked score must not cost the
 * hundreds of cycles that producing a denormal does). NaN kept. */
static inline float math_exp_flush(float x)
{
    float clamped = x < -87.3f ? -87.3f : x;
    uint32_t power;
    float value = math_exp_reduced(clamped, &power) * math_from_bits((power + 127u) << 23);
    return x < -87.3f ? 0.0f : value;
}

/* factor * x - shift is one fused operation, of which the rounding error of `shift` is left, be it
 * the largest product or a log sum exp. Weights relative to each other are better for it. But where
 * that error is near 1, those of a gradient, which have no sum to be divided by, are not; and where
 * it is beyond the range of exponentials, nothing is left. */
static inline int math_is_beyond_fusing(float shift)
{
    return fabsf(shift) > 131072.0f;
}

/* For such shifts: exactly 0 where the product is the shift. The compiler must not fuse these. */
static inline float math_product_less(float factor, float x, float shift)
{
    volatile float product = factor * x;
    return product - shift;
}

static inline float math_sigmoid(float x)
{
    return 1.0f / (1.0f + math_exp(-x));
}

#endif
