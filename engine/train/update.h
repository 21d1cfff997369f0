/* The end of a training step: gradient norm, clipping, loss scale, AdamW. Facts, 5.6 and 5.7. */
#ifndef ENGINE_TRAIN_UPDATE_H
#define ENGINE_TRAIN_UPDATE_H

#include "engine/program/builder.h"

/* Declares the scaler state and the gradient of the loss (builder->scaler, ->loss_scale). */
void update_declare(struct builder *builder);
/* Emits the update of every trained parameter from its gradient. */
void update_emit(struct builder *builder);
/* The scaler's contents at the start. */
void update_initial_scaler(const struct config *config, double scaler[SCALER_SIZE]);
/* Whether the loss scale changes, and a step whose gradients overflow skips its update: fp16. Any
 * thread. */
bool update_may_skip(const struct config *config);

#endif
