// The emulator must find what is wrong in a kernel, or nothing that it passes means anything.
#include "tests/cuda_emulator/kernels.hpp"
#include "tests/cuda_emulator/matrix.hpp"

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

/* Only the first half of each warp multiplies. */
static void divergent_product(void *)
{
    using namespace nvcuda;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> b;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
    std::memset(&a, 0, sizeof(a));
    std::memset(&b, 0, sizeof(b));
    wmma::fill_fragment(sums, 0.0f);
    if (threadIdx.x % 32 < 16)
        wmma::mma_sync(sums, a, b, sums);
}

static void misaligned_matrix(void *)
{
    using namespace nvcuda;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
    wmma::fill_fragment(sums, 0.0f);
    wmma::store_matrix_sync((float *)(void *)emulator::shared_memory() + 2, sums, 16,
                            wmma::mem_row_major);
}

/* Of whole numbers, both layouts. */
static void product_of_matrices(void *)
{
    using namespace nvcuda;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> b;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
    float *result = (float *)(void *)emulator::shared_memory();
    __nv_bfloat16 *left = (__nv_bfloat16 *)(void *)(result + 16 * 20), *right = left + 16 * 24;
    for (int i = (int)threadIdx.x; i < 256; i += (int)blockDim.x) {
        int row = i / 16, column = i % 16;
        left[row * 24 + column].bits = (uint16_t)(__float_as_uint((float)(row - 2 * column)) >> 16);
        right[column * 24 + row].bits =
            (uint16_t)(__float_as_uint((float)(3 * row + column)) >> 16);
    }
    __syncthreads();
    wmma::fill_fragment(sums, 1.0f);
    wmma::load_matrix_sync(a, left, 24);
    wmma::load_matrix_sync(b, right, 24);
    wmma::mma_sync(sums, a, b, sums);
    wmma::store_matrix_sync(result, sums, 20, wmma::mem_row_major);
    for (int i = (int)threadIdx.x; i < 256; i += (int)blockDim.x) {
        float sum = 1;
        for (int k = 0; k < 16; k++)
            sum += (float)((i / 16 - 2 * k) * (3 * k + i % 16));
        if (result[i / 16 * 20 + i % 16] != sum)
            emulator::complain("a wrong product");
    }
}

/* ---- capturing ---- */

static void must(const char *what, bool good)
{
    if (!good) {
        std::printf("%s\n", what);
        failures++;
    }
}

/* What a captured launch has: its arguments as they were, memory as it is. */
static void captured_arguments()
{
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float number = 3;
    memory[0] = memory[1] = 0;
    emulator_clear();
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    must("begins", cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    emulator::put_on(stream, "adds", dim3(1), dim3(32), 0, [=] {
        if (threadIdx.x == 0)
            memory[1] += number * memory[0];
    });
    number = 100;
    must("a captured launch ran", memory[1] == 0);
    must("ends", cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    must("made", cudaGraphInstantiateWithFlags(&exec, graph, 0) == cudaSuccess);
    cudaGraphDestroy(graph);
    memory[0] = 2;
    must("launched", cudaGraphLaunch(exec, stream) == cudaSuccess && memory[1] == 6);
    memory[0] = 5;
    must("launched again", cudaGraphLaunch(exec, stream) == cudaSuccess && memory[1] == 21);
    cudaGraphExecDestroy(exec);
    cudaStreamDestroy(stream);
}

/* What is forbidden while capturing fails, spoils the capture, and does no harm to what follows. */
static void forbidden_calls()
{
    void *block = nullptr, *kept = nullptr;
    cudaStream_t stream;
    cudaGraph_t graph;
    float number = 0;
    emulator_clear();
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaMalloc(&kept, 64);
    for (int call = 0; call < 6; call++) {
        cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
        cudaError_t error = call == 0   ? cudaMalloc(&block, 64)
                            : call == 1 ? cudaFree(kept)
                            : call == 2 ? cudaStreamSynchronize(stream)
                            : call == 3 ? cudaStreamQuery(stream)
                            : call == 4
                                ? cudaMemcpyAsync(kept, &number, 4, cudaMemcpyHostToDevice, stream)
                                : cudaMemcpyAsync(&number, kept, 4, cudaMemcpyDeviceToHost, stream);
        must("forbidden", error == cudaErrorStreamCaptureUnsupported);
        must("spoiled", cudaMemsetAsync(kept, 0, 64, stream) == cudaErrorStreamCaptureInvalidated);
        must("not given",
             cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && !graph);
        cudaGetLastError();
        must("does not stick", cudaStreamSynchronize(stream) == cudaSuccess);
    }
    cudaFree(kept);
    cudaStreamDestroy(stream);
}

/* The instructions: a product of whole numbers, its second factor stored either way. */
static void product_of_fragments(void *)
{
    uint16_t *left = (uint16_t *)(void *)emulator::shared_memory(), *right = left + 16 * 24;
    int lane = (int)threadIdx.x, group = lane / 4, two = lane % 4 * 2;
    for (int i = lane; i < 256; i += 32) {
        left[i / 16 * 24 + i % 16] =
            (uint16_t)(__float_as_uint((float)(i / 16 - 2 * (i % 16))) >> 16);
        right[i / 16 * 24 + i % 16] = (uint16_t)(__float_as_uint((float)(3 * i / 16 + i)) >> 16);
    }
    __syncthreads();
    for (int across = 0; across < 2; across++) {
        unsigned a[4], b[4];
        float sums[2][4] = {{1, 1, 1, 1}, {1, 1, 1, 1}};
        int row = across ? lane % 16 : lane / 16 * 8 + lane % 8;
        int column = across ? lane / 16 * 8 : lane / 8 % 2 * 8;
        emulator::read_matrices(a, left + lane % 16 * 24 + lane / 16 * 8, false);
        emulator::read_matrices(b, right + row * 24 + column, across);
        emulator::multiply<__nv_bfloat16>(sums[0], a, b);
        emulator::multiply<__nv_bfloat16>(sums[1], a, b + 2);
        for (int i = 0; i < 8; i++) {
            int r = group + i % 4 / 2 * 8, c = i / 4 * 8 + two + i % 2;
            float sum = 1;
            for (int k = 0; k < 16; k++) {
                __nv_bfloat16 x = {left[r * 24 + k]},
                              y = {across ? right[k * 24 + c] : right[c * 24 + k]};
                sum += nvcuda::wmma::widen(x) * nvcuda::wmma::widen(y);
            }
            if (sums[i / 4][i % 4] != sum)
                emulator::complain("a wrong product");
        }
    }
}

static void misaligned_row(void *)
{
    unsigned to[4];
    emulator::read_matrices(to, emulator::shared_memory() + 8, false);
}

static unsigned source[4 * 64] __attribute__((aligned(16)));

/* Not there before the thread has waited; then the first bytes, and zeros. */
static void copy_of_some(void *)
{
    unsigned *to = (unsigned *)(void *)emulator::shared_memory() + 4 * threadIdx.x;
    unsigned *from = source + 4 * threadIdx.x;
    for (int i = 0; i < 4; i++) {
        to[i] = 1;
        from[i] = 100 * threadIdx.x + i;
    }
    emulator::copy_begin(to, from, 6);
    bool early = to[0] != 0xffffffffu || to[3] != 0xffffffffu;
    emulator::copy_wait();
    if (early || to[0] != from[0] || to[1] != (from[1] & 0xffffu) || to[2] != 0 || to[3] != 0)
        emulator::complain("a wrong copy");
}

static void copy_without_waiting(void *)
{
    emulator::copy_begin(emulator::shared_memory() + 16 * threadIdx.x, source, 16);
}

static void misaligned_copy(void *)
{
    emulator::copy_begin(emulator::shared_memory(), (const char *)source + 8, 16);
    emulator::copy_wait();
}

static void copy_elsewhere(void *)
{
    emulator::copy_begin(source, source, 16);
    emulator::copy_wait();
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
    expect("divergent product", "never reach a warp operation", divergent_product);
    expect("misaligned matrix", "not aligned", misaligned_matrix, 32, 4096);
    expect("product", nullptr, product_of_matrices, 32, 4096);
    expect("fragments", nullptr, product_of_fragments, 32, 4096);
    expect("misaligned row", "not aligned", misaligned_row, 32, 4096);
    expect("copy", nullptr, copy_of_some, 64, 1024);
    expect("copy without waiting", "before its asynchronous copies", copy_without_waiting, 64,
           1024);
    expect("misaligned copy", "not aligned", misaligned_copy, 64, 1024);
    expect("copy elsewhere", "not shared memory", copy_elsewhere, 64, 1024);
    captured_arguments();
    forbidden_calls();
    if (!failures)
        std::printf("all found\n");
    return failures != 0;
}
