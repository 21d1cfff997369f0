/* MATMUL, GROUPED_MATMUL and its gradient. */
#include "engine/device/cpu/cpu.h"

struct wide {
    float *bias, *out; /* float32 in place of an operand; NULL where none is needed */
    void *packed;
};

static size_t carve(const struct cpu_context *context, const struct matrix_product *p, void *base,
                    struct wide *wide)
{
    struct workspace memory = {base, 0};
    *wide = (struct wide){0};
    if (p->bias && p->bias_dtype != DTYPE_F32)
        wide->bias = workspace_floats(&memory, p->columns);
    if (p->out_dtype != DTYPE_F32 && !cpu_product_rounds(context, p))
        wide->out = workspace_floats(&memory, p->rows * p->columns);
    wide->packed = workspace_take(&memory, (int64_t)cpu_product_packed(context, p), 1);
    return memory.used;
}

static void narrow(const struct cpu_context *context, const struct matrix_product *p,
                   const float *from)
{
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (p->rows * p->columns > CPU_SERIAL))
    for (int64_t row = 0; row < p->rows; row++)
        context->kernels->from_float((uint16_t *)p->out + row * p->out_stride, p->out_dtype,
                                     from + row * p->columns, p->columns);
}

static void spread_bias(const struct cpu_context *context, const struct matrix_product *p,
                        const float *bias)
{
    size_t bytes = (size_t)p->columns * sizeof(float);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (p->rows * p->columns > CPU_SERIAL))
    for (int64_t row = 0; row < p->rows; row++)
        memcpy((float *)p->out + row * p->out_stride, bias, bytes);
    (void)context;
}

static void run_product(const struct cpu_context *context, const struct matrix_product *product,
                        void *workspace)
{
    if (product->rows == 0 || product->columns == 0)
        return;
    struct matrix_product p = *product;
    struct wide wide;
    carve(context, product, workspace, &wide);
    if (wide.bias) {
        context->kernels->to_float(wide.bias, p.bias, p.bias_dtype, p.columns);
        p.bias = wide.bias;
        p.bias_dtype = DTYPE_F32;
    }
    if (wide.out) {
        p.out = wide.out;
        p.out_stride = p.columns;
        p.out_dtype = DTYPE_F32;
    }
    if (p.bias && !cpu_product_adds_bias(context))
        spread_bias(context, &p, p.bias);
    cpu_product_multiply(context, &p, wide.packed);
    if (wide.out)
        narrow(context, product, wide.out);
}

CPU_WORKSPACE(matmul)
{
    struct matrix_product product = matrix_product_of(call);
    struct wide wide;
    return carve(context, &product, NULL, &wide);
}

CPU_RUN(matmul)
{
    struct matrix_product product = matrix_product_of(call);
    (void)status;
    run_product(context, &product, call->workspace);
    return true;
}

/* Rows first..end of a matrix of `rows` rows, for expert `expert`. */
static struct matrix_product expert_product(const struct op_call *call, int expert, int experts,
                                            int64_t first, int64_t end)
{
    const struct tensor *x = &call->inputs[0], *w = &call->inputs[1], *out = &call->outputs[0];
    bool gradient = call->op == OP_GROUPED_MATMUL_GRADIENT;
    int64_t w_rows = cpu_rows(w) / experts, out_rows = cpu_rows(out) / experts;
    struct matrix_product product = {
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

/* How many rows an expert gets is known only when it runs, so plan for all rows going to one. */
static size_t grouped_workspace(const struct cpu_context *context, const struct op_call *call)
{
    int experts = (int)cpu_rows(&call->inputs[2]);
    if (experts == 0)
        return 0;
    struct matrix_product largest = expert_product(call, 0, experts, 0, cpu_rows(&call->inputs[0]));
    struct wide wide;
    return carve(context, &largest, NULL, &wide);
}

CPU_WORKSPACE(grouped_matmul)
{
    return grouped_workspace(context, call);
}

CPU_WORKSPACE(grouped_matmul_gradient)
{
    return grouped_workspace(context, call);
}

static bool run_experts(struct cpu_context *context, const struct op_call *call,
                        struct status *status)
{
    const struct tensor *ends = &call->inputs[2];
    int experts = (int)cpu_rows(ends);
    if (!cpu_check_range(call, ends, 0, cpu_rows(&call->inputs[0]) + 1, "end", status))
        return false;
    int64_t first = 0;
    for (int expert = 0; expert < experts && !cpu_stops(context); expert++) {
        int64_t end = ((const int32_t *)ends->data)[expert];
        struct matrix_product product =
            expert_product(call, expert, experts, first, end > first ? end : first);
        run_product(context, &product, call->workspace);
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
