#include "engine/device/cpu/attention.h"

bool attention_setup(struct attention *attention, const struct cpu_context *context,
                     const struct op_call *call, const struct tensor *q, const struct tensor *kv,
                     const struct tensor *document_start, struct status *status)
{
    const struct op_parameters *parameters = &call->parameters;
    *attention = (struct attention){
        .context = context,
        .call = call,
        .q = q,
        .kv = kv,
        .document_start = document_start,
        .tokens = cpu_rows(q),
        .keys = cpu_rows(kv),
        .heads = parameters->heads,
        .groups = parameters->head_groups,
        .size = parameters->head_size,
        .scale = (float)parameters->scale,
    };
    if (attention->heads < 1 || attention->groups < 1 || attention->size < 1 ||
        attention->heads % attention->groups != 0 ||
        cpu_columns(q) != (int64_t)attention->heads * attention->size ||
        cpu_columns(kv) != 2 * (int64_t)attention->groups * attention->size)
        return status_fail(status, STATUS_INVALID,
                           "%s: %d heads in %d groups of size %d do not fit the shapes",
                           op_name(call->op), attention->heads, attention->groups, attention->size);
    int per_group = attention->heads / attention->groups;
    attention->padded = attention_round16(attention->size);
    attention->chunks = (per_group + ATTENTION_HEADS - 1) / ATTENTION_HEADS;
    attention->tile_heads = (per_group + attention->chunks - 1) / attention->chunks;
    attention->tile_tokens = ATTENTION_ROWS / attention->tile_heads;
    return true;
}

/* The contiguous documents around each position, as op.h defines them, cut by what is causal. */
bool attention_ranges(struct attention *attention, struct status *status)
{
    const struct op_parameters *parameters = &attention->call->parameters;
    const int32_t *start = attention->document_start->data;
    int64_t first_row = parameters->first_row, keys = attention->keys;
    if (first_row < 0 || first_row + attention->tokens > keys)
        return status_fail(status, STATUS_INVALID,
                           "%s: queries at positions %lld to %lld, but only %lld keys",
                           op_name(attention->call->op), (long long)first_row,
                           (long long)(first_row + attention->tokens - 1), (long long)keys);
    int64_t end = keys;
    for (int64_t p = keys - 1; p >= first_row; p--) {
        if (p + 1 < keys && start[p + 1] != start[p])
            end = p + 1;
        if (p >= first_row + attention->tokens)
            continue;
        int64_t first = start[p] < 0 ? 0 : start[p];
        if (parameters->causal && parameters->window > 0 && p - parameters->window + 1 > first)
            first = p - parameters->window + 1;
        attention->first[p - first_row] = (int32_t)first;
        attention->end[p - first_row] = (int32_t)(parameters->causal ? p + 1 : end);
    }
    return true;
}

void attention_carve_tiles(const struct attention *attention, struct workspace *memory,
                           struct attention_tiles *tiles, int key_tiles)
{
    int64_t rows = (int64_t)ATTENTION_ROWS * attention->padded;
    int64_t keys = (int64_t)key_tiles * ATTENTION_KEYS * attention->padded;
    float **by_rows[] = {&tiles->query, &tiles->output, &tiles->doutput};
    float **by_keys[] = {&tiles->key,           &tiles->value, &tiles->key_columns,
                         &tiles->value_columns, &tiles->dkey,  &tiles->dvalue};
    for (size_t i = 0; i < sizeof(by_rows) / sizeof(by_rows[0]); i++)
        *by_rows[i] = workspace_floats(memory, rows);
    for (size_t i = 0; i < sizeof(by_keys) / sizeof(by_keys[0]); i++)
        *by_keys[i] = workspace_floats(memory, keys);
    tiles->scores = workspace_floats(memory, ATTENTION_ROWS * ATTENTION_KEYS);
    tiles->dscores = workspace_floats(memory, ATTENTION_ROWS * ATTENTION_KEYS);
    tiles->maximum = workspace_floats(memory, ATTENTION_ROWS);
    tiles->sum = workspace_floats(memory, ATTENTION_ROWS);
}

struct attention_queries attention_queries_at(const struct attention *attention, int group,
                                              int chunk, int64_t token, int64_t token_end)
{
    int per_group = attention->heads / attention->groups;
    int first = chunk * attention->tile_heads;
    struct attention_queries queries = {.token = token, .group = group};
    queries.heads =
        per_group - first < attention->tile_heads ? per_group - first : attention->tile_heads;
    queries.first_head = group * per_group + first;
    queries.tokens = (int)(token_end - token < attention->tile_tokens ? token_end - token
                                                                      : attention->tile_tokens);
    queries.rows = queries.tokens * queries.heads;
    queries.first_key = attention->keys;
    for (int64_t t = token; t < token + queries.tokens; t++) {
        if (attention->first[t] < queries.first_key)
            queries.first_key = attention->first[t];
        if (attention->end[t] > queries.end_key)
            queries.end_key = attention->end[t];
    }
    return queries;
}

bool attention_pack_queries(const struct attention *attention, const struct tensor *tensor,
                            const struct attention_queries *queries, float *packed)
{
    const struct kernels *kernels = attention->context->kernels;
    int size = attention->size, padded = attention->padded;
    for (int token = 0; token < queries->tokens; token++)
        kernels->pack_rows(
            packed + (int64_t)token * queries->heads * padded, padded,
            cpu_at(tensor, queries->token + token, (int64_t)queries->first_head * size),
            tensor->dtype, size, size, queries->heads);
    return kernels->all_finite(packed, (int64_t)queries->rows * padded);
}

void attention_unpack_queries(const struct attention *attention, const struct tensor *tensor,
                              const struct attention_queries *queries, const float *packed)
{
    for (int row = 0; row < queries->rows; row++)
        cpu_write(attention->context, tensor, queries->token + row / queries->heads,
                  (int64_t)(queries->first_head + row % queries->heads) * attention->size,
                  attention->size, packed + (int64_t)row * attention->padded);
}

bool attention_pack_keys(const struct attention *attention, int group, int64_t key, int count,
                         bool values, float *rows, float *columns)
{
    int64_t column = (int64_t)(values ? attention->groups + group : group) * attention->size;
    const struct tensor *kv = attention->kv;
    const struct kernels *kernels = attention->context->kernels;
    int padded = attention->padded;
    kernels->pack_rows(rows, padded, cpu_at(kv, key, column), kv->dtype, kv->row_stride,
                       attention->size, count);
    if (columns) {
        kernels->pack_transposed(columns, ATTENTION_KEYS, rows, DTYPE_F32, padded, attention->size,
                                 count);
        for (int c = 0; c < attention->size && count < ATTENTION_KEYS; c++)
            memset(columns + c * ATTENTION_KEYS + count, 0,
                   (size_t)(ATTENTION_KEYS - count) * sizeof(float));
    }
    return kernels->all_finite(rows, (int64_t)count * padded);
}

/* Rows or keys that are multiplied at a time. */
enum { BLOCK = 8 };

struct span {
    int first, end;
};

static struct span unite(struct span a, int first, int end)
{
    if (end <= first)
        return a;
    if (a.end <= a.first)
        return (struct span){first, end};
    return (struct span){first < a.first ? first : a.first, end > a.end ? end : a.end};
}

/* Keys of the tile that some of a few rows see; the first one at a whole vector. */
static struct span keys_seen(const struct attention *attention,
                             const struct attention_queries *queries, int row, int rows,
                             int64_t key, int count)
{
    struct span keys = {0, 0};
    for (int token = row / queries->heads; token <= (row + rows - 1) / queries->heads; token++) {
        int first, end;
        attention_seen(attention, queries->token + token, key, count, &first, &end);
        keys = unite(keys, first, end);
    }
    keys.first &= ~15;
    return keys;
}

/* Rows of the tile that see some of a few keys. */
static struct span rows_seeing(const struct attention *attention,
                               const struct attention_queries *queries, int64_t key, int count)
{
    struct span rows = {0, 0};
    for (int token = 0; token < queries->tokens; token++) {
        int first, end;
        attention_seen(attention, queries->token + token, key, count, &first, &end);
        if (end > first)
            rows = unite(rows, token * queries->heads, (token + 1) * queries->heads);
    }
    return rows;
}

static int block_at(int index, int count)
{
    return count - index < BLOCK ? count - index : BLOCK;
}

void attention_score(const struct attention *attention, const struct attention_queries *queries,
                     int64_t key, int count, const float *rows, const float *columns, float *scores)
{
    int padded = attention->padded;
    for (int row = 0; row < queries->rows; row += BLOCK) {
        int block = block_at(row, queries->rows);
        struct span keys = keys_seen(attention, queries, row, block, key, count);
        if (keys.end > keys.first)
            attention->context->kernels->tile_multiply(
                block, attention_round16(keys.end - keys.first), attention->size,
                rows + (ptrdiff_t)row * padded, padded, 1, columns + keys.first, ATTENTION_KEYS,
                scores + (ptrdiff_t)row * ATTENTION_KEYS + keys.first, ATTENTION_KEYS, false,
                false);
    }
}

void attention_add_keys(const struct attention *attention, const struct attention_queries *queries,
                        int64_t key, int count, const float *scores, const float *keys, bool finite,
                        float *sums)
{
    int padded = attention->padded;
    for (int row = 0; row < queries->rows; row += BLOCK) {
        int block = block_at(row, queries->rows);
        struct span seen = keys_seen(attention, queries, row, block, key, count);
        if (seen.end > seen.first)
            attention->context->kernels->tile_multiply(
                block, padded, seen.end - seen.first,
                scores + (ptrdiff_t)row * ATTENTION_KEYS + seen.first, ATTENTION_KEYS, 1,
                keys + (ptrdiff_t)seen.first * padded, padded, sums + (ptrdiff_t)row * padded,
                padded, true, !finite);
    }
}

void attention_add_rows(const struct attention *attention, const struct attention_queries *queries,
                        int64_t key, int count, const float *scores, const float *rows, bool finite,
                        float *sums)
{
    int padded = attention->padded;
    for (int j = 0; j < count; j += BLOCK) {
        int block = block_at(j, count);
        struct span seeing = rows_seeing(attention, queries, key + j, block);
        if (seeing.end > seeing.first)
            attention->context->kernels->tile_multiply(
                block, padded, seeing.end - seeing.first,
                scores + (ptrdiff_t)seeing.first * ATTENTION_KEYS + j, 1, ATTENTION_KEYS,
                rows + (ptrdiff_t)seeing.first * padded, padded, sums + (ptrdiff_t)j * padded,
                padded, true, !finite);
    }
}
