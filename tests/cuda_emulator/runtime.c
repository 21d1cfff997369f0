#include "tests/cuda_emulator/graphs.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a process has of "its GPU". */
static struct {
    size_t used, fetched, waits, launches;
    cudaError_t sticky, last;
    cudaError_t dying; /* not noticed yet: sticky when the host waits */
    bool busy;         /* something is queued */
    long counted;      /* as LOCKSTEP_EMULATED_FAILURE asks */
    bool within;       /* a graph runs */
    pid_t process;     /* that has begun to use it: one that it forks cannot */
    void *pinned;      /* the last host memory that copies need not wait for */
} gpu;

static bool plays(const char *what)
{
    const char *chosen = getenv("LOCKSTEP_EMULATED_GPU");
    return chosen && strcmp(chosen, what) == 0;
}

static size_t memory_of_gpu(void)
{
    const char *chosen = getenv("LOCKSTEP_EMULATED_MEMORY");
    return chosen ? (size_t)strtoull(chosen, NULL, 10) : (size_t)16 << 30;
}

static int count_of_gpus(void)
{
    const char *chosen = getenv("LOCKSTEP_EMULATED_GPUS");
    return chosen ? atoi(chosen) : 1;
}

static bool has_gpu(int index)
{
    return index >= 0 && index < count_of_gpus();
}

cudaError_t emulator_result(cudaError_t error)
{
    if (!gpu.process)
        gpu.process = getpid();
    if (gpu.sticky)
        error = gpu.sticky;
    if (gpu.process != getpid())
        error = cudaErrorInitializationError;
    if (error)
        gpu.last = error;
    return error;
}

void emulator_set_sticky(cudaError_t error)
{
    gpu.sticky = gpu.last = error;
    gpu.dying = cudaSuccess;
}

size_t emulator_waits(void)
{
    return gpu.waits;
}

/* The host waits until all that is queued has run. */
static cudaError_t wait_for_all(void)
{
    gpu.waits += gpu.busy;
    gpu.busy = false;
    if (gpu.dying)
        emulator_set_sticky(gpu.dying);
    return emulator_result(cudaSuccess);
}

/* Something is put on a stream, or runs as a part of a graph that was. */
static void note_work(void)
{
    gpu.busy = true;
    gpu.launches += !gpu.within;
}

void emulator_within(int within)
{
    gpu.within = within;
    gpu.busy = true;
}

size_t emulator_launches(void)
{
    return gpu.launches;
}

/* What libraries have put on the stream. */
static void finish_work(cudaStream_t stream)
{
    while (cudaStreamQuery(stream) == cudaErrorNotReady)
        usleep(100);
}

int emulator_begins(const char *kernel)
{
    const char *failure = getenv("LOCKSTEP_EMULATED_FAILURE");
    const char *colon = failure ? strchr(failure, ':') : NULL;
    size_t length = colon ? (size_t)(colon - failure) : 0;
    note_work();
    if (failure && (!colon || (strlen(kernel) == length && strncmp(kernel, failure, length) == 0)))
        if (++gpu.counted == atol(colon ? colon + 1 : failure))
            gpu.dying = cudaErrorIllegalAddress;
    return !gpu.dying && !gpu.sticky;
}

cudaError_t cudaDeviceReset(void)
{
    gpu.counted = 0;
    gpu.busy = false;
    if (!plays("no-reset"))
        emulator_set_sticky(cudaSuccess);
    return emulator_result(cudaSuccess);
}

size_t emulator_fetched(void)
{
    return gpu.fetched;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = plays("no-driver") ? 0 : plays("old-driver") ? 11040 : 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    if (plays("no-driver") || plays("old-driver"))
        return emulator_result(cudaErrorInsufficientDriver);
    if (plays("no-gpu") || plays("mig-empty"))
        return emulator_result(cudaErrorNoDevice);
    *count = count_of_gpus();
    return emulator_result(cudaSuccess);
}

cudaError_t cudaSetDevice(int index)
{
    if (plays("exclusive") || plays("prohibited"))
        return emulator_result(cudaErrorDevicesUnavailable);
    return emulator_result(has_gpu(index) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int index)
{
    memset(properties, 0, sizeof(*properties));
    snprintf(properties->name, sizeof(properties->name),
             plays("mig") ? "emulated GPU MIG 1g.5gb" : "emulated GPU");
    for (int i = 0; i < 16; i++)
        properties->uuid.bytes[i] = (char)(0xa0 + i);
    return emulator_result(has_gpu(index) ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetAttribute(int *number, enum cudaDeviceAttr attribute, int index)
{
    (void)index;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *number = 4;
        return emulator_result(cudaSuccess);
    case cudaDevAttrComputeCapabilityMajor:
        *number = plays("old-gpu") ? 7 : 8;
        return emulator_result(cudaSuccess);
    case cudaDevAttrComputeCapabilityMinor:
        *number = 0;
        return emulator_result(cudaSuccess);
    case cudaDevAttrComputeMode:
        *number = plays("exclusive")    ? cudaComputeModeExclusiveProcess
                  : plays("prohibited") ? cudaComputeModeProhibited
                                        : cudaComputeModeDefault;
        return emulator_result(cudaSuccess);
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *number = plays("small-blocks") ? 99 << 10 : 163 << 10; /* sm_89, sm_80 */
        return emulator_result(cudaSuccess);
    }
    return emulator_result(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int length, int index)
{
    snprintf(text, (size_t)length, "0000:00:%02x.0", index);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = memory_of_gpu();
    *free_bytes = *total - gpu.used;
    return emulator_result(cudaSuccess);
}

/* Its size is kept before the memory. Exactly `bytes` are allocated, so that the address
 * sanitizer sees what lies behind them. */
cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    enum { HEAD = 256 };
    void *block;
    cudaError_t forbidden = emulator_forbid();
    if (gpu.sticky || forbidden)
        return emulator_result(forbidden);
    if (plays("full") || bytes > memory_of_gpu() - gpu.used ||
        posix_memalign(&block, HEAD, HEAD + bytes) != 0) {
        *memory = NULL;
        return emulator_result(cudaErrorMemoryAllocation);
    }
    memcpy(block, &bytes, sizeof(bytes));
    *memory = (char *)block + HEAD;
    memset(*memory, 0xff, bytes);
    gpu.used += bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    enum { HEAD = 256 };
    size_t bytes;
    cudaError_t forbidden = emulator_forbid();
    if (!memory || forbidden)
        return emulator_result(forbidden);
    wait_for_all();
    char *block = (char *)memory - HEAD;
    memcpy(&bytes, block, sizeof(bytes));
    gpu.used -= bytes;
    free(block);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    cudaError_t forbidden = emulator_forbid();
    *memory = NULL;
    if (forbidden)
        return emulator_result(forbidden);
    *memory = gpu.pinned = malloc(bytes);
    return emulator_result(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *memory)
{
    cudaError_t forbidden = emulator_forbid();
    if (!forbidden)
        free(memory);
    return emulator_result(forbidden);
}

/* Copies within the GPU and memory that is set, as they are kept in a graph. */
struct transfer {
    void *to;
    const void *from; /* NULL: bytes are set */
    size_t to_pitch, from_pitch, width, height;
    int byte;
};

static cudaError_t run_transfer(void *memory)
{
    const struct transfer *it = memory;
    note_work();
    for (size_t row = 0; !gpu.sticky && !gpu.dying && row < it->height; row++)
        if (it->from)
            memmove((char *)it->to + row * it->to_pitch,
                    (const char *)it->from + row * it->from_pitch, it->width);
        else
            memset((char *)it->to + row * it->to_pitch, it->byte, it->width);
    return emulator_result(cudaSuccess);
}

static cudaError_t capture_transfer(const struct transfer *it, cudaStream_t stream)
{
    struct transfer *kept = malloc(sizeof(*kept));
    *kept = *it;
    return emulator_result(emulator_capture(stream, run_transfer, kept, free));
}

static cudaError_t transfer(const struct transfer *it, cudaStream_t stream)
{
    struct transfer copy = *it;
    return emulator_captures(stream) ? capture_transfer(it, stream) : run_transfer(&copy);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (kind == cudaMemcpyDeviceToDevice) {
        if (!emulator_captures(stream))
            finish_work(stream);
        return transfer(&(struct transfer){to, from, bytes, bytes, bytes, bytes > 0, 0}, stream);
    }
    cudaError_t forbidden = emulator_forbid();
    if (forbidden)
        return emulator_result(forbidden);
    finish_work(stream);
    gpu.fetched += kind == cudaMemcpyDeviceToHost ? bytes : 0;
    gpu.busy = true;
    if (!gpu.sticky && !gpu.dying && bytes)
        memmove(to, from, bytes);
    bool waits = kind == cudaMemcpyDeviceToHost && to != gpu.pinned;
    return waits ? wait_for_all() : emulator_result(cudaSuccess);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    if (to_pitch < width || from_pitch < width || kind != cudaMemcpyDeviceToDevice)
        return emulator_result(cudaErrorInvalidValue);
    return transfer(&(struct transfer){to, from, to_pitch, from_pitch, width, height, 0}, stream);
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream)
{
    return transfer(&(struct transfer){to, NULL, bytes, bytes, bytes, 1, byte}, stream);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    *stream = (cudaStream_t)calloc(1, sizeof(**stream));
    return emulator_result(*stream ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    free(stream);
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    cudaError_t forbidden = emulator_captures(stream) ? emulator_forbid() : cudaSuccess;
    if (forbidden)
        return emulator_result(forbidden);
    if (stream && stream->busy && stream->busy(stream->work))
        return cudaErrorNotReady; /* no failure: it is not remembered */
    return emulator_result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    cudaError_t forbidden = emulator_captures(stream) ? emulator_forbid() : cudaSuccess;
    if (forbidden)
        return emulator_result(forbidden);
    finish_work(stream);
    return wait_for_all();
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = gpu.last;
    gpu.last = gpu.sticky;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return gpu.last;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInitializationError:
        return "initialization error";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorDevicesUnavailable:
        return "CUDA-capable device(s) is/are busy or unavailable";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
        return emulator_finding()[0] ? emulator_finding() : "unspecified launch failure";
    default:
        return "an error";
    }
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaSuccess                 ? "cudaSuccess"
           : error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
           : error == cudaErrorIllegalAddress   ? "cudaErrorIllegalAddress"
           : error == cudaErrorLaunchFailure    ? "cudaErrorLaunchFailure"
                                                : "cudaError";
}
