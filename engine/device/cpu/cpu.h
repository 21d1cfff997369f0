/* Inside the CPU device: the context, the table of operations, and how kernels reach rows. */
#ifndef ENGINE_DEVICE_CPU_CPU_H
#define ENGINE_DEVICE_CPU_CPU_H

#include "engine/device/common/product.h"
#include "engine/device/common/workspace.h"
#include "engine/device/cpu/kernel/kernel.h"
#include "engine/device/device.h"

#ifdef _OPENMP
#include <omp.h>
#define CPU_PRAGMA(text) _Pragma(#text)
#define CPU_OMP(...) CPU_PRAGMA(omp __VA_ARGS__)
#else
#define CPU_OMP(...)
#endif

struct arenas;

struct cpu_context {
    int threads;
    const struct kernels *kernels;
    bool matrix_units; /* float32 products are made on them (matrix/matrix.h) */
    struct arenas *arenas;
    const struct interrupt *interrupt; /* of the call that runs */
};

/* Whether to leave out the rest of a call: looked at between pieces of work of some microseconds or
 * more. What was left out is not noticed there: cpu_run() fails when the kernel returns. */
static inline bool cpu_stops(const struct cpu_context *context)
{
    return interrupt_asked(context->interrupt);
}

/* Elements per unit of work of pointwise loops: three such pieces as floats fit the first cache. */
enum { CPU_CHUNK = 2048 };
/* Elements below which a loop is not worth waking threads for. */
enum { CPU_SERIAL = 16384 };

/* Number of the calling thread inside a parallel loop: 0 to context->threads-1. */
static inline int cpu_thread(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* One operation; the types of operands that it takes are those of op_takes(). */
struct cpu_operation {
    bool (*run)(struct cpu_context *context, const struct op_call *call, struct status *status);
    size_t (*workspace)(struct cpu_context *context, const struct op_call *call);
};
extern const struct cpu_operation cpu_operations[OP_COUNT];

static inline int64_t cpu_rows(const struct tensor *tensor)
{
    return tensor->shape.rank ? tensor->shape.dims[0] : 1;
}

static inline int64_t cpu_columns(const struct tensor *tensor)
{
    return shape_columns(tensor->shape);
}

static inline void *cpu_at(const struct tensor *tensor, int64_t row, int64_t column)
{
    return (char *)tensor->data +
           (size_t)(row * tensor->row_stride + column) * dtype_size(tensor->dtype);
}

/* `count` elements of a row as floats: the memory itself if it is f32, else a copy in `buffer`. */
static inline const float *cpu_read(const struct cpu_context *context, const struct tensor *tensor,
                                    int64_t row, int64_t column, int64_t count, float *buffer)
{
    const void *data = cpu_at(tensor, row, column);
    if (tensor->dtype == DTYPE_F32)
        return data;
    context->kernels->to_float(buffer, data, tensor->dtype, count);
    return buffer;
}

/* Where to compute such a piece of an output: in place if it is f32, else in `buffer`, from which
 * cpu_write() rounds it into the tensor. */
static inline float *cpu_target(const struct tensor *tensor, int64_t row, int64_t column,
                                float *buffer)
{
    return tensor->dtype == DTYPE_F32 ? cpu_at(tensor, row, column) : buffer;
}

static inline void cpu_write(const struct cpu_context *context, const struct tensor *tensor,
                             int64_t row, int64_t column, int64_t count, const float *from)
{
    void *data = cpu_at(tensor, row, column);
    if (data != (const void *)from)
        context->kernels->from_float(data, tensor->dtype, from, count);
}

/* Pieces of at most CPU_CHUNK elements that together cover a set of equally shaped tensors; they
 * run over row ends when every tensor is contiguous. */
struct cpu_pieces {
    int64_t count, per_row, columns;
};
struct cpu_pieces cpu_pieces(const struct tensor *const *tensors, int count);
static inline void cpu_piece(const struct cpu_pieces *pieces, int64_t index, int64_t *row,
                             int64_t *column, int64_t *count)
{
    *row = index / pieces->per_row;
    *column = index % pieces->per_row * CPU_CHUNK;
    *count = pieces->columns - *column < CPU_CHUNK ? pieces->columns - *column : CPU_CHUNK;
}

/* Sums over rows are made in blocks of rows that depend only on the number of rows, and added in
 * order, so that the bits do not depend on the number of threads. */
struct cpu_blocks {
    int64_t count, rows; /* blocks, rows of each but the last */
};
struct cpu_blocks cpu_blocks(int64_t rows);
/* out [columns] = sum of partial [blocks, columns], in order of blocks; partial[0] is destroyed. */
void cpu_combine(const struct cpu_context *context, const struct cpu_blocks *blocks, float *partial,
                 int64_t columns, const struct tensor *out);

/* A vector (weights, bias) as floats: its memory if it is f32, else converted into `buffer`. */
static inline const float *cpu_vector(const struct cpu_context *context,
                                      const struct tensor *tensor, float *buffer)
{
    return cpu_read(context, tensor, 0, 0, shape_elements(tensor->shape), buffer);
}

/* Fails unless every element of the i32 tensor lies in low..high-1. `what` names it. */
bool cpu_check_range(const struct op_call *call, const struct tensor *tensor, int64_t low,
                     int64_t high, const char *what, struct status *status);

/* A product whose bias is f32 and whose operands are f32, bf16 or f16; what else it takes depends
 * on the processor: see below. `workspace` holds cpu_product_packed(). */
void cpu_product_multiply(const struct cpu_context *context, const struct matrix_product *product,
                          void *workspace);
size_t cpu_product_packed(const struct cpu_context *context, const struct matrix_product *product);
/* Whether the bias is added; else `out` must hold it in each row already. */
bool cpu_product_adds_bias(const struct cpu_context *context);
/* Whether `out` may be bf16 or f16; else it must be f32. */
bool cpu_product_rounds(const struct cpu_context *context, const struct matrix_product *product);

/* Operations, by file. */
#define CPU_RUN(name)                                                                              \
    bool cpu_run_##name(struct cpu_context *context, const struct op_call *call,                   \
                        struct status *status)
#define CPU_WORKSPACE(name)                                                                        \
    size_t cpu_workspace_##name(struct cpu_context *context, const struct op_call *call)

CPU_RUN(fill);
CPU_RUN(copy);
CPU_RUN(scale);
CPU_RUN(add);
CPU_RUN(slice_rows);
CPU_RUN(write_rows);
CPU_RUN(add_bias);
CPU_WORKSPACE(add_bias);
CPU_RUN(bias_gradient);
CPU_WORKSPACE(bias_gradient);
CPU_RUN(embedding);
CPU_RUN(embedding_gradient);
CPU_WORKSPACE(embedding_gradient);
CPU_RUN(matmul);
CPU_WORKSPACE(matmul);
CPU_RUN(layer_norm);
CPU_WORKSPACE(layer_norm);
CPU_RUN(layer_norm_gradient);
CPU_WORKSPACE(layer_norm_gradient);
CPU_RUN(rms_norm);
CPU_WORKSPACE(rms_norm);
CPU_RUN(rms_norm_gradient);
CPU_WORKSPACE(rms_norm_gradient);
CPU_RUN(rotary);
CPU_WORKSPACE(rotary);
CPU_RUN(attention);
CPU_WORKSPACE(attention);
CPU_RUN(attention_gradient);
CPU_WORKSPACE(attention_gradient);
CPU_RUN(activation);
CPU_RUN(activation_gradient);
CPU_RUN(gated_activation);
CPU_RUN(gated_activation_gradient);
CPU_RUN(cross_entropy);
CPU_WORKSPACE(cross_entropy);
CPU_RUN(cross_entropy_gradient);
CPU_RUN(cross_entropy_part);
CPU_RUN(cross_entropy_parallel);
CPU_RUN(top_k);
CPU_WORKSPACE(top_k);
CPU_RUN(top_k_gradient);
CPU_WORKSPACE(top_k_gradient);
CPU_RUN(load_balance);
CPU_WORKSPACE(load_balance);
CPU_RUN(load_balance_gradient);
CPU_WORKSPACE(load_balance_gradient);
CPU_RUN(route_rows);
CPU_WORKSPACE(route_rows);
CPU_RUN(gather_rows);
CPU_RUN(gather_rows_gradient);
CPU_WORKSPACE(gather_rows_gradient);
CPU_RUN(grouped_matmul);
CPU_WORKSPACE(grouped_matmul);
CPU_RUN(grouped_matmul_gradient);
CPU_WORKSPACE(grouped_matmul_gradient);
CPU_RUN(combine_rows);
CPU_WORKSPACE(combine_rows);
CPU_RUN(combine_rows_gradient);
CPU_WORKSPACE(combine_rows_gradient);
CPU_RUN(sum_squares);
CPU_WORKSPACE(sum_squares);
CPU_RUN(optimizer_factors);
CPU_RUN(adamw);

#endif
