/* Opening and closing the CUDA device, and what keeps it from opening. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda/toolkit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool no_gpu(const struct cuda_context *context, struct status *status)
{
    if (cuda_nvml_mig(context->nvml))
        return status_fail(status, STATUS_UNSUPPORTED,
                           "the GPU is in MIG mode, and CUDA sees no part of it: make one "
                           "(nvidia-smi mig -cgi ... -C) and name it in CUDA_VISIBLE_DEVICES "
                           "(MIG-..., from nvidia-smi -L); --device cpu works without one");
    return status_fail(status, STATUS_UNSUPPORTED,
                       "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES set?); "
                       "--device cpu works without one");
}

static bool check_capability(int index, struct status *status)
{
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
    return major >= 8 ||
           status_fail(status, STATUS_UNSUPPORTED,
                       "GPU %d is of compute capability %d.%d; 8.0 (A100) or later is needed; "
                       "--device cpu works without one",
                       index, major, minor);
}

/* Whether this machine can run the device at all, in the order in which a user would mend it. */
static bool check_machine(struct cuda_context *context, bool counts_round, struct status *status)
{
    int driver = 0, runtime = 0, count = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "no NVIDIA driver on this machine; --device cpu works without one");
    cudaRuntimeGetVersion(&runtime);
    if (driver / 1000 < runtime / 1000)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "the NVIDIA driver is too old: it is for CUDA %d.%d, this program needs "
                           "one for CUDA %d; update it, or use --device cpu",
                           driver / 1000, driver % 1000 / 10, runtime / 1000);
    cudaError_t error = cudaGetDeviceCount(&count);
    cudaGetLastError();
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        return no_gpu(context, status);
    if (error != cudaSuccess)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "the GPUs cannot be used: %s (%s); --device cpu works without one",
                           cudaGetErrorString(error), cudaGetErrorName(error));
    if (counts_round && context->index >= 0)
        context->index %= count;
    if (context->index < 0 || context->index >= count)
        return status_fail(status, STATUS_INVALID, "no GPU %d: there are %d, from 0",
                           context->index, count);
    return check_capability(context->index, status);
}

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value && strcmp(value, "0") != 0;
}

/* A part of a GPU (MIG) has no place on the bus of its own, but a UUID, in NVML's spelling. */
static void write_uuid(const cudaUUID_t *uuid, char *text, size_t size)
{
    static const char prefix[] = "MIG-";
    size_t used = (size_t)snprintf(text, size, "%s", prefix);
    for (int i = 0; i < 16 && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%02x",
                                 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                                 (unsigned char)uuid->bytes[i]);
}

/* Who the GPU is and where. None of it needs a context, which another process may refuse us. */
static cudaError_t identify(struct cuda_context *context)
{
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, context->index);
    if (error)
        return error;
    snprintf(context->name, sizeof(context->name), "%s", properties.name);
    if (strstr(properties.name, " MIG "))
        write_uuid(&properties.uuid, context->place, sizeof(context->place));
    else
        error = cudaDeviceGetPCIBusId(context->place, (int)sizeof(context->place), context->index);
    if (!error)
        error = cudaDeviceGetAttribute(&context->shared_most,
                                       cudaDevAttrMaxSharedMemoryPerBlockOptin, context->index);
    return error ? error
                 : cudaDeviceGetAttribute(&context->multiprocessors, cudaDevAttrMultiProcessorCount,
                                          context->index);
}

/* From the beginning, as it is small: a comparison is never refused memory for it. */
static cudaError_t make_scratch(struct cuda_context *context)
{
    size_t compare = cuda_compare_memory(), statistics = cuda_statistics_memory();
    cudaError_t error = cudaMalloc(
        &context->scratch, CUDA_SCRATCH_HEAD + (compare > statistics ? compare : statistics));
    return error ? error : cudaMemsetAsync(context->scratch, 0, CUDA_SCRATCH_HEAD, context->stream);
}

static cudaError_t make_context(struct cuda_context *context)
{
    void *fault = NULL, *seen = NULL;
    cudaError_t error = cudaSetDevice(context->index);
    if (!error)
        error = cudaStreamCreateWithFlags(&context->stream, cudaStreamNonBlocking);
    if (!error)
        error = cudaMalloc(&fault, sizeof(*context->fault));
    context->fault = fault;
    if (!error)
        error = cudaMallocHost(&seen, sizeof(*context->seen));
    context->seen = seen;
    if (!error)
        error = cudaMemsetAsync(fault, 0, sizeof(*context->fault), context->stream);
    if (!error)
        error = make_scratch(context);
    /* Shows whether a context that died before in this process was really destroyed. */
    return error ? error : cudaStreamSynchronize(context->stream);
}

/* "python3 (process 4242, 3.0 GiB), ..." or "other programs". */
static void add_processes(const struct cuda_context *context, struct text *text)
{
    enum { MOST = 4 };
    struct device_process processes[MOST];
    int count = cuda_nvml_processes(context->nvml, context->place, processes, MOST);
    if (count == 0)
        text_add(text, "other programs");
    for (int i = 0; i < count && i < MOST; i++) {
        const struct device_process *process = &processes[i];
        char bytes[32];
        text_format(text, "%s%s (process %lld, %s)", i ? ", " : "",
                    process->name[0] ? process->name : "a program", (long long)process->pid,
                    process->bytes < 0 ? "memory unknown"
                                       : text_bytes((uint64_t)process->bytes, bytes));
    }
    if (count > MOST)
        text_format(text, " and %d more", count - MOST);
}

static bool refuse(struct cuda_context *context, cudaError_t error, struct status *status)
{
    struct text others = {0};
    int mode = 0;
    cudaGetLastError();
    if (error != cudaErrorDevicesUnavailable && error != cudaErrorMemoryAllocation)
        return cuda_fail(context, (int)error, "opening the GPU", status);
    add_processes(context, &others);
    cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, context->index);
    if (error == cudaErrorMemoryAllocation)
        status_fail(status, STATUS_MEMORY,
                    "GPU %d (%s) has no memory left: %s use it; wait for them, or choose another "
                    "one by CUDA_VISIBLE_DEVICES; --device cpu works without one",
                    context->index, context->name, others.data);
    else if (mode == cudaComputeModeProhibited)
        status_fail(status, STATUS_UNSUPPORTED,
                    "GPU %d (%s) takes no programs: its compute mode is \"prohibited\" "
                    "(nvidia-smi -c 0 changes that); --device cpu works without one",
                    context->index, context->name);
    else
        status_fail(status, STATUS_UNSUPPORTED,
                    "GPU %d (%s) is in use by %s%s; wait for them, or choose another one by "
                    "CUDA_VISIBLE_DEVICES; --device cpu works without one",
                    context->index, context->name, others.data,
                    mode == cudaComputeModeExclusiveProcess
                        ? ", and its compute mode lets one process in (\"exclusive process\")"
                        : "");
    text_free(&others);
    return false;
}

static bool open_parts(struct cuda_context *context, struct status *status)
{
    cudaError_t error = identify(context);
    if (!error)
        error = make_context(context);
    if (error)
        return refuse(context, error, status);
    context->graphs = cuda_graphs_open(context);
    context->plans = cuda_matmul_open(context, status);
    return context->plans != NULL;
}

/* A context in which a kernel died is destroyed: only so may this process use the GPU again. */
void cuda_close(void *memory)
{
    struct cuda_context *context = memory;
    if (!context)
        return;
    if (context->stream)
        cudaStreamSynchronize(context->stream);
    cuda_graphs_close(context->graphs);
    cuda_matmul_close(context->plans);
    if (context->stream) { /* or these would make a context on whatever GPU is the first */
        cudaFree(context->fault);
        cudaFree(context->scratch);
        cudaFreeHost(context->seen);
        cudaStreamDestroy(context->stream);
    }
    if (context->lost)
        cudaDeviceReset();
    cudaGetLastError();
    cuda_nvml_close(context->nvml);
    free(context);
}

bool cuda_open(void **context, const struct device_options *options, struct status *status)
{
    struct cuda_context *cuda = memory_zeroed(1, sizeof(*cuda));
    cuda->index = options ? options->index : 0;
    cuda->blocking = (options && options->blocking) || is_set("LOCKSTEP_CUDA_BLOCKING");
    cuda->tf32 = is_set("LOCKSTEP_CUDA_TF32");
    cuda->nvml = cuda_nvml_open();
    bool counts_round = options && options->counts_round;
    if (!check_machine(cuda, counts_round, status) || !open_parts(cuda, status)) {
        cuda_close(cuda);
        return false;
    }
    *context = cuda;
    return true;
}
