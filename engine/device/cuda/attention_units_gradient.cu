/* ATTENTION_GRADIENT with scores in registers: see attention_units.cuh, and attention_gradient.cu
 * for the formulas. The gradient of the queries and that of the keys and values have a kernel each.
 */
#include "engine/device/cuda/attention_units.cuh"

/* Rows of a tile (keys, or queries in the gradient of the keys), of which there are two in shared
 * memory: one is used, the next one comes. And what is to be known of each query of one. */
enum { OTHERS = 32, QUERY_WORDS = 5 * OTHERS };

/* p = exp(scale score - lse), of which the caller gives scale and lse times log2(e), and ds = scale
 * p (product - delta) in their places; 0 where nothing is seen. */
__device__ inline void to_slope(const struct attention &it, bool seen, float lse, float delta,
                                float *score, float *product)
{
    float weight = seen ? exp2f(it.scale * LOG2_E * *score - lse) : 0.0f;
    *product = seen ? it.scale * weight * (*product - delta) : 0.0f;
    *score = weight;
}

/* A tile of keys and that of their values behind it. */
template <int HEAD, typename T>
__device__ inline void keys_begin(T *to, const struct attention &it, int64_t first, int group)
{
    rows_begin<OTHERS, HEAD>(to, it.kv, first, it.keys, (int64_t)group * it.size, it.size);
    rows_begin<OTHERS, HEAD>(to + OTHERS * tile_stride<T>(it.size), it.kv, first, it.keys,
                             (int64_t)(it.groups + group) * it.size, it.size);
}

template <int HEAD, typename T>
static __global__ void __launch_bounds__(ATTENTION_THREADS, HEAD > 64 ? 2 : 3)
    query_gradient_units_kernel(struct attention it)
{
    int size = it.size, stride = tile_stride<T>(size), warp = (int)threadIdx.x / WARP;
    T *query = (T *)(void *)shared_memory(), *output = query + BLOCK_ROWS * stride;
    T *tiles = output + BLOCK_ROWS * stride;
    int32_t *flags = (int32_t *)(void *)(tiles + 4 * OTHERS * stride), turn = 0;
    int64_t first_token = (int64_t)(gridDim.x - 1 - blockIdx.x) * BLOCK_ROWS;
    int64_t token = first_token + warp * WARP_ROWS + (int)threadIdx.x % WARP / 4;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sights[2] = {sight_of(it, token), sight_of(it, token + 8)};
    int64_t start = first_seen(it, sights, token, flags + 8), end = end_seen(it, first_token);
    float lses[2] = {0, 0}, deltas[2] = {0, 0}, sums[HEAD / 8][4];
    float scores[OTHERS / 8][4], products[OTHERS / 8][4];
    for (int k = 0; k < 2; k++)
        if (token + 8 * k < it.tokens) {
            lses[k] = operand_load(it.lse, token + 8 * k, head) * LOG2_E;
            deltas[k] = it.delta[(token + 8 * k) * it.heads + head];
        }
#pragma unroll
    for (int i = 0; i < HEAD / 8; i++)
        sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
    rows_begin<BLOCK_ROWS, HEAD>(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    rows_begin<BLOCK_ROWS, HEAD>(output, it.d_o, first_token, it.tokens, (int64_t)head * size,
                                 size);
    keys_begin<HEAD>(tiles, it, start, group);
    for (int64_t first = start; first < end; first += OTHERS, turn ^= 1) {
        T *key = tiles + turn * 2 * OTHERS * stride, *value = key + OTHERS * stride;
        copy_wait();
        note_any(flags + 4 * turn, rows_odd<OTHERS, HEAD>(key, size));
        __syncthreads(); /* this tile is there, and nobody looks at the other one any more */
        if (first + OTHERS < end)
            keys_begin<HEAD>(tiles + (turn ^ 1) * 2 * OTHERS * stride, it, first + OTHERS, group);
        unsigned seen = seen_by<OTHERS>(it, sights, first);
        if (!__any_sync(0xffffffffu, seen != 0))
            continue;
        unit_scores<HEAD, OTHERS>(scores, query + warp * WARP_ROWS * stride, key, size);
        unit_scores<HEAD, OTHERS>(products, output + warp * WARP_ROWS * stride, value, size);
#pragma unroll
        for (int i = 0; i < OTHERS / 2; i++)
            to_slope(it, seen >> i & 1u, lses[i % 4 / 2], deltas[i % 4 / 2], &scores[i / 4][i % 4],
                     &products[i / 4][i % 4]);
        add_sums<HEAD, OTHERS>(sums, products, key, flags + 4 * turn, size);
    }
    const float ones[2] = {1, 1};
    sums_store<HEAD>(it.d_q, sums, token, it.tokens, (int64_t)head * size, size, ones);
}

/* What the gradient of the keys needs to know of a tile of queries, in shared memory. */
struct tile_queries {
    float *lses, *deltas;
    int32_t *lows, *highs; /* of the keys of this block, which each sees */
    int32_t *documents;
};

/* Where the gradient of the keys is: each head of the group for a tile of queries, then the next
 * tile of which any query sees any key of the block. */
struct walk {
    int64_t first;
    int head;
    struct sight sight; /* of the lane's query */
};

/* To the first such tile from at->first on. Only the ends of what each query sees are looked at;
 * all warps come to the same. */
__device__ inline void walk_to(struct walk *at, const struct attention &it, int64_t first_key,
                               int head)
{
    at->head = head;
    for (; at->first < it.tokens; at->first += OTHERS) {
        at->sight = sight_of(it, at->first + (int64_t)(threadIdx.x % WARP));
        if (__any_sync(0xffffffffu,
                       at->sight.low < first_key + BLOCK_ROWS && at->sight.high >= first_key))
            return;
    }
}

__device__ inline void walk_on(struct walk *at, const struct attention &it, int64_t first_key,
                               int group)
{
    int per_group = it.heads / it.groups;
    if (++at->head < (group + 1) * per_group)
        return;
    at->first += OTHERS;
    walk_to(at, it, first_key, group * per_group);
}

/* By the threads of the first warp, one for each query. */
__device__ inline void queries_load(const struct tile_queries &to, const struct attention &it,
                                    const struct sight &sight, int64_t first, int64_t first_key,
                                    int head)
{
    static_assert((int)OTHERS == (int)WARP, "a lane for each query of a tile");
    int row = (int)threadIdx.x;
    int64_t at = first + row;
    if (row >= OTHERS)
        return;
    struct view view = view_of(sight, first_key, BLOCK_ROWS);
    to.lses[row] = at < it.tokens ? operand_load(it.lse, at, head) * LOG2_E : 0.0f;
    to.deltas[row] = at < it.tokens ? it.delta[at * it.heads + head] : 0.0f;
    to.lows[row] = view.low;
    to.highs[row] = view.high;
    to.documents[row] = (int32_t)sight.document;
}

/* Scores of the thread's two keys, row and row + 8 of the block, with `QUERIES` of the tile's
 * queries from `first` on become weights, and the products slopes. */
template <int QUERIES>
__device__ inline void keys_weigh(float (&scores)[QUERIES / 8][4],
                                  float (&products)[QUERIES / 8][4],
                                  const struct tile_queries &queries, const struct attention &it,
                                  int first, int row, const int32_t documents[2])
{
    int mine = first + (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < QUERIES / 4; i++) {
        int j = i / 2 * 8 + mine + i % 2, low = queries.lows[j], high = queries.highs[j];
        int32_t document = queries.documents[j];
        float lse = queries.lses[j], delta = queries.deltas[j];
#pragma unroll
        for (int k = 0; k < 2; k++) {
            bool seen = row + 8 * k >= low && row + 8 * k <= high &&
                        (it.causal || document == documents[k]);
            to_slope(it, seen, lse, delta, &scores[i / 2][2 * k + i % 2],
                     &products[i / 2][2 * k + i % 2]);
        }
    }
}

/* The second of two such sets of numbers follows the first. */
__device__ inline struct tile_queries queries_at(float *room, int turn)
{
    float *lses = room + turn * QUERY_WORDS;
    int32_t *lows = (int32_t *)(void *)(lses + 2 * OTHERS);
    return {lses, lses + OTHERS, lows, lows + OTHERS, lows + 2 * OTHERS};
}

/* A tile of queries, the gradients of their outputs behind it, and what is to be known of them. */
template <int HEAD, typename T>
__device__ inline void queries_begin(T *to, const struct tile_queries &queries,
                                     const struct attention &it, const struct walk &at,
                                     int64_t first_key)
{
    int64_t column = (int64_t)at.head * it.size;
    rows_begin<OTHERS, HEAD>(to, it.q, at.first, it.tokens, column, it.size);
    rows_begin<OTHERS, HEAD>(to + OTHERS * tile_stride<T>(it.size), it.d_o, at.first, it.tokens,
                             column, it.size);
    queries_load(queries, it, at.sight, at.first, first_key, at.head);
}

template <int HEAD, typename T>
static __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    key_gradient_units_kernel(struct attention it)
{
    int size = it.size, stride = tile_stride<T>(size), warp = (int)threadIdx.x / WARP, turn = 0;
    int group = (int)blockIdx.y, row = warp * WARP_ROWS + (int)threadIdx.x % WARP / 4;
    T *key = (T *)(void *)shared_memory(), *value = key + BLOCK_ROWS * stride;
    T *tiles = value + BLOCK_ROWS * stride;
    float *room = (float *)(void *)(tiles + 4 * OTHERS * stride);
    int32_t *flags = (int32_t *)(void *)(room + 2 * QUERY_WORDS); /* [turn][queries, outputs] */
    int64_t first_key = (int64_t)blockIdx.x * BLOCK_ROWS, mine = first_key + row;
    int64_t column = (int64_t)group * size, value_column = (int64_t)(it.groups + group) * size;
    struct walk at = {it.causal && first_key > it.first_row ? first_key - it.first_row : 0, 0, {}};
    int32_t documents[2] = {mine < it.keys ? it.starts[mine] : -1,
                            mine + 8 < it.keys ? it.starts[mine + 8] : -1};
    constexpr int QUERIES =
        HEAD > 64 ? OTHERS / 2 : OTHERS; /* at a time: there are 255 registers */
    float scores[QUERIES / 8][4], products[QUERIES / 8][4];
    float key_sums[HEAD / 8][4], value_sums[HEAD / 8][4];
#pragma unroll
    for (int i = 0; i < HEAD / 2; i++)
        key_sums[i / 4][i % 4] = value_sums[i / 4][i % 4] = 0;
    rows_begin<BLOCK_ROWS, HEAD>(key, it.kv, first_key, it.keys, column, size);
    rows_begin<BLOCK_ROWS, HEAD>(value, it.kv, first_key, it.keys, value_column, size);
    walk_to(&at, it, first_key, group * (it.heads / it.groups));
    bool more = at.first < it.tokens;
    if (more)
        queries_begin<HEAD>(tiles, queries_at(room, 0), it, at, first_key);
    for (; more; turn ^= 1) {
        const T *query = tiles + turn * 2 * OTHERS * stride, *output = query + OTHERS * stride;
        const int32_t *odd = flags + 8 * turn;
        struct tile_queries queries = queries_at(room, turn);
        copy_wait();
        note_any(flags + 8 * turn, rows_odd<OTHERS, HEAD>(query, size));
        note_any(flags + 8 * turn + 4, rows_odd<OTHERS, HEAD>(output, size));
        __syncthreads(); /* this tile is there, and nobody looks at the other one any more */
        walk_on(&at, it, first_key, group);
        more = at.first < it.tokens;
        if (more)
            queries_begin<HEAD>(tiles + (turn ^ 1) * 2 * OTHERS * stride,
                                queries_at(room, turn ^ 1), it, at, first_key);
#pragma unroll 1
        for (int part = 0; part < OTHERS; part += QUERIES) {
            const T *queried = query + part * stride, *given = output + part * stride;
            unit_scores<HEAD, QUERIES>(scores, key + warp * WARP_ROWS * stride, queried, size);
            unit_scores<HEAD, QUERIES>(products, value + warp * WARP_ROWS * stride, given, size);
            keys_weigh<QUERIES>(scores, products, queries, it, part, row, documents);
            add_sums<HEAD, QUERIES>(value_sums, scores, given, odd + 4, size);
            add_sums<HEAD, QUERIES>(key_sums, products, queried, odd, size);
        }
    }
    copy_wait(); /* where no query sees any key */
    const float ones[2] = {1, 1};
    sums_store<HEAD>(it.d_kv, key_sums, mine, it.keys, column, size, ones);
    sums_store<HEAD>(it.d_kv, value_sums, mine, it.keys, value_column, size, ones);
}

bool attention_units_gradient_run(struct cuda_context *context, const struct attention &it,
                                  struct status *status)
{
    struct launch query, key;
    query.block = key.block = dim3(ATTENTION_THREADS);
    query.grid = dim3((unsigned)divide_up(it.tokens, BLOCK_ROWS), (unsigned)it.heads);
    key.grid = dim3((unsigned)divide_up(it.keys, BLOCK_ROWS), (unsigned)it.groups);
    query.shared = key.shared = units_shared(it, 2 * BLOCK_ROWS + 4 * OTHERS, 2 * QUERY_WORDS + 16);
    return UNITS_LAUNCH(query_gradient_units_kernel, query, it) &&
           UNITS_LAUNCH(key_gradient_units_kernel, key, it);
}
