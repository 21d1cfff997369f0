/* What would fit: for a run whose memory is refused. */
#ifndef ENGINE_TRAIN_FIT_H
#define ENGINE_TRAIN_FIT_H

#include "engine/device/device.h"
#include "engine/program/memory_plan.h"

struct config;

/* Adds to a status that failed for want of memory, on one more line, which change of the schedule
 * fits into what `device` gives one of `runs` runs that share it: as many tokens in more and
 * smaller micro-batches, or in more micro-sequences. Each is compiled and planned, not run. Does
 * nothing for other failures, and where the device does not tell how much it has. Returns false. */
bool fit_add(const struct config *config, int rank, struct device *device, int runs,
             struct status *status);

#endif
