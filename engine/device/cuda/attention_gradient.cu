/* ATTENTION_GRADIENT. With p = exp(scale q.k - lse) and delta = do . o: dv = p do,
 * ds = scale p (do.v - delta), dq = ds k, dk = ds q. The scores are computed again, once for the
 * queries and once for the keys, so that each sum has one order and needs no atomic addition. */
#include "engine/device/cuda/attention.cuh"

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
    *weight = seen ? expf(it.scale * score - lse) : 0.0f;
    *slope = seen ? it.scale * *weight * (product - delta) : 0.0f;
}

template <int MOST, typename T> static __global__ void query_gradient_kernel(struct attention it)
{
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size);
    T *query = (T *)(void *)shared_memory(), *output = query + tile, *key = output + tile;
    T *value = key + tile;
    float *slopes = (float *)(void *)(value + tile);
    int64_t first_token = (int64_t)blockIdx.x * TILE, token = first_token + row;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sight = sight_of(it, token);
    int64_t start =
        first_key_of(it, sight, token, (int32_t *)(void *)(slopes + TILE * SCORE_STRIDE));
    int64_t end = end_key_of(it, first_token);
    bool there = token < it.tokens;
    float lse = there ? operand_load(it.lse, token, head) : 0.0f;
    float delta = there ? it.delta[token * it.heads + head] : 0.0f, weight;
    float sums[MOST / PER_ROW] = {0}, dots[MINE], products[MINE];
    tile_load(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    tile_load(output, it.d_o, first_token, it.tokens, (int64_t)head * size, size);
    for (int64_t first = start; first < end; first += TILE) {
        __syncthreads();
        tile_load(key, it.kv, first, it.keys, (int64_t)group * size, size);
        tile_load(value, it.kv, first, it.keys, (int64_t)(it.groups + group) * size, size);
        __syncthreads();
        tile_dots(query, key, slopes, size, row, part, dots);
        tile_dots(output, value, slopes, size, row, part, products);
        for (int i = 0; i < MINE; i++) {
            int j = part + i * PER_ROW;
            slope_of(it, sees(it, sight, first + j), dots[i], lse, products[i], delta, &weight,
                     &slopes[row * SCORE_STRIDE + j]);
        }
        __syncwarp();
        row_accumulate<MOST, T>(sums, slopes + row * SCORE_STRIDE, key, size, part);
    }
    if (there)
        row_store<MOST>(it.d_q, token, (int64_t)head * size, sums, 1.0f, size, part);
}

/* Whether any query of the tile at first_token may see any of the keys first_key..; the same for
 * all threads: each lane of a warp asks for one query. Only the ends of what it sees are looked at.
 */
__device__ inline bool tile_seen(const struct attention &it, int64_t first_token, int64_t first_key)
{
    static_assert((int)TILE == (int)WARP, "a lane for each query of a tile");
    struct sight sight = sight_of(it, first_token + (int64_t)(threadIdx.x % WARP));
    return __any_sync(0xffffffffu, sight.low < first_key + TILE && sight.high >= first_key);
}

template <int MOST, typename T> static __global__ void key_gradient_kernel(struct attention it)
{
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size), per_group = it.heads / it.groups;
    int group = (int)blockIdx.y;
    T *key = (T *)(void *)shared_memory(), *value = key + tile, *query = value + tile;
    T *output = query + tile;
    float *weights = (float *)(void *)(output + tile);
    float *slopes = weights + TILE * SCORE_STRIDE, *lses = slopes + TILE * SCORE_STRIDE;
    float *deltas = lses + TILE;
    int64_t first_key = (int64_t)blockIdx.x * TILE, mine = first_key + row;
    int64_t column = (int64_t)group * size, value_column = (int64_t)(it.groups + group) * size;
    int64_t before = it.causal && first_key > it.first_row ? first_key - it.first_row : 0;
    float key_sums[MOST / PER_ROW] = {0}, value_sums[MOST / PER_ROW] = {0};
    float dots[MINE], products[MINE];
    tile_load(key, it.kv, first_key, it.keys, column, size);
    tile_load(value, it.kv, first_key, it.keys, value_column, size);
    for (int64_t first = before; first < it.tokens; first += TILE) {
        if (!tile_seen(it, first, first_key))
            continue;
        for (int head = group * per_group; head < (group + 1) * per_group; head++) {
            __syncthreads();
            tile_load(query, it.q, first, it.tokens, (int64_t)head * size, size);
            tile_load(output, it.d_o, first, it.tokens, (int64_t)head * size, size);
            if (threadIdx.x < TILE) {
                bool there = first + threadIdx.x < it.tokens;
                int64_t at = first + (int64_t)threadIdx.x;
                lses[threadIdx.x] = there ? operand_load(it.lse, at, head) : 0.0f;
                deltas[threadIdx.x] = there ? it.delta[at * it.heads + head] : 0.0f;
            }
            __syncthreads();
            tile_dots(key, query, weights, size, row, part, dots);
            tile_dots(value, output, slopes, size, row, part, products);
            for (int i = 0; i < MINE; i++) {
                int j = part + i * PER_ROW;
                bool seen = mine < it.keys && sees(it, sight_of(it, first + j), mine);
                slope_of(it, seen, dots[i], lses[j], products[i], deltas[j],
                         &weights[row * SCORE_STRIDE + j], &slopes[row * SCORE_STRIDE + j]);
            }
            __syncwarp();
            row_accumulate<MOST, T>(value_sums, weights + row * SCORE_STRIDE, output, size, part);
            row_accumulate<MOST, T>(key_sums, slopes + row * SCORE_STRIDE, query, size, part);
        }
    }
    if (mine >= it.keys)
        return;
    row_store<MOST>(it.d_kv, mine, column, key_sums, 1.0f, size, part);
    row_store<MOST>(it.d_kv, mine, value_column, value_sums, 1.0f, size, part);
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
    query.shared = attention_shared(it, 4, 1, 1);
    key.grid = dim3((unsigned)divide_up(it.keys, TILE), (unsigned)it.groups);
    key.shared = attention_shared(it, 4, 2, 2);
    if (it.tokens && !(LAUNCH(delta_kernel, delta, it, (float *)call->workspace) &&
                       ATTENTION_LAUNCH(query_gradient_kernel, query, it)))
        return false;
    return it.keys == 0 || ATTENTION_LAUNCH(key_gradient_kernel, key, it);
}
