/* Every so many-th element of a tensor, side by side. */
#include "engine/device/cuda/operand.cuh"

struct sample {
    struct operand from;
    char *to;
    int64_t columns, step, count;
};

static __global__ void sample_kernel(struct sample it)
{
    int64_t threads = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < it.count; i += threads) {
        int64_t at = i * it.step;
        const char *from = operand_at(it.from, at / it.columns, at % it.columns);
        for (int byte = 0; byte < it.from.size; byte++)
            it.to[i * it.from.size + byte] = from[byte];
    }
}

bool cuda_sample_run(struct cuda_context *context, const struct tensor *from, int64_t step,
                     int64_t count, void *to, struct status *status)
{
    struct sample it = {operand_of(from), (char *)to, cuda_columns(from), step, count};
    struct launch where;
    where.grid = dim3(launch_blocks(divide_up(count, 128), 4096));
    where.block = dim3(128);
    where.shared = 0;
    return count == 0 || LAUNCH(sample_kernel, where, it);
}
