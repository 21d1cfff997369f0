/* Inner loops of the comparison, compiled for several instruction sets and chosen at start by the
 * loader. All of them give the same bits on every machine: the order of additions is fixed by
 * BLOCK_LANES and no multiply-add is fused. Internal to engine/compare; any thread. */
#ifndef ENGINE_COMPARE_KERNEL_H
#define ENGINE_COMPARE_KERNEL_H

#include "engine/compare/block.h"

/* Sums over one block; a non-finite element makes `references` or `tests` non-finite. */
struct kernel_sums {
    double differences; /* sum (reference - test)^2 */
    double references;  /* sum reference^2 */
    double tests;       /* sum test^2 */
    double products;    /* sum reference * test */
    double largest;     /* max |reference - test| */
    uint64_t distance;  /* max distance of keys, in units of the key word */
    int64_t different;  /* keys that are not equal */
};

/* Sums over `padded` (a multiple of BLOCK_LANES) elements; prefetches so many elements ahead of
 * the reference and the test (0 = they are in the cache). */
void kernel_sum(const float *reference, const float *test, const block_word *reference_key,
                const block_word *test_key, int padded, const int ahead[2],
                struct kernel_sums *sums);
void kernel_sum_wide(const double *reference, const double *test,
                     const block_wide_word *reference_key, const block_wide_word *test_key,
                     int padded, struct kernel_sums *sums);

/* to = from * factor; from bf16 or (half) f16 to float. */
void kernel_scale(const float *from, float factor, int count, float *to);
void kernel_widen(const uint16_t *from, bool half, float factor, int count, float *to);
/* Keys: 16-bit elements moved to the upper half; floats rounded to bf16 or (half) f16. */
void kernel_shift_up(const uint16_t *from, int count, block_word *to);
void kernel_round(const float *from, bool half, int count, block_word *to);
/* The common cases of the wide form: f32 to double, and doubles rounded to f32 as keys. */
void kernel_to_double(const float *from, int count, double *to);
void kernel_round_wide(const double *from, int count, block_wide_word *to);

#endif
