/* Compiles a configuration into the program of one training step: the order of forward and
 * backward passes over micro-batches, micro-sequences and stages (facts, 5.4), the reduction of
 * gradients, and the update. */
#ifndef ENGINE_TRAIN_SCHEDULE_H
#define ENGINE_TRAIN_SCHEDULE_H

#include "engine/program/program.h"

/* The program of rank 0. NULL on failure: a layout that does not fit its number of ranks, or a
 * shape that does not fit. Free with program_free. */
struct program *schedule_compile(const struct config *config, struct status *status);
/* The program of any rank (program->seat). All ranks together compute what one rank computes:
 * values have the names that they have there, micro-batch j of batch-data rank r being number
 * j * batch-data ranks + r of the step. */
struct program *schedule_compile_rank(const struct config *config, int rank, struct status *status);

/* The ranks of a configuration, with the pipeline ranks that have copies of a tied weight. */
struct mesh schedule_mesh(const struct config *config);

/* Number of sequential micro-batches of a step on one rank: depth-first times breadth-first. */
int schedule_micro_batches(const struct config *config);

/* The stages of a model of `layer_count` layers, of which layer 0 is the embedding: stage_end[s] is
 * one past the last layer of stage s. Returns the number of stages. Facts, 5.4. */
int schedule_stages(int layer_count, int layers_per_stage, int *stage_end);

#endif
