/* ATTENTION_GRADIENT. With p = exp(scale q.k - lse) and delta = do . o: dv = p do,
 * ds = scale p (do.v - delta), dq = ds k, dk = ds q. The scores are computed again, once for the
 * queries and once for the keys, so that each sum has one order and needs no atomic addition. */
#include "engine/device/cuda/attention_sums.cuh"

/* A warp for each token and head. */
static __global__ void delta_kernel(struct attention it, float *delta)
{
    int lane = (int)(threadIdx.x % WARP);
    int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    int64_t token = at / it.heads, column = at % it.heads * it.size;
    if (token >= it.tokens)
        return;
    float sum = 0;
    for (int i = lane; i < it.size; i += WARP)
        sum += operand_load(it.d_o, token, column + i) * operand_load(it.o, token, column + i);
    sum = warp_sum(sum);
    if (lane == 0)
        delta[at] = sum;
}

/* The weight of a score, and ds; both 0 where the key is not seen. */
__device__ inline void slope_of(const struct attention &it, bool seen, float score, float lse,
                                float product, float delta, float *weight, float *slope)
{
    *weight = seen ? expf(product_less(it.scale, score, lse)) : 0.0f;
    *slope = seen ? it.scale * *weight * (product - delta) : 0.0f;
}

template <int MOST, typename T> static __global__ void query_gradient_kernel(struct attention it)
{
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size);
    char *memory = shared_memory();
    T *query = take<T>(&memory, tile), *output = take<T>(&memory, tile);
    T *key = take<T>(&memory, tile), *value = take<T>(&memory, tile);
    struct weights slopes;
    slopes.pieces = take_pieces<T>(&memory);
    float *room = take_sums<T>(&memory, size);
    slopes.all = take<float>(&memory, TILE * SCORE_STRIDE);
    int32_t *lows = take<int32_t>(&memory, TILE), *flags = take<int32_t>(&memory, TILE);
    int64_t first_token = (int64_t)blockIdx.x * TILE, token = first_token + row;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sight = sight_of(it, token);
    int64_t start = first_key_of(it, sight, token, lows);
    int64_t end = end_key_of(it, first_token);
    bool there = token < it.tokens;
    float lse = there ? operand_load(it.lse, token, head) : 0.0f;
    float delta = there ? it.delta[token * it.heads + head] : 0.0f;
    float dots[MINE], products[MINE], weight, slope;
    struct totals<MOST, T> totals;
    totals.clear();
    tile_load(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    tile_load(output, it.d_o, first_token, it.tokens, (int64_t)head * size, size);
    for (int64_t first = start; first < end; first += TILE) {
        __syncthreads();
        note_odd(flags, tile_load(key, it.kv, first, it.keys, (int64_t)group * size, size));
        tile_load(value, it.kv, first, it.keys, (int64_t)(it.groups + group) * size, size);
        __syncthreads();
        tile_dots(query, key, slopes.all, size, row, part, dots);
        tile_dots(output, value, slopes.all, size, row, part, products);
        unsigned seen = seen_of(it, sight, first, part);
        for (int i = 0; i < MINE; i++) {
            slope_of(it, seen >> i & 1u, dots[i], lse, products[i], delta, &weight, &slope);
            weight_store<T>(slopes, row, part + i * PER_ROW, slope);
        }
        weights_ready<T>();
        totals_add<MOST, T>(&totals, slopes, key, room, flags, size, row, part);
    }
    totals_store<MOST, T>(&totals, room, it.d_q, row, token, (int64_t)head * size, 1.0f, there,
                          size, part);
}

/* What the gradient of the keys needs to know of a tile of queries, in shared memory. */
struct queries {
    float *lses, *deltas;
    int32_t *lows, *highs; /* of the keys of this block's tile, which each sees */
    int32_t *documents;
};

/* By the threads of the first warp, one for each query. */
__device__ inline void queries_load(const struct queries &to, const struct attention &it,
                                    const struct sight &sight, int64_t first, int64_t first_key,
                                    int head)
{
    int row = (int)threadIdx.x;
    int64_t at = first + row;
    if (row >= TILE)
        return;
    struct view view = view_of(sight, first_key, TILE);
    to.lses[row] = at < it.tokens ? operand_load(it.lse, at, head) : 0.0f;
    to.deltas[row] = at < it.tokens ? it.delta[at * it.heads + head] : 0.0f;
    to.lows[row] = view.low;
    to.highs[row] = view.high;
    to.documents[row] = (int32_t)sight.document;
}

/* Whether query j of the tile sees the thread's key; `document` is the key's. */
__device__ inline bool is_seen(const struct queries &queries, const struct attention &it, int j,
                               int row, int32_t document)
{
    return row >= queries.lows[j] && row <= queries.highs[j] &&
           (it.causal || queries.documents[j] == document);
}

template <int MOST, typename T> static __global__ void key_gradient_kernel(struct attention it)
{
    static_assert((int)TILE == (int)WARP, "a lane for each query of a tile");
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size), per_group = it.heads / it.groups;
    int group = (int)blockIdx.y;
    char *memory = shared_memory();
    T *key = take<T>(&memory, tile), *value = take<T>(&memory, tile);
    T *query = take<T>(&memory, tile), *output = take<T>(&memory, tile);
    struct weights weights, slopes;
    weights.pieces = take_pieces<T>(&memory);
    slopes.pieces = take_pieces<T>(&memory);
    float *room = take_sums<T>(&memory, size);
    weights.all = take<float>(&memory, TILE * SCORE_STRIDE);
    slopes.all = take<float>(&memory, TILE * SCORE_STRIDE);
    struct queries queries = {take<float>(&memory, TILE), take<float>(&memory, TILE),
                              take<int32_t>(&memory, TILE), take<int32_t>(&memory, TILE),
                              take<int32_t>(&memory, TILE)};
    int32_t *output_flags = take<int32_t>(&memory, WARPS), *query_flags = output_flags + WARPS;
    int64_t first_key = (int64_t)blockIdx.x * TILE, mine = first_key + row;
    int64_t column = (int64_t)group * size, value_column = (int64_t)(it.groups + group) * size;
    int64_t before = it.causal && first_key > it.first_row ? first_key - it.first_row : 0;
    int32_t document = mine < it.keys ? it.starts[mine] : -1;
    float dots[MINE], products[MINE], weight, slope;
    struct totals<MOST, T> key_totals, value_totals;
    key_totals.clear();
    value_totals.clear();
    tile_load(key, it.kv, first_key, it.keys, column, size);
    tile_load(value, it.kv, first_key, it.keys, value_column, size);
    for (int64_t first = before; first < it.tokens; first += TILE) {
        /* Only the ends of what each query sees are looked at; all warps come to the same. */
        struct sight sight = sight_of(it, first + (int64_t)(threadIdx.x % WARP));
        if (!__any_sync(0xffffffffu, sight.low < first_key + TILE && sight.high >= first_key))
            continue;
        for (int head = group * per_group; head < (group + 1) * per_group; head++) {
            __syncthreads();
            note_odd(query_flags,
                     tile_load(query, it.q, first, it.tokens, (int64_t)head * size, size));
            note_odd(output_flags,
                     tile_load(output, it.d_o, first, it.tokens, (int64_t)head * size, size));
            queries_load(queries, it, sight, first, first_key, head);
            __syncthreads();
            tile_dots(key, query, weights.all, size, row, part, dots);
            tile_dots(value, output, slopes.all, size, row, part, products);
            for (int i = 0; i < MINE; i++) {
                int j = part + i * PER_ROW;
                slope_of(it, is_seen(queries, it, j, row, document), dots[i], queries.lses[j],
                         products[i], queries.deltas[j], &weight, &slope);
                weight_store<T>(weights, row, j, weight);
                weight_store<T>(slopes, row, j, slope);
            }
            weights_ready<T>();
            totals_add<MOST, T>(&value_totals, weights, output, room, output_flags, size, row,
                                part);
            totals_add<MOST, T>(&key_totals, slopes, query, room, query_flags, size, row, part);
        }
    }
    bool there = mine < it.keys;
    totals_store<MOST, T>(&key_totals, room, it.d_kv, row, mine, column, 1.0f, there, size, part);
    totals_store<MOST, T>(&value_totals, room, it.d_kv, row, mine, value_column, 1.0f, there, size,
                          part);
}

CUDA_WORKSPACE(attention_gradient)
{
    (void)context;
    return (size_t)(cuda_rows(&call->inputs[1]) * call->parameters.heads) * sizeof(float);
}

CUDA_RUN(attention_gradient)
{
    struct attention it;
    if (!attention_setup(context, call, 1, &it, status))
        return false;
    it.d_o = operand_of(&call->inputs[0]);
    it.o = operand_of(&call->inputs[4]);
    it.lse = operand_of(&call->inputs[5]);
    it.d_q = operand_of(&call->outputs[0]);
    it.d_kv = operand_of(&call->outputs[1]);
    it.delta = (const float *)call->workspace;
    struct launch delta, query, key;
    delta.block = query.block = key.block = dim3(ATTENTION_THREADS);
    delta.grid = dim3((unsigned)divide_up(it.tokens * it.heads, ATTENTION_THREADS / WARP));
    delta.shared = 0;
    query.grid = dim3((unsigned)divide_up(it.tokens, TILE), (unsigned)it.heads);
    query.shared = attention_shared(it, 4, 1, 2);
    key.grid = dim3((unsigned)divide_up(it.keys, TILE), (unsigned)it.groups);
    key.shared = attention_shared(it, 4, 2, 6);
    if (it.tokens && !LAUNCH(delta_kernel, delta, it, (float *)call->workspace))
        return false;
    if (attention_by_units(it))
        return attention_units_gradient_run(context, it, status);
    if (it.tokens && !ATTENTION_LAUNCH(query_gradient_kernel, query, it))
        return false;
    return it.keys == 0 || ATTENTION_LAUNCH(key_gradient_kernel, key, it);
}
