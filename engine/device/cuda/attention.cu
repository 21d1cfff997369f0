/* ATTENTION: blockwise softmax (Dao et al., FlashAttention, arXiv:2205.14135): a tile of scores at
 * a time, with a running maximum and sum per row. */
#include "engine/device/cuda/attention_sums.cuh"

/* How far above the maximum that weights are relative to a score may be before all is scaled anew,
 * in powers of e. Where sums are in the matrix units' fragments scaling is dear, and rare so. */
template <typename T> __device__ inline float slack_of()
{
    return std::is_same<T, __nv_bfloat16>::value ? 8.0f : 0.0f;
}

/* Scores of one row become weights relative to the row's maximum. Gives the factor for what was
 * summed before. */
__device__ inline float update_row(float scores[MINE], unsigned seen, float slack, float *maximum,
                                   float *sum)
{
    float old = *maximum, most = old, added = 0;
#pragma unroll
    for (int i = 0; i < MINE; i++)
        if (seen >> i & 1u)
            most = fmaxf(most, scores[i]);
    most = row_maximum(most);
    if (old > -INFINITY && !(most > old + slack))
        most = old;
    float shift = most > -INFINITY ? most : 0.0f;
#pragma unroll
    for (int i = 0; i < MINE; i++) {
        scores[i] = seen >> i & 1u ? expf(scores[i] - shift) : 0.0f;
        added += scores[i];
    }
    float factor = old > -INFINITY ? expf(old - shift) : 1.0f;
    *sum = *sum * factor + row_sum(added);
    *maximum = most;
    return factor;
}

/* Scales what was summed, where any row of the block asks for it, and adds the tile. */
template <int MOST, typename T>
__device__ inline void add_values(struct totals<MOST, T> *totals, const struct weights &weights,
                                  const T *value, float *memory, const float *factors,
                                  const int32_t *flags, float factor, int size, int row, int part)
{
    if constexpr (std::is_same<T, __nv_bfloat16>::value) {
        if (__any_sync(0xffffffffu, factors[threadIdx.x % WARP] != 1))
            totals->renew(memory, factor, weights, NULL, size, row, part);
    } else {
        totals->scale(factor);
    }
    totals_add<MOST, T>(totals, weights, value, memory, flags, size, row, part);
}

template <int MOST, typename T> static __global__ void attention_kernel(struct attention it)
{
    int size = it.size, row = (int)threadIdx.x / PER_ROW, part = (int)threadIdx.x % PER_ROW;
    int tile = TILE * tile_stride<T>(size);
    char *memory = shared_memory();
    T *query = take<T>(&memory, tile), *key = take<T>(&memory, tile);
    T *value = take<T>(&memory, tile);
    struct weights weights;
    weights.pieces = take_pieces<T>(&memory);
    float *room = take_sums<T>(&memory, size);
    weights.all = take<float>(&memory, TILE * SCORE_STRIDE);
    float *factors = take<float>(&memory, TILE);
    int32_t *lows = take<int32_t>(&memory, TILE), *flags = take<int32_t>(&memory, TILE);
    int64_t first_token = (int64_t)blockIdx.x * TILE, token = first_token + row;
    int head = (int)blockIdx.y, group = head / (it.heads / it.groups);
    struct sight sight = sight_of(it, token);
    int64_t start = first_key_of(it, sight, token, lows);
    int64_t end = end_key_of(it, first_token);
    float dots[MINE], maximum = -INFINITY, sum = 0;
    struct totals<MOST, T> totals;
    totals.clear();
    tile_load(query, it.q, first_token, it.tokens, (int64_t)head * size, size);
    for (int64_t first = start; first < end; first += TILE) {
        __syncthreads();
        tile_load(key, it.kv, first, it.keys, (int64_t)group * size, size);
        note_odd(flags, tile_load(value, it.kv, first, it.keys, (int64_t)(it.groups + group) * size,
                                  size));
        __syncthreads();
        tile_dots(query, key, weights.all, size, row, part, dots);
        for (int i = 0; i < MINE; i++)
            dots[i] = __fmul_rn(dots[i], it.scale); /* not to be fused with a difference */
        unsigned seen = seen_of(it, sight, first, part);
        float factor = update_row(dots, seen, slack_of<T>(), &maximum, &sum);
        for (int i = 0; i < MINE; i++)
            weight_store<T>(weights, row, part + i * PER_ROW, dots[i]);
        if (part == 0)
            factors[row] = factor;
        weights_ready<T>();
        add_values<MOST, T>(&totals, weights, value, room, factors, flags, factor, size, row, part);
    }
    totals_store<MOST, T>(&totals, room, it.o, row, token, (int64_t)head * size, 1.0f / sum,
                          token < it.tokens, size, part);
    if (part == 0 && token < it.tokens)
        operand_store(it.lse, token, head, (maximum > -INFINITY ? maximum : 0.0f) + logf(sum));
}

CUDA_RUN(attention)
{
    struct attention it;
    if (!attention_setup(context, call, 0, &it, status))
        return false;
    it.o = operand_of(&call->outputs[0]);
    it.lse = operand_of(&call->outputs[1]);
    if (attention_by_units(it))
        return attention_units_run(context, it, status);
    struct launch where;
    where.grid = dim3((unsigned)divide_up(it.tokens, TILE), (unsigned)it.heads);
    where.block = dim3(ATTENTION_THREADS);
    where.shared = attention_shared(it, 3, 1, 3);
    return it.tokens == 0 || ATTENTION_LAUNCH(attention_kernel, where, it);
}
