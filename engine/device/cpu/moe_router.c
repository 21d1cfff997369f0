/* TOP_K, LOAD_BALANCE, ROUTE_ROWS and the gradients: which expert gets which token. */
#include "engine/device/cpu/cpu.h"

#include <math.h>

static float *thread_row(const struct cpu_context *context, float *buffers, int64_t columns,
                         int which)
{
    return buffers + ((int64_t)which * context->threads + cpu_thread()) * columns;
}

CPU_WORKSPACE(top_k)
{
    return (size_t)(context->threads * cpu_columns(&call->inputs[0])) * sizeof(float);
}

static bool is_chosen(const int32_t *chosen, int count, int expert)
{
    for (int i = 0; i < count; i++)
        if (chosen[i] == expert)
            return true;
    return false;
}

static void top_k_row(const float *logits, int experts, int k, int32_t *chosen, float *scores)
{
    for (int choice = 0; choice < k; choice++) {
        int best = -1;
        for (int e = 0; e < experts; e++)
            if ((best < 0 || logits[e] > logits[best]) && !is_chosen(chosen, choice, e))
                best = e;
        chosen[choice] = best;
    }
    double sum = 0;
    for (int i = 0; i < k; i++)
        sum += exp((double)logits[chosen[i]] - (double)logits[chosen[0]]);
    for (int i = 0; i < k; i++)
        scores[i] = (float)(exp((double)logits[chosen[i]] - (double)logits[chosen[0]]) / sum);
}

CPU_RUN(top_k)
{
    const struct tensor *logits = &call->inputs[0];
    int64_t rows = cpu_rows(logits), experts = cpu_columns(logits);
    int64_t k = cpu_columns(&call->outputs[0]);
    if (k > experts)
        return status_fail(status, STATUS_INVALID, "top_k: %lld of %lld experts", (long long)k,
                           (long long)experts);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * experts > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        float *buffer = thread_row(context, call->workspace, experts, 0);
        top_k_row(cpu_read(context, logits, row, 0, experts, buffer), (int)experts, (int)k,
                  cpu_at(&call->outputs[0], row, 0), cpu_at(&call->outputs[1], row, 0));
    }
    return true;
}

CPU_WORKSPACE(top_k_gradient)
{
    return (size_t)(context->threads * cpu_columns(&call->outputs[0])) * sizeof(float);
}

CPU_RUN(top_k_gradient)
{
    const struct tensor *out = &call->outputs[0];
    int64_t rows = cpu_rows(out), experts = cpu_columns(out), k = cpu_columns(&call->inputs[1]);
    if (!cpu_check_range(call, &call->inputs[1], 0, experts, "expert", status))
        return false;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * experts > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        const float *ds = cpu_at(&call->inputs[0], row, 0);
        const int32_t *chosen = cpu_at(&call->inputs[1], row, 0);
        const float *scores = cpu_at(&call->inputs[2], row, 0);
        float *to = cpu_target(out, row, 0, thread_row(context, call->workspace, experts, 0));
        float product = 0;
        memset(to, 0, (size_t)experts * sizeof(float));
        for (int64_t i = 0; i < k; i++)
            product += ds[i] * scores[i];
        for (int64_t i = 0; i < k; i++)
            to[chosen[i]] = scores[i] * (ds[i] - product);
        cpu_write(context, out, row, 0, experts, to);
    }
    return true;
}

/* Workspace of both load balance kinds. */
struct balance {
    double *sums;     /* [blocks, E] of softmax; not in the gradient */
    double *fraction; /* [E] of tokens that chose each expert */
    float *rows;      /* [2, threads, E] */
};

static size_t carve(const struct cpu_context *context, const struct op_call *call, void *base,
                    struct balance *balance)
{
    struct workspace memory = {base, 0};
    int64_t experts = cpu_columns(&call->inputs[0]);
    int64_t blocks = call->op == OP_LOAD_BALANCE ? cpu_blocks(cpu_rows(&call->inputs[0])).count : 0;
    balance->sums = workspace_take(&memory, blocks * experts, sizeof(double));
    balance->fraction = workspace_take(&memory, experts, sizeof(double));
    balance->rows = workspace_floats(&memory, 2 * context->threads * experts);
    return memory.used;
}

CPU_WORKSPACE(load_balance)
{
    struct balance balance;
    return carve(context, call, NULL, &balance);
}

CPU_WORKSPACE(load_balance_gradient)
{
    struct balance balance;
    return carve(context, call, NULL, &balance);
}

static bool count_choices(const struct op_call *call, double *fraction, struct status *status)
{
    const struct tensor *chosen = &call->inputs[1];
    int64_t rows = cpu_rows(chosen), experts = cpu_columns(&call->inputs[0]);
    if (!cpu_check_range(call, chosen, 0, experts, "expert", status))
        return false;
    memset(fraction, 0, (size_t)experts * sizeof(double));
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < cpu_columns(chosen); i++)
            fraction[((const int32_t *)cpu_at(chosen, row, 0))[i]] += 1.0 / (double)rows;
    return true;
}

/* Softmax of one row of logits into this thread's row 1. */
static float *softmax_row(const struct cpu_context *context, const struct op_call *call,
                          const struct balance *balance, int64_t row)
{
    const struct tensor *logits = &call->inputs[0];
    int64_t experts = cpu_columns(logits);
    const float *in =
        cpu_read(context, logits, row, 0, experts, thread_row(context, balance->rows, experts, 0));
    float *out = thread_row(context, balance->rows, experts, 1);
    float most = context->kernels->maximum_scaled(in, 1, experts);
    float sum = context->kernels->sum_exp(in, 1, most, experts);
    context->kernels->exp_scaled(out, in, 1, most, 1 / sum, experts);
    return out;
}

CPU_RUN(load_balance)
{
    struct balance balance;
    carve(context, call, call->workspace, &balance);
    if (!count_choices(call, balance.fraction, status))
        return false;
    int64_t rows = cpu_rows(&call->inputs[0]), experts = cpu_columns(&call->inputs[0]);
    struct cpu_blocks blocks = cpu_blocks(rows);
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * experts > CPU_SERIAL))
    for (int64_t block = 0; block < blocks.count; block++) {
        int64_t end = (block + 1) * blocks.rows < rows ? (block + 1) * blocks.rows : rows;
        double *sums = balance.sums + block * experts;
        memset(sums, 0, (size_t)experts * sizeof(double));
        for (int64_t row = block * blocks.rows; row < end; row++) {
            const float *softmax = softmax_row(context, call, &balance, row);
            for (int64_t e = 0; e < experts; e++)
                sums[e] += (double)softmax[e];
        }
    }
    double loss = 0;
    for (int64_t e = 0; e < experts; e++) {
        double sum = 0;
        for (int64_t block = 0; block < blocks.count; block++)
            sum += balance.sums[block * experts + e];
        loss += sum / (double)rows * balance.fraction[e];
    }
    *(float *)call->outputs[0].data = rows ? (float)loss : 0.0f;
    return true;
}

/* With loss = sum_e mean_t(s_te) f_e: dlogits_te = coefficient/T * s_te (f_e - sum_e' s_te' f_e')
 */
CPU_RUN(load_balance_gradient)
{
    struct balance balance;
    carve(context, call, call->workspace, &balance);
    if (!count_choices(call, balance.fraction, status))
        return false;
    const struct tensor *out = &call->outputs[0];
    int64_t rows = cpu_rows(out), experts = cpu_columns(out);
    double coefficient =
        *(const double *)call->inputs[2].data * call->parameters.factor / (double)rows;
    CPU_OMP(parallel for schedule(static) num_threads(context->threads)
                if (rows * experts > CPU_SERIAL))
    for (int64_t row = 0; row < rows; row++) {
        const float *softmax = softmax_row(context, call, &balance, row);
        float *to = cpu_target(out, row, 0, thread_row(context, balance.rows, experts, 0));
        double mean = 0;
        for (int64_t e = 0; e < experts; e++)
            mean += (double)softmax[e] * balance.fraction[e];
        for (int64_t e = 0; e < experts; e++)
            to[e] = (float)(coefficient * (double)softmax[e] * (balance.fraction[e] - mean));
        cpu_write(context, out, row, 0, experts, to);
    }
    return true;
}

CPU_WORKSPACE(route_rows)
{
    (void)context;
    return (size_t)cpu_rows(&call->outputs[1]) * sizeof(int32_t);
}

CPU_RUN(route_rows)
{
    (void)context;
    const struct tensor *chosen = &call->inputs[0];
    int64_t tokens = cpu_rows(chosen), k = cpu_columns(chosen);
    int64_t experts = cpu_rows(&call->outputs[1]);
    int32_t *rows = call->outputs[0].data, *ends = call->outputs[1].data, *next = call->workspace;
    if (!cpu_check_range(call, chosen, 0, experts, "expert", status))
        return false;
    memset(ends, 0, (size_t)experts * sizeof(int32_t));
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < k; i++)
            ends[((const int32_t *)cpu_at(chosen, t, 0))[i]]++;
    for (int64_t e = 0; e < experts; e++) {
        next[e] = e ? ends[e - 1] : 0;
        ends[e] += next[e];
    }
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < k; i++)
            rows[next[((const int32_t *)cpu_at(chosen, t, 0))[i]]++] = (int32_t)(t * k + i);
    return true;
}
