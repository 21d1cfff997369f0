#include "engine/device/cpu/kernel/functions.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

static void from_f16(float *to, const uint16_t *from, int64_t n)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + i))));
#endif
    for (; i < n; i++)
        to[i] = f16_to_float(from[i]);
}

static void to_f16(uint16_t *to, const float *from, int64_t n)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((void *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < n; i++)
        to[i] = float_to_f16(from[i]);
}

static void from_bf16(float *restrict to, const uint16_t *restrict from, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        to[i] = bf16_to_float(from[i]);
}

static void to_bf16(uint16_t *restrict to, const float *restrict from, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], 4);
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        uint32_t quiet = (bits >> 16) | 0x40u;
        to[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
    }
}

void KERNEL(to_float)(float *to, const void *from, enum dtype dtype, int64_t n)
{
    if (dtype == DTYPE_BF16)
        from_bf16(to, from, n);
    else if (dtype == DTYPE_F16)
        from_f16(to, from, n);
    else
        memcpy(to, from, (size_t)n * sizeof(float));
}

void KERNEL(from_float)(void *to, enum dtype dtype, const float *from, int64_t n)
{
    if (dtype == DTYPE_BF16)
        to_bf16(to, from, n);
    else if (dtype == DTYPE_F16)
        to_f16(to, from, n);
    else
        memcpy(to, from, (size_t)n * sizeof(float));
}
