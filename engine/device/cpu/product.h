/* Inside matrix products: a product cut into rounds of all threads and parts of one thread, and
 * what differs between the ways to make the parts. */
#ifndef ENGINE_DEVICE_CPU_PRODUCT_H
#define ENGINE_DEVICE_CPU_PRODUCT_H

#include "engine/device/cpu/cpu.h"

struct product_way;

/* A product, cut. */
struct product_plan {
    const struct matrix_product *product;
    const struct kernels *kernels;
    const struct interrupt *interrupt;
    const struct product_way *way;
    int tile_rows, tile_columns;
    int rows_most, rows_step; /* of a part */
    /* Parts that a thread should find: with fewer, threads wait for the last; with more, rows that
     * lie across are read in shorter pieces, and columns more often. */
    int thread_parts;
    int64_t block_rows, block_columns; /* of one part */
    int64_t round_depth;
    size_t own_bytes;
    char *own;    /* [threads][own_bytes]: rows of a, packed, and what else a thread needs */
    char *shared; /* columns of b, packed: [depth / way->depth][tiles][padded depth, columns] */
};

/* One round of all threads: some depth of some columns. */
struct product_round {
    int64_t column, columns, k, depth;
    int64_t tiles, row_blocks, column_blocks;
};

/* Some rows of some columns of the result; columns are counted from where the round begins. */
struct product_part {
    int64_t row, rows, column, end;
};

/* How parts are made. An element is summed in blocks of `depth`, which are then added in order. */
struct product_way {
    int depth, depth_step; /* of a block; packed depth is a multiple of depth_step */
    int64_t shared_most;   /* bytes packed for a round */
    bool any_output;       /* adds the bias, and rounds to 16 bits where the depth is one block */
    void (*set_sizes)(
        struct product_plan *plan);         /* tile_rows to thread_parts; none depends on rows */
    int (*element_bytes)(enum dtype dtype); /* as it is packed */
    size_t (*own_bytes)(const struct product_plan *plan);
    void (*enter)(void), (*leave)(void); /* around the work of each thread; may be NULL */
    void (*pack_columns)(const struct product_plan *plan, const struct product_round *round,
                         int64_t k, int64_t tile);
    void (*multiply)(const struct product_plan *plan, const struct product_round *round,
                     const struct product_part *part, void *own);
};
extern const struct product_way product_way_vectors;
#ifdef LOCKSTEP_CPU_MATRIX
extern const struct product_way product_way_matrix;
#endif

static inline int64_t product_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t product_blocks(int64_t count, int64_t size)
{
    return (count + size - 1) / size;
}

/* `depth` as it is packed. */
static inline int64_t product_padded(const struct product_plan *plan, int64_t depth)
{
    return product_blocks(depth, plan->way->depth_step) * plan->way->depth_step;
}

/* Where the part of b that begins at the k-th row of the round and at a tile is packed. */
static inline void *product_columns(const struct product_plan *plan,
                                    const struct product_round *round, int64_t k, int64_t tile)
{
    int64_t depth = product_padded(plan, product_least(round->depth - k, plan->way->depth));
    return plan->shared + (k * round->tiles + tile * depth) * plan->tile_columns *
                              plan->way->element_bytes(plan->product->b_dtype);
}

/* A small piece of a product in vectors. */
struct product_piece {
    int64_t row, column, k;
    int rows, columns, depth;
};
size_t product_piece_bytes(const struct product_plan *plan, int rows);
/* sums [rows, sums_stride] = the piece; `own` holds product_piece_bytes(). */
void product_piece(const struct product_plan *plan, const struct product_piece *piece, float *sums,
                   int64_t sums_stride, void *own);

#endif
