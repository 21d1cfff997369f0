/* The inside of products with the vectors of any processor: panels of float32, which 16-bit
 * operands are widened to. */
#include "engine/device/cpu/product.h"

/* PRODUCT_DEPTH of so many rows and of a tile of columns fit the second cache together with the
 * result. */
enum { ROWS_MOST = 192, ROWS_STEP = 48, SHARED_MOST = 4 << 20 };

static void set_sizes(struct product_plan *plan)
{
    plan->rows_most = ROWS_MOST;
    plan->rows_step = ROWS_STEP;
    plan->thread_parts = 2;
    plan->kernels->product_sizes(&plan->tile_rows, &plan->tile_columns);
}

static int element_bytes(enum dtype dtype)
{
    (void)dtype;
    return sizeof(float);
}

static size_t own_bytes(const struct product_plan *plan)
{
    return (size_t)(plan->block_rows * PRODUCT_DEPTH) * sizeof(float);
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

/* Rows k to k + depth - 1 of up to a tile of columns of b. */
static void pack_tile(const struct product_plan *plan, float *to, int64_t k, int depth,
                      int64_t column, int columns)
{
    const struct matrix_product *p = plan->product;
    if (columns < plan->tile_columns)
        memset(to, 0, (size_t)(plan->tile_columns * depth) * sizeof(float));
    pack(plan->kernels, to, plan->tile_columns, p->b, p->b_dtype, p->b_stride, p->transpose_b, k,
         column, depth, columns);
}

static void pack_columns(const struct product_plan *plan, const struct product_round *round,
                         int64_t k, int64_t tile)
{
    int64_t first = tile * plan->tile_columns;
    int columns = (int)product_least(round->columns - first, plan->tile_columns);
    int depth = (int)product_least(round->depth - k, PRODUCT_DEPTH);
    pack_tile(plan, product_columns(plan, round, k, tile), round->k + k, depth,
              round->column + first, columns);
}

static void pack_rows(const struct product_plan *plan, int64_t row, int64_t rows, int64_t k,
                      int depth, float *a)
{
    const struct matrix_product *p = plan->product;
    int64_t padded = product_blocks(rows, plan->tile_rows) * plan->tile_rows;
    pack(plan->kernels, a, PRODUCT_DEPTH, p->a, p->a_dtype, p->a_stride, p->transpose_a, row, k,
         (int)rows, depth);
    if (padded > rows)
        memset(a + rows * PRODUCT_DEPTH, 0,
               (size_t)((padded - rows) * PRODUCT_DEPTH) * sizeof(float));
}

static void multiply(const struct product_plan *plan, const struct product_round *round,
                     const struct product_part *part, void *own)
{
    const struct matrix_product *p = plan->product;
    float *out = (float *)p->out + part->row * p->out_stride + round->column, *a = own;
    for (int64_t k = 0; k == 0 || k < round->depth; k += PRODUCT_DEPTH) {
        int depth = (int)product_least(round->depth - k, PRODUCT_DEPTH);
        bool accumulate = p->bias || round->k + k > 0;
        pack_rows(plan, part->row, part->rows, round->k + k, depth, a);
        for (int64_t column = part->column; column < part->end; column += plan->tile_columns) {
            int columns = (int)product_least(round->columns - column, plan->tile_columns);
            const float *b = product_columns(plan, round, k, column / plan->tile_columns);
            for (int64_t row = 0; row < part->rows; row += plan->tile_rows)
                plan->kernels->product_tile((int)product_least(part->rows - row, plan->tile_rows),
                                            columns, depth, a + row * PRODUCT_DEPTH, b,
                                            out + row * p->out_stride + column, p->out_stride,
                                            accumulate);
        }
    }
}

const struct product_way product_way_vectors = {
    .depth = PRODUCT_DEPTH,
    .depth_step = 1,
    .shared_most = SHARED_MOST,
    .set_sizes = set_sizes,
    .element_bytes = element_bytes,
    .own_bytes = own_bytes,
    .pack_columns = pack_columns,
    .multiply = multiply,
};

struct piece_memory {
    float *a, *b;
    int tile_rows, tile_columns;
};

static size_t piece_carve(const struct product_plan *plan, int rows, void *base,
                          struct piece_memory *memory)
{
    struct workspace all = {base, 0};
    plan->kernels->product_sizes(&memory->tile_rows, &memory->tile_columns);
    int64_t padded = product_blocks(rows, memory->tile_rows) * memory->tile_rows;
    memory->a = workspace_floats(&all, padded * PRODUCT_DEPTH);
    memory->b = workspace_floats(&all, (int64_t)PRODUCT_DEPTH * memory->tile_columns);
    return all.used;
}

size_t product_piece_bytes(const struct product_plan *plan, int rows)
{
    struct piece_memory memory;
    return piece_carve(plan, rows, NULL, &memory);
}

void product_piece(const struct product_plan *plan, const struct product_piece *piece, float *sums,
                   int64_t sums_stride, void *own)
{
    struct piece_memory memory;
    struct product_plan mine = *plan;
    piece_carve(plan, piece->rows, own, &memory);
    mine.tile_rows = memory.tile_rows;
    mine.tile_columns = memory.tile_columns;
    for (int k = 0; k == 0 || k < piece->depth; k += PRODUCT_DEPTH) {
        int depth = (int)product_least(piece->depth - k, PRODUCT_DEPTH);
        pack_rows(&mine, piece->row, piece->rows, piece->k + k, depth, memory.a);
        for (int column = 0; column < piece->columns; column += mine.tile_columns) {
            int columns = (int)product_least(piece->columns - column, mine.tile_columns);
            pack_tile(&mine, memory.b, piece->k + k, depth, piece->column + column, columns);
            for (int row = 0; row < piece->rows; row += mine.tile_rows)
                mine.kernels->product_tile((int)product_least(piece->rows - row, mine.tile_rows),
                                           columns, depth,
                                           memory.a + (ptrdiff_t)row * PRODUCT_DEPTH, memory.b,
                                           sums + row * sums_stride + column, sums_stride, k > 0);
        }
    }
}
