/* ATTENTION_GRADIENT with scores in registers: see attention_units.cuh, and attention_gradient.cu
 * for the formulas. The gradient of the queries and that of the keys and values have a kernel each.
 */
#include "engine/device/cuda/attention_units.cuh"

/* Rows of a tile (keys, or queries in the gradient of the keys), of which there are two in shared
 * memory: one is used, the next one comes. And what is to be known of each query of one. */
enum { OTHERS = 32, QUERY_WORDS = 6 * OTHERS + 4 };

/* Sets of queries of a warp: with large heads there are not registers enough for two. */
__host__ __device__ static constexpr int query_sets(int head)
{
    return head > 64 ? 1 : 2;
}

/* Of keys it is one: there are fewer blocks of them, as several heads share them, and the first
 * keys are seen by many more queries than the last ones, so larger blocks would leave units idle.
 */
enum { KEY_SETS = 1, BLOCK_KEYS = WARPS * KEY_SETS * SET_ROWS };

/* What to_slope() takes from scores. A log sum exp that they must not be fused with is taken from
 * them before, by shift_far(): they become what is the difference when it is scaled. */
__device__ inline float shift_of(float lse)
{
    return is_beyond_fusing(lse) ? 0.0f : lse * LOG2_E;
}

__device__ inline void shift_far(float scale, float inverse, float lse, float *score)
{
    if (is_beyond_fusing(lse))
        *score = (__fmul_rn(scale, *score) - lse) * inverse;
}

/* p = exp(scale score - lse), of which the caller gives scale and lse times log2(e), and ds = scale
 * p (product - delta) in their places; 0 where nothing is seen. */
__device__ inline void to_slope(const struct attention &it, bool seen, float lse, float delta,
                                float *score, float *product)
{
    float weight = seen ? exp2f(it.scale * LOG2_E * *score - lse) : 0.0f;
    *product = seen ? it.scale * weight * (*product - delta) : 0.0f;
    *score = weight;
}

/* Of the scores of a tile of keys with the thread's queries, token, token + 8 and so on. */
template <int SETS>
__device__ inline void queries_shift(struct scores_of<SETS, OTHERS> &scores,
                                     const struct attention &it, int64_t token, int head)
{
    float inverse = 1 / it.scale;
#pragma unroll
    for (int k = 0; k < 2 * SETS; k++) {
        float lse = token + 8 * k < it.tokens ? operand_load(it.lse, token + 8 * k, head) : 0.0f;
#pragma unroll
        for (int i = 0; i < OTHERS / 4; i++)
            shift_far(it.scale, inverse, lse, &scores.at[k / 2][i / 2][k % 2 * 2 + i % 2]);
    }
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
static __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    query_gradient_units_kernel(struct attention it)
{
    constexpr int SETS = query_sets(HEAD), ROWS = WARPS * SETS * SET_ROWS;
    int size = it.size, stride = tile_stride<T>(size), warp = (int)threadIdx.x / WARP;
    T *query = (T *)(void *)shared_memory(), *output = query + ROWS * stride;
    T *tiles = output + ROWS * stride;
    int32_t *flags = (int32_t *)(void *)(tiles + 4 * OTHERS * stride), turn = 0;
    int64_t first_token = (int64_t)(gridDim.x - 1 - blockIdx.x) * ROWS;
    int64_t token = first_token + warp * SETS * SET_ROWS + (int)threadIdx.x % WARP / 4;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sights[2 * SETS];
    float lses[2 * SETS], deltas[2 * SETS], ones[2 * SETS];
    bool far = false;
#pragma unroll
    for (int k = 0; k < 2 * SETS; k++) {
        bool there = token + 8 * k < it.tokens;
        sights[k] = sight_of(it, token + 8 * k);
        float lse = there ? operand_load(it.lse, token + 8 * k, head) : 0.0f;
        lses[k] = shift_of(lse);
        far = far || is_beyond_fusing(lse);
        deltas[k] = there ? it.delta[(token + 8 * k) * it.heads + head] : 0.0f;
        ones[k] = 1;
    }
    far = __any_sync(0xffffffffu, far);
    int64_t start = first_seen(it, sights, token, flags + 8), end = end_seen(it, first_token, ROWS);
    struct scores_of<SETS, OTHERS> scores, products;
    struct scores_of<SETS, HEAD> sums;
    scores_clear(sums);
    rows_begin<ROWS, HEAD>(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    rows_begin<ROWS, HEAD>(output, it.d_o, first_token, it.tokens, (int64_t)head * size, size);
    keys_begin<HEAD>(tiles, it, start, group);
    for (int64_t first = start; first < end; first += OTHERS, turn ^= 1) {
        T *key = tiles + turn * 2 * OTHERS * stride, *value = key + OTHERS * stride;
        unsigned seen[SETS], any = 0;
        copy_wait();
        note_any(flags + 4 * turn, rows_odd<OTHERS, HEAD>(key, size));
        __syncthreads(); /* this tile is there, and nobody looks at the other one any more */
        if (first + OTHERS < end)
            keys_begin<HEAD>(tiles + (turn ^ 1) * 2 * OTHERS * stride, it, first + OTHERS, group);
#pragma unroll
        for (int set = 0; set < SETS; set++)
            any |= seen[set] = seen_by<OTHERS>(it, &sights[2 * set], first);
        if (!__any_sync(0xffffffffu, any != 0))
            continue;
        unit_scores<HEAD>(scores, query + warp * SETS * SET_ROWS * stride, key, size);
        unit_scores<HEAD>(products, output + warp * SETS * SET_ROWS * stride, value, size);
        if (far)
            queries_shift(scores, it, token, head);
#pragma unroll
        for (int i = 0; i < SETS * OTHERS / 2; i++) {
            const int set = i / (OTHERS / 2), at = i % (OTHERS / 2), row = 2 * set + at % 4 / 2;
            to_slope(it, seen[set] >> at & 1u, lses[row], deltas[row],
                     &scores.at[set][at / 4][at % 4], &products.at[set][at / 4][at % 4]);
        }
        add_sums<HEAD>(sums, products, key, flags + 4 * turn, size);
    }
    sums_store<HEAD>(it.d_q, sums, token, it.tokens, (int64_t)head * size, size, ones);
}

/* What the gradient of the keys needs to know of a tile of queries, in shared memory. */
struct tile_queries {
    float *lses, *deltas;
    float *fars;           /* 0, or the log sum exp that scores are no more fused with */
    int32_t *lows, *highs; /* of the keys of this block, which each sees */
    int32_t *documents;
    int32_t *any_far;
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
                       at->sight.low < first_key + BLOCK_KEYS && at->sight.high >= first_key))
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
    struct view view = view_of(sight, first_key, BLOCK_KEYS);
    float lse = at < it.tokens ? operand_load(it.lse, at, head) : 0.0f;
    bool far = is_beyond_fusing(lse);
    to.lses[row] = shift_of(lse);
    to.fars[row] = far ? lse : 0.0f;
    far = __any_sync(0xffffffffu, far);
    if (row == 0)
        *to.any_far = far;
    to.deltas[row] = at < it.tokens ? it.delta[at * it.heads + head] : 0.0f;
    to.lows[row] = view.low;
    to.highs[row] = view.high;
    to.documents[row] = sight.document;
}

/* Of the scores that keys_weigh() takes next. */
template <int QUERIES>
__device__ inline void keys_shift(struct scores_of<KEY_SETS, QUERIES> &scores,
                                  const struct tile_queries &queries, const struct attention &it,
                                  int first)
{
    float inverse = 1 / it.scale;
#pragma unroll
    for (int i = 0; i < QUERIES / 4; i++) {
        float lse = queries.fars[i / 2 * 8 + first + (int)threadIdx.x % 4 * 2 + i % 2];
#pragma unroll
        for (int k = 0; k < 2 * KEY_SETS; k++)
            shift_far(it.scale, inverse, lse, &scores.at[k / 2][i / 2][k % 2 * 2 + i % 2]);
    }
}

/* Scores of the thread's keys, row, row + 8 and so on of the block, with `QUERIES` of the tile's
 * queries from `first` on become weights, and the products slopes. */
template <int QUERIES>
__device__ inline void keys_weigh(struct scores_of<KEY_SETS, QUERIES> &scores,
                                  struct scores_of<KEY_SETS, QUERIES> &products,
                                  const struct tile_queries &queries, const struct attention &it,
                                  int first, int row, const int32_t (&documents)[2 * KEY_SETS])
{
    int mine = first + (int)threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < QUERIES / 4; i++) {
        int j = i / 2 * 8 + mine + i % 2, low = queries.lows[j], high = queries.highs[j];
        int32_t document = queries.documents[j];
        float lse = queries.lses[j], delta = queries.deltas[j];
#pragma unroll
        for (int k = 0; k < 2 * KEY_SETS; k++) {
            const int at = k % 2 * 2 + i % 2;
            bool seen = row + 8 * k >= low && row + 8 * k <= high &&
                        (it.causal || document == documents[k]);
            to_slope(it, seen, lse, delta, &scores.at[k / 2][i / 2][at],
                     &products.at[k / 2][i / 2][at]);
        }
    }
}

/* The second of two such sets of numbers follows the first. */
__device__ inline struct tile_queries queries_at(float *room, int turn)
{
    float *lses = room + turn * QUERY_WORDS;
    int32_t *lows = (int32_t *)(void *)(lses + 3 * OTHERS);
    return {lses,          lses + OTHERS,     lses + 2 * OTHERS, lows,
            lows + OTHERS, lows + 2 * OTHERS, lows + 3 * OTHERS};
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
    int group = (int)blockIdx.y, row = warp * KEY_SETS * SET_ROWS + (int)threadIdx.x % WARP / 4;
    T *key = (T *)(void *)shared_memory(), *value = key + BLOCK_KEYS * stride;
    T *tiles = value + BLOCK_KEYS * stride;
    float *room = (float *)(void *)(tiles + 4 * OTHERS * stride);
    int32_t *flags = (int32_t *)(void *)(room + 2 * QUERY_WORDS); /* [turn][queries, outputs] */
    int64_t first_key = (int64_t)blockIdx.x * BLOCK_KEYS, mine = first_key + row;
    int64_t column = (int64_t)group * size, value_column = (int64_t)(it.groups + group) * size;
    struct walk at = {it.causal && first_key > it.first_row ? first_key - it.first_row : 0, 0, {}};
    int32_t documents[2 * KEY_SETS];
    float ones[2 * KEY_SETS];
#pragma unroll
    for (int k = 0; k < 2 * KEY_SETS; k++) {
        documents[k] = mine + 8 * k < it.keys ? it.starts[mine + 8 * k] : -1;
        ones[k] = 1;
    }
    constexpr int QUERIES =
        HEAD > 64 ? OTHERS / 2 : OTHERS; /* at a time: there are 255 registers */
    struct scores_of<KEY_SETS, QUERIES> scores, products;
    struct scores_of<KEY_SETS, HEAD> key_sums, value_sums;
    scores_clear(key_sums);
    scores_clear(value_sums);
    rows_begin<BLOCK_KEYS, HEAD>(key, it.kv, first_key, it.keys, column, size);
    rows_begin<BLOCK_KEYS, HEAD>(value, it.kv, first_key, it.keys, value_column, size);
    walk_to(&at, it, first_key, group * (it.heads / it.groups));
    bool more = at.first < it.tokens;
    constexpr bool AT_HAND = HEAD <= 64; /* of larger heads each tile reads them again */
    struct factors_of<AT_HAND ? HEAD : UNIT, KEY_SETS> key_factors, value_factors;
    const T *keys = key + warp * KEY_SETS * SET_ROWS * stride;
    const T *values = value + warp * KEY_SETS * SET_ROWS * stride;
    if (more)
        queries_begin<HEAD>(tiles, queries_at(room, 0), it, at, first_key);
    if constexpr (AT_HAND) {
        copy_wait();
        __syncthreads();
        factors_read(key_factors, keys, size);
        factors_read(value_factors, values, size);
    }
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
            if constexpr (AT_HAND) {
                unit_scores(scores, key_factors, queried, size);
                unit_scores(products, value_factors, given, size);
            } else {
                unit_scores<HEAD>(scores, keys, queried, size);
                unit_scores<HEAD>(products, values, given, size);
            }
            if (*queries.any_far)
                keys_shift<QUERIES>(scores, queries, it, part);
            keys_weigh<QUERIES>(scores, products, queries, it, part, row, documents);
            add_sums<HEAD>(value_sums, scores, given, odd + 4, size);
            add_sums<HEAD>(key_sums, products, queried, odd, size);
        }
    }
    copy_wait(); /* where no query sees any key */
    sums_store<HEAD>(it.d_kv, key_sums, mine, it.keys, column, size, ones);
    sums_store<HEAD>(it.d_kv, value_sums, mine, it.keys, value_column, size, ones);
}

bool attention_units_gradient_run(struct cuda_context *context, const struct attention &it,
                                  struct status *status)
{
    const int rows = WARPS * query_sets(it.size) * SET_ROWS;
    struct launch query, key;
    query.block = key.block = dim3(ATTENTION_THREADS);
    query.grid = dim3((unsigned)divide_up(it.tokens, rows), (unsigned)it.heads);
    key.grid = dim3((unsigned)divide_up(it.keys, BLOCK_KEYS), (unsigned)it.groups);
    query.shared = units_shared(it, 2 * rows + 4 * OTHERS, 12);
    key.shared = units_shared(it, 2 * BLOCK_KEYS + 4 * OTHERS, 2 * QUERY_WORDS + 16);
    return UNITS_LAUNCH(query_gradient_units_kernel, query, it) &&
           UNITS_LAUNCH(key_gradient_units_kernel, key, it);
}
