/* The arithmetic of reductions, the same for every implementation, so that ranks in one process and
 * ranks in processes of their own give the same bits: summed in the order of the group's ranks, in
 * f32 (f64 for f64, int32_t with wrap-around for i32), then rounded once. Any thread. */
#ifndef ENGINE_COMM_COMBINE_H
#define ENGINE_COMM_COMBINE_H

#include "engine/tensor/dtype.h"

/* Whether such tensors can be summed: f32, bf16, f16, f64, i32. */
bool combine_supports(enum dtype dtype);

/* out[i] = the sum over k < parts of in[k][i] for `count` contiguous elements; with `average`
 * divided by `parts` (i32: towards zero). `out` may be one of the inputs. */
void combine_sum(enum dtype dtype, void *out, const void *const *in, int parts, size_t count,
                 bool average);

#endif
