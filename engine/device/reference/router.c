/* Choice of experts: top-k, the load balancing loss, and the order of the routed rows. */
#include "engine/device/reference/kernels.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool check_experts(const struct tensor *experts, int64_t count, struct status *status)
{
    for (int64_t t = 0; t < rows_of(experts); t++)
        for (int64_t i = 0; i < columns_of(experts); i++) {
            int32_t expert = indices_of(experts, t)[i];
            if (expert < 0 || expert >= count)
                return status_fail(status, STATUS_INVALID,
                                   "token %" PRId64 " chose expert %d of %" PRId64, t, (int)expert,
                                   count);
        }
    return true;
}

static bool chosen(const int32_t *experts, int64_t count, int64_t expert)
{
    for (int64_t i = 0; i < count; i++)
        if (experts[i] == expert)
            return true;
    return false;
}

bool reference_top_k(const struct op_call *call, struct status *status)
{
    int64_t columns = columns_of(&call->inputs[0]), k = columns_of(&call->outputs[0]);
    if (k > columns)
        return status_fail(status, STATUS_INVALID, "top_k: %" PRId64 " of %" PRId64 " experts", k,
                           columns);
    for (int64_t t = 0; t < rows_of(&call->inputs[0]); t++) {
        const double *logits = row_of(&call->inputs[0], t);
        int32_t *experts = indices_of(&call->outputs[0], t);
        double *scores = row_of(&call->outputs[1], t), sum = 0;
        for (int64_t i = 0; i < k; i++) {
            int64_t best = -1;
            for (int64_t e = 0; e < columns; e++)
                if (!chosen(experts, i, e) && (best < 0 || logits[e] > logits[best]))
                    best = e;
            experts[i] = (int32_t)best;
            scores[i] = exp(logits[best] - logits[experts[0]]);
            sum += scores[i];
        }
        for (int64_t i = 0; i < k; i++)
            scores[i] /= sum;
    }
    return true;
}

bool reference_top_k_gradient(const struct op_call *call, struct status *status)
{
    const struct tensor *experts = &call->inputs[1], *out = &call->outputs[0];
    if (!check_experts(experts, columns_of(out), status))
        return false;
    reference_zero(out);
    for (int64_t t = 0; t < rows_of(out); t++) {
        const double *dscores = row_of(&call->inputs[0], t), *scores = row_of(&call->inputs[2], t);
        double mean = 0;
        for (int64_t i = 0; i < columns_of(experts); i++)
            mean += scores[i] * dscores[i];
        for (int64_t i = 0; i < columns_of(experts); i++)
            row_of(out, t)[indices_of(experts, t)[i]] = scores[i] * (dscores[i] - mean);
    }
    return true;
}

static void softmax(double *out, const double *logits, int64_t count)
{
    double largest = -INFINITY, sum = 0;
    for (int64_t e = 0; e < count; e++)
        largest = fmax(largest, logits[e]);
    for (int64_t e = 0; e < count; e++)
        sum += out[e] = exp(logits[e] - largest);
    for (int64_t e = 0; e < count; e++)
        out[e] /= sum;
}

/* load[e] = share of the tokens that chose expert e. */
static void expert_loads(double *load, int64_t count, const struct tensor *experts)
{
    memset(load, 0, (size_t)count * sizeof(*load));
    for (int64_t t = 0; t < rows_of(experts); t++)
        for (int64_t e = 0; e < count; e++)
            if (chosen(indices_of(experts, t), columns_of(experts), e))
                load[e] += 1 / (double)rows_of(experts);
}

bool reference_load_balance(const struct op_call *call, struct status *status)
{
    const struct tensor *logits = &call->inputs[0], *experts = &call->inputs[1];
    int64_t columns = columns_of(logits);
    if (!check_experts(experts, columns, status))
        return false;
    double *load = memory_zeroed((size_t)columns, sizeof(double)), loss = 0;
    double *share = memory_zeroed((size_t)columns, sizeof(double));
    expert_loads(load, columns, experts);
    for (int64_t t = 0; t < rows_of(logits); t++) {
        softmax(share, row_of(logits, t), columns);
        for (int64_t e = 0; e < columns; e++)
            loss += share[e] * load[e] / (double)rows_of(logits);
    }
    *row_of(&call->outputs[0], 0) = loss;
    free(load);
    free(share);
    return true;
}

/* d loss / d logits_te = share_te (load_e - sum_f share_tf load_f) / T */
bool reference_load_balance_gradient(const struct op_call *call, struct status *status)
{
    const struct tensor *logits = &call->inputs[0], *experts = &call->inputs[1];
    int64_t columns = columns_of(logits);
    if (!check_experts(experts, columns, status))
        return false;
    double *load = memory_zeroed((size_t)columns, sizeof(double));
    double *share = memory_zeroed((size_t)columns, sizeof(double));
    double scale = *row_of(&call->inputs[2], 0) * call->parameters.factor;
    expert_loads(load, columns, experts);
    for (int64_t t = 0; t < rows_of(logits); t++) {
        double mean = 0;
        softmax(share, row_of(logits, t), columns);
        for (int64_t e = 0; e < columns; e++)
            mean += share[e] * load[e];
        for (int64_t e = 0; e < columns; e++)
            row_of(&call->outputs[0], t)[e] =
                scale * share[e] * (load[e] - mean) / (double)rows_of(logits);
    }
    free(load);
    free(share);
    return true;
}

bool reference_route_rows(const struct op_call *call, struct status *status)
{
    const struct tensor *experts = &call->inputs[0];
    const struct tensor *rows = &call->outputs[0], *ends = &call->outputs[1];
    int64_t k = columns_of(experts), count = 0;
    if (!check_experts(experts, rows_of(ends), status))
        return false;
    for (int64_t e = 0; e < rows_of(ends); e++) {
        for (int64_t t = 0; t < rows_of(experts); t++)
            for (int64_t choice = 0; choice < k; choice++)
                if (indices_of(experts, t)[choice] == e)
                    *indices_of(rows, count++) = (int32_t)(t * k + choice);
        *indices_of(ends, e) = (int32_t)count;
    }
    return true;
}
