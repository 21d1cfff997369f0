/* ATTENTION_GRADIENT. Probabilities are made again from lse. With D = rowsum(do * o):
 * dv = p^T do, dp = do v^T, ds = p (dp - D) scale, dq = ds k, dk = ds^T q.
 * Where documents are short, one thread makes all of an island: some tokens and all keys that they
 * see, which no other token sees. Else one pass over query tiles gives D and dq, a second one over
 * key tiles gives dkv: the scores are made twice. Either way no two threads ever add to the same
 * memory, and sums are in the order of tokens and of keys. */
#include "engine/base/memory.h"
#include "engine/device/cpu/attention.h"
#include "engine/device/cpu/product.h"

#include <math.h>

/* Tiles of keys that an island may have; and keys, where documents are shorter, that it has. */
enum { ISLAND_TILES = 9, ISLAND_LEAST = ATTENTION_KEYS };

struct gradient {
    struct attention attention;
    const struct tensor *dout, *out, *lse, *dq, *dkv;
    float *delta;         /* D [T,h] */
    int32_t *lowest;      /* [S+1]: the first key that tokens from a position on see */
    int32_t *island;      /* [S+1]: the first keys of islands, and the end */
    int64_t island_count; /* 0: one is too large */
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
    attention_carve_tiles(attention, &one, &tiles, ISLAND_TILES);
    int64_t tokens = attention->tokens;
    gradient->token_tiles = (tokens + attention->tile_tokens - 1) / attention->tile_tokens;
    attention->first = workspace_take(&all, tokens, sizeof(int32_t));
    attention->end = workspace_take(&all, tokens, sizeof(int32_t));
    gradient->delta = workspace_floats(&all, tokens * attention->heads);
    gradient->lowest = workspace_take(&all, attention->keys + 1, sizeof(int32_t));
    gradient->island = workspace_take(&all, attention->keys + 1, sizeof(int32_t));
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
    int width = attention_round16(count);
    attention_score(attention, queries, key + low, count, tiles->query, tiles->key_columns + low,
                    tiles->scores);
    attention_score(attention, queries, key + low, count, tiles->doutput,
                    tiles->value_columns + low, tiles->dscores);
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

/* Packs the queries' rows, makes D, and begins dq with 0. Returns whether all of q and of do are
 * finite. */
static void start_queries(const struct gradient *gradient, const struct attention_queries *queries,
                          struct attention_tiles *tiles, bool *q_finite, bool *do_finite)
{
    const struct attention *attention = &gradient->attention;
    int padded = attention->padded;
    *q_finite = attention_pack_queries(attention, attention->q, queries, tiles->query);
    *do_finite = attention_pack_queries(attention, gradient->dout, queries, tiles->doutput);
    attention_pack_queries(attention, gradient->out, queries, tiles->output);
    for (int row = 0; row < queries->rows; row++)
        *delta_of(gradient, queries, row) = attention->context->kernels->dot(
            tiles->doutput + (ptrdiff_t)row * padded, tiles->output + (ptrdiff_t)row * padded,
            attention->size);
    memset(tiles->output, 0, (size_t)queries->rows * (size_t)padded * sizeof(float));
}

static void query_tile(const struct gradient *gradient, const struct attention_queries *queries,
                       struct attention_tiles *tiles)
{
    const struct attention *attention = &gradient->attention;
    bool q_finite, do_finite;
    start_queries(gradient, queries, tiles, &q_finite, &do_finite);
    for (int64_t key = queries->first_key; key < queries->end_key; key += ATTENTION_KEYS) {
        int64_t left = queries->end_key - key;
        int count = left < ATTENTION_KEYS ? (int)left : ATTENTION_KEYS;
        bool finite = attention_pack_keys(attention, queries->group, key, count, false, tiles->key,
                                          tiles->key_columns);
        attention_pack_keys(attention, queries->group, key, count, true, tiles->value,
                            tiles->value_columns);
        score_gradients(gradient, queries, tiles, key, 0, count);
        attention_add_keys(attention, queries, key, count, tiles->dscores, tiles->key, finite,
                           tiles->output);
    }
    attention_unpack_queries(attention, gradient->dq, queries, tiles->output);
}

/* Adds the part of one query tile to dkey and dvalue of the packed key tile. */
static void add_queries(const struct gradient *gradient, const struct attention_queries *queries,
                        struct attention_tiles *tiles, int64_t key, int count)
{
    const struct attention *attention = &gradient->attention;
    int padded = attention->padded;
    int64_t low = queries->first_key - key, high = queries->end_key - key;
    low = low < 0 ? 0 : low & ~(int64_t)15; /* whole vectors of the transposed tile */
    high = high > count ? count : high;
    if (high <= low)
        return;
    bool q_finite = attention_pack_queries(attention, attention->q, queries, tiles->query);
    bool do_finite = attention_pack_queries(attention, gradient->dout, queries, tiles->doutput);
    score_gradients(gradient, queries, tiles, key, (int)low, (int)(high - low));
    attention_add_rows(attention, queries, key + low, (int)(high - low), tiles->scores,
                       tiles->doutput, do_finite, tiles->dvalue + low * padded);
    attention_add_rows(attention, queries, key + low, (int)(high - low), tiles->dscores,
                       tiles->query, q_finite, tiles->dkey + low * padded);
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
    CPU_OMP(parallel for schedule(dynamic, per_token_tile) num_threads(attention->context->threads))
    for (int64_t i = 0; i < gradient->token_tiles * per_token_tile; i++) {
        if (cpu_stops(attention->context))
            continue;
        struct workspace mine = {gradient->tiles + (size_t)cpu_thread() * gradient->tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(attention, &mine, &tiles, ISLAND_TILES);
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
    CPU_OMP(parallel for schedule(dynamic, attention->groups) num_threads(attention->context->threads))
    for (int64_t i = 0; i < key_tiles * attention->groups; i++) {
        if (cpu_stops(attention->context))
            continue;
        struct workspace mine = {gradient->tiles + (size_t)cpu_thread() * gradient->tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(attention, &mine, &tiles, ISLAND_TILES);
        key_tile(gradient, (int)(i % attention->groups), i / attention->groups * ATTENTION_KEYS,
                 &tiles);
    }
}

/* Cuts keys into islands. What two of them side by side make is one, too: so small documents fill
 * tiles together. None if one would be too large. */
static void find_islands(struct gradient *gradient)
{
    const struct attention *attention = &gradient->attention;
    int64_t first_row = attention->call->parameters.first_row, keys = attention->keys, seen = 0;
    int32_t *lowest = gradient->lowest, *island = gradient->island;
    lowest[keys] = (int32_t)keys;
    for (int64_t p = keys - 1; p >= 0; p--) {
        bool is_token = p >= first_row && p < first_row + attention->tokens;
        int32_t first = is_token ? attention->first[p - first_row] : (int32_t)keys;
        lowest[p] = first < lowest[p + 1] ? first : lowest[p + 1];
    }
    int64_t count = 0;
    gradient->island_count = 0;
    island[0] = 0;
    for (int64_t p = 1; p <= keys; p++) {
        if (p > first_row && p <= first_row + attention->tokens &&
            attention->end[p - 1 - first_row] > seen)
            seen = attention->end[p - 1 - first_row];
        bool border = p == keys || (seen <= p && lowest[p] >= p);
        if (p - island[count] > (int64_t)ISLAND_TILES * ATTENTION_KEYS)
            return;
        if (border && (p == keys || p - island[count] >= ISLAND_LEAST))
            island[++count] = (int32_t)p;
    }
    gradient->island_count = count;
}

/* The tiles with those of keys that are `tile` tiles further. */
static struct attention_tiles tiles_at(const struct attention *attention,
                                       const struct attention_tiles *tiles, int64_t tile)
{
    struct attention_tiles at = *tiles;
    float **by_keys[] = {&at.key,           &at.value, &at.key_columns,
                         &at.value_columns, &at.dkey,  &at.dvalue};
    for (int i = 0; i < ARRAY_LENGTH(by_keys); i++)
        *by_keys[i] += tile * ATTENTION_KEYS * attention->padded;
    return at;
}

/* All that a tile of queries gives to dq, and to dk and dv of its island. */
static void island_queries(const struct gradient *gradient, const struct attention_queries *queries,
                           const struct attention_tiles *tiles, int64_t first, int64_t end,
                           const bool *finite)
{
    const struct attention *attention = &gradient->attention;
    bool q_finite, do_finite;
    struct attention_tiles at = *tiles;
    start_queries(gradient, queries, &at, &q_finite, &do_finite);
    for (int64_t tile = (queries->first_key - first) / ATTENTION_KEYS;
         first + tile * ATTENTION_KEYS < queries->end_key; tile++) {
        int64_t key = first + tile * ATTENTION_KEYS;
        int count = (int)product_least(end - key, ATTENTION_KEYS);
        at = tiles_at(attention, tiles, tile);
        score_gradients(gradient, queries, &at, key, 0, count);
        attention_add_keys(attention, queries, key, count, at.dscores, at.key, finite[tile],
                           at.output);
        attention_add_rows(attention, queries, key, count, at.scores, at.doutput, do_finite,
                           at.dvalue);
        attention_add_rows(attention, queries, key, count, at.dscores, at.query, q_finite, at.dkey);
    }
    attention_unpack_queries(attention, gradient->dq, queries, at.output);
}

static void one_island(const struct gradient *gradient, int group, int64_t first, int64_t end,
                       const struct attention_tiles *tiles)
{
    const struct attention *attention = &gradient->attention;
    int64_t first_row = attention->call->parameters.first_row;
    int64_t token = first > first_row ? first - first_row : 0;
    int64_t last = product_least(end - first_row, attention->tokens);
    bool finite[ISLAND_TILES];
    for (int64_t key = first, tile = 0; key < end; key += ATTENTION_KEYS, tile++) {
        struct attention_tiles at = tiles_at(attention, tiles, tile);
        int count = (int)product_least(end - key, ATTENTION_KEYS);
        size_t bytes = (size_t)ATTENTION_KEYS * (size_t)attention->padded * sizeof(float);
        memset(at.dkey, 0, bytes);
        memset(at.dvalue, 0, bytes);
        finite[tile] =
            attention_pack_keys(attention, group, key, count, false, at.key, at.key_columns);
        attention_pack_keys(attention, group, key, count, true, at.value, at.value_columns);
    }
    for (; token < last; token += attention->tile_tokens)
        for (int chunk = 0; chunk < attention->chunks; chunk++) {
            struct attention_queries queries =
                attention_queries_at(attention, group, chunk, token, last);
            island_queries(gradient, &queries, tiles, first, end, finite);
        }
    for (int64_t key = first, tile = 0; key < end; key += ATTENTION_KEYS, tile++) {
        struct attention_tiles at = tiles_at(attention, tiles, tile);
        write_keys(gradient, &at, group, key, (int)product_least(end - key, ATTENTION_KEYS));
    }
}

static void all_islands(const struct gradient *gradient)
{
    const struct attention *attention = &gradient->attention;
    CPU_OMP(parallel for schedule(dynamic) num_threads(attention->context->threads))
    for (int64_t i = 0; i < gradient->island_count * attention->groups; i++) {
        if (cpu_stops(attention->context))
            continue;
        struct workspace mine = {gradient->tiles + (size_t)cpu_thread() * gradient->tile_bytes, 0};
        struct attention_tiles tiles;
        attention_carve_tiles(attention, &mine, &tiles, ISLAND_TILES);
        int64_t island = i / attention->groups;
        one_island(gradient, (int)(i % attention->groups), gradient->island[island],
                   gradient->island[island + 1], &tiles);
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
    find_islands(&gradient);
    if (gradient.island_count) {
        all_islands(&gradient);
        return true;
    }
    all_query_tiles(&gradient);
    if (!cpu_stops(context)) /* else the ranges of tiles are not complete */
        all_key_tiles(&gradient);
    return true;
}
