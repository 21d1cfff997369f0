// The emulator must find what is wrong in a kernel, or nothing that it passes means anything.
#include "tests/cuda_emulator/kernels.hpp"

#include <cstdio>

static float memory[1024];
static int failures;

static void expect(const char *name, const char *finding, void (*kernel)(void *), dim3 block = 64,
                   size_t shared = 256)
{
    emulator_clear();
    cudaError_t error = emulator::run(name, dim3(3), block, shared, kernel, nullptr);
    const char *found = emulator_finding();
    bool good = finding ? error != cudaSuccess && std::strstr(found, finding) != nullptr
                        : error == cudaSuccess && found[0] == '\0';
    if (!good) {
        std::printf("%s: found \"%s\", not \"%s\"\n", name, found, finding ? finding : "");
        failures++;
    }
}

static void divergent_barrier(void *)
{
    if (threadIdx.x < 40)
        __syncthreads();
}

static void divergent_warp_operation(void *)
{
    if (threadIdx.x % 32 < 20)
        memory[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

static void partial_mask(void *)
{
    memory[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);
}

static void lane_outside(void *)
{
    memory[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 32);
}

static void too_much_shared(void *)
{
    emulator::shared_memory()[256 + threadIdx.x] = 1;
}

static void nothing(void *) {}

/* A sum over the block whose result is known; also that shuffles give the right lanes. */
static void sum_of_block(void *)
{
    float *shared = (float *)(void *)emulator::shared_memory();
    float sum = (float)threadIdx.x;
    for (int bit = 16; bit > 0; bit /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, bit);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = sum;
    __syncthreads();
    if (shared[0] + shared[1] != 63 * 64 / 2)
        emulator::complain("a wrong sum");
    if (__ballot_sync(0xffffffffu, threadIdx.x % 2 == 0) != 0x55555555u)
        emulator::complain("a wrong ballot");
    if (__shfl_down_sync(0xffffffffu, (int)threadIdx.x, 3u) !=
        (int)threadIdx.x + (threadIdx.x % 32 < 29 ? 3 : 0))
        emulator::complain("a wrong shuffle");
}

/* What is missing here is the barrier after the numbers are read. */
static void missing_barrier(void *)
{
    float *shared = (float *)(void *)emulator::shared_memory();
    for (int round = 0; round < 4; round++) {
        shared[threadIdx.x] = (float)round;
        __syncthreads();
        if (shared[63 - threadIdx.x] != (float)round)
            emulator::complain("a race");
    }
}

static void uninitialised(void *)
{
    float *shared = (float *)(void *)emulator::shared_memory();
    if (shared[threadIdx.x] == shared[threadIdx.x])
        emulator::complain("a number where there should be none");
}

int main()
{
    expect("sum", nullptr, sum_of_block);
    expect("divergent barrier", "never reach a barrier", divergent_barrier);
    expect("divergent warp", "never reach a warp operation", divergent_warp_operation);
    expect("mask", "without all lanes", partial_mask);
    expect("lane", "outside the warp", lane_outside);
    expect("shared", "behind its shared memory", too_much_shared);
    expect("part of a warp", "whole warps", nothing, 40);
    expect("large block", "whole warps", nothing, 2048);
    expect("large shared", "more shared memory", nothing, 64, 200 << 10);
    expect("race", "a race", missing_barrier);
    expect("uninitialised", nullptr, uninitialised);
    if (!failures)
        std::printf("all found\n");
    return failures != 0;
}
