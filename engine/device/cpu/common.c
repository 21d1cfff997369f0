#include "engine/device/cpu/cpu.h"

struct cpu_pieces cpu_pieces(const struct tensor *const *tensors, int count)
{
    bool contiguous = true;
    for (int i = 0; i < count; i++)
        contiguous = contiguous && tensor_is_contiguous(tensors[i]);
    int64_t rows = contiguous ? 1 : cpu_rows(tensors[0]);
    struct cpu_pieces pieces = {0};
    pieces.columns = contiguous ? shape_elements(tensors[0]->shape) : cpu_columns(tensors[0]);
    pieces.per_row = (pieces.columns + CPU_CHUNK - 1) / CPU_CHUNK;
    pieces.count = rows * pieces.per_row;
    return pieces;
}

struct cpu_blocks cpu_blocks(int64_t rows)
{
    enum { MOST = 64, LEAST_ROWS = 64 };
    struct cpu_blocks blocks = {0};
    blocks.rows = (rows + MOST - 1) / MOST;
    if (blocks.rows < LEAST_ROWS)
        blocks.rows = LEAST_ROWS;
    blocks.count = rows ? (rows + blocks.rows - 1) / blocks.rows : 0;
    return blocks;
}

void cpu_combine(const struct cpu_context *context, const struct cpu_blocks *blocks, float *partial,
                 int64_t columns, const struct tensor *out)
{
    if (blocks->count == 0) {
        memset(out->data, 0, (size_t)columns * dtype_size(out->dtype));
        return;
    }
    for (int64_t block = 1; block < blocks->count; block++)
        context->kernels->add(partial, partial, partial + block * columns, columns);
    context->kernels->from_float(out->data, out->dtype, partial, columns);
}

bool cpu_check_range(const struct op_call *call, const struct tensor *tensor, int64_t low,
                     int64_t high, const char *what, struct status *status)
{
    int64_t columns = cpu_columns(tensor);
    for (int64_t row = 0; row < cpu_rows(tensor); row++) {
        const int32_t *values = cpu_at(tensor, row, 0);
        for (int64_t i = 0; i < columns; i++)
            if (values[i] < low || values[i] >= high)
                return status_fail(status, STATUS_INVALID,
                                   "%s: %s %d of row %lld is not within %lld to %lld",
                                   op_name(call->op), what, values[i], (long long)row,
                                   (long long)low, (long long)high - 1);
    }
    return true;
}
