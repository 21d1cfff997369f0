/* ROTARY: each thread turns four neighbouring pairs, or copies four of the other columns. */
#include "engine/device/cuda/operand.cuh"

struct rotary {
    struct operand out, x, table;
    int64_t rows, half, pairs, rest, first_row;
    bool inverse, in_place;
};

/* `count` pairs of a head: columns `real` and following with those half a head further on. */
__device__ inline void turn(const struct rotary &it, int64_t row, int64_t real, int64_t at,
                            int count)
{
    struct quad c = quad_load(it.table, it.first_row + row, at, count);
    struct quad s = quad_load(it.table, it.first_row + row, at + it.half, count);
    struct quad re = quad_load(it.x, row, real, count), turned = re;
    struct quad im = quad_load(it.x, row, real + it.half, count);
    for (int i = 0; i < 4; i++) {
        float sine = it.inverse ? -s.at[i] : s.at[i];
        turned.at[i] = re.at[i] * c.at[i] - im.at[i] * sine;
        im.at[i] = im.at[i] * c.at[i] + re.at[i] * sine;
    }
    quad_store(it.out, row, real, count, turned);
    quad_store(it.out, row, real + it.half, count, im);
}

static __global__ void rotary_kernel(struct rotary it)
{
    int half = (int)it.half, quads = (half + 3) / 4;
    int pieces = half ? (int)it.pairs / half * quads : 0;
    for (int64_t row = blockIdx.x; row < it.rows; row += gridDim.x) {
        for (int i = (int)threadIdx.x; i < pieces; i += (int)blockDim.x) {
            int head = i / quads, at = 4 * (i - head * quads);
            turn(it, row, (int64_t)head * 2 * half + at, at, quad_width(half, at));
        }
        for (int64_t i = 4 * threadIdx.x; i < it.rest && !it.in_place; i += 4 * blockDim.x) {
            int64_t column = 2 * it.pairs + i;
            int count = quad_width(it.rest, i);
            quad_store(it.out, row, column, count, quad_load(it.x, row, column, count));
        }
    }
}

CUDA_RUN(rotary)
{
    const struct op_parameters *parameters = &call->parameters;
    const struct tensor *x = &call->inputs[0], *table = &call->inputs[1];
    struct rotary it;
    it.out = operand_of(&call->outputs[0]);
    it.x = operand_of(x);
    it.table = operand_of(table);
    it.rows = cuda_rows(x);
    it.half = parameters->head_size / 2;
    it.pairs = it.half * parameters->heads;
    it.rest = cuda_columns(x) - 2 * it.pairs;
    it.first_row = parameters->first_row;
    it.inverse = parameters->inverse;
    it.in_place = call->outputs[0].data == x->data;
    if (it.first_row < 0 || it.first_row + it.rows > cuda_rows(table))
        return status_fail(status, STATUS_INVALID,
                           "rotary: positions %lld to %lld, the table has %lld",
                           (long long)it.first_row, (long long)(it.first_row + it.rows),
                           (long long)cuda_rows(table));
    struct launch where;
    where.grid = dim3(launch_blocks(it.rows, 1 << 20));
    where.block = dim3(it.pairs + it.rest > 512 ? 128 : 32);
    where.shared = 0;
    return it.rows == 0 || LAUNCH(rotary_kernel, where, it);
}
