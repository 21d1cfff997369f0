/* Sums over the rows of a matrix, with the same bits on every GPU. */
#ifndef ENGINE_DEVICE_CUDA_SUMS_CUH
#define ENGINE_DEVICE_CUDA_SUMS_CUH

#include "engine/device/cuda/operand.cuh"

/* A block of threads adds a block of rows: eight threads take every eighth row each, their sums
 * are added in order, and then those of the blocks. */
enum { SUM_COLUMNS = 32, SUM_LANES = 8 };

template <typename F>
static __global__ void column_sums_kernel(F term, int64_t rows, int64_t columns, int64_t block_rows,
                                          float *partial)
{
    float *shared = (float *)(void *)shared_memory();
    int64_t column = (int64_t)blockIdx.x * SUM_COLUMNS + threadIdx.x;
    int64_t first = (int64_t)blockIdx.y * block_rows;
    int64_t end = first + block_rows < rows ? first + block_rows : rows;
    float sum = 0;
    for (int64_t row = first + threadIdx.y; column < columns && row < end; row += SUM_LANES)
        sum += term(row, column);
    shared[threadIdx.y * SUM_COLUMNS + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int lane = 1; lane < SUM_LANES; lane++)
            sum += shared[lane * SUM_COLUMNS + threadIdx.x];
        partial[(int64_t)blockIdx.y * columns + column] = sum;
    }
}

static __global__ void add_blocks_kernel(const float *partial, int64_t blocks, int64_t columns,
                                         struct operand out)
{
    int64_t column = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns)
        return;
    float sum = partial[column];
#pragma unroll 8 /* as many are fetched together; they are added in order all the same */
    for (int64_t block = 1; block < blocks; block++)
        sum += partial[block * columns + column];
    operand_store(out, 0, column, sum);
}

/* out [columns] = sum over rows of term(row, column). `partial` has cuda_blocks(rows).count *
 * columns floats. */
template <typename F>
static bool column_sums_run(struct cuda_context *context, const char *name, const F &term,
                            int64_t rows, float *partial, const struct tensor *out,
                            struct status *status)
{
    int64_t columns = shape_elements(out->shape);
    struct cuda_blocks blocks = cuda_blocks(rows);
    struct operand to = operand_of(out);
    struct launch sums, add;
    if (columns == 0)
        return true;
    to.stride = columns; /* a vector is one row */
    sums.grid = dim3((unsigned)divide_up(columns, SUM_COLUMNS), (unsigned)blocks.count);
    sums.block = dim3(SUM_COLUMNS, SUM_LANES);
    sums.shared = SUM_COLUMNS * SUM_LANES * sizeof(float);
    add.grid = dim3((unsigned)divide_up(columns, 128));
    add.block = dim3(128);
    add.shared = 0;
    return launch_run(context, name, sums, status, column_sums_kernel<F>, term, rows, columns,
                      blocks.rows, partial) &&
           LAUNCH(add_blocks_kernel, add, partial, blocks.count, columns, to);
}

#endif
