// What kernels are written in, on the host: the names that nvcc has built in.
//
// One kernel launch runs its blocks one after another in a changing order, and the warps of a block
// in a changing order, each until it waits at a barrier; its threads are fibers, each of which runs
// until a warp operation. So a missing __syncthreads() shows as other results or NaN: shared memory
// is full of 0xff bytes when a block begins. Found out and reported as a failed launch: a barrier
// or a warp operation that some threads never reach, a lane beyond its warp, writing behind the
// shared memory, blocks that are not whole warps, and more shared memory than an A100 has.
#ifndef TESTS_CUDA_EMULATOR_KERNELS_HPP
#define TESTS_CUDA_EMULATOR_KERNELS_HPP

#include "tests/cuda_emulator/runtime.h"

#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace emulator
{
extern dim3 thread_index, block_index, block_size, grid_size;
char *shared_memory();
void barrier();
/* Every lane of the warp gives a number; each gets all 32. Valid until its next call. */
const uint64_t *exchange(unsigned mask, uint64_t number);
void complain(const char *finding);
/* Asynchronous copies into shared memory: until the thread waits there is poison, and a thread must
 * not end before. */
void copy_begin(void *to, const void *from, int bytes);
void copy_wait();
/* Runs body(argument) once for each thread. */
cudaError_t run(const char *kernel, dim3 grid, dim3 block, size_t shared, void (*body)(void *),
                void *argument);

/* What is launched on a stream; `body` is a copyable function object that has the arguments as they
 * are now, as a captured launch keeps them. */
template <typename Body> struct launch {
    const char *kernel;
    dim3 grid, block;
    size_t shared;
    Body body;
};
template <typename Body> cudaError_t run_launch(void *memory)
{
    launch<Body> *it = static_cast<launch<Body> *>(memory);
    return run(
        it->kernel, it->grid, it->block, it->shared,
        [](void *body) { (*static_cast<Body *>(body))(); }, &it->body);
}
template <typename Body> void free_launch(void *memory)
{
    delete static_cast<launch<Body> *>(memory);
}
template <typename Body>
cudaError_t put_on(cudaStream_t stream, const char *kernel, dim3 grid, dim3 block, size_t shared,
                   const Body &body)
{
    launch<Body> now = {kernel, grid, block, shared, body};
    if (!emulator_captures(stream))
        return run_launch<Body>(&now);
    return emulator_result(
        emulator_capture(stream, run_launch<Body>, new launch<Body>(now), free_launch<Body>));
}

template <typename T> T shuffle(unsigned mask, T number, int source)
{
    static_assert(sizeof(T) <= 8, "a register pair at most");
    uint64_t bits = 0;
    std::memcpy(&bits, &number, sizeof(T));
    const uint64_t *all = exchange(mask, bits);
    if (source < 0 || source > 31)
        complain("a shuffle from a lane outside the warp");
    std::memcpy(&number, &all[source & 31], sizeof(T));
    return number;
}
inline int lane()
{
    unsigned flat =
        thread_index.x + block_size.x * (thread_index.y + block_size.y * thread_index.z);
    return (int)(flat & 31u);
}
} // namespace emulator

#define threadIdx (emulator::thread_index)
#define blockIdx (emulator::block_index)
#define blockDim (emulator::block_size)
#define gridDim (emulator::grid_size)

inline void __syncthreads()
{
    emulator::barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    emulator::exchange(mask, 0);
}
template <typename T> T __shfl_sync(unsigned mask, T number, int source)
{
    return emulator::shuffle(mask, number, source);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T number, int bits)
{
    return emulator::shuffle(mask, number, emulator::lane() ^ bits);
}
/* Lanes near the end keep their own number. */
template <typename T> T __shfl_down_sync(unsigned mask, T number, unsigned offset)
{
    int source = emulator::lane() + (int)offset;
    return emulator::shuffle(mask, number, source > 31 ? emulator::lane() : source);
}
inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    const uint64_t *all = emulator::exchange(mask, predicate != 0);
    unsigned bits = 0;
    for (int lane = 0; lane < 32; lane++)
        bits |= (unsigned)all[lane] << lane;
    return bits;
}
inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}

inline int __popc(unsigned bits)
{
    return __builtin_popcount(bits);
}
inline int __ffs(int bits)
{
    return __builtin_ffs(bits);
}
inline float __uint_as_float(unsigned bits)
{
    float number;
    std::memcpy(&number, &bits, 4);
    return number;
}
inline unsigned __float_as_uint(float number)
{
    unsigned bits;
    std::memcpy(&bits, &number, 4);
    return bits;
}
/* Never fused with what follows, whatever this is compiled with. */
inline float __fmul_rn(float a, float b)
{
    volatile float product = a * b;
    return product;
}
inline int atomicCAS(int *address, int expected, int wanted)
{
    int old = *address;
    if (old == expected)
        *address = wanted;
    return old;
}
inline unsigned atomicAdd(unsigned *address, unsigned number)
{
    unsigned old = *address;
    *address = old + number;
    return old;
}
inline float rsqrtf(float number)
{
    return 1.0f / sqrtf(number);
}
inline void __threadfence_system() {}
inline void __threadfence() {}
template <typename T> T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> T max(T a, T b)
{
    return a < b ? b : a;
}
using std::isfinite;
using std::isnan;

#endif
