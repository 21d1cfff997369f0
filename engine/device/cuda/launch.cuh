/* What kernels are written in. Under nvcc the real thing; else the tests' emulator, so that the
 * same sources run on a machine without a GPU. Kernels are `static __global__` functions, have
 * only dynamic shared memory (shared_memory()), blocks of whole warps, and warp operations in
 * which all lanes take part. */
#ifndef ENGINE_DEVICE_CUDA_LAUNCH_CUH
#define ENGINE_DEVICE_CUDA_LAUNCH_CUH

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef LOCKSTEP_CUDA_EMULATED
#include "tests/cuda_emulator/kernels.hpp"
#include "tests/cuda_emulator/matrix.hpp"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <mma.h>
#endif

#include "engine/device/cuda/cuda.h"

/* Where and how large; the blocks' shared memory in bytes. */
struct launch {
    dim3 grid, block;
    size_t shared;
};

#ifdef LOCKSTEP_CUDA_EMULATED
__device__ inline char *shared_memory()
{
    return emulator::shared_memory();
}
#else
__device__ inline char *shared_memory()
{
    extern __shared__ __align__(32) char dynamic_shared[]; /* as the matrix units demand */
    return dynamic_shared;
}
#endif

/* Not deduced: arguments take the types of the kernel's parameters. */
template <typename T> struct launch_as {
    typedef T type;
};

/* Queues kernel(arguments...). A failure of an earlier one may show here, unless each is waited
 * for. */
template <typename... P>
static bool launch_run(struct cuda_context *context, const char *name, const struct launch &where,
                       struct status *status, void (*kernel)(P...),
                       typename launch_as<P>::type... arguments)
{
    if (where.shared > (size_t)context->shared_most)
        return cuda_refuse_block(context, name, where.shared, status);
#ifdef LOCKSTEP_CUDA_EMULATED
    cudaError_t error = emulator::put_on(context->stream, name, where.grid, where.block,
                                         where.shared, [=] { kernel(arguments...); });
#else
    enum { UNASKED = 48 << 10 }; /* more shared memory must be asked for */
    cudaError_t error = cudaSuccess;
    if (where.shared > UNASKED)
        error = cudaFuncSetAttribute(
            (const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)where.shared);
    void *all[] = {(void *)&arguments...};
    if (error == cudaSuccess)
        error = cudaLaunchKernel((const void *)kernel, where.grid, where.block, all, where.shared,
                                 context->stream);
#endif
    if (error == cudaSuccess && context->blocking)
        error = cudaStreamSynchronize(context->stream);
    return error == cudaSuccess ? true : cuda_fail(context, error, name, status);
}

#define LAUNCH(kernel, where, ...) LAUNCH_AS(#kernel, kernel, where, __VA_ARGS__)
/* The same with a name for messages. */
#define LAUNCH_AS(name, kernel, where, ...)                                                        \
    launch_run(context, name, where, status, kernel, __VA_ARGS__)

enum { WARP = 32, ALL_LANES = -1 };

/* Of an H100: kernels that are to have no block that comes late and alone have as many as these
 * take at once. It is no GPU's own number, since the order of sums, and so their bits, are to be
 * those of every GPU. */
enum { LAUNCH_MULTIPROCESSORS = 132 };

__host__ __device__ static inline int64_t divide_up(int64_t count, int64_t by)
{
    return (count + by - 1) / by;
}

/* A number of blocks for `count` pieces of work that a grid loops over. */
static inline unsigned launch_blocks(int64_t count, int64_t most)
{
    return (unsigned)(count < 1 ? 1 : count < most ? count : most);
}

#endif
