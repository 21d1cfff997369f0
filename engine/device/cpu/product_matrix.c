/* The inside of products on matrix units (matrix/matrix.h). What they cannot do, because of
 * infinity or NaN or of numbers near them, is made again in vectors, element by element: which
 * elements that are depends on each alone. */
#include "engine/device/cpu/product.h"

#ifdef LOCKSTEP_CPU_MATRIX

#include "engine/device/cpu/matrix/matrix.h"

#include <math.h>

/* An element is summed in blocks of DEPTH. OWN_MOST bytes of rows, packed, fit the second cache. */
enum { DEPTH = 1024, ROWS_MOST = 512, OWN_MOST = 768 << 10, SHARED_MOST = 6 << 20 };
/* A result of so many bytes leaves the caches before it is used. */
enum { RESULT_MOST = 4 << 20 };
enum { PANEL = MATRIX_PANEL, PANEL_SUMS = MATRIX_PANEL * MATRIX_PANEL };

static int element_bytes(enum dtype dtype)
{
    return 2 * matrix_parts(dtype);
}

static void set_sizes(struct product_plan *plan)
{
    const struct matrix_product *p = plan->product;
    int64_t depth = product_least(p->depth > 0 ? p->depth : 1, DEPTH);
    int64_t row = product_padded(plan, depth) * element_bytes(p->a_dtype);
    plan->tile_rows = plan->tile_columns = plan->rows_step = PANEL;
    plan->rows_most = (int)(product_least(OWN_MOST / row, ROWS_MOST) / PANEL * PANEL);
}

struct memory {
    char *a;             /* [panels][depth of a block, PANEL] */
    float *sums, *again; /* [PANEL, PANEL] */
    void *piece;
};

/* More rows or more depth never need less, which experts of any size rely on. */
static size_t carve(const struct product_plan *plan, void *base, struct memory *memory)
{
    const struct matrix_product *p = plan->product;
    struct workspace all = {base, 0};
    int64_t rows = product_blocks(p->rows, PANEL) * PANEL;
    int64_t bytes =
        rows * product_padded(plan, product_least(p->depth, DEPTH)) * element_bytes(p->a_dtype);
    memory->a = workspace_take(&all, product_least(bytes, OWN_MOST), 1);
    memory->sums = workspace_floats(&all, PANEL_SUMS);
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

/* `depth` of a panel of columns, from `first` of a block of the depth on. */
static void pack_panel(const struct product_plan *plan, const struct product_round *round,
                       int64_t k, int64_t first, int depth, int64_t tile)
{
    const struct matrix_product *p = plan->product;
    int64_t column = tile * PANEL;
    char *to = product_columns(plan, round, k, tile);
    struct matrix_source source = source_of(p->b, p->b_dtype, p->b_stride, !p->transpose_b,
                                            round->column + column, round->k + k + first);
    matrix_pack(to + first * PANEL * element_bytes(p->b_dtype), &source, true,
                (int)product_least(round->columns - column, PANEL), depth);
}

/* Where columns lie across, memory is read in order: all columns of a share of the depth instead of
 * all the depth of a tile. */
static void pack_columns(const struct product_plan *plan, const struct product_round *round,
                         int64_t k, int64_t tile)
{
    int depth = (int)product_least(round->depth - k, DEPTH);
    if (plan->product->transpose_b) {
        pack_panel(plan, round, k, 0, depth, tile);
        return;
    }
    int64_t steps = product_blocks(depth, MATRIX_STEP);
    int end = (int)product_least((tile + 1) * steps / round->tiles * MATRIX_STEP, depth);
    for (int first = (int)(tile * steps / round->tiles) * MATRIX_STEP; first < end;
         first += MATRIX_STEP)
        for (int64_t i = 0; i < round->tiles; i++)
            pack_panel(plan, round, k, first, (int)product_least(end - first, MATRIX_STEP), i);
}

/* Where rows lie across, all of them for one step after the other: so memory is read in order. */
static void pack_rows(const struct product_plan *plan, const struct product_part *part, int64_t k,
                      int depth, char *a)
{
    const struct matrix_product *p = plan->product;
    int64_t row_bytes = (int64_t)PANEL * element_bytes(p->a_dtype);
    int64_t panel_bytes = product_padded(plan, depth) * row_bytes;
    int chunk = p->transpose_a ? MATRIX_STEP : depth;
    for (int first = 0; first < depth; first += chunk)
        for (int64_t row = 0; row < part->rows; row += PANEL) {
            struct matrix_source source = source_of(p->a, p->a_dtype, p->a_stride, p->transpose_a,
                                                    part->row + row, k + first);
            matrix_pack(a + row / PANEL * panel_bytes + first * row_bytes, &source, false,
                        (int)product_least(part->rows - row, PANEL),
                        (int)product_least(depth - first, chunk));
        }
}

/* The elements that are not finite in `sums`, in vectors. */
static void replace(const struct product_plan *plan, const struct product_piece *piece,
                    const struct matrix_target *target, const struct memory *memory)
{
    product_piece(plan, piece, memory->again, PANEL, memory->piece);
    for (int i = 0; i < piece->rows; i++)
        for (int j = 0; j < piece->columns; j++) {
            float sum = memory->again[i * PANEL + j];
            int64_t index = i * target->stride + j;
            if (isfinite(memory->sums[i * PANEL + j]))
                continue;
            if (target->accumulate)
                sum += ((const float *)target->out)[index];
            else if (target->bias)
                sum += target->bias[j];
            plan->kernels->from_float((char *)target->out +
                                          index * (int64_t)dtype_size(target->dtype),
                                      target->dtype, &sum, 1);
        }
}

/* Whether what is stored is not soon read again, neither to add more to it. */
static bool is_large(const struct matrix_product *product)
{
    int64_t bytes = product->rows * product->columns * (int64_t)dtype_size(product->out_dtype);
    return product->depth <= DEPTH && bytes >= RESULT_MOST;
}

/* One block of the depth for some rows and a panel of columns. */
static void multiply_column(const struct product_plan *plan, const struct product_part *part,
                            const struct product_piece *columns, const char *b,
                            const struct memory *memory)
{
    const struct matrix_product *p = plan->product;
    struct product_piece piece = *columns;
    struct matrix_panels panels = {.a = memory->a,
                                   .b = b,
                                   .a_parts = matrix_parts(p->a_dtype),
                                   .b_parts = matrix_parts(p->b_dtype),
                                   .columns = piece.columns};
    struct matrix_target target = {.stride = p->out_stride,
                                   .dtype = p->out_dtype,
                                   .bias = p->bias ? (const float *)p->bias + piece.column : NULL,
                                   .accumulate = piece.k > 0,
                                   .passes_caches = is_large(p)};
    int64_t depth = product_padded(plan, piece.depth);
    for (int64_t row = 0; row < part->rows; row += PANEL) {
        int64_t first = (part->row + row) * p->out_stride + piece.column;
        target.out = (char *)p->out + first * (int64_t)dtype_size(p->out_dtype);
        piece.row = part->row + row;
        piece.rows = panels.rows = (int)product_least(part->rows - row, PANEL);
        matrix_multiply(&panels, (int)depth / MATRIX_STEP, memory->sums);
        if (!matrix_store(&target, memory->sums, piece.rows, piece.columns))
            replace(plan, &piece, &target, memory);
        panels.a += depth * PANEL * element_bytes(p->a_dtype);
    }
}

static void multiply(const struct product_plan *plan, const struct product_round *round,
                     const struct product_part *part, void *own)
{
    struct memory memory;
    carve(plan, own, &memory);
    for (int64_t k = 0; k == 0 || k < round->depth; k += DEPTH) {
        struct product_piece piece = {.k = round->k + k,
                                      .depth = (int)product_least(round->depth - k, DEPTH)};
        pack_rows(plan, part, piece.k, piece.depth, memory.a);
        for (int64_t column = part->column; column < part->end; column += PANEL) {
            piece.columns = (int)product_least(part->end - column, PANEL);
            piece.column = round->column + column;
            multiply_column(plan, part, &piece, product_columns(plan, round, k, column / PANEL),
                            &memory);
        }
    }
}

const struct product_way product_way_matrix = {
    .depth = DEPTH,
    .depth_step = MATRIX_STEP,
    .shared_most = SHARED_MOST,
    .set_sizes = set_sizes,
    .element_bytes = element_bytes,
    .own_bytes = own_bytes,
    .any_output = true,
    .enter = matrix_enter,
    .leave = matrix_leave,
    .pack_columns = pack_columns,
    .multiply = multiply,
};

#endif
