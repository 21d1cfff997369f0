/* Matrix products in float32. Each element of a result is summed in the order of depth, in parts of
 * PRODUCT_DEPTH, by itself: its bits depend on its row and its column alone, not on how many other
 * rows and columns there are, nor on the number of threads. */
#include "engine/device/cpu/cpu.h"

/* What is packed at a time: columns of b for all threads, as deep as PACKED_MOST elements allow, so
 * that threads seldom wait for each other; rows of a for each thread. PRODUCT_DEPTH of both fit the
 * second cache together with the result. */
enum { COLUMNS_MOST = 1024, PACKED_MOST = 1 << 20, ROWS_MOST = 192, ROWS_STEP = 48 };
/* Parts that a thread should find, so that none waits long for the last. */
enum { PARTS = 4 };

/* A product, cut. */
struct plan {
    const struct matrix_product *product;
    const struct kernels *kernels;
    const struct interrupt *interrupt;
    int tile_rows, tile_columns;
    int64_t block_rows, block_columns; /* of one part */
    int64_t round_depth;
    float *a, *b; /* [threads][block_rows, DEPTH]; [depth / DEPTH][tiles][DEPTH or rest, columns] */
};

/* One round of all threads: some depth of some columns. */
struct round {
    int64_t column, columns, k, depth;
    int64_t tiles, row_blocks, column_blocks;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t blocks_of(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

static struct plan plan_of(const struct cpu_context *context, const struct matrix_product *p)
{
    struct plan plan = {.product = p, .kernels = context->kernels, .interrupt = context->interrupt};
    plan.kernels->product_sizes(&plan.tile_rows, &plan.tile_columns);
    int64_t parts = (int64_t)PARTS * context->threads;
    plan.block_rows = blocks_of(blocks_of(p->rows, parts), ROWS_STEP) * ROWS_STEP;
    plan.block_rows = least(plan.block_rows, ROWS_MOST);
    plan.block_columns =
        blocks_of(p->rows, plan.block_rows) < parts ? COLUMNS_MOST / 4 : COLUMNS_MOST;
    int64_t columns = blocks_of(least(p->columns, COLUMNS_MOST), plan.tile_columns);
    plan.round_depth = PACKED_MOST / (columns * plan.tile_columns) / PRODUCT_DEPTH * PRODUCT_DEPTH;
    plan.round_depth = least(p->depth > 0 ? p->depth : 1, plan.round_depth);
    return plan;
}

static size_t carve(const struct cpu_context *context, struct plan *plan, void *base)
{
    const struct matrix_product *p = plan->product;
    struct workspace memory = {base, 0};
    int64_t columns = least(p->columns, COLUMNS_MOST), depth = plan->round_depth;
    plan->b = workspace_floats(&memory,
                               blocks_of(columns, plan->tile_columns) * plan->tile_columns * depth);
    plan->a = workspace_floats(&memory, context->threads * plan->block_rows * PRODUCT_DEPTH);
    return memory.used;
}

size_t cpu_product_packed(const struct cpu_context *context, const struct matrix_product *product)
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

/* Where the part of b that begins at the k-th row of the round and at a tile is packed. */
static float *packed_columns(const struct plan *plan, const struct round *round, int64_t k,
                             int64_t tile)
{
    int64_t depth = least(round->depth - k, PRODUCT_DEPTH);
    return plan->b + (k * round->tiles + tile * depth) * plan->tile_columns;
}

static void pack_columns(const struct plan *plan, const struct round *round, int64_t k,
                         int64_t tile)
{
    const struct matrix_product *p = plan->product;
    int64_t first = tile * plan->tile_columns;
    int columns = (int)least(round->columns - first, plan->tile_columns);
    int depth = (int)least(round->depth - k, PRODUCT_DEPTH);
    float *to = packed_columns(plan, round, k, tile);
    if (columns < plan->tile_columns)
        memset(to, 0, (size_t)(plan->tile_columns * depth) * sizeof(float));
    pack(plan->kernels, to, plan->tile_columns, p->b, p->b_dtype, p->b_stride, p->transpose_b,
         round->k + k, round->column + first, depth, columns);
}

/* Some rows of some columns of the result. */
struct part {
    int64_t row, rows, column, end;
};

static struct part part_of(const struct plan *plan, const struct round *round, int64_t index)
{
    struct part part = {.row = index / round->column_blocks * plan->block_rows,
                        .column = index % round->column_blocks * plan->block_columns};
    part.rows = least(plan->product->rows - part.row, plan->block_rows);
    part.end = least(part.column + plan->block_columns, round->columns);
    return part;
}

static void pack_rows(const struct plan *plan, const struct part *part, int64_t k, int depth,
                      float *a)
{
    const struct matrix_product *p = plan->product;
    int64_t padded = blocks_of(part->rows, plan->tile_rows) * plan->tile_rows;
    pack(plan->kernels, a, PRODUCT_DEPTH, p->a, p->a_dtype, p->a_stride, p->transpose_a, part->row,
         k, (int)part->rows, depth);
    if (padded > part->rows)
        memset(a + part->rows * PRODUCT_DEPTH, 0,
               (size_t)((padded - part->rows) * PRODUCT_DEPTH) * sizeof(float));
}

static void multiply(const struct plan *plan, const struct round *round, const struct part *part,
                     float *a)
{
    const struct matrix_product *p = plan->product;
    float *out = (float *)p->out + part->row * p->out_stride + round->column;
    for (int64_t k = 0; k == 0 || k < round->depth; k += PRODUCT_DEPTH) {
        int depth = (int)least(round->depth - k, PRODUCT_DEPTH);
        bool accumulate = p->bias || round->k + k > 0;
        pack_rows(plan, part, round->k + k, depth, a);
        for (int64_t column = part->column; column < part->end; column += plan->tile_columns) {
            int columns = (int)least(round->columns - column, plan->tile_columns);
            const float *b = packed_columns(plan, round, k, column / plan->tile_columns);
            for (int64_t row = 0; row < part->rows; row += plan->tile_rows)
                plan->kernels->product_tile((int)least(part->rows - row, plan->tile_rows), columns,
                                            depth, a + row * PRODUCT_DEPTH, b,
                                            out + row * p->out_stride + column, p->out_stride,
                                            accumulate);
        }
    }
}

/* Called by all threads of a team, which wait for each other before packing over what another one
 * still reads, but at the end of the last round only as the team ends: each time costs a lot where
 * there are more threads than processors. */
static void run_round(const struct plan *plan, const struct round *round)
{
    int64_t packs = round->tiles * blocks_of(round->depth, PRODUCT_DEPTH);
    int64_t parts = round->row_blocks * round->column_blocks;
    float *a = plan->a + cpu_thread() * plan->block_rows * PRODUCT_DEPTH;
    if (round->column > 0 || round->k > 0) {
        CPU_OMP(barrier);
    }
    CPU_OMP(for schedule(static))
    for (int64_t i = 0; i < packs; i++)
        pack_columns(plan, round, i / round->tiles * PRODUCT_DEPTH, i % round->tiles);
    CPU_OMP(for schedule(dynamic) nowait)
    for (int64_t i = 0; i < parts; i++) {
        struct part part = part_of(plan, round, i);
        if (!interrupt_asked(plan->interrupt))
            multiply(plan, round, &part, a);
    }
}

void cpu_product_multiply(const struct cpu_context *context, const struct matrix_product *product,
                          void *workspace)
{
    const struct matrix_product *p = product;
    struct plan plan = plan_of(context, p);
    carve(context, &plan, workspace);
    CPU_OMP(parallel num_threads(context->threads) if (p->rows * p->columns >
                                                       CPU_SERIAL / (p->depth / 16 + 1)))
    for (int64_t column = 0; column < p->columns; column += COLUMNS_MOST)
        for (int64_t k = 0; k == 0 || k < p->depth; k += plan.round_depth) {
            struct round round = {.column = column, .k = k};
            round.columns = least(p->columns - column, COLUMNS_MOST);
            round.depth = least(p->depth - k, plan.round_depth);
            round.tiles = blocks_of(round.columns, plan.tile_columns);
            round.row_blocks = blocks_of(p->rows, plan.block_rows);
            round.column_blocks = blocks_of(round.columns, plan.block_columns);
            run_round(&plan, &round);
        }
}
