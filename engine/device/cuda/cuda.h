/* Inside the CUDA device: the context, the table of operations, and what the C files (device,
 * matrix products) and the kernels (.cu) share. Needs no toolkit header.
 *
 * Calls are queued on one stream; nothing waits for the GPU but synchronize() and download(). */
#ifndef ENGINE_DEVICE_CUDA_CUDA_H
#define ENGINE_DEVICE_CUDA_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "engine/device/common/product.h"
#include "engine/device/common/workspace.h"
#include "engine/device/device.h"

struct CUstream_st;
struct cuda_graphs;
struct matmul_plans;
struct nvml;

/* The first index out of range that a kernel met: indices live on the GPU, so a call is queued
 * before they can be looked at. Kernels take such an index for one that is not there. */
struct cuda_fault {
    int taken; /* 0: nothing was found */
    int op;    /* enum op */
    int64_t value, row, low, high;
};

enum { CUDA_CALLS = 64 }; /* of which the kinds are remembered, for messages */

struct cuda_context {
    struct CUstream_st *stream;
    struct cuda_fault *fault; /* device memory */
    struct cuda_fault *seen;  /* pinned host memory: its copy */
    struct matmul_plans *plans;
    struct nvml *nvml;          /* NULL: not there */
    struct cuda_graphs *graphs; /* NULL: without */
    void *scratch;              /* of comparisons and statistics; device memory */
    char name[256];             /* of the GPU */
    char place[64]; /* how NVML finds it: "0000:65:00.0", or "MIG-..." for a part of one */
    int index, multiprocessors;
    int shared_most;   /* bytes of shared memory that a block may ask for: GPUs differ */
    bool blocking;     /* wait after each kernel: a failing one is then named exactly */
    bool idle;         /* nothing was put on the stream since the host waited for it */
    bool capturing;    /* what is called now is kept for a graph; waiting is an error */
    bool lost;         /* nothing works any more until the context is destroyed */
    bool lost_by_last; /* and only the last call can have been it */
    bool tf32;         /* products of f32 may round their inputs to 10 bits */
    /* Calls since the last synchronize(), a ring of their kinds. */
    int64_t queued;
    enum op calls[CUDA_CALLS];
};

/* One operation; the types of operands that it takes are those of op_takes(). */
struct cuda_operation {
    bool (*run)(struct cuda_context *context, const struct op_call *call, struct status *status);
    size_t (*workspace)(struct cuda_context *context, const struct op_call *call);
};
extern const struct cuda_operation cuda_operations[OP_COUNT];

/* A failure of a runtime call in words; false. `error` is a cudaError_t. */
bool cuda_fail(struct cuda_context *context, int error, const char *doing, struct status *status);
/* False for a kernel whose blocks ask for more shared memory than the GPU has. */
bool cuda_refuse_block(struct cuda_context *context, const char *kernel, size_t shared,
                       struct status *status);
/* What was asked for and held back (graphs.h) is put on the stream. Comes before anything that uses
 * the stream or memory of the device and is neither an operation of the table nor held back itself,
 * as samples and comparisons are. A failure is one of an earlier call. */
bool cuda_graphs_flush(struct cuda_context *context, struct status *status);
/* For device_ops (open.c). */
bool cuda_open(void **context, const struct device_options *options, struct status *status);
void cuda_close(void *context);

static inline int64_t cuda_rows(const struct tensor *tensor)
{
    return tensor->shape.rank ? tensor->shape.dims[0] : 1;
}

static inline int64_t cuda_columns(const struct tensor *tensor)
{
    return shape_columns(tensor->shape);
}

static inline bool cuda_small_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F16;
}

/* Sums over rows are made in blocks of rows that depend only on the number of rows, and added in
 * order: the same bits on every GPU. */
struct cuda_blocks {
    int64_t count, rows; /* blocks (at least 1), rows of each but the last */
};
struct cuda_blocks cuda_blocks(int64_t rows);

/* A matrix product; with `ends` (i32 [groups], device memory) one of groups: A's rows are those of
 * one group after another, row r belongs to the first group with r < ends[group], and `group_rows`
 * rows of B (or, if `by_depth`, of C) belong to each group. */
struct cuda_product {
    struct matrix_product matrix;
    const int32_t *ends;
    int64_t groups, group_rows;
    bool by_depth; /* the groups divide the depth: C is [groups * rows, columns] */
    enum op op;    /* for messages */
};
struct matmul_plans *cuda_matmul_open(struct cuda_context *context, struct status *status);
void cuda_matmul_close(struct matmul_plans *plans);
/* By a kernel of ours that takes every mixture of types, any alignment, and groups. */
bool cuda_product_run(struct cuda_context *context, const struct cuda_product *product,
                      struct status *status);

/* Device memory for partial results of comparisons and statistics, which follow each other on one
 * stream: a number that is 0 between them, at the beginning of CUDA_SCRATCH_HEAD bytes, and as much
 * as cuda_compare_memory() and cuda_statistics_memory() say behind it. */
enum { CUDA_SCRATCH_HEAD = 256 };

/* For device_ops.compare: whether it can be done, the scratch that it needs, and queueing it. */
bool cuda_compare_supports(const struct tensor *reference, const struct tensor *test, double scale);
size_t cuda_compare_memory(void);
bool cuda_compare_run(struct cuda_context *context, const struct tensor *reference,
                      const struct tensor *test, double scale, void *scratch,
                      struct device_sums *sums, struct status *status);
/* For device_ops.sample: into device memory; statistics (then there is scratch) may be NULL. */
bool cuda_sample_run(struct cuda_context *context, const struct tensor *from, int64_t step,
                     int64_t count, void *to, void *scratch, struct device_statistics *statistics,
                     struct status *status);
size_t cuda_statistics_memory(void);

/* The driver's management library, NVML; NULL if there is none. */
struct nvml *cuda_nvml_open(void);
void cuda_nvml_close(struct nvml *nvml);
/* What it knows of the GPU at `place`, a PCI bus id or a UUID: all memory of all processes, and
 * other processes than this one, as device_processes(). False and 0 if it does not tell, and
 * without it (NULL). */
bool cuda_nvml_totals(const struct nvml *nvml, const char *place, int64_t *used, int64_t *total);
int cuda_nvml_processes(const struct nvml *nvml, const char *place,
                        struct device_process *processes, int most);
/* Whether any GPU of the machine is in MIG mode: then CUDA sees only parts that were made of it. */
bool cuda_nvml_mig(const struct nvml *nvml);

/* Operations, by file. */
#define CUDA_RUN(name)                                                                             \
    bool cuda_run_##name(struct cuda_context *context, const struct op_call *call,                 \
                         struct status *status)
#define CUDA_WORKSPACE(name)                                                                       \
    size_t cuda_workspace_##name(struct cuda_context *context, const struct op_call *call)

CUDA_RUN(fill);
CUDA_RUN(copy);
CUDA_RUN(scale);
CUDA_RUN(add);
CUDA_RUN(slice_rows);
CUDA_RUN(write_rows);
CUDA_RUN(add_bias);
CUDA_RUN(bias_gradient);
CUDA_WORKSPACE(bias_gradient);
CUDA_RUN(embedding);
CUDA_RUN(embedding_gradient);
CUDA_RUN(matmul);
CUDA_WORKSPACE(matmul);
CUDA_RUN(layer_norm);
CUDA_RUN(layer_norm_gradient);
CUDA_WORKSPACE(layer_norm_gradient);
CUDA_RUN(rms_norm);
CUDA_RUN(rms_norm_gradient);
CUDA_WORKSPACE(rms_norm_gradient);
CUDA_RUN(rotary);
CUDA_RUN(attention);
CUDA_RUN(attention_gradient);
CUDA_WORKSPACE(attention_gradient);
CUDA_RUN(activation);
CUDA_RUN(activation_gradient);
CUDA_RUN(gated_activation);
CUDA_RUN(gated_activation_gradient);
CUDA_RUN(cross_entropy);
CUDA_WORKSPACE(cross_entropy);
CUDA_RUN(cross_entropy_gradient);
CUDA_RUN(cross_entropy_part);
CUDA_RUN(cross_entropy_parallel);
CUDA_WORKSPACE(cross_entropy_parallel);
CUDA_RUN(top_k);
CUDA_RUN(top_k_gradient);
CUDA_RUN(load_balance);
CUDA_WORKSPACE(load_balance);
CUDA_RUN(load_balance_gradient);
CUDA_WORKSPACE(load_balance_gradient);
CUDA_RUN(route_rows);
CUDA_WORKSPACE(route_rows);
CUDA_RUN(gather_rows);
CUDA_RUN(gather_rows_gradient);
CUDA_WORKSPACE(gather_rows_gradient);
CUDA_RUN(grouped_matmul);
CUDA_RUN(grouped_matmul_gradient);
CUDA_RUN(combine_rows);
CUDA_WORKSPACE(combine_rows);
CUDA_RUN(combine_rows_gradient);
CUDA_RUN(sum_squares);
CUDA_WORKSPACE(sum_squares);
CUDA_RUN(optimizer_factors);
CUDA_RUN(adamw);

#ifdef __cplusplus
}
#endif

#endif
