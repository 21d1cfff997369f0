/* Matrix products in float32. Each element of a result is summed in the order of depth, in parts of
 * PRODUCT_DEPTH, by itself: its bits depend on its row and its column alone, not on how many other
 * rows and columns there are, nor on the number of threads. */
#include "engine/device/cpu/cpu.h"

/* What is packed at a time: columns of b for all threads, rows of a for each. Together with the
 * result they fit the second cache. */
enum { COLUMNS_MOST = 1024, ROWS_MOST = 192, ROWS_STEP = 48 };
/* Parts that a thread should find, so that none waits long for the last. */
enum { PARTS = 4 };

/* A product, cut. */
struct plan {
    const struct cpu_product *product;
    const struct kernels *kernels;
    const struct interrupt *interrupt;
    int tile_rows, tile_columns;
    int64_t block_rows, block_columns; /* of one part */
    float *a, *b;                      /* [threads][block_rows, DEPTH]; [tiles][depth, columns] */
};

/* One round of all threads: some depth of some columns. */
struct round {
    int64_t column, columns, k;
    int depth;
    int64_t row_blocks, column_blocks;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t blocks_of(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

static struct plan plan_of(const struct cpu_context *context, const struct cpu_product *p)
{
    struct plan plan = {.product = p, .kernels = context->kernels, .interrupt = context->interrupt};
    plan.kernels->product_sizes(&plan.tile_rows, &plan.tile_columns);
    int64_t parts = (int64_t)PARTS * context->threads;
    plan.block_rows = blocks_of(blocks_of(p->rows, parts), ROWS_STEP) * ROWS_STEP;
    plan.block_rows = least(plan.block_rows, ROWS_MOST);
    plan.block_columns =
        blocks_of(p->rows, plan.block_rows) < parts ? COLUMNS_MOST / 4 : COLUMNS_MOST;
    return plan;
}

static size_t carve(const struct cpu_context *context, struct plan *plan, void *base)
{
    const struct cpu_product *p = plan->product;
    struct cpu_carve memory = {base, 0};
    int64_t columns = least(p->columns, COLUMNS_MOST), depth = least(p->depth, PRODUCT_DEPTH);
    plan->b = cpu_carve_floats(&memory,
                               blocks_of(columns, plan->tile_columns) * plan->tile_columns * depth);
    plan->a = cpu_carve_floats(&memory, context->threads * plan->block_rows * PRODUCT_DEPTH);
    return memory.used;
}

size_t cpu_product_packed(const struct cpu_context *context, const struct cpu_product *product)
{
    struct plan plan = plan_of(context, product);
    return carve(context, &plan, NULL);
}

/* to [rows,to_stride] = the rows x columns elements from (row, column) on of a matrix whose
 * transpose is stored if `transposed`. */
static void pack(const struct kernels *kernels, float *to, int64_t to_stride, const void *matrix,
                 enum dtype dtype, int64_t stride, bool transposed, int64_t row, int64_t column,
                 int rows, int columns)
{
    int64_t first = transposed ? column * stride + row : row * stride + column;
    int64_t size = (int64_t)dtype_size(dtype);
    const char *from = (const char *)matrix + first * size;
    if (transposed) {
        kernels->pack_transposed(to, to_stride, from, dtype, stride, rows, columns);
        return;
    }
    for (int i = 0; i < rows; i++, from += stride * size)
        if (dtype == DTYPE_F32)
            memcpy(to + i * to_stride, from, (size_t)columns * sizeof(float));
        else
            kernels->to_float(to + i * to_stride, from, dtype, columns);
}

static void pack_columns(const struct plan *plan, const struct round *round, int64_t tile)
{
    const struct cpu_product *p = plan->product;
    int64_t first = tile * plan->tile_columns;
    int columns = (int)least(round->columns - first, plan->tile_columns);
    float *to = plan->b + tile * plan->tile_columns * round->depth;
    if (columns < plan->tile_columns)
        memset(to, 0, (size_t)(plan->tile_columns * round->depth) * sizeof(float));
    pack(plan->kernels, to, plan->tile_columns, p->b, p->b_dtype, p->b_stride, p->transpose_b,
         round->k, round->column + first, round->depth, columns);
}

/* One part: some rows of some columns. */
static void multiply(const struct plan *plan, const struct round *round, int64_t part, float *a)
{
    const struct cpu_product *p = plan->product;
    int64_t first = part / round->column_blocks * plan->block_rows;
    int64_t low = part % round->column_blocks * plan->block_columns;
    int64_t rows = least(p->rows - first, plan->block_rows);
    int64_t high = least(low + plan->block_columns, round->columns);
    int64_t padded = blocks_of(rows, plan->tile_rows) * plan->tile_rows;
    bool accumulate = p->bias || round->k > 0;
    pack(plan->kernels, a, PRODUCT_DEPTH, p->a, p->a_dtype, p->a_stride, p->transpose_a, first,
         round->k, (int)rows, round->depth);
    if (padded > rows)
        memset(a + rows * PRODUCT_DEPTH, 0,
               (size_t)((padded - rows) * PRODUCT_DEPTH) * sizeof(float));
    for (int64_t column = low; column < high; column += plan->tile_columns)
        for (int64_t row = 0; row < rows; row += plan->tile_rows)
            plan->kernels->product_tile(
                (int)least(rows - row, plan->tile_rows),
                (int)least(round->columns - column, plan->tile_columns), round->depth,
                a + row * PRODUCT_DEPTH, plan->b + column * round->depth,
                (float *)p->out + (first + row) * p->out_stride + round->column + column,
                p->out_stride, accumulate);
}

/* Called by all threads of a team. */
static void run_round(const struct plan *plan, const struct round *round)
{
    int64_t tiles = blocks_of(round->columns, plan->tile_columns);
    int64_t parts = round->row_blocks * round->column_blocks;
    float *a = plan->a + cpu_thread() * plan->block_rows * PRODUCT_DEPTH;
    CPU_OMP(for schedule(static))
    for (int64_t tile = 0; tile < tiles; tile++)
        pack_columns(plan, round, tile);
    CPU_OMP(for schedule(dynamic))
    for (int64_t part = 0; part < parts; part++)
        if (!interrupt_asked(plan->interrupt))
            multiply(plan, round, part, a);
}

void cpu_product_multiply(const struct cpu_context *context, const struct cpu_product *product,
                          void *workspace)
{
    const struct cpu_product *p = product;
    struct plan plan = plan_of(context, p);
    carve(context, &plan, workspace);
    CPU_OMP(parallel num_threads(context->threads) if (p->rows * p->columns >
                                                       CPU_SERIAL / (p->depth / 16 + 1)))
    for (int64_t column = 0; column < p->columns; column += COLUMNS_MOST)
        for (int64_t k = 0; k == 0 || k < p->depth; k += PRODUCT_DEPTH) {
            struct round round = {.column = column, .k = k};
            round.columns = least(p->columns - column, COLUMNS_MOST);
            round.depth = (int)least(p->depth - k, PRODUCT_DEPTH);
            round.row_blocks = blocks_of(p->rows, plan.block_rows);
            round.column_blocks = blocks_of(round.columns, plan.block_columns);
            run_round(&plan, &round);
        }
}
