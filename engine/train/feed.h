/* Fills a step's inputs: tokens, labels, document starts, positions, label counts, learning rate.
 * Internal to engine/train. */
#ifndef ENGINE_TRAIN_FEED_H
#define ENGINE_TRAIN_FEED_H

#include "engine/train/run.h"

/* Opens the configuration's data, or the recorded data file `path` if not NULL. */
bool feed_open(struct run *run, const char *path, struct status *status);
void feed_close(struct run *run);
/* Writes the inputs of run->step. */
bool feed_step(struct run *run, struct status *status);

#endif
