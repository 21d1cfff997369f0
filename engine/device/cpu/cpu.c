#include "engine/device/cpu/cpu.h"

#include "engine/base/memory.h"
#include "engine/device/cpu/arenas.h"
#include "engine/device/cpu/instructions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define PLAIN(name) {cpu_run_##name, NULL}
#define WITH(name) {cpu_run_##name, cpu_workspace_##name}

const struct cpu_operation cpu_operations[OP_COUNT] = {
    [OP_FILL] = PLAIN(fill),
    [OP_COPY] = PLAIN(copy),
    [OP_SCALE] = PLAIN(scale),
    [OP_ADD] = PLAIN(add),
    [OP_ACCUMULATE] = PLAIN(add),
    [OP_SLICE_ROWS] = PLAIN(slice_rows),
    [OP_WRITE_ROWS] = PLAIN(write_rows),
    [OP_EMBEDDING] = PLAIN(embedding),
    [OP_EMBEDDING_GRADIENT] = WITH(embedding_gradient),
    [OP_ADD_BIAS] = WITH(add_bias),
    [OP_BIAS_GRADIENT] = WITH(bias_gradient),
    [OP_MATMUL] = WITH(matmul),
    [OP_LAYER_NORM] = WITH(layer_norm),
    [OP_LAYER_NORM_GRADIENT] = WITH(layer_norm_gradient),
    [OP_RMS_NORM] = WITH(rms_norm),
    [OP_RMS_NORM_GRADIENT] = WITH(rms_norm_gradient),
    [OP_ROTARY] = WITH(rotary),
    [OP_ATTENTION] = WITH(attention),
    [OP_ATTENTION_GRADIENT] = WITH(attention_gradient),
    [OP_ACTIVATION] = PLAIN(activation),
    [OP_ACTIVATION_GRADIENT] = PLAIN(activation_gradient),
    [OP_GATED_ACTIVATION] = PLAIN(gated_activation),
    [OP_GATED_ACTIVATION_GRADIENT] = PLAIN(gated_activation_gradient),
    [OP_CROSS_ENTROPY] = WITH(cross_entropy),
    [OP_CROSS_ENTROPY_GRADIENT] = PLAIN(cross_entropy_gradient),
    [OP_TOP_K] = WITH(top_k),
    [OP_TOP_K_GRADIENT] = WITH(top_k_gradient),
    [OP_LOAD_BALANCE] = WITH(load_balance),
    [OP_LOAD_BALANCE_GRADIENT] = WITH(load_balance_gradient),
    [OP_ROUTE_ROWS] = WITH(route_rows),
    [OP_GATHER_ROWS] = PLAIN(gather_rows),
    [OP_GATHER_ROWS_GRADIENT] = WITH(gather_rows_gradient),
    [OP_GROUPED_MATMUL] = WITH(grouped_matmul),
    [OP_GROUPED_MATMUL_GRADIENT] = WITH(grouped_matmul_gradient),
    [OP_COMBINE_ROWS] = WITH(combine_rows),
    [OP_COMBINE_ROWS_GRADIENT] = WITH(combine_rows_gradient),
    [OP_SUM_SQUARES] = WITH(sum_squares),
    [OP_OPTIMIZER_FACTORS] = PLAIN(optimizer_factors),
    [OP_ADAMW] = PLAIN(adamw),
    [OP_CROSS_ENTROPY_PART] = PLAIN(cross_entropy_part),
    [OP_CROSS_ENTROPY_PARALLEL] = PLAIN(cross_entropy_parallel),
};
/* clang-format on */

/* OpenMP dies of threads that the system does not give it. */
enum { THREAD_LIMIT = 1024 };

static int usable_threads(int wanted)
{
#ifdef _OPENMP
    return wanted > 0 ? wanted : omp_get_num_procs();
#else
    (void)wanted;
    return 1;
#endif
}

static bool cpu_open(void **context, const struct device_options *options, struct status *status)
{
    if (options && options->threads > THREAD_LIMIT)
        return status_fail(status, STATUS_INVALID, "%d threads; the CPU device takes at most %d",
                           options->threads, THREAD_LIMIT);
    struct cpu_context *cpu = memory_zeroed(1, sizeof(*cpu));
    cpu->threads = usable_threads(options ? options->threads : 0);
    if (!instructions_choose(cpu, status)) {
        free(cpu);
        return false;
    }
    cpu->arenas = arenas_open();
    *context = cpu;
    return true;
}

static void cpu_close(void *context)
{
    struct cpu_context *cpu = context;
    if (!cpu)
        return;
    arenas_close(cpu->arenas);
    free(cpu);
}

static bool cpu_supports(void *context, const struct op_call *call)
{
    (void)context;
    return (unsigned)call->op < OP_COUNT && cpu_operations[call->op].run && op_takes(call);
}

static size_t cpu_workspace(void *context, const struct op_call *call)
{
    if (!cpu_supports(context, call) || !cpu_operations[call->op].workspace)
        return 0;
    return cpu_operations[call->op].workspace(context, call);
}

/* Pages that were never used are cleared by the system as they are written first. A product writes
 * a little of very many of them before it looks at its interrupt for the first time; so they are
 * all touched here. What is in the outputs is of no use yet: with an interrupt they are not inputs.
 */
static void touch_outputs(const struct cpu_context *context, const struct op_call *call)
{
    enum { PAGE = MEMORY_HUGE_PAGE };
    for (int i = 0; i < call->output_count; i++) {
        const struct tensor *output = &call->outputs[i];
        int64_t bytes = shape_elements(output->shape) * (int64_t)dtype_size(output->dtype);
        CPU_OMP(parallel for schedule(dynamic) num_threads(context->threads) if (bytes > 4 * PAGE))
        for (int64_t at = 0; at < bytes; at += PAGE)
            if (!cpu_stops(context))
                ((volatile char *)output->data)[at] = 0;
    }
}

static bool cpu_run(void *context, const struct op_call *call, struct status *status)
{
    if (!cpu_supports(context, call))
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s with these element types is not supported on the cpu device",
                           (unsigned)call->op < OP_COUNT ? op_name(call->op) : "operation");
    struct cpu_context *cpu = context;
    cpu->interrupt = call->interrupt;
    if (cpu->interrupt)
        touch_outputs(cpu, call);
    bool ok = cpu_operations[call->op].run(cpu, call, status);
    cpu->interrupt = NULL;
    /* An interrupt stays: if it is not there now, no part of the kernel was left out. */
    if (ok && interrupt_asked(call->interrupt))
        return interrupt_fail(status);
    return ok;
}

static bool cpu_allocate(void *context, size_t bytes, void **memory, struct status *status)
{
    struct cpu_context *cpu = context;
    *memory = arenas_allocate(cpu->arenas, bytes);
    return *memory || status_fail(status, STATUS_MEMORY, "the system refused %zu bytes", bytes);
}

static void cpu_release(void *context, void *memory, size_t bytes)
{
    struct cpu_context *cpu = context;
    arenas_release(cpu->arenas, memory, bytes);
}

/* By all threads where that pays: one alone does not use all of the memory's speed, least of all
 * where pages are touched for the first time. */
static void copy(const struct cpu_context *context, char *to, const char *from, size_t bytes)
{
    const size_t piece = (size_t)1 << 18; /* bytes */
    bool apart = to + bytes <= from || from + bytes <= to;
    if (context->threads == 1 || bytes < 4 * piece || !apart) {
        memmove(to, from, bytes);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(context->threads)
#endif
    for (size_t at = 0; at < bytes; at += piece)
        memcpy(to + at, from + at, bytes - at < piece ? bytes - at : piece);
}

static bool cpu_upload(void *context, void *to, const void *host, size_t bytes,
                       struct status *status)
{
    (void)status;
    copy(context, to, host, bytes);
    return true;
}

static bool cpu_download(void *context, void *host, const void *from, size_t bytes,
                         struct status *status)
{
    return cpu_upload(context, host, from, bytes, status);
}

static bool cpu_totals(void *context, int64_t *used, int64_t *total)
{
    (void)context;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file)
        return false;
    char line[128];
    long long kilobytes, all = -1, available = -1;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemTotal: %lld", &kilobytes) == 1)
            all = kilobytes;
        else if (sscanf(line, "MemAvailable: %lld", &kilobytes) == 1)
            available = kilobytes;
    }
    fclose(file);
    if (all < 0 || available < 0)
        return false;
    *total = all * 1024;
    *used = (all - available) * 1024;
    return true;
}

const struct device_ops device_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .supports = cpu_supports,
    .workspace = cpu_workspace,
    .run = cpu_run,
    .allocate = cpu_allocate,
    .release = cpu_release,
    .upload = cpu_upload,
    .download = cpu_download,
    .totals = cpu_totals,
    .host_memory = true,
};
