/* ATTENTION_GRADIENT. Probabilities are made again from lse. With D = rowsum(do * o):
 * dv = p^T do, dp = do v^T, ds = p (dp - D) scale, dq = ds k, dk = ds^T q.
 * One pass over query tiles gives D and dq, a second one over key tiles gives dkv: the scores are
 * made twice, but no two threads ever add to the same memory and the order of sums is fixed. */
#include "engine/device/cpu/attention.h"

#include <math.h>

struct gradient {
    struct attention attention;
    const struct tensor *dout, *out, *lse, *dq, *dkv;
    float *delta; /* D [T,h] */
    int64_t token_tiles;
    int32_t *tile_first, *tile_end; /* keys seen by each aligned tile of tokens */
    char *tiles;
    size_t tile_bytes;
};

static size_t carve(struct gradient *gradient, void *base)
{
    struct attention *attention = &gradient->attention;
    struct workspace all = {base, 0}, one = {NULL, 0};
    struct attention_tiles tiles;
    attention_carve_tiles(attention, &one, &tiles);
    int64_t tokens = attention->tokens;
    gradient->token_tiles = (tokens + attention->tile_tokens - 1) / attention->tile_tokens;
    attention->first = workspace_take(&all, tokens, sizeof(int32_t));
    attention->end = workspace_take(&all, tokens, sizeof(int32_t));
    gradient->delta = workspace_floats(&all, tokens * attention->heads);
    gradient->tile_first = workspace_take(&all, gradient->token_tiles, sizeof(int32_t));
    gradient->tile_end = workspace_take(&all, gradient->token_tiles, sizeof(int32_t));
    gradient->tiles = workspace_take(&all, attention->context->threads, one.used);
    gradient->tile_bytes = one.used;
    return all.used;
}

static bool setup(struct gradient *gradient, const struct cpu_context *context,
                  const struct op_call *call, struct status *status)
{
    gradient->dout = &call->inputs[0];
    gradient->out = &call->inputs[4];
    gradient->lse = &call->inputs[5];
    gradient->dq = &call->outputs[0];
    gradient->dkv = &call->outputs[1];
    return attention_setup(&gradient->attention, context, call, &call->inputs[1], &call->inputs[2],
                           &call->inputs[3], status);
}

CPU_WORKSPACE(attention_gradient)
{
    struct gradient gradient;
    return setup(&gradient, context, call, NULL) ? carve(&gradient, NULL) : 0;
}

static float *delta_of(const struct gradient *gradient, const struct attention_queries *queries,
                       int row)
{
    return gradient->delta + (queries->token + row / queries->heads) * gradient->attention.heads +
           queries->first_head + row % queries->heads;
}

/* Keys `low`.. of the packed tile that starts at `key`: probabilities into tiles->scores, ds into
 * tiles->dscores, both [rows, count rounded up to 16]. */
static void score_gradients(const struct gradient *gradient,
                            const struct attention_queries *queries, struct attention_tiles *tiles,
                            int64_t key, int low, int count)
{
    const struct attention *attention = &gradient->attention;
    const struct kernels *kernels = attention->context->kernels;
    int padded = attention->padded, width = attention_round16(count), size = attention->size;
    kernels->tile_multiply(queries->rows, width, size, tiles->query, padded, 1,
                           tiles->key_columns + low, ATTENTION_KEYS, tiles->scores, ATTENTION_KEYS,
                           false, false);
    kernels->tile_multiply(queries->rows, width, size, tiles->doutput, padded, 1,
                           tiles->value_columns + low, ATTENTION_KEYS, tiles->dscores,
                           ATTENTION_KEYS, false, false);
    for (int row = 0; row < queries->rows; row++) {
        int first, end;
        int64_t token = queries->token + row / queries->heads;
        float *scores = tiles->scores + (int64_t)row * ATTENTION_KEYS;
        float lse = *(const float *)cpu_at(gradient->lse, token,
                                           queries->first_head + row % queries->heads);
        attention_seen(attention, token, key + low, count, &first, &end);
        kernels->softmax_part(scores, first, end, attention->scale, lse == -INFINITY ? 0.0f : lse,
                              width);
        kernels->softmax_gradient(tiles->dscores + (int64_t)row * ATTENTION_KEYS, scores,
                                  *delta_of(gradient, queries, row), attention->scale, width);
    }
}

static void query_tile(const struct gradient *gradient, const struct attention_queries *queries,
                       struct attention_tiles *tiles)
{
    const struct attention *attention = &gradient->attention;
    const struct kernels *kernels = attention->context->kernels;
    int padded = attention->padded;
    size_t bytes = (size_t)queries->rows * (size_t)padded * sizeof(float);
    attention_pack_queries(attention, attention->q, queries, tiles->query);
    attention_pack_queries(attention, gradient->dout, queries, tiles->doutput);
    attention_pack_queries(attention, gradient->out, queries, tiles->output);
    for (int row = 0; row < queries->rows; row++)
        *delta_of(gradient, queries, row) =
            kernels->dot(tiles->doutput + (int64_t)row * padded,
                         tiles->output + (int64_t)row * padded, attention->size);
    memset(tiles->output, 0, bytes);
    for (int64_t key = queries->first_key; key < queries->end_key; key += ATTENTION_KEYS) {
        int64_t left = queries->end_key - key;
        int count = left < ATTENTION_KEYS ? (int)left : ATTENTION_KEYS;
        bool finite = attention_pack_keys(attention, queries->group, key, count, false, tiles->key,
                                          tiles->key_columns);
        attention_pack_keys(attention, queries->group, key, count, true, tiles->value,
                            tiles->value_columns);
        score_gradients(gradient, queries, tiles, key, 0, count);
        kernels->tile_multiply(queries->rows, padded, count, tiles->dscores, ATTENTION_KEYS, 1,
                               tiles->key, padded, tiles->output, padded, true, !finite);
    }
    attention_unpack_queries(attention, gradient->dq, queries, tiles->output);
}

/* Adds the part of one query tile to dkey and dvalue of the packed key tile. */
static void add_queries(const struct gradient *gradient, const struct attention_queries *queries,
                        struct attention_tiles *tiles, int64_t key, int count)
{
    const struct attention *attention = &gradient->attention;
    const struct kernels *kernels = attention->context->kernels;
    int padded = attention->padded;
    int64_t low = queries->first_key - key, high = queries->end_key - key;
    low = low < 0 ? 0 : low & ~(int64_t)15; /* whole vectors of the transposed tile */
    high = high > count ? count : high;
    if (high <= low)
        return;
    bool q_finite = attention_pack_queries(attention, attention->q, queries, tiles->query);
    bool do_finite = attention_pack_queries(attention, gradient->dout, queries, tiles->doutput);
    score_gradients(gradient, queries, tiles, key, (int)low, (int)(high - low));
    kernels->tile_multiply((int)(high - low), padded, queries->rows, tiles->scores, 1,
                           ATTENTION_KEYS, tiles->doutput, padded, tiles->dvalue + low * padded,
                           padded, true, !do_finite);
    kernels->tile_multiply((int)(high - low), padded, queries->rows, tiles->dscores, 1,
                           ATTENTION_KEYS, tiles->query, padded, tiles->dkey + low * padded, padded,
                           true, !q_finite);
}

static bool token_sees(const struct attention *attention, int64_t token, int64_t key, int64_t end)
{
    return attention->first[token] < end && attention->end[token] > key;
}

/* The tokens from the first to the last one that see any of the keys key..end-1. */
static void tokens_seeing(const struct gradient *gradient, int64_t key, int64_t end, int64_t *first,
                          int64_t *last)
{
    const struct attention *attention = &gradient->attention;
    int64_t low = -1, high = -1;
    for (int64_t tile = 0; tile < gradient->token_tiles; tile++)
        if (gradient->tile_first[tile] < end && gradient->tile_end[tile] > key) {
            low = low < 0 ? tile : low;
            high = tile;
        }
    *first = low * attention->tile_tokens;
    *last = (high + 1) * attention->tile_tokens;
    if (low < 0) {
        *first = *last = 0;
        return;
    }
    *last = *last > attention->tokens ? attention->tokens : *last;
    while (*first < *last && !token_sees(attention, *first, key, end))
        ++*first;
    while (*last > *first && !token_sees(attention, *last - 1, key, end))
        --*last;
}

static void write_keys(const struct gradient *gradient, const struct attention_tiles *tiles,
                       int group, int64_t key, int count)
{
    const struct attention *attention = &gradient->attention;
    int size = attention->size;
    for (int j = 0; j < count; j++) {
        int64_t row = (int64_t)j * attention->padded;
        cpu_write(attention->context, gradient->dkv, key + j, (int64_t)group * size, size,
                  tiles->dkey + row);
        cpu_write(attention->context, gradient->dkv, key + j,
                  (int64_t)(attention->groups + group) * size, size, tiles->dvalue + row);
    }
}

static void key_tile(const struct gradient *gradient, int group, int64_t key,
                     struct attention_tiles *tiles)
{
    const struct attention *attention = &gradient->attention;
    int64_t left = attention->keys - key, first, last;
    int count = left < ATTENTION_KEYS ? (int)left : ATTENTION_KEYS;
    size_t bytes = (size_t)ATTENTION_KEYS * (size_t)attention->padded * sizeof(float);
    memset(tiles->dkey, 0, bytes);
    memset(tiles->dvalue, 0, bytes);
    tokens_seeing(gradient, key, key + count, &first, &last);
    if (first < last) {
        attention_pack_keys(attention, group, key, count, false, tiles->key, tiles->key_columns);
        attention_pack_keys(attention, group, key, count, true, tiles->value, tiles->value_columns);
    }
    for (int64_t token = first; token < last; token += attention->tile_tokens)
        for (int chunk = 0; chunk < attention->chunks; chunk++) {
            struct attention_queries queries =
                attention_queries_at(attention, group, chunk, token, last);
            add_queries(gradient, &queries, tiles, key, count);
        }
    write_keys(gradient, tiles, group, key, count);
}

static void all_query_tiles(const struct gradient *gradient)
{
    const struct attention *attention = &gradient->attention;
    int64_t per_token_tile = (int64_t)attention->groups * attention->chunks;
    CPU_OMP(parallel for schedule(dynamic) num_threads(attention->context->threads))
    for (int64_t i = 0; i < gradient->token_tiles * per_token_tile; i++) {
        if (cpu_stops(attention->context))
            continue;
        struct workspace mine = {gradient->tiles + (size_t)cpu_thread() * gradient->tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(attention, &mine, &tiles);
        int64_t tile = i / per_token_tile, part = i % per_token_tile;
        struct attention_queries queries = attention_queries_at(
            attention, (int)(part / attention->chunks), (int)(part % attention->chunks),
            tile * attention->tile_tokens, attention->tokens);
        if (part == 0) {
            gradient->tile_first[tile] = (int32_t)queries.first_key;
            gradient->tile_end[tile] = (int32_t)queries.end_key;
        }
        query_tile(gradient, &queries, &tiles);
    }
}

static void all_key_tiles(const struct gradient *gradient)
{
    const struct attention *attention = &gradient->attention;
    int64_t key_tiles = (attention->keys + ATTENTION_KEYS - 1) / ATTENTION_KEYS;
    CPU_OMP(parallel for schedule(dynamic) num_threads(attention->context->threads))
    for (int64_t i = 0; i < key_tiles * attention->groups; i++) {
        if (cpu_stops(attention->context))
            continue;
        struct workspace mine = {gradient->tiles + (size_t)cpu_thread() * gradient->tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(attention, &mine, &tiles);
        key_tile(gradient, (int)(i % attention->groups), i / attention->groups * ATTENTION_KEYS,
                 &tiles);
    }
}

CPU_RUN(attention_gradient)
{
    struct gradient gradient;
    if (!setup(&gradient, context, call, status))
        return false;
    carve(&gradient, call->workspace);
    if (!attention_ranges(&gradient.attention, status))
        return false;
    all_query_tiles(&gradient);
    if (!cpu_stops(context)) /* else the ranges of tiles are not complete */
        all_key_tiles(&gradient);
    return true;
}
