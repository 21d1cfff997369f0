/* The inside of products on matrix units (matrix/matrix.h). What they cannot do, because of
 * infinity or NaN or of numbers near them, is made again in vectors, element by element: which
 * elements that are depends on each alone. */
#include "engine/device/cpu/product.h"

#ifdef LOCKSTEP_CPU_MATRIX

#include "engine/device/cpu/matrix/matrix.h"

#include <math.h>

/* An element is summed in blocks of DEPTH. OWN_MOST bytes of rows, packed, fit the second cache. */
enum { DEPTH = 1024, ROWS_MOST = 256, OWN_MOST = 768 << 10, SHARED_MOST = 6 << 20 };
/* Rows of a part where the depth has many blocks: the columns of each are used for all of them. */
enum { PART_MOST = 4096 };
/* A result of so many bytes leaves the caches before it is used. */
enum { RESULT_MOST = 4 << 20 };
enum { PANEL = MATRIX_PANEL, PANEL_SUMS = MATRIX_PANEL * MATRIX_PANEL };

static int element_bytes(enum dtype dtype)
{
    return 2 * matrix_parts(dtype);
}

/* Rows that are packed at a time. */
static int64_t own_rows(const struct product_plan *plan)
{
    const struct matrix_product *p = plan->product;
    int64_t depth = product_least(p->depth > 0 ? p->depth : 1, DEPTH);
    int64_t row = product_padded(plan, depth) * element_bytes(p->a_dtype);
    return product_least(OWN_MOST / row, ROWS_MOST) / PANEL * PANEL;
}

static void set_sizes(struct product_plan *plan)
{
    bool is_deep = plan->product->depth > DEPTH;
    plan->tile_rows = plan->tile_columns = plan->rows_step = PANEL;
    plan->rows_most = is_deep ? PART_MOST : (int)own_rows(plan);
    plan->thread_parts = is_deep ? 1 : 2;
}

struct memory {
    char *a;                /* [panels][depth of a block, PANEL] */
    float *sums[2], *again; /* [PANEL, PANEL] */
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
    memory->sums[0] = workspace_floats(&all, PANEL_SUMS);
    memory->sums[1] = workspace_floats(&all, PANEL_SUMS);
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

/* What a thread makes of its part, block after block: while the units multiply one, the results of
 * the one before are stored, and rows are packed for the next one. */
struct stream {
    const struct product_plan *plan;
    const struct product_round *round;
    const struct product_part *part; /* the rows that are packed at a time */
    struct memory memory;
    struct product_piece last; /* whose results are stored next; no rows: none are */
    struct matrix_beside beside;
    int sums; /* which of the memory's */
};

/* Rows of a part, from a row of it on, for a block of the depth. */
static struct matrix_packing rows_packing(const struct stream *stream, int64_t row, int64_t k,
                                          int depth)
{
    const struct product_plan *plan = stream->plan;
    const struct matrix_product *p = plan->product;
    int64_t row_bytes = product_padded(plan, depth) * element_bytes(p->a_dtype);
    return (struct matrix_packing){.to = stream->memory.a + row * row_bytes,
                                   .source = source_of(p->a, p->a_dtype, p->a_stride,
                                                       p->transpose_a, stream->part->row + row, k),
                                   .count = (int)product_least(stream->part->rows - row, PANEL),
                                   .depth = depth};
}

/* The elements that are not finite in `sums`, in vectors. */
static void replace(const struct stream *stream)
{
    const struct product_piece *piece = &stream->last;
    const struct matrix_target *target = &stream->beside.results.target;
    const float *sums = stream->beside.results.sums, *again = stream->memory.again;
    product_piece(stream->plan, piece, stream->memory.again, PANEL, stream->memory.piece);
    for (int i = 0; i < piece->rows; i++)
        for (int j = 0; j < piece->columns; j++) {
            float sum = again[i * PANEL + j];
            int64_t index = i * target->stride + j;
            if (isfinite(sums[i * PANEL + j]))
                continue;
            if (target->accumulate)
                sum += ((const float *)target->out)[index];
            else if (target->bias)
                sum += target->bias[j];
            stream->plan->kernels->from_float((char *)target->out +
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

/* After the results of the last block are stored. */
static void end_block(struct stream *stream)
{
    struct matrix_results *results = &stream->beside.results;
    if (results->rows && !results->finite)
        replace(stream);
    results->rows = 0;
}

static struct matrix_results results_of(const struct product_plan *plan,
                                        const struct product_piece *piece, const float *sums)
{
    const struct matrix_product *p = plan->product;
    int64_t first = piece->row * p->out_stride + piece->column;
    struct matrix_target target = {.out =
                                       (char *)p->out + first * (int64_t)dtype_size(p->out_dtype),
                                   .stride = p->out_stride,
                                   .dtype = p->out_dtype,
                                   .bias = p->bias ? (const float *)p->bias + piece->column : NULL,
                                   .accumulate = piece->k > 0,
                                   .passes_caches = is_large(p)};
    return (struct matrix_results){target, sums, piece->rows, piece->columns, true};
}

static void multiply_block(struct stream *stream, const struct matrix_panels *panels,
                           const struct product_piece *piece)
{
    float *sums = stream->memory.sums[stream->sums];
    int64_t depth = product_padded(stream->plan, piece->depth);
    matrix_multiply(panels, (int)depth / MATRIX_STEP, sums, &stream->beside);
    end_block(stream);
    stream->last = *piece;
    stream->beside.results = results_of(stream->plan, piece, sums);
    stream->sums ^= 1;
}

/* One block of the depth for all rows of a part and a panel of columns; the first panel packs them
 * too where they do not lie across. */
static void multiply_column(struct stream *stream, struct product_piece piece, int64_t column)
{
    const struct product_plan *plan = stream->plan;
    const struct product_round *round = stream->round;
    const struct product_part *part = stream->part;
    const struct matrix_product *p = plan->product;
    bool packs = column == part->column && !p->transpose_a;
    piece.columns = (int)product_least(part->end - column, PANEL);
    piece.column = round->column + column;
    struct matrix_panels panels = {
        .a = stream->memory.a,
        .b = product_columns(plan, round, piece.k - round->k, column / PANEL),
        .a_parts = matrix_parts(p->a_dtype),
        .b_parts = matrix_parts(p->b_dtype),
        .columns = piece.columns};
    int64_t panel_bytes = product_padded(plan, piece.depth) * PANEL * element_bytes(p->a_dtype);
    for (int64_t row = 0; row < part->rows; row += PANEL, panels.a += panel_bytes) {
        piece.row = part->row + row;
        piece.rows = panels.rows = (int)product_least(part->rows - row, PANEL);
        stream->beside.packing = (struct matrix_packing){.depth = 0};
        if (packs && row + PANEL < part->rows)
            stream->beside.packing = rows_packing(stream, row + PANEL, piece.k, piece.depth);
        multiply_block(stream, &panels, &piece);
    }
}

/* Where rows lie across, all of them for one step after the other: so memory is read in order. */
static void pack_across(const struct stream *stream, int64_t k, int depth)
{
    const struct product_plan *plan = stream->plan;
    const struct matrix_product *p = plan->product;
    int64_t step_bytes = (int64_t)PANEL * element_bytes(p->a_dtype);
    for (int first = 0; first < depth; first += MATRIX_STEP)
        for (int64_t row = 0; row < stream->part->rows; row += PANEL) {
            struct matrix_packing packing = rows_packing(stream, row, k, depth);
            packing.source =
                source_of(p->a, p->a_dtype, p->a_stride, true, stream->part->row + row, k + first);
            matrix_pack((char *)packing.to + first * step_bytes, &packing.source, false,
                        packing.count, (int)product_least(depth - first, MATRIX_STEP));
        }
}

/* One block of the depth for some rows. */
static void multiply_rows(struct stream *stream, const struct product_part *part,
                          const struct product_piece *piece)
{
    stream->part = part;
    struct matrix_packing first = rows_packing(stream, 0, piece->k, piece->depth);
    if (stream->plan->product->transpose_a)
        pack_across(stream, piece->k, piece->depth);
    else
        matrix_pack(first.to, &first.source, false, first.count, first.depth);
    for (int64_t column = part->column; column < part->end; column += PANEL)
        multiply_column(stream, *piece, column);
}

static void multiply(const struct product_plan *plan, const struct product_round *round,
                     const struct product_part *part, void *own)
{
    struct stream stream = {.plan = plan, .round = round};
    int64_t most = own_rows(plan);
    carve(plan, own, &stream.memory);
    for (int64_t k = 0; k == 0 || k < round->depth; k += DEPTH) {
        struct product_piece piece = {.k = round->k + k,
                                      .depth = (int)product_least(round->depth - k, DEPTH)};
        for (int64_t row = 0; row < part->rows && !interrupt_asked(plan->interrupt); row += most) {
            struct product_part rows = *part;
            rows.row += row;
            rows.rows = product_least(part->rows - row, most);
            multiply_rows(&stream, &rows, &piece);
        }
    }
    matrix_store(&stream.beside.results, 0, stream.beside.results.rows);
    end_block(&stream);
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
