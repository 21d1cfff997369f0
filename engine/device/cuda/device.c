/* The CUDA device: memory, copies, waiting, and what its failures mean. */
#include "engine/device/cuda/cuda.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/device/cuda/graphs.h"
#include "engine/device/cuda/toolkit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kinds of the calls that are under way, oldest first, as far as they are remembered. */
static void list_calls(const struct cuda_context *context, char *buffer, size_t size)
{
    enum { MOST = 6 };
    int64_t first = context->queued > MOST ? context->queued - MOST : 0;
    size_t used = 0;
    buffer[0] = '\0';
    for (int64_t i = first; i < context->queued && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", i == first ? "" : ", ",
                                 op_name(context->calls[i % CUDA_CALLS]));
}

/* After a kernel that died every call fails, and no call makes up for it. */
static bool is_lost(const struct cuda_context *context)
{
    return context->stream && cudaStreamSynchronize(context->stream) != cudaSuccess;
}

bool cuda_fail(struct cuda_context *context, int error, const char *doing, struct status *status)
{
    char calls[256];
    cudaGetLastError(); /* or the next call would report it again */
    if (error == cudaErrorMemoryAllocation)
        return status_fail(status, STATUS_MEMORY, "%s: the GPU is out of memory", doing);
    if (context->capturing) /* nobody reads it: the operations run again without */
        return status_fail(status, STATUS_INTERNAL, "%s: not captured", doing);
    if (!context->lost && is_lost(context)) {
        context->lost = true;
        context->lost_by_last = context->queued == 1;
    }
    list_calls(context, calls, sizeof(calls));
    status_fail(status, STATUS_INTERNAL, "%s: %s (%s) on GPU %d, %s", doing,
                cudaGetErrorString((cudaError_t)error), cudaGetErrorName((cudaError_t)error),
                context->index, context->name);
    if (context->queued == 1)
        return status_context(status, "%s", calls);
    if (context->queued > 1)
        return status_context(status,
                              "one of the last %" PRId64 " operations (%s%s; "
                              "LOCKSTEP_CUDA_BLOCKING=1 tells which)",
                              context->queued, context->queued > 6 ? "..., " : "", calls);
    return false;
}

bool cuda_refuse_block(struct cuda_context *context, const char *kernel, size_t shared,
                       struct status *status)
{
    char wanted[32], most[32];
    return status_fail(status, STATUS_UNSUPPORTED,
                       "%s asks for %s of shared memory for a block of threads; GPU %d (%s) has %s "
                       "(--device cpu works without)",
                       kernel, text_bytes(shared, wanted), context->index, context->name,
                       text_bytes((uint64_t)context->shared_most, most));
}

static bool report_fault(struct cuda_context *context, struct status *status)
{
    const struct cuda_fault seen = *context->seen;
    cudaMemsetAsync(context->fault, 0, sizeof(*context->fault), context->stream);
    return status_fail(status, STATUS_INVALID,
                       "%s: index %" PRId64 " of row %" PRId64 " is not within %" PRId64
                       " to %" PRId64,
                       op_name((enum op)seen.op), seen.value, seen.row, seen.low, seen.high - 1);
}

/* Its copy of the fault is on the way whenever the host waits. */
static cudaError_t fetch_fault(struct cuda_context *context)
{
    return cudaMemcpyAsync(context->seen, context->fault, sizeof(*context->seen),
                           cudaMemcpyDeviceToHost, context->stream);
}

static bool finish_wait(struct cuda_context *context, cudaError_t error, const char *doing,
                        struct status *status)
{
    if (!error)
        error = cudaStreamSynchronize(context->stream);
    if (error)
        return cuda_fail(context, (int)error, doing, status);
    context->queued = 0;
    context->idle = true;
    return context->seen->taken ? report_fault(context, status) : true;
}

static bool cuda_synchronize(void *memory, struct status *status)
{
    struct cuda_context *context = memory;
    if (!cuda_graphs_flush(context, status))
        return false;
    return context->idle ||
           finish_wait(context, fetch_fault(context), "waiting for the GPU", status);
}

static bool cuda_supports(void *context, const struct op_call *call)
{
    (void)context;
    return (unsigned)call->op < OP_COUNT && cuda_operations[call->op].run && op_takes(call);
}

static size_t cuda_workspace(void *context, const struct op_call *call)
{
    if (!cuda_supports(context, call) || !cuda_operations[call->op].workspace)
        return 0;
    return cuda_operations[call->op].workspace(context, call);
}

static bool cuda_run(void *memory, const struct op_call *call, struct status *status)
{
    struct cuda_context *context = memory;
    if (!cuda_supports(context, call))
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s with these element types is not supported on the cuda device",
                           (unsigned)call->op < OP_COUNT ? op_name(call->op) : "operation");
    context->calls[context->queued++ % CUDA_CALLS] = call->op;
    context->idle = false;
    if (context->lost)
        context->lost_by_last = false; /* somebody went on all the same */
    if (!cuda_graphs_run(context, &(struct cuda_work){.call = *call}, status))
        return false;
    return context->blocking ? cuda_synchronize(context, status) : true;
}

static bool cuda_allocate(void *memory, size_t bytes, void **address, struct status *status)
{
    struct cuda_context *context = memory;
    size_t free_bytes = 0, total = 0;
    char left[32], all[32];
    cudaError_t error = cudaMalloc(address, bytes ? bytes : 1);
    if (!error)
        return true;
    *address = NULL;
    cudaGetLastError();
    if (error != cudaErrorMemoryAllocation)
        return cuda_fail(context, (int)error, "allocating", status);
    cudaMemGetInfo(&free_bytes, &total);
    return status_fail(status, STATUS_MEMORY, "GPU %d (%s) has %s free of %s", context->index,
                       context->name, text_bytes(free_bytes, left), text_bytes(total, all));
}

static void cuda_release(void *context, void *memory, size_t bytes)
{
    (void)bytes;
    cuda_graphs_flush_untold(context);
    cudaFree(memory); /* waits until no queued call uses it */
}

/* The driver copies pageable memory aside before it returns: `host` may be changed at once. */
static bool cuda_upload(void *memory, void *to, const void *host, size_t bytes,
                        struct status *status)
{
    struct cuda_context *context = memory;
    if (!cuda_graphs_flush(context, status))
        return false;
    context->idle = false;
    cudaError_t error = cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, context->stream);
    return error ? cuda_fail(context, (int)error, "copying to the GPU", status) : true;
}

/* Copying to pageable memory waits for the GPU, so the fault goes first. */
static bool cuda_download(void *memory, void *host, const void *from, size_t bytes,
                          struct status *status)
{
    struct cuda_context *context = memory;
    if (!cuda_graphs_flush(context, status))
        return false;
    cudaError_t error = fetch_fault(context);
    if (!error)
        error = cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, context->stream);
    return finish_wait(context, error, "copying from the GPU", status);
}

static bool cuda_totals(void *memory, int64_t *used, int64_t *total)
{
    struct cuda_context *context = memory;
    size_t free_bytes, all;
    if (cuda_nvml_totals(context->nvml, context->place, used, total))
        return true;
    if (cudaMemGetInfo(&free_bytes, &all) != cudaSuccess)
        return false;
    *used = (int64_t)(all - free_bytes);
    *total = (int64_t)all;
    return true;
}

static const char *cuda_place(void *context)
{
    return ((const struct cuda_context *)context)->place;
}

static int cuda_processes(void *memory, struct device_process *processes, int most)
{
    struct cuda_context *context = memory;
    return cuda_nvml_processes(context->nvml, context->place, processes, most);
}

static bool cuda_lost(void *memory, bool *last)
{
    const struct cuda_context *context = memory;
    *last = context->lost_by_last;
    return context->lost;
}

static bool cuda_compare(void *memory, const struct tensor *reference, const struct tensor *test,
                         double scale, struct device_sums *sums, struct status *status)
{
    if (!cuda_compare_supports(reference, test, scale))
        return status_fail(status, STATUS_UNSUPPORTED,
                           "the cuda device does not compare %s with %s times %g",
                           dtype_name(reference->dtype), dtype_name(test->dtype), scale);
    ((struct cuda_context *)memory)->idle = false;
    struct cuda_work work = {.kind = CUDA_COMPARISON, .to = sums, .scale = scale};
    work.call.input_count = 2;
    work.call.inputs[0] = *reference;
    work.call.inputs[1] = *test;
    return cuda_graphs_run(memory, &work, status);
}

static bool cuda_sample(void *memory, const struct tensor *from, int64_t step, int64_t count,
                        void *samples, struct device_statistics *statistics, struct status *status)
{
    struct cuda_work work = {
        .kind = CUDA_SAMPLE, .to = samples, .step = step, .count = count, .statistics = statistics};
    work.call.input_count = 1;
    work.call.inputs[0] = *from;
    if (statistics && !cuda_small_float(from->dtype))
        return status_fail(status, STATUS_UNSUPPORTED, "no statistics of %s on the cuda device",
                           dtype_name(from->dtype));
    ((struct cuda_context *)memory)->idle = false;
    return cuda_graphs_run(memory, &work, status);
}

struct cuda_blocks cuda_blocks(int64_t rows)
{
    enum { MOST = 128, LEAST_ROWS = 32 };
    struct cuda_blocks blocks = {0};
    blocks.rows = (rows + MOST - 1) / MOST;
    if (blocks.rows < LEAST_ROWS)
        blocks.rows = LEAST_ROWS;
    blocks.count = rows ? (rows + blocks.rows - 1) / blocks.rows : 1;
    return blocks;
}

/* The symbol that a module is looked up by. */
extern const struct device_ops device_cuda;
const struct device_ops device_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .supports = cuda_supports,
    .workspace = cuda_workspace,
    .run = cuda_run,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .synchronize = cuda_synchronize,
    .totals = cuda_totals,
    .processes = cuda_processes,
    .lost = cuda_lost,
    .place = cuda_place,
    .compare = cuda_compare,
    .sample = cuda_sample,
};
