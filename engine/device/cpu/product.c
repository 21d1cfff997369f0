/* Matrix products in float32. Each element of a result is summed in the order of depth, in parts of
 * a constant depth, by itself: its bits depend on its row and its column alone, not on how many
 * other rows and columns there are, nor on the number of threads. */
#include "engine/device/cpu/product.h"

/* What is packed at a time: columns of b for all threads, as deep as there is room for, so that
 * threads seldom wait for each other; rows of a for each thread. */
enum { COLUMNS_MOST = 1024 };
static const struct product_way *way_of(const struct cpu_context *context)
{
#ifdef LOCKSTEP_CPU_MATRIX
    if (context->matrix_units)
        return &product_way_matrix;
#endif
    (void)context;
    return &product_way_vectors;
}

static struct product_plan plan_of(const struct cpu_context *context,
                                   const struct matrix_product *p)
{
    struct product_plan plan = {
        .product = p, .kernels = context->kernels, .interrupt = context->interrupt};
    const struct product_way *way = plan.way = way_of(context);
    way->set_sizes(&plan);
    int64_t parts = (int64_t)plan.thread_parts * context->threads;
    plan.block_rows =
        product_blocks(product_blocks(p->rows, parts), plan.rows_step) * plan.rows_step;
    plan.block_rows = product_least(plan.block_rows, plan.rows_most);
    plan.block_columns =
        product_blocks(p->rows, plan.block_rows) < parts ? COLUMNS_MOST / 4 : COLUMNS_MOST;
    int64_t tiles = product_blocks(product_least(p->columns, COLUMNS_MOST), plan.tile_columns);
    int64_t row_bytes = tiles * plan.tile_columns * way->element_bytes(p->b_dtype);
    plan.round_depth = way->shared_most / row_bytes / way->depth * way->depth;
    plan.round_depth = product_least(p->depth > 0 ? p->depth : 1, plan.round_depth);
    plan.own_bytes = way->own_bytes(&plan);
    return plan;
}

static size_t carve(const struct cpu_context *context, struct product_plan *plan, void *base)
{
    const struct matrix_product *p = plan->product;
    struct workspace memory = {base, 0};
    int64_t tiles = product_blocks(product_least(p->columns, COLUMNS_MOST), plan->tile_columns);
    int64_t elements = tiles * plan->tile_columns * product_padded(plan, plan->round_depth);
    plan->shared = workspace_take(&memory, elements, (size_t)plan->way->element_bytes(p->b_dtype));
    plan->own = workspace_take(&memory, context->threads, plan->own_bytes);
    return memory.used;
}

size_t cpu_product_packed(const struct cpu_context *context, const struct matrix_product *product)
{
    struct product_plan plan = plan_of(context, product);
    return carve(context, &plan, NULL);
}

static struct product_part part_of(const struct product_plan *plan,
                                   const struct product_round *round, int64_t index)
{
    struct product_part part = {.row = index / round->column_blocks * plan->block_rows,
                                .column = index % round->column_blocks * plan->block_columns};
    part.rows = product_least(plan->product->rows - part.row, plan->block_rows);
    part.end = product_least(part.column + plan->block_columns, round->columns);
    return part;
}

/* Called by all threads of a team, which wait for each other before packing over what another one
 * still reads, but at the end of the last round only as the team ends: each time costs a lot where
 * there are more threads than processors. */
static void run_round(const struct product_plan *plan, const struct product_round *round)
{
    const struct product_way *way = plan->way;
    int64_t packs = round->tiles * product_blocks(round->depth, way->depth);
    int64_t parts = round->row_blocks * round->column_blocks;
    void *own = plan->own + (size_t)cpu_thread() * plan->own_bytes;
    if (round->column > 0 || round->k > 0) {
        CPU_OMP(barrier);
    }
    CPU_OMP(for schedule(static))
    for (int64_t i = 0; i < packs; i++)
        way->pack_columns(plan, round, i / round->tiles * way->depth, i % round->tiles);
    CPU_OMP(for schedule(dynamic) nowait)
    for (int64_t i = 0; i < parts; i++) {
        struct product_part part = part_of(plan, round, i);
        if (!interrupt_asked(plan->interrupt))
            way->multiply(plan, round, &part, own);
    }
}

/* Called by all threads of a team. */
static void run_rounds(const struct product_plan *plan)
{
    const struct matrix_product *p = plan->product;
    for (int64_t column = 0; column < p->columns; column += COLUMNS_MOST)
        for (int64_t k = 0; k == 0 || k < p->depth; k += plan->round_depth) {
            struct product_round round = {.column = column, .k = k};
            round.columns = product_least(p->columns - column, COLUMNS_MOST);
            round.depth = product_least(p->depth - k, plan->round_depth);
            round.tiles = product_blocks(round.columns, plan->tile_columns);
            round.row_blocks = product_blocks(p->rows, plan->block_rows);
            round.column_blocks = product_blocks(round.columns, plan->block_columns);
            run_round(plan, &round);
        }
}

bool cpu_product_adds_bias(const struct cpu_context *context)
{
    return way_of(context)->any_output;
}

bool cpu_product_rounds(const struct cpu_context *context, const struct matrix_product *product)
{
    const struct product_way *way = way_of(context);
    return way->any_output && product->depth <= way->depth;
}

void cpu_product_multiply(const struct cpu_context *context, const struct matrix_product *product,
                          void *workspace)
{
    const struct matrix_product *p = product;
    struct product_plan plan = plan_of(context, p);
    carve(context, &plan, workspace);
    CPU_OMP(parallel num_threads(context->threads) if (p->rows * p->columns >
                                                       CPU_SERIAL / (p->depth / 16 + 1)))
    {
        if (plan.way->enter)
            plan.way->enter();
        run_rounds(&plan);
        if (plan.way->leave)
            plan.way->leave();
    }
}
