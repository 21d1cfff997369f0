/* What kernels share that use the matrix units, whose elements are 16-bit floats, and whose sums
 * are float32: by nvcuda::wmma, products of 16 x 16 x 16 in shared memory; or by the instructions
 * themselves, where it matters which thread has which element. */
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

/* Fragments as NVIDIA's description of PTX has them ("Matrix Fragments for mma.m16n8k16"), with
 * g = lane / 4 and t = lane % 4:
 * - sums [16, 8]: numbers 0 and 1 are columns 2 t, 2 t + 1 of row g, 2 and 3 those of row g + 8;
 * - a [16, 16]: words of two neighbours from column 2 t on of rows g, g + 8, and from column 2 t +
 * 8 on of the same rows: what two sums beside each other have;
 * - b [16, 8]: words of rows 2 t, 2 t + 1, and 2 t + 8, 2 t + 9, of column g. */

/* sums += a b. */
__device__ inline void unit_multiply(float sums[4], const unsigned a[4], const unsigned b[2],
                                     const __nv_bfloat16 *)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    emulator::multiply<__nv_bfloat16>(sums, a, b);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ inline void unit_multiply(float sums[4], const unsigned a[4], const unsigned b[2],
                                     const __half *)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    emulator::multiply<__half>(sums, a, b);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/* Four matrices of 8 x 8 from shared memory; lane 8 q + r names row r (16 bytes, aligned) of matrix
 * q. Word q has the neighbours from column 2 t on of row g; `across`: rows 2 t, 2 t + 1 of column
 * g. */
__device__ inline void unit_read(unsigned to[4], const void *row, bool across)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    emulator::read_matrices(to, row, across);
#else
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    if (across)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(at)
                     : "memory");
#endif
}

/* 16 bytes of shared memory, aligned as `from` is in global memory: its first `bytes`, and zeros.
 * They are there when the thread has waited; for other threads after a barrier. */
__device__ inline void copy_begin(void *to, const void *from, int bytes)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    emulator::copy_begin(to, from, bytes);
#else
    unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(at), "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
#endif
}

/* Until all copies that this thread began are done. */
__device__ inline void copy_wait()
{
#ifdef LOCKSTEP_CUDA_EMULATED
    emulator::copy_wait();
#else
    asm volatile("cp.async.wait_all;" : : : "memory");
#endif
}

/* Two numbers as bf16, to nearest even; the first has the lower half. */
__device__ inline unsigned bf16_two(float first, float second)
{
#ifdef LOCKSTEP_CUDA_EMULATED
    return bf16_round(first) | (unsigned)bf16_round(second) << 16;
#else
    unsigned two;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(second), "f"(first));
    return two;
#endif
}

/* 16 x 16 at `from` as a, or as b: rows of the matrix are columns of b, of which there are two
 * beside each other; `across`: as they are. */
template <typename T> __device__ inline void read_a(unsigned to[4], const T *from, int stride)
{
    int lane = (int)threadIdx.x % WARP, row = lane % 16, column = lane / 16 * 8;
    unit_read(to, from + row * stride + column, false);
}

template <typename T> __device__ inline void read_b(unsigned to[4], const T *from, int stride)
{
    int lane = (int)threadIdx.x % WARP, row = lane / 16 * 8 + lane % 8, column = lane / 8 % 2 * 8;
    unit_read(to, from + row * stride + column, false);
}

template <typename T>
__device__ inline void read_b_across(unsigned to[4], const T *from, int stride)
{
    int lane = (int)threadIdx.x % WARP, row = lane % 16, column = lane / 16 * 8;
    unit_read(to, from + row * stride + column, true);
}

#endif
