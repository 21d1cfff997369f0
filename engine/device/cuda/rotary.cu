/* ROTARY: each thread turns one pair, or copies one of the other columns. */
#include "engine/device/cuda/operand.cuh"

struct rotary {
    struct operand out, x, table;
    int64_t rows, half, pairs, rest, first_row;
    bool inverse, in_place;
};

static __global__ void rotary_kernel(struct rotary it)
{
    for (int64_t row = blockIdx.x; row < it.rows; row += gridDim.x) {
        const float *cosine = operand_row<float>(it.table, it.first_row + row);
        for (int i = (int)threadIdx.x; i < (int)it.pairs; i += (int)blockDim.x) {
            int half = (int)it.half, at = i % half, real = i / half * 2 * half + at;
            float c = cosine[at], s = it.inverse ? -cosine[at + half] : cosine[at + half];
            float re = operand_load(it.x, row, real), im = operand_load(it.x, row, real + half);
            operand_store(it.out, row, real, re * c - im * s);
            operand_store(it.out, row, real + half, im * c + re * s);
        }
        for (int64_t i = threadIdx.x; i < it.rest && !it.in_place; i += blockDim.x)
            operand_store(it.out, row, 2 * it.pairs + i, operand_load(it.x, row, 2 * it.pairs + i));
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
    where.block = dim3(it.pairs + it.rest > 128 ? 128 : 32);
    where.shared = 0;
    return it.rows == 0 || LAUNCH(rotary_kernel, where, it);
}
