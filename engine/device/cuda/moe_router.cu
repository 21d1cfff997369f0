/* TOP_K, LOAD_BALANCE, ROUTE_ROWS and the gradients: which expert gets which token. */
#include "engine/device/cuda/operand.cuh"

enum { ROUTER_THREADS = 128, ROUTER_WARPS = ROUTER_THREADS / WARP };

static struct launch launch_threads(int64_t count)
{
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(count, ROUTER_THREADS), 1 << 20));
    where.block = dim3(ROUTER_THREADS);
    where.shared = 0;
    return where;
}

static struct launch launch_warps(int64_t count)
{
    return launch_threads(count * WARP);
}

struct router {
    struct operand logits, experts, scores, out;
    int64_t rows, count, k; /* tokens, experts, choices */
    struct cuda_fault *fault;
    int op;
};

__device__ inline bool is_chosen(const int32_t *chosen, int64_t count, int32_t expert)
{
    for (int64_t i = 0; i < count; i++)
        if (chosen[i] == expert)
            return true;
    return false;
}

/* A thread for each token: there are few experts. */
static __global__ void top_k_kernel(struct router it)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; row < it.rows; row += step) {
        int32_t *chosen = operand_row<int32_t>(it.experts, row);
        float *scores = operand_row<float>(it.scores, row), sum = 0, top = 0;
        for (int64_t choice = 0; choice < it.k; choice++) {
            int32_t best = -1;
            float most = 0;
            for (int32_t e = 0; e < it.count; e++) {
                float logit = operand_load(it.logits, row, e);
                if ((best < 0 || logit > most) && !is_chosen(chosen, choice, e)) {
                    best = e;
                    most = logit;
                }
            }
            if (choice == 0)
                top = most;
            chosen[choice] = best;
            scores[choice] = expf(most - top);
            sum += scores[choice];
        }
        for (int64_t choice = 0; choice < it.k; choice++)
            scores[choice] /= sum;
    }
}

CUDA_RUN(top_k)
{
    struct router it = {};
    it.logits = operand_of(&call->inputs[0]);
    it.experts = operand_of(&call->outputs[0]);
    it.scores = operand_of(&call->outputs[1]);
    it.rows = cuda_rows(&call->inputs[0]);
    it.count = cuda_columns(&call->inputs[0]);
    it.k = cuda_columns(&call->outputs[0]);
    if (it.k > it.count)
        return status_fail(status, STATUS_INVALID, "top_k: %lld of %lld experts", (long long)it.k,
                           (long long)it.count);
    return it.rows == 0 || LAUNCH(top_k_kernel, launch_threads(it.rows), it);
}

/* dlogits of the chosen: s_i (ds_i - sum s ds); of the others 0. */
static __global__ void top_k_gradient_kernel(struct router it, struct operand slopes)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; row < it.rows; row += step) {
        const int32_t *chosen = operand_row<int32_t>(it.experts, row);
        const float *scores = operand_row<float>(it.scores, row);
        const float *ds = operand_row<float>(slopes, row);
        float product = 0;
        for (int64_t i = 0; i < it.k; i++)
            product += ds[i] * scores[i];
        for (int64_t e = 0; e < it.count; e++)
            operand_store(it.out, row, e, 0);
        for (int64_t i = 0; i < it.k; i++)
            if (index_within(it.fault, it.op, row, chosen[i], 0, it.count))
                operand_store(it.out, row, chosen[i], scores[i] * (ds[i] - product));
    }
}

CUDA_RUN(top_k_gradient)
{
    struct router it = {};
    it.experts = operand_of(&call->inputs[1]);
    it.scores = operand_of(&call->inputs[2]);
    it.out = operand_of(&call->outputs[0]);
    it.rows = cuda_rows(&call->outputs[0]);
    it.count = cuda_columns(&call->outputs[0]);
    it.k = cuda_columns(&call->inputs[1]);
    it.fault = context->fault;
    it.op = (int)call->op;
    return it.rows == 0 ||
           LAUNCH(top_k_gradient_kernel, launch_threads(it.rows), it, operand_of(&call->inputs[0]));
}

/* Choice number i = token * k + choice; -1 beyond the last, and for an expert that is none. */
__device__ inline int32_t choice_at(const struct router &it, int64_t i)
{
    if (i >= it.rows * it.k)
        return -1;
    int32_t expert = operand_row<int32_t>(it.experts, i / it.k)[i % it.k];
    return index_within(it.fault, it.op, i / it.k, expert, 0, it.count) ? expert : -1;
}

__device__ inline int64_t my_warp()
{
    return (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
}

/* Choices are counted and put in order by chunks, a warp for each: which choices are in a chunk
 * depends on their number alone. */
enum { CHUNK = 8 * WARP };

/* Of each chunk how many choices of each expert, int32 [chunks, experts] in workspace; then how
 * many of them come before the chunk. */
struct chunks {
    int32_t *counts;
    int64_t number;
};

static int64_t chunks_of(int64_t choices)
{
    return choices > 0 ? divide_up(choices, CHUNK) : 1;
}

/* The lanes whose expert is that of the first of `left`, by which they are reduced; its number to
 * `expert`. Lanes of no expert (-1) are not among `left` at first. */
__device__ inline unsigned next_group(unsigned *left, int32_t mine, int32_t *expert)
{
    *expert = __shfl_sync(0xffffffffu, mine, __ffs((int)*left) - 1);
    unsigned group = __ballot_sync(0xffffffffu, mine == *expert);
    *left &= ~group;
    return group;
}

static __global__ void chunk_count_kernel(struct router it, struct chunks chunks)
{
    int32_t *counts = (int32_t *)(void *)shared_memory(), expert;
    int lane = (int)threadIdx.x;
    for (int64_t e = lane; e < it.count; e += WARP)
        counts[e] = 0;
    __syncwarp();
    for (int64_t i = 0; i < CHUNK; i += WARP) {
        int32_t mine = choice_at(it, (int64_t)blockIdx.x * CHUNK + i + lane);
        unsigned left = __ballot_sync(0xffffffffu, mine >= 0);
        while (left) {
            unsigned group = next_group(&left, mine, &expert);
            if (lane == 0)
                counts[expert] += __popc(group);
        }
    }
    __syncwarp();
    for (int64_t e = lane; e < it.count; e += WARP)
        chunks.counts[blockIdx.x * it.count + e] = counts[e];
}

/* Counts of chunks become what comes before them; the count of all for each expert. Several are
 * read at a time, as each takes long to come. */
__device__ inline int32_t scan_chunks(const struct router &it, const struct chunks &chunks,
                                      int64_t expert)
{
    enum { AT_ONCE = 8 };
    int32_t before = 0, here[AT_ONCE], *counts = chunks.counts + expert;
    for (int64_t first = 0; first < chunks.number; first += AT_ONCE) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            here[i] = first + i < chunks.number ? counts[(first + i) * it.count] : 0;
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            if (first + i < chunks.number)
                counts[(first + i) * it.count] = before;
            before += here[i];
        }
    }
    return before;
}

static bool count_choices(struct cuda_context *context, const struct router &it,
                          const struct chunks &chunks, struct status *status)
{
    enum { MOST_EXPERTS = 40000 }; /* a number for each fits the shared memory */
    struct launch where;
    if (it.count > MOST_EXPERTS)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s: %lld experts; the cuda device takes at most %d",
                           op_name((enum op)it.op), (long long)it.count, MOST_EXPERTS);
    where.grid = dim3((unsigned)chunks.number);
    where.block = dim3(WARP);
    where.shared = (size_t)it.count * sizeof(int32_t);
    return LAUNCH(chunk_count_kernel, where, it, chunks);
}

struct balance {
    struct chunks chunks;
    double *fraction; /* [E]: share of the tokens that chose each expert */
    double *sums;     /* [blocks, E]: of the softmax over a block of rows; not in the gradient */
    struct cuda_blocks blocks;
};

static size_t carve(const struct op_call *call, void *base, struct balance *balance)
{
    struct workspace memory = {(char *)base, 0};
    int64_t experts = cuda_columns(&call->inputs[0]);
    balance->blocks = cuda_blocks(cuda_rows(&call->inputs[0]));
    int64_t blocks = call->op == OP_LOAD_BALANCE ? balance->blocks.count : 0;
    balance->chunks.number =
        chunks_of(cuda_rows(&call->inputs[0]) * cuda_columns(&call->inputs[1]));
    balance->chunks.counts =
        (int32_t *)workspace_take(&memory, balance->chunks.number * experts, sizeof(int32_t));
    balance->fraction = (double *)workspace_take(&memory, experts, sizeof(double));
    balance->sums = (double *)workspace_take(&memory, blocks * experts, sizeof(double));
    return memory.used;
}

static __global__ void fraction_kernel(struct router it, struct balance balance)
{
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; e < it.count; e += step)
        balance.fraction[e] = (double)scan_chunks(it, balance.chunks, e) / (double)it.rows;
}

static bool find_fractions(struct cuda_context *context, const struct router &it,
                           const struct balance &balance, struct status *status)
{
    return count_choices(context, it, balance.chunks, status) &&
           LAUNCH(fraction_kernel, launch_threads(it.count), it, balance);
}

/* Maximum and sum of exp(logit - maximum) of a row, for all lanes of a warp. */
__device__ inline float softmax_parts(const struct router &it, int64_t row, float *maximum)
{
    int lane = (int)(threadIdx.x % WARP);
    float most = -INFINITY, sum = 0;
    for (int64_t e = lane; e < it.count; e += WARP)
        most = fmaxf(most, operand_load(it.logits, row, e));
    most = warp_maximum(most);
    for (int64_t e = lane; e < it.count; e += WARP)
        sum += expf(operand_load(it.logits, row, e) - most);
    *maximum = most;
    return warp_sum(sum);
}

/* A block of threads for each block of rows; a warp takes every fourth row. */
static __global__ void balance_rows_kernel(struct router it, struct balance balance)
{
    double *sums = (double *)(void *)shared_memory();
    int64_t warp = threadIdx.x / WARP, first = blockIdx.x * balance.blocks.rows;
    int64_t end = first + balance.blocks.rows < it.rows ? first + balance.blocks.rows : it.rows;
    double *mine = sums + warp * it.count;
    for (int64_t e = threadIdx.x % WARP; e < it.count; e += WARP)
        mine[e] = 0;
    for (int64_t row = first + warp; row < end; row += ROUTER_WARPS) {
        float maximum, sum = softmax_parts(it, row, &maximum);
        for (int64_t e = threadIdx.x % WARP; e < it.count; e += WARP)
            mine[e] += (double)(expf(operand_load(it.logits, row, e) - maximum) / sum);
    }
    __syncthreads();
    for (int64_t e = threadIdx.x; e < it.count; e += blockDim.x) {
        double sum = sums[e];
        for (int other = 1; other < ROUTER_WARPS; other++)
            sum += sums[other * it.count + e];
        balance.sums[blockIdx.x * it.count + e] = sum;
    }
}

static __global__ void balance_total_kernel(struct router it, struct balance balance, float *loss)
{
    double *shared = (double *)(void *)shared_memory(), total = 0;
    for (int64_t e = threadIdx.x; e < it.count; e += blockDim.x) {
        double sum = 0;
        for (int64_t block = 0; block < balance.blocks.count; block++)
            sum += balance.sums[block * it.count + e];
        total += sum / (double)it.rows * balance.fraction[e];
    }
    total = block_sum(total, shared);
    if (threadIdx.x == 0)
        *loss = it.rows ? (float)total : 0.0f;
}

static struct router balance_of(const struct cuda_context *context, const struct op_call *call)
{
    struct router it = {};
    it.logits = operand_of(&call->inputs[0]);
    it.experts = operand_of(&call->inputs[1]);
    it.out = operand_of(&call->outputs[0]);
    it.rows = cuda_rows(&call->inputs[0]);
    it.count = cuda_columns(&call->inputs[0]);
    it.k = cuda_columns(&call->inputs[1]);
    it.fault = context->fault;
    it.op = (int)call->op;
    return it;
}

CUDA_WORKSPACE(load_balance)
{
    struct balance balance;
    (void)context;
    return carve(call, NULL, &balance);
}

CUDA_RUN(load_balance)
{
    enum { MOST_EXPERTS = 5000 }; /* as many doubles for each warp fit the shared memory */
    struct router it = balance_of(context, call);
    struct balance balance;
    struct launch rows, total;
    carve(call, call->workspace, &balance);
    if (it.count > MOST_EXPERTS)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "load_balance: %lld experts; the cuda device takes at most %d",
                           (long long)it.count, MOST_EXPERTS);
    rows.grid = dim3((unsigned)balance.blocks.count);
    total.grid = dim3(1);
    rows.block = total.block = dim3(ROUTER_THREADS);
    rows.shared = (size_t)(ROUTER_WARPS * it.count) * sizeof(double);
    total.shared = WARP * sizeof(double);
    return find_fractions(context, it, balance, status) &&
           LAUNCH(balance_rows_kernel, rows, it, balance) &&
           LAUNCH(balance_total_kernel, total, it, balance, (float *)call->outputs[0].data);
}

/* With loss = sum_e mean_t(s_te) f_e: dlogits_te = coefficient/T * s_te (f_e - sum_e' s_te' f_e')
 */
static __global__ void balance_gradient_kernel(struct router it, struct balance balance,
                                               const double *scale, double factor)
{
    double coefficient = *scale * factor / (double)it.rows;
    for (int64_t row = my_warp(); row < it.rows; row += (int64_t)gridDim.x * ROUTER_WARPS) {
        float maximum, sum = softmax_parts(it, row, &maximum);
        double mean = 0;
        for (int64_t e = threadIdx.x % WARP; e < it.count; e += WARP)
            mean += (double)(expf(operand_load(it.logits, row, e) - maximum) / sum) *
                    balance.fraction[e];
        mean = warp_sum(mean);
        for (int64_t e = threadIdx.x % WARP; e < it.count; e += WARP) {
            double share = (double)(expf(operand_load(it.logits, row, e) - maximum) / sum);
            operand_store(it.out, row, e,
                          (float)(coefficient * share * (balance.fraction[e] - mean)));
        }
    }
}

CUDA_WORKSPACE(load_balance_gradient)
{
    struct balance balance;
    (void)context;
    return carve(call, NULL, &balance);
}

CUDA_RUN(load_balance_gradient)
{
    struct router it = balance_of(context, call);
    struct balance balance;
    carve(call, call->workspace, &balance);
    if (it.rows == 0)
        return true;
    return find_fractions(context, it, balance, status) &&
           LAUNCH(balance_gradient_kernel, launch_warps(it.rows), it, balance,
                  (const double *)call->inputs[2].data, call->parameters.factor);
}

/* One block: thread by thread the experts' chunks, then one thread the experts, which are few. */
static __global__ void route_ends_kernel(struct router it, struct chunks chunks, int32_t *ends)
{
    int32_t end = 0;
    for (int64_t e = threadIdx.x; e < it.count; e += blockDim.x)
        ends[e] = scan_chunks(it, chunks, e);
    __syncthreads();
    for (int64_t e = 0; threadIdx.x == 0 && e < it.count; e++)
        ends[e] = end += ends[e];
}

/* A warp for each chunk writes its choices, those of each expert in their order. */
static __global__ void route_rows_kernel(struct router it, struct chunks chunks,
                                         const int32_t *ends, int32_t *rows)
{
    int32_t *next = (int32_t *)(void *)shared_memory(), expert;
    int lane = (int)threadIdx.x;
    for (int64_t e = lane; e < it.count; e += WARP)
        next[e] = chunks.counts[blockIdx.x * it.count + e] + (e > 0 ? ends[e - 1] : 0);
    __syncwarp();
    for (int64_t i = 0; i < CHUNK; i += WARP) {
        int64_t choice = (int64_t)blockIdx.x * CHUNK + i + lane;
        int32_t mine = choice_at(it, choice);
        unsigned left = __ballot_sync(0xffffffffu, mine >= 0);
        while (left) {
            unsigned group = next_group(&left, mine, &expert);
            if (mine == expert)
                rows[next[expert] + __popc(group & ((1u << lane) - 1u))] = (int32_t)choice;
            __syncwarp();
            if (lane == 0)
                next[expert] += __popc(group);
            __syncwarp();
        }
    }
}

CUDA_WORKSPACE(route_rows)
{
    (void)context;
    return (size_t)(chunks_of(shape_elements(call->inputs[0].shape)) *
                    cuda_rows(&call->outputs[1])) *
           sizeof(int32_t);
}

CUDA_RUN(route_rows)
{
    struct router it = {};
    int32_t *rows = (int32_t *)call->outputs[0].data, *ends = (int32_t *)call->outputs[1].data;
    it.experts = operand_of(&call->inputs[0]);
    it.rows = cuda_rows(&call->inputs[0]);
    it.k = cuda_columns(&call->inputs[0]);
    it.count = cuda_rows(&call->outputs[1]);
    it.fault = context->fault;
    it.op = (int)call->op;
    struct chunks chunks = {(int32_t *)call->workspace, chunks_of(it.rows * it.k)};
    struct launch one = launch_threads(1), each;
    each.grid = dim3((unsigned)chunks.number);
    each.block = dim3(WARP);
    each.shared = (size_t)it.count * sizeof(int32_t);
    return count_choices(context, it, chunks, status) &&
           LAUNCH(route_ends_kernel, one, it, chunks, ends) &&
           LAUNCH(route_rows_kernel, each, it, chunks, ends, rows);
}
