/* What kernels share that use the matrix units, by nvcuda::wmma: products of 16 x 16 x 16 whose
 * elements are 16-bit floats, in shared memory, and whose sums are float32. */
#ifndef ENGINE_DEVICE_CUDA_UNITS_CUH
#define ENGINE_DEVICE_CUDA_UNITS_CUH

#include "engine/device/cuda/operand.cuh"

enum { UNIT = 16 };

/* An element as it is stored, and back. */
__device__ inline uint16_t bits_round(float number, const __nv_bfloat16 *)
{
    return bf16_round(number);
}

__device__ inline uint16_t bits_round(float number, const __half *)
{
    return half_round(number);
}

__device__ inline float bits_widen(uint16_t bits, const __nv_bfloat16 *)
{
    return bf16_widen(bits);
}

__device__ inline float bits_widen(uint16_t bits, const __half *)
{
    return half_widen(bits);
}

/* Four neighbours in shared memory, as one access. The 16-bit ones are numbers that were read as
 * such: nothing is rounded. */
template <typename T> __device__ inline void four_store(T *to, const struct quad &quad)
{
    uint2 bits;
    bits.x = bits_round(quad.at[0], to) | (unsigned)bits_round(quad.at[1], to) << 16;
    bits.y = bits_round(quad.at[2], to) | (unsigned)bits_round(quad.at[3], to) << 16;
    *(uint2 *)(void *)to = bits;
}

__device__ inline void four_store(float *to, const struct quad &quad)
{
    *(float4 *)(void *)to = float4_of(quad);
}

template <typename T> __device__ inline float4 four_at(const T *from)
{
    uint2 bits = *(const uint2 *)(const void *)from;
    float4 four;
    four.x = bits_widen((uint16_t)bits.x, from);
    four.y = bits_widen((uint16_t)(bits.x >> 16), from);
    four.z = bits_widen((uint16_t)bits.y, from);
    four.w = bits_widen((uint16_t)(bits.y >> 16), from);
    return four;
}

__device__ inline float4 four_at(const float *from)
{
    return *(const float4 *)(const void *)from;
}

#endif
