/* The end of a training step: gradient norm, clipping, loss scale, AdamW. Facts, 5.6 and 5.7. */
#ifndef ENGINE_TRAIN_UPDATE_H
#define ENGINE_TRAIN_UPDATE_H

#include "engine/program/builder.h"

/* Declares the scaler state and the gradient of the loss (builder->scaler, ->loss_scale). */
void update_declare(struct builder *builder);
/* Emits the update of every trained parameter from its gradient. */
void update_emit(struct builder *builder);
/* The scaler's contents at the start: loss scale, good steps, hysteresis, optimizer step. */
void update_initial_scaler(const struct config *config, double scaler[4]);

#endif
