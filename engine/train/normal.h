/* Box and Muller's pairs of normal numbers, many at a time. */
#ifndef ENGINE_TRAIN_NORMAL_H
#define ENGINE_TRAIN_NORMAL_H

#include <stdint.h>

/* Elements 2 * first to 2 * (first + count) - 1 of the stream `key` (initialize.h has the formula)
 * into out[0 .. 2 * count - 1]. The same bits on every machine. Any thread. */
void normal_pairs(uint64_t key, uint64_t first, int64_t count, double std, float *out);

#endif
