/* Compiles a configuration into the program of one training step: the order of forward and
 * backward passes over micro-batches, micro-sequences and stages (facts, 5.4), the reduction of
 * gradients, and the update. */
#ifndef ENGINE_TRAIN_SCHEDULE_H
#define ENGINE_TRAIN_SCHEDULE_H

#include "engine/program/program.h"

/* The program of rank 0 of 1. NULL on failure: a layout that needs more ranks (STATUS_UNSUPPORTED),
 * or a shape that does not fit. Free with program_free. */
struct program *schedule_compile(const struct config *config, struct status *status);

/* Number of sequential micro-batches of a step: depth-first times breadth-first. */
int schedule_micro_batches(const struct config *config);

/* The stages of a model of `layer_count` layers, of which layer 0 is the embedding: stage_end[s] is
 * one past the last layer of stage s. Returns the number of stages. Facts, 5.4. */
int schedule_stages(int layer_count, int layers_per_stage, int *stage_end);

#endif
