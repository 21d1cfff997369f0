/* Attention over packed documents, grouped heads, optionally causal and windowed. The scores of
 * one query and head are the only ones that exist at a time. */
#include "engine/device/reference/kernels.h"

#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* The operands that forward and backward share, by name. */
struct attention {
    const struct tensor *q, *kv, *starts;
    int64_t queries, keys, heads, groups, size, first_row, window;
    double scale;
    bool causal;
};

static struct attention attention_of(const struct op_call *call, int first_input)
{
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *inputs = call->inputs + first_input;
    return (struct attention){
        .q = &inputs[0],
        .kv = &inputs[1],
        .starts = &inputs[2],
        .queries = rows_of(&inputs[0]),
        .keys = rows_of(&inputs[1]),
        .heads = parameters->heads,
        .groups = parameters->head_groups,
        .size = parameters->head_size,
        .first_row = parameters->first_row,
        .window = parameters->window,
        .scale = parameters->scale,
        .causal = parameters->causal,
    };
}

static bool check(const struct attention *it, struct status *status)
{
    if (it->groups <= 0 || it->heads % it->groups != 0)
        return status_fail(status, STATUS_INVALID,
                           "attention: %" PRId64 " heads in %" PRId64 " groups", it->heads,
                           it->groups);
    if (it->first_row < 0 || it->first_row + it->queries > it->keys)
        return status_fail(status, STATUS_INVALID,
                           "attention: queries at %" PRId64 " to %" PRId64 ", but %" PRId64 " keys",
                           it->first_row, it->first_row + it->queries, it->keys);
    for (int64_t j = 0; j < it->keys; j++) {
        int32_t start = *indices_of(it->starts, j);
        if (start < 0 || start > j)
            return status_fail(status, STATUS_INVALID,
                               "attention: the document of token %" PRId64 " starts at %d", j,
                               (int)start);
    }
    return true;
}

static bool sees(const struct attention *it, int64_t position, int64_t key)
{
    int32_t start = *indices_of(it->starts, position);
    if (!it->causal)
        return *indices_of(it->starts, key) == start;
    return key >= start && key <= position && (it->window <= 0 || key > position - it->window);
}

/* Keys outside first <= key < *end are not seen; those inside may be. */
static int64_t first_key(const struct attention *it, int64_t position, int64_t *end)
{
    *end = it->causal ? position + 1 : it->keys;
    return *indices_of(it->starts, position);
}

/* Four sums, because each addition of a single one would wait for the one before. */
static double dot(const double *a, const double *b, int64_t count)
{
    double sums[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int lane = 0; lane < 4; lane++)
            sums[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++)
        sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* One query of one head: o = softmax(scale q.k) v. Returns the log-sum-exp; `scores` has room
 * for all keys. */
static double attend(const struct attention *it, int64_t t, int64_t head, double *scores, double *o)
{
    int64_t group = head / (it->heads / it->groups), position = it->first_row + t, end;
    int64_t first = first_key(it, position, &end);
    const double *q = row_of(it->q, t) + head * it->size;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = first; j < end; j++) {
        scores[j] = -INFINITY;
        if (sees(it, position, j))
            scores[j] = it->scale * dot(q, row_of(it->kv, j) + group * it->size, it->size);
        largest = scores[j] > largest || isnan(scores[j]) ? scores[j] : largest;
    }
    for (int64_t i = 0; i < it->size; i++)
        o[i] = 0;
    for (int64_t j = first; j < end; j++) {
        if (!sees(it, position, j))
            continue;
        const double *v = row_of(it->kv, j) + (it->groups + group) * it->size;
        double weight = exp(scores[j] - largest);
        sum += weight;
        for (int64_t i = 0; i < it->size; i++)
            o[i] += weight * v[i];
    }
    for (int64_t i = 0; i < it->size; i++)
        o[i] /= sum;
    return largest + log(sum);
}

bool reference_attention(const struct op_call *call, struct status *status)
{
    struct attention it = attention_of(call, 0);
    if (!check(&it, status))
        return false;
    double *scores = memory_try((size_t)(it.heads * it.keys), sizeof(double));
    if (!scores)
        return status_fail(status, STATUS_MEMORY, "no memory for %" PRId64 " scores", it.keys);
    PARALLEL_FOR
    for (int64_t head = 0; head < it.heads; head++)
        for (int64_t t = 0; t < it.queries && !interrupt_asked(call->interrupt); t++) {
            double *o = row_of(&call->outputs[0], t) + head * it.size;
            row_of(&call->outputs[1], t)[head] = attend(&it, t, head, scores + head * it.keys, o);
        }
    free(scores);
    return true;
}

/* One query of one head, with p = exp(scale q.k - lse): dv += p do, ds = p (do.v - do.o),
 * dq += scale ds k, dk += scale ds q. */
static void attend_gradient(const struct op_call *call, const struct attention *it, int64_t t,
                            int64_t head)
{
    int64_t group = head / (it->heads / it->groups), position = it->first_row + t, end;
    int64_t first = first_key(it, position, &end), at = head * it->size;
    const double *output_gradient = row_of(&call->inputs[0], t) + at, *q = row_of(it->q, t) + at;
    double mean = dot(output_gradient, row_of(&call->inputs[4], t) + at, it->size);
    double lse = row_of(&call->inputs[5], t)[head], *dq = row_of(&call->outputs[0], t) + at;
    for (int64_t j = first; j < end; j++) {
        if (!sees(it, position, j))
            continue;
        const double *k = row_of(it->kv, j) + group * it->size, *v = k + it->groups * it->size;
        double *dk = row_of(&call->outputs[1], j) + group * it->size;
        double *dv = dk + it->groups * it->size;
        double weight = exp(it->scale * dot(q, k, it->size) - lse);
        double slope = it->scale * weight * (dot(output_gradient, v, it->size) - mean);
        for (int64_t i = 0; i < it->size; i++) {
            dv[i] += weight * output_gradient[i];
            dq[i] += slope * k[i];
            dk[i] += slope * q[i];
        }
    }
}

bool reference_attention_gradient(const struct op_call *call, struct status *status)
{
    struct attention it = attention_of(call, 1);
    if (!check(&it, status))
        return false;
    reference_zero(&call->outputs[0]);
    reference_zero(&call->outputs[1]);
    int64_t heads_per_group = it.heads / it.groups;
    PARALLEL_FOR /* groups do not share any output */
        for (int64_t group = 0; group < it.groups;
             group++) for (int64_t i = 0;
                           i < heads_per_group * it.queries && !interrupt_asked(call->interrupt);
                           i++)
            attend_gradient(call, &it, i % it.queries, group * heads_per_group + i / it.queries);
    return true;
}
