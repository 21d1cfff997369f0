/* The inside of products on matrix units (matrix/matrix.h). What they cannot do, because of
 * infinity or NaN or of numbers near them, is made again in vectors, element by element: which
 * elements that are depends on each alone. */
#include "engine/device/cpu/product.h"

#ifdef LOCKSTEP_CPU_MATRIX

#include "engine/device/cpu/matrix/matrix.h"

#include <math.h>

/* An element is summed in blocks of DEPTH. For INNER of it, a panel of columns stays in the first
 * cache while the panels of rows pass by in the second. */
enum { DEPTH = 512, INNER_STEPS = 4, SHARED_MOST = 6 << 20 };
enum { ROWS_MOST = 192, PANEL = MATRIX_PANEL, PANEL_SUMS = MATRIX_PANEL * MATRIX_PANEL };

static void tile_sizes(struct product_plan *plan)
{
    plan->tile_rows = plan->tile_columns = PANEL;
}

static int element_bytes(enum dtype dtype)
{
    return 2 * matrix_parts(dtype);
}

struct memory {
    char *a;     /* [panels][DEPTH, PANEL] */
    float *sums; /* [panels][PANEL, PANEL] */
    float *again;
    void *piece;
};

static size_t carve(const struct product_plan *plan, void *base, struct memory *memory)
{
    struct workspace all = {base, 0};
    memory->a = workspace_take(&all, plan->block_rows * DEPTH,
                               (size_t)element_bytes(plan->product->a_dtype));
    memory->sums = workspace_floats(&all, plan->block_rows * PANEL);
    memory->again = workspace_floats(&all, PANEL_SUMS);
    memory->piece = workspace_take(&all, 1, product_piece_bytes(plan, PANEL));
    return all.used;
}

static size_t own_bytes(const struct product_plan *plan)
{
    struct memory memory;
    return carve(plan, NULL, &memory);
}

/* The source of rows or columns from `first` on, and of the depth from k on. */
static struct matrix_source source_of(const void *data, enum dtype dtype, int64_t stride,
                                      bool across, int64_t first, int64_t k)
{
    int64_t offset = across ? k * stride + first : first * stride + k;
    return (struct matrix_source){(const char *)data + offset * (int64_t)dtype_size(dtype), dtype,
                                  stride, across};
}

static void pack_columns(const struct product_plan *plan, const struct product_round *round,
                         int64_t k, int64_t tile)
{
    const struct matrix_product *p = plan->product;
    int64_t first = tile * PANEL;
    struct matrix_source source = source_of(p->b, p->b_dtype, p->b_stride, !p->transpose_b,
                                            round->column + first, round->k + k);
    matrix_pack(product_columns(plan, round, k, tile), &source, true,
                (int)product_least(round->columns - first, PANEL),
                (int)product_least(round->depth - k, DEPTH));
}

static void pack_rows(const struct product_plan *plan, const struct product_part *part, int64_t k,
                      int depth, char *a)
{
    const struct matrix_product *p = plan->product;
    int64_t bytes = product_padded(plan, depth) * PANEL * element_bytes(p->a_dtype);
    for (int64_t row = 0; row < part->rows; row += PANEL, a += bytes) {
        struct matrix_source source =
            source_of(p->a, p->a_dtype, p->a_stride, p->transpose_a, part->row + row, k);
        matrix_pack(a, &source, false, (int)product_least(part->rows - row, PANEL), depth);
    }
}

/* sums [panels] = the rows of a times one panel of columns. */
static void multiply_panels(const struct product_plan *plan, const struct product_part *part,
                            int depth, int columns, const char *b, const struct memory *memory)
{
    const struct matrix_product *p = plan->product;
    struct matrix_panels panels = {.a_parts = matrix_parts(p->a_dtype),
                                   .b_parts = matrix_parts(p->b_dtype),
                                   .columns = columns};
    int steps = (int)product_padded(plan, depth) / MATRIX_STEP;
    int64_t a_bytes = (int64_t)panels.a_parts * 2 * MATRIX_TILE_BYTES; /* of a step */
    int64_t b_bytes = (int64_t)panels.b_parts * 2 * MATRIX_TILE_BYTES;
    for (int step = 0; step == 0 || step < steps; step += INNER_STEPS)
        for (int64_t row = 0; row < part->rows; row += PANEL) {
            panels.a = memory->a + (row / PANEL * steps + step) * a_bytes;
            panels.b = b + step * b_bytes;
            panels.rows = (int)product_least(part->rows - row, PANEL);
            matrix_multiply(&panels, (int)product_least(steps - step, INNER_STEPS),
                            memory->sums + row * PANEL, step > 0);
        }
}

static void replace(const struct product_plan *plan, const struct product_piece *piece, float *sums,
                    const struct memory *memory)
{
    product_piece(plan, piece, memory->again, PANEL, memory->piece);
    for (int i = 0; i < piece->rows; i++)
        for (int j = 0; j < piece->columns; j++)
            if (!isfinite(sums[i * PANEL + j]))
                sums[i * PANEL + j] = memory->again[i * PANEL + j];
}

static void multiply(const struct product_plan *plan, const struct product_round *round,
                     const struct product_part *part, void *own)
{
    const struct matrix_product *p = plan->product;
    float *out = (float *)p->out + part->row * p->out_stride;
    struct memory memory;
    carve(plan, own, &memory);
    for (int64_t k = 0; k == 0 || k < round->depth; k += DEPTH) {
        struct product_piece piece = {.k = round->k + k,
                                      .depth = (int)product_least(round->depth - k, DEPTH)};
        bool accumulate = p->bias || piece.k > 0;
        pack_rows(plan, part, piece.k, piece.depth, memory.a);
        for (int64_t column = part->column; column < part->end; column += PANEL) {
            piece.columns = (int)product_least(part->end - column, PANEL);
            piece.column = round->column + column;
            multiply_panels(plan, part, piece.depth, piece.columns,
                            product_columns(plan, round, k, column / PANEL), &memory);
            for (int64_t row = 0; row < part->rows; row += PANEL) {
                float *sums = memory.sums + row * PANEL;
                piece.row = part->row + row;
                piece.rows = (int)product_least(part->rows - row, PANEL);
                if (!matrix_all_finite(sums, piece.rows, piece.columns))
                    replace(plan, &piece, sums, &memory);
                matrix_add(out + row * p->out_stride + piece.column, p->out_stride, sums,
                           piece.rows, piece.columns, accumulate);
            }
        }
    }
}

const struct product_way product_way_matrix = {
    .depth = DEPTH,
    .depth_step = MATRIX_STEP,
    .rows_most = ROWS_MOST,
    .rows_step = PANEL,
    .shared_most = SHARED_MOST,
    .tile_sizes = tile_sizes,
    .element_bytes = element_bytes,
    .own_bytes = own_bytes,
    .enter = matrix_enter,
    .leave = matrix_leave,
    .pack_columns = pack_columns,
    .multiply = multiply,
};

#endif
