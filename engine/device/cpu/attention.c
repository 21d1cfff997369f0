/* ATTENTION: blockwise softmax (Dao et al., FlashAttention, arXiv:2205.14135): a tile of scores at
 * a time, with a running maximum and sum per row. */
#include "engine/device/cpu/attention.h"

#include <math.h>

struct memory {
    int32_t *first, *end;
    char *tiles; /* one struct attention_tiles per thread */
    size_t tile_bytes;
};

static size_t carve(const struct attention *attention, void *base, struct memory *memory)
{
    struct workspace all = {base, 0}, one = {NULL, 0};
    struct attention_tiles tiles;
    attention_carve_tiles(attention, &one, &tiles, 1);
    memory->first = workspace_take(&all, attention->tokens, sizeof(int32_t));
    memory->end = workspace_take(&all, attention->tokens, sizeof(int32_t));
    memory->tiles = workspace_take(&all, attention->context->threads, one.used);
    memory->tile_bytes = one.used;
    return all.used;
}

static bool setup(struct attention *attention, const struct cpu_context *context,
                  const struct op_call *call, struct status *status)
{
    return attention_setup(attention, context, call, &call->inputs[0], &call->inputs[1],
                           &call->inputs[2], status);
}

CPU_WORKSPACE(attention)
{
    struct attention attention;
    struct memory memory;
    return setup(&attention, context, call, NULL) ? carve(&attention, NULL, &memory) : 0;
}

/* Scores of one row become probabilities relative to the row's new maximum; what was summed so
 * far is rescaled to it. */
static void update_row(const struct attention *attention, struct attention_tiles *tiles, int row,
                       int first, int end, int width)
{
    const struct kernels *kernels = attention->context->kernels;
    float *scores = tiles->scores + (int64_t)row * ATTENTION_KEYS;
    float *output = tiles->output + (int64_t)row * attention->padded;
    float old = tiles->maximum[row];
    float most = kernels->range_maximum(scores, first, end, attention->scale);
    if (!(most > old))
        most = old;
    if (most > old && old > -INFINITY) {
        float factor = expf(old - most);
        tiles->sum[row] *= factor;
        kernels->scale(output, output, factor, attention->padded);
    }
    tiles->maximum[row] = most;
    tiles->sum[row] += kernels->softmax_part(scores, first, end, attention->scale,
                                             most > -INFINITY ? most : 0.0f, width);
}

static void key_tile(const struct attention *attention, const struct attention_queries *queries,
                     struct attention_tiles *tiles, int64_t key, int count)
{
    int width = attention_round16(count);
    attention_pack_keys(attention, queries->group, key, count, false, tiles->key,
                        tiles->key_columns);
    bool finite =
        attention_pack_keys(attention, queries->group, key, count, true, tiles->value, NULL);
    attention_score(attention, queries, key, count, tiles->query, tiles->key_columns,
                    tiles->scores);
    for (int row = 0; row < queries->rows; row++) {
        int first, end;
        attention_seen(attention, queries->token + row / queries->heads, key, count, &first, &end);
        update_row(attention, tiles, row, first, end, width);
    }
    attention_add_keys(attention, queries, key, count, tiles->scores, tiles->value, finite,
                       tiles->output);
}

static void finish(const struct attention *attention, const struct attention_queries *queries,
                   struct attention_tiles *tiles)
{
    const struct tensor *lse = &attention->call->outputs[1];
    for (int row = 0; row < queries->rows; row++) {
        float *output = tiles->output + (int64_t)row * attention->padded, sum = tiles->sum[row];
        float *to = cpu_at(lse, queries->token + row / queries->heads,
                           queries->first_head + row % queries->heads);
        float shift = tiles->maximum[row] > -INFINITY || sum == 0 ? tiles->maximum[row] : 0.0f;
        if (sum != 0)
            attention->context->kernels->scale(output, output, 1 / sum, attention->padded);
        *to = sum == 0 ? shift : shift + logf(sum);
    }
    attention_unpack_queries(attention, &attention->call->outputs[0], queries, tiles->output);
}

static void query_tile(const struct attention *attention, const struct attention_queries *queries,
                       struct attention_tiles *tiles)
{
    attention_pack_queries(attention, attention->q, queries, tiles->query);
    memset(tiles->output, 0, (size_t)queries->rows * (size_t)attention->padded * sizeof(float));
    for (int row = 0; row < queries->rows; row++) {
        tiles->maximum[row] = -INFINITY;
        tiles->sum[row] = 0;
    }
    for (int64_t key = queries->first_key; key < queries->end_key; key += ATTENTION_KEYS) {
        int64_t left = queries->end_key - key;
        key_tile(attention, queries, tiles, key,
                 left < ATTENTION_KEYS ? (int)left : ATTENTION_KEYS);
    }
    finish(attention, queries, tiles);
}

CPU_RUN(attention)
{
    struct attention attention;
    struct memory memory;
    if (!setup(&attention, context, call, status))
        return false;
    carve(&attention, call->workspace, &memory);
    attention.first = memory.first;
    attention.end = memory.end;
    if (!attention_ranges(&attention, status))
        return false;
    int64_t token_tiles = (attention.tokens + attention.tile_tokens - 1) / attention.tile_tokens;
    int64_t per_token_tile = (int64_t)attention.groups * attention.chunks;
    CPU_OMP(parallel for schedule(dynamic, per_token_tile) num_threads(context->threads))
    for (int64_t i = 0; i < token_tiles * per_token_tile; i++) {
        if (cpu_stops(context))
            continue;
        struct workspace mine = {memory.tiles + (size_t)cpu_thread() * memory.tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(&attention, &mine, &tiles, 1);
        int64_t part = i % per_token_tile;
        struct attention_queries queries = attention_queries_at(
            &attention, (int)(part / attention.chunks), (int)(part % attention.chunks),
            i / per_token_tile * attention.tile_tokens, attention.tokens);
        query_tile(&attention, &queries, &tiles);
    }
    return true;
}
