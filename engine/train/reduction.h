/* From what the backward passes leave on one rank to the gradients that the update takes: summed
 * over ranks, cut like the master weights, named. Facts, 5.5, 5.6 and 5.8. Internal to
 * engine/train.
 */
#ifndef ENGINE_TRAIN_REDUCTION_H
#define ENGINE_TRAIN_REDUCTION_H

#include "engine/program/builder.h"

struct reduction {
    struct builder *builder;
    int *reduced; /* [parameters]: the sum of the reductions so far, or -1 */
};

/* Emits the reduction of all gradients that were gathered (builder->gradient) since the last one,
 * and adds them to what was reduced before. ZeRO 2 and 3 share gradient buffers between stages, so
 * they reduce after each depth-first micro-batch, `depth`; the others once, at the end. */
void reduction_run(struct reduction *reduction, int depth);
/* After the last one: sums copies of tied weights, sets parameter.gradient, gives names. */
void reduction_finish(struct reduction *reduction);

#endif
