/* ATTENTION with scores in registers: see attention_units.cuh. */
#include "engine/device/cuda/attention_units.cuh"

/* Sets of rows of a warp, and rows of a block. */
enum { SETS = 2, ROWS = WARPS * SETS * SET_ROWS };

/* Keys of a tile, of which there are two in shared memory: one is used, the next one comes. */
__host__ __device__ static constexpr int tile_keys(int head)
{
    return head > 64 ? 32 : 64;
}

/* A row's scores, which are not scaled yet, become weights relative to the row's maximum; gives the
 * factor for what was summed before. Numbers `row` and `row` + 1 of each four belong to it. `scale`
 * is times log2(e), and comes after the difference, so that the largest weight is exactly 1. */
template <int KEYS>
__device__ inline float weigh_row(float (&scores)[KEYS / 8][4], int row, unsigned seen, float scale,
                                  float *maximum, float *sum)
{
    float most = *maximum, added = 0;
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++)
        if (seen >> (i / 2 * 4 + row + i % 2) & 1u)
            most = fmaxf(most, scores[i / 2][row + i % 2]);
    most = row_maximum(most);
    float shift = most > -INFINITY ? most : 0.0f;
#pragma unroll
    for (int i = 0; i < KEYS / 4; i++) {
        float *score = &scores[i / 2][row + i % 2];
        *score = seen >> (i / 2 * 4 + row + i % 2) & 1u ? exp2f((*score - shift) * scale) : 0.0f;
        added += *score;
    }
    float factor = *maximum > -INFINITY ? exp2f((*maximum - shift) * scale) : 1.0f;
    *sum = *sum * factor + row_sum(added);
    *maximum = most;
    return factor;
}

/* A tile of keys and that of their values behind it. */
template <int HEAD, typename T>
__device__ inline void keys_begin(T *to, const struct attention &it, int64_t first, int group)
{
    constexpr int KEYS = tile_keys(HEAD);
    rows_begin<KEYS, HEAD>(to, it.kv, first, it.keys, (int64_t)group * it.size, it.size);
    rows_begin<KEYS, HEAD>(to + KEYS * tile_stride<T>(it.size), it.kv, first, it.keys,
                           (int64_t)(it.groups + group) * it.size, it.size);
}

/* Later queries have more keys before them: their blocks begin first. */
template <int HEAD, typename T>
static __global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_units_kernel(struct attention it)
{
    constexpr int KEYS = tile_keys(HEAD);
    int size = it.size, stride = tile_stride<T>(size), warp = (int)threadIdx.x / WARP;
    T *query = (T *)(void *)shared_memory(), *tiles = query + ROWS * stride;
    int32_t *flags = (int32_t *)(void *)(tiles + 4 * KEYS * stride), turn = 0;
    int64_t first_token = (int64_t)(gridDim.x - 1 - blockIdx.x) * ROWS;
    int64_t token = first_token + warp * SETS * SET_ROWS + (int)threadIdx.x % WARP / 4;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sights[2 * SETS];
    float maxima[2 * SETS], totals[2 * SETS], factors[2 * SETS];
#pragma unroll
    for (int k = 0; k < 2 * SETS; k++) {
        sights[k] = sight_of(it, token + 8 * k);
        maxima[k] = -INFINITY;
        totals[k] = 0;
    }
    int64_t start = first_seen(it, sights, token, flags + 8), end = end_seen(it, first_token, ROWS);
    struct scores_of<SETS, KEYS> scores;
    struct scores_of<SETS, HEAD> sums;
    scores_clear(sums);
    rows_begin<ROWS, HEAD>(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    keys_begin<HEAD>(tiles, it, start, group);
    for (int64_t first = start; first < end; first += KEYS, turn ^= 1) {
        T *key = tiles + turn * 2 * KEYS * stride, *value = key + KEYS * stride;
        unsigned seen[SETS], any = 0;
        copy_wait();
        note_any(flags + 4 * turn, rows_odd<KEYS, HEAD>(value, size));
        __syncthreads(); /* this tile is there, and nobody looks at the other one any more */
        if (first + KEYS < end)
            keys_begin<HEAD>(tiles + (turn ^ 1) * 2 * KEYS * stride, it, first + KEYS, group);
#pragma unroll
        for (int set = 0; set < SETS; set++)
            any |= seen[set] = seen_by<KEYS>(it, &sights[2 * set], first);
        if (!__any_sync(0xffffffffu, any != 0))
            continue;
        unit_scores<HEAD>(scores, query + warp * SETS * SET_ROWS * stride, key, size);
#pragma unroll
        for (int k = 0; k < 2 * SETS; k++)
            factors[k] = weigh_row<KEYS>(scores.at[k / 2], k % 2 * 2, seen[k / 2],
                                         it.scale * LOG2_E, &maxima[k], &totals[k]);
#pragma unroll
        for (int i = 0; i < SETS * HEAD / 2; i++)
            sums.at[i / (HEAD / 2)][i / 4 % (HEAD / 8)][i % 4] *=
                factors[i / (HEAD / 2) * 2 + i % 4 / 2];
        add_sums<HEAD>(sums, scores, value, flags + 4 * turn, size);
    }
#pragma unroll
    for (int k = 0; k < 2 * SETS; k++)
        factors[k] = 1.0f / totals[k];
    sums_store<HEAD>(it.o, sums, token, it.tokens, (int64_t)head * size, size, factors);
#pragma unroll
    for (int k = 0; k < 2 * SETS; k++)
        if (threadIdx.x % 4 == 0 && token + 8 * k < it.tokens)
            operand_store(it.lse, token + 8 * k, head,
                          (maxima[k] > -INFINITY ? __fmul_rn(it.scale, maxima[k]) : 0.0f) +
                              logf(totals[k]));
}

bool attention_units_run(struct cuda_context *context, const struct attention &it,
                         struct status *status)
{
    struct launch where;
    where.grid = dim3((unsigned)divide_up(it.tokens, ROWS), (unsigned)it.heads);
    where.block = dim3(ATTENTION_THREADS);
    where.shared = units_shared(it, ROWS + 4 * tile_keys(it.size), 12);
    return UNITS_LAUNCH(attention_units_kernel, where, it);
}
