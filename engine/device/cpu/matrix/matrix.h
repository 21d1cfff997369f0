/* Products of float32 on matrix units for bf16 (Intel AMX), as sums of products of bf16: each
 * float32 is exactly the sum of three bf16 (8 + 8 + 8 bits of its 24), and of the nine products of
 * parts the six largest are summed in float32. What is left out is at most 2^-24 of a product, and
 * 2^-28 on average. (Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence
 * Datatype For Higher-Precision Computations, arXiv:1904.06376; cuBLAS does the same as BF16x9.) A
 * float16 is exactly two bf16, and all products of its parts are summed.
 *
 * The units take every subnormal bf16 as 0 and round results below 2^-126 to 0, so a factor is off
 * by up to 2^-126. Infinity and NaN, factors that round to infinity as bf16 and sums that overflow
 * give something not finite, never a wrong number: the caller computes those elements otherwise.
 *
 * Compiled for one instruction set; nothing here may be called before matrix_open() said yes. */
#ifndef ENGINE_DEVICE_CPU_MATRIX_MATRIX_H
#define ENGINE_DEVICE_CPU_MATRIX_MATRIX_H

#include "engine/tensor/op.h"

/* A panel holds MATRIX_PANEL rows of the left operand or columns of the right one. Its depth is cut
 * into steps; a step holds, for each part of the numbers, two tiles of 1024 bytes. */
enum { MATRIX_PANEL = 32, MATRIX_STEP = 32, MATRIX_TILE_BYTES = 1024 };

/* Whether this processor has the units and the system lets this process use them; asks the system
 * for permission, which holds for all threads. Any thread. */
bool matrix_open(void);

/* Around all that a thread multiplies. */
void matrix_enter(void);
void matrix_leave(void);

/* Number of bf16 that an element is exactly the sum of: 1 to 3; f32, bf16 and f16. */
static inline int matrix_parts(enum dtype dtype)
{
    return dtype == DTYPE_BF16 ? 1 : dtype == DTYPE_F16 ? 2 : 3;
}

/* Part of an operand: element (i, k), for row i of the left or column i of the right operand and k
 * of the depth, is data[i*stride + k], or data[k*stride + i] if it lies across. */
struct matrix_source {
    const void *data;
    enum dtype dtype;
    int64_t stride;
    bool across;
};

/* Packs `count` (up to MATRIX_PANEL) rows of the left operand, or columns of the right one if
 * `right`, of any depth; the rest of a tile that is needed and of the last step become 0. */
void matrix_pack(void *to, const struct matrix_source *source, bool right, int count, int depth);

/* Two panels with how many parts their elements have and how many rows or columns they hold. */
struct matrix_panels {
    const char *a, *b;
    int a_parts, b_parts, rows, columns;
};

/* Where sums go: to `out`, f32, bf16 or f16, rounded once, added to the bias if there is one; or,
 * f32 only, added to what is there. */
struct matrix_target {
    void *out;
    int64_t stride;
    enum dtype dtype;
    const float *bias;  /* [columns], or NULL */
    bool accumulate;    /* the bias is not looked at */
    bool passes_caches; /* whole lines of f32 are not read before they are written, nor kept */
};

/* Sums [rows, MATRIX_PANEL] on their way to a target; nothing if there are no rows. */
struct matrix_results {
    struct matrix_target target;
    const float *sums;
    int rows, columns;
    bool finite; /* whether all that was stored was finite; elements that are not are left alone */
};

/* A panel of the left operand on its way to be packed (matrix_pack()), no deeper than the product
 * that is made meanwhile, and not across; nothing if the depth is 0. */
struct matrix_packing {
    void *to;
    struct matrix_source source;
    int count, depth;
};

/* What a thread does beside a product: its units need few of the thread's instructions. Both are
 * done when matrix_multiply() comes back. */
struct matrix_beside {
    struct matrix_results results; /* of an earlier product */
    struct matrix_packing packing; /* for a later one */
};

/* sums [MATRIX_PANEL, MATRIX_PANEL] = the product of `steps` steps. Each element is summed in the
 * order of steps by itself; tiles without rows or columns of the panels are left alone. */
void matrix_multiply(const struct matrix_panels *panels, int steps, float *sums,
                     struct matrix_beside *beside);

/* Stores what results hold from the first row to before the end. */
void matrix_store(struct matrix_results *results, int first, int end);

#endif
