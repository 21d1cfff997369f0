/* The states of a run (parameters, moments, scaler): initialised, loaded, saved, restored.
 * Internal to engine/train. */
#ifndef ENGINE_TRAIN_STATES_H
#define ENGINE_TRAIN_STATES_H

#include "engine/train/run.h"

/* The executor's interrupt may end what writes states, and states_save (STATUS_CANCELLED); what was
 * written so far is there then.
 *
 * Writes the initial parameters (from `file` if not NULL, else by the name-keyed generator; a
 * ".json" file gives mean and deviation for each name, see docs/numbers.md), zero moments and the
 * scaler's start. */
bool states_initialize(struct run *run, const char *file, struct status *status);
size_t states_bytes(const struct program *program);
/* A copy of all states, which are those at the beginning of `step`; NULL on failure.
 * states_discard(NULL) is fine. */
struct saved_point *states_save(struct run *run, int step, struct status *status);
bool states_restore(struct run *run, const struct saved_point *point, struct status *status);
void states_discard(struct saved_point *point);
bool states_write_parameters(struct run *run, const char *path, struct status *status);

#endif
