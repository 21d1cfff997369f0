/* Metrics of tensors that lie on a device which compares them itself. One thread. */
#ifndef ENGINE_COMPARE_METRICS_DEVICE_H
#define ENGINE_COMPARE_METRICS_DEVICE_H

#include "engine/compare/compare.h"
#include "engine/device/device.h"

/* metrics_compute() for tensors of `count` elements in the memory of a device, of what
 * device_compare() gave: nothing else is fetched. */
struct metrics metrics_of_sums(const struct device_sums *sums, int64_t count);

#endif
