/* Pipeline parallel: stages are dealt to the pipeline ranks in turn, and outputs of layers go from
 * the rank that computes them to those that need them. Facts, 5.4. Internal to engine/train. */
#ifndef ENGINE_TRAIN_PIPELINE_H
#define ENGINE_TRAIN_PIPELINE_H

#include "engine/model/model.h"

struct pipeline {
    const int *stage_end; /* one past the last layer of each stage (schedule_stages) */
    int stage_count;
    const struct model *model;
    struct seat seat;
};

/* The stage of a layer. */
int pipeline_stage(const struct pipeline *pipeline, int layer);
bool pipeline_is_mine(const struct pipeline *pipeline, int stage);

/* Emits the receives of what the layers of a stage take from layers that this rank does not have;
 * what an earlier stage has received is not received again. `hidden` is how the rows of what flows
 * between layers are cut. Its backward rule sends the gradient back. */
void pipeline_receive(const struct pipeline *pipeline, struct builder *builder, int stage,
                      struct flow *flow, const struct layout *hidden);
/* Emits the sends of the outputs of a stage to the ranks that receive them. */
void pipeline_send(const struct pipeline *pipeline, struct builder *builder, int stage,
                   const struct flow *flow);

/* The pipeline ranks that have a copy of the weights that heads share, as bits; 0 if that is at
 * most one. Facts, 5.8. */
uint64_t pipeline_tied(const struct config *config);

#endif
