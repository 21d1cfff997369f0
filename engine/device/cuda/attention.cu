/* ATTENTION: blockwise softmax (Dao et al., FlashAttention, arXiv:2205.14135): a tile of scores at
 * a time, with a running maximum and sum per row. */
#include "engine/device/cuda/attention.cuh"

/* Scores of one row become weights relative to the row's new maximum. Gives the factor for what
 * was summed before. */
__device__ inline float update_row(const struct attention &it, const struct sight &sight,
                                   float *scores, int part, int64_t first_key, float *maximum,
                                   float *sum)
{
    float old = *maximum, most = old, added = 0;
    for (int i = 0; i < MINE; i++)
        if (sees(it, sight, first_key + part + i * PER_ROW))
            most = fmaxf(most, scores[part + i * PER_ROW]);
    most = row_maximum(most);
    float shift = most > -INFINITY ? most : 0.0f;
    for (int i = 0; i < MINE; i++) {
        float *score = &scores[part + i * PER_ROW];
        *score = sees(it, sight, first_key + part + i * PER_ROW) ? expf(*score - shift) : 0.0f;
        added += *score;
    }
    float factor = old > -INFINITY ? expf(old - shift) : 1.0f;
    *sum = *sum * factor + row_sum(added);
    *maximum = most;
    return factor;
}

template <int MOST, typename T> static __global__ void attention_kernel(struct attention it)
{
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size);
    T *query = (T *)(void *)shared_memory(), *key = query + tile, *value = key + tile;
    float *scores = (float *)(void *)(value + tile);
    int64_t first_token = (int64_t)blockIdx.x * TILE, token = first_token + row;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sight = sight_of(it, token);
    int64_t start =
        first_key_of(it, sight, token, (int32_t *)(void *)(scores + TILE * SCORE_STRIDE));
    int64_t end = end_key_of(it, first_token);
    float sums[MOST / PER_ROW] = {0}, dots[MINE], maximum = -INFINITY, sum = 0;
    float *mine = scores + row * SCORE_STRIDE;
    tile_load(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    for (int64_t first = start; first < end; first += TILE) {
        __syncthreads();
        tile_load(key, it.kv, first, it.keys, (int64_t)group * size, size);
        tile_load(value, it.kv, first, it.keys, (int64_t)(it.groups + group) * size, size);
        __syncthreads();
        tile_dots(query, key, scores, size, row, part, dots);
        for (int i = 0; i < MINE; i++)
            mine[part + i * PER_ROW] = it.scale * dots[i];
        float factor = update_row(it, sight, mine, part, first, &maximum, &sum);
        __syncwarp();
        for (int i = 0; i < MOST / PER_ROW; i++)
            sums[i] *= factor;
        row_accumulate<MOST, T>(sums, mine, value, size, part);
    }
    if (token >= it.tokens)
        return;
    row_store<MOST>(it.o, token, (int64_t)head * size, sums, 1.0f / sum, size, part);
    if (part == 0)
        operand_store(it.lse, token, head, (maximum > -INFINITY ? maximum : 0.0f) + logf(sum));
}

CUDA_RUN(attention)
{
    struct attention it;
    if (!attention_setup(context, call, 0, &it, status))
        return false;
    it.o = operand_of(&call->outputs[0]);
    it.lse = operand_of(&call->outputs[1]);
    struct launch where;
    where.grid = dim3((unsigned)divide_up(it.tokens, TILE), (unsigned)it.heads);
    where.block = dim3(ATTENTION_THREADS);
    where.shared = attention_shared(it, 3, 1, 1);
    return it.tokens == 0 || ATTENTION_LAUNCH(attention_kernel, where, it);
}
