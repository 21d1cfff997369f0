/* MATMUL, GROUPED_MATMUL and its gradient: OpenBLAS for f32, oneDNN for bf16 where the processor
 * has bf16 units, else 16-bit operands are widened into the workspace first. */
#include "engine/device/cpu/cpu.h"

#include <cblas.h>

struct wide {
    float *a, *b, *bias, *out; /* NULL where the operand is f32 already */
};

static int64_t a_rows(const struct cpu_product *p)
{
    return p->transpose_a ? p->depth : p->rows;
}

static int64_t b_rows(const struct cpu_product *p)
{
    return p->transpose_b ? p->columns : p->depth;
}

static size_t carve(const struct cpu_product *p, void *base, struct wide *wide)
{
    struct cpu_carve memory = {base, 0};
    *wide = (struct wide){0};
    if (p->a_dtype != DTYPE_F32)
        wide->a = cpu_carve_floats(&memory, p->rows * p->depth);
    if (p->b_dtype != DTYPE_F32)
        wide->b = cpu_carve_floats(&memory, p->columns * p->depth);
    if (p->bias && p->bias_dtype != DTYPE_F32)
        wide->bias = cpu_carve_floats(&memory, p->columns);
    if (p->out_dtype != DTYPE_F32)
        wide->out = cpu_carve_floats(&memory, p->rows * p->columns);
    return memory.used;
}

/* oneDNN 2.6 dies of an illegal instruction in its kernels for AMX when a thread gets nothing but
 * the rest of a block (seen with 70 x 63 x 47): only whole blocks are given to it. */
static bool is_in_blocks(const struct cpu_product *product)
{
    return product->rows % 16 == 0 && product->columns % 16 == 0 && product->depth % 32 == 0;
}

static bool on_matrix_units(struct cpu_context *context, const struct cpu_product *product,
                            size_t *workspace)
{
    return context->matmul_cache && is_in_blocks(product) && product->a_dtype == DTYPE_BF16 &&
           product->b_dtype == DTYPE_BF16 && product->out_dtype != DTYPE_F16 &&
           (!product->bias || product->bias_dtype != DTYPE_F16) && product->rows > 0 &&
           product->columns > 0 && product->depth > 0 &&
           matmul_cache_plan(context->matmul_cache, product, workspace);
}

size_t cpu_product_workspace(struct cpu_context *context, const struct cpu_product *product)
{
    size_t bytes;
    if (on_matrix_units(context, product, &bytes))
        return bytes;
    struct wide wide;
    return carve(product, NULL, &wide);
}

/* Rows of a 16-bit matrix into a dense f32 one. */
static void widen(const struct cpu_context *context, float *to, const void *from, enum dtype dtype,
                  int64_t rows, int64_t columns, int64_t stride)
{
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * columns > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++)
        context->kernels->to_float(to + row * columns, (const uint16_t *)from + row * stride, dtype,
                                   columns);
}

static void narrow(const struct cpu_context *context, const struct cpu_product *p,
                   const float *from)
{
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (p->rows * p->columns > CPU_SERIAL))
    for (int64_t row = 0; row < p->rows; row++)
        context->kernels->from_float((uint16_t *)p->out + row * p->out_stride, p->out_dtype,
                                     from + row * p->columns, p->columns);
}

static void spread_bias(const struct cpu_context *context, const struct cpu_product *p,
                        const float *bias)
{
    size_t bytes = (size_t)p->columns * sizeof(float);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (p->rows * p->columns > CPU_SERIAL))
    for (int64_t row = 0; row < p->rows; row++)
        memcpy((float *)p->out + row * p->out_stride, bias, bytes);
    (void)context;
}

/* One part of a product: rows first..end of the result, or columns of it. */
struct part {
    bool by_rows;
    int64_t first, end;
};

/* Our loop hands the parts out and BLAS runs in one thread: its own threads wait for each other and
 * hang when the OpenMP library gives a loop fewer of them than BLAS asked for. */
static void product_part(const struct cpu_product *p, struct part part)
{
#ifdef _OPENMP
    omp_set_num_threads(1); /* of this task only: BLAS follows it */
#endif
    int64_t rows = part.by_rows ? part.end - part.first : p->rows;
    int64_t columns = part.by_rows ? p->columns : part.end - part.first;
    int64_t row = part.by_rows ? part.first : 0, column = part.by_rows ? 0 : part.first;
    const float *a = (const float *)p->a + (p->transpose_a ? row : row * p->a_stride);
    const float *b = (const float *)p->b + (p->transpose_b ? column * p->b_stride : column);
    float *out = (float *)p->out + row * p->out_stride + column;
    cblas_sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans,
                p->transpose_b ? CblasTrans : CblasNoTrans, (blasint)rows, (blasint)columns,
                (blasint)p->depth, 1.0f, a, (blasint)p->a_stride, b, (blasint)p->b_stride,
                p->bias ? 1.0f : 0.0f, out, (blasint)p->out_stride);
}

/* How many parts `blocks` blocks of a product are worth. BLAS computes small products (about a
 * million multiplications) and single rows by other paths, in another order of sums: a part is
 * never that small unless the whole is, so that the bits do not depend on the number of threads. */
static int64_t count_parts(const struct cpu_context *context, const struct cpu_product *p,
                           int64_t blocks)
{
    static const double smallest = 4e6;
    double volume = (double)p->rows * (double)p->columns * (double)p->depth;
    int64_t parts = volume / smallest < (double)context->threads ? (int64_t)(volume / smallest)
                                                                 : context->threads;
    parts = blocks < parts ? blocks : parts;
    return parts > 1 ? parts : 1;
}

/* Parts are whole blocks of the longer side; the last one takes the rest. */
static void product_f32(const struct cpu_context *context, const struct cpu_product *p)
{
    enum { BLOCK = 64 };
    bool by_rows = p->rows >= p->columns;
    int64_t length = by_rows ? p->rows : p->columns;
    int64_t blocks = length / BLOCK;
    int64_t parts = count_parts(context, p, blocks);
    if (p->bias)
        spread_bias(context, p, p->bias);
    CPU_OMP(parallel for schedule(static, 1) num_threads((int)parts))
    for (int64_t i = 0; i < parts; i++) {
        int64_t first = blocks * i / parts * BLOCK, end = blocks * (i + 1) / parts * BLOCK;
        product_part(p, (struct part){by_rows, first, i + 1 < parts ? end : length});
    }
}

static bool fits_blas(const struct cpu_product *p)
{
    return p->rows <= INT32_MAX && p->columns <= INT32_MAX && p->depth <= INT32_MAX &&
           p->a_stride <= INT32_MAX && p->b_stride <= INT32_MAX && p->out_stride <= INT32_MAX;
}

bool cpu_product_run(struct cpu_context *context, const struct cpu_product *product,
                     void *workspace, struct status *status)
{
    size_t bytes;
    if (product->rows == 0 || product->columns == 0)
        return true;
    if (!fits_blas(product))
        return status_fail(status, STATUS_UNSUPPORTED, "a matrix side is longer than 2^31-1");
    if (on_matrix_units(context, product, &bytes))
        return matmul_cache_run(context->matmul_cache, product, workspace, status);
    struct cpu_product p = *product;
    struct wide wide;
    carve(product, workspace, &wide);
    if (wide.a) {
        p.a_stride = p.transpose_a ? p.rows : p.depth;
        widen(context, wide.a, p.a, p.a_dtype, a_rows(&p), p.a_stride, product->a_stride);
        p.a = wide.a;
    }
    if (wide.b) {
        p.b_stride = p.transpose_b ? p.depth : p.columns;
        widen(context, wide.b, p.b, p.b_dtype, b_rows(&p), p.b_stride, product->b_stride);
        p.b = wide.b;
    }
    if (wide.bias) {
        context->kernels->to_float(wide.bias, p.bias, p.bias_dtype, p.columns);
        p.bias = wide.bias;
    }
    if (wide.out) {
        p.out = wide.out;
        p.out_stride = p.columns;
    }
    if (p.a_stride < 1)
        p.a_stride = 1; /* depth 0: BLAS still wants a legal stride */
    if (p.b_stride < 1)
        p.b_stride = 1;
    product_f32(context, &p);
    if (wide.out)
        narrow(context, product, wide.out);
    return true;
}

static struct cpu_product product_of(const struct op_call *call)
{
    const struct tensor *a = &call->inputs[0], *b = &call->inputs[1], *out = &call->outputs[0];
    const struct tensor *bias = call->input_count > 2 ? &call->inputs[2] : NULL;
    bool transpose_a = call->parameters.transpose_a;
    struct cpu_product product = {
        .rows = cpu_rows(out),
        .columns = cpu_columns(out),
        .depth = transpose_a ? cpu_rows(a) : cpu_columns(a),
        .a = a->data,
        .b = b->data,
        .out = out->data,
        .a_dtype = a->dtype,
        .b_dtype = b->dtype,
        .out_dtype = out->dtype,
        .a_stride = a->row_stride,
        .b_stride = b->row_stride,
        .out_stride = out->row_stride,
        .transpose_a = transpose_a,
        .transpose_b = call->parameters.transpose_b,
    };
    if (bias) {
        /* Only whether there is one matters to the plan, which is made before memory is there. */
        product.bias = bias->data ? bias->data : bias;
        product.bias_dtype = bias->dtype;
    }
    return product;
}

CPU_WORKSPACE(matmul)
{
    struct cpu_product product = product_of(call);
    return cpu_product_workspace(context, &product);
}

CPU_RUN(matmul)
{
    struct cpu_product product = product_of(call);
    return cpu_product_run(context, &product, call->workspace, status);
}

/* Rows first..end of a matrix of `rows` rows, for expert `expert`; both f32 or widened. */
static struct cpu_product expert_product(const struct op_call *call, int expert, int experts,
                                         int64_t first, int64_t end)
{
    const struct tensor *x = &call->inputs[0], *w = &call->inputs[1], *out = &call->outputs[0];
    bool gradient = call->op == OP_GROUPED_MATMUL_GRADIENT;
    int64_t w_rows = cpu_rows(w) / experts, out_rows = cpu_rows(out) / experts;
    struct cpu_product product = {
        .rows = gradient ? out_rows : end - first,
        .columns = cpu_columns(out),
        .depth = gradient ? end - first : cpu_columns(x),
        .a = cpu_at(x, first, 0),
        .b = gradient ? cpu_at(w, first, 0) : cpu_at(w, expert * w_rows, 0),
        .out = gradient ? cpu_at(out, expert * out_rows, 0) : cpu_at(out, first, 0),
        .a_dtype = x->dtype,
        .b_dtype = w->dtype,
        .out_dtype = out->dtype,
        .a_stride = x->row_stride,
        .b_stride = w->row_stride,
        .out_stride = out->row_stride,
        .transpose_a = gradient,
        .transpose_b = !gradient && call->parameters.transpose_b,
    };
    return product;
}

/* How many rows an expert gets is known only when it runs, so plan for all rows going to one.
 * A cached oneDNN primitive per row count would not pay: experts are widened. */
static size_t grouped_workspace(const struct op_call *call)
{
    int experts = (int)cpu_rows(&call->inputs[2]);
    if (experts == 0)
        return 0;
    struct cpu_product largest = expert_product(call, 0, experts, 0, cpu_rows(&call->inputs[0]));
    struct wide wide;
    return carve(&largest, NULL, &wide);
}

CPU_WORKSPACE(grouped_matmul)
{
    (void)context;
    return grouped_workspace(call);
}

CPU_WORKSPACE(grouped_matmul_gradient)
{
    (void)context;
    return grouped_workspace(call);
}

static bool run_experts(struct cpu_context *context, const struct op_call *call,
                        struct status *status)
{
    const struct tensor *ends = &call->inputs[2];
    int experts = (int)cpu_rows(ends);
    if (!cpu_check_range(call, ends, 0, cpu_rows(&call->inputs[0]) + 1, "end", status))
        return false;
    struct cpu_context widening = *context;
    widening.matmul_cache = NULL;
    int64_t first = 0;
    for (int expert = 0; expert < experts; expert++) {
        int64_t end = ((const int32_t *)ends->data)[expert];
        struct cpu_product product =
            expert_product(call, expert, experts, first, end > first ? end : first);
        if (!cpu_product_run(&widening, &product, call->workspace, status))
            return false;
        first = end > first ? end : first;
    }
    return true;
}

CPU_RUN(grouped_matmul)
{
    return run_experts(context, call, status);
}

CPU_RUN(grouped_matmul_gradient)
{
    return run_experts(context, call, status);
}
