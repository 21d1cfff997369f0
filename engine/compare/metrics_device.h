/* Metrics of what one pass over two tensors has summed, on whichever device they lie. One thread.
 */
#ifndef ENGINE_COMPARE_METRICS_DEVICE_H
#define ENGINE_COMPARE_METRICS_DEVICE_H

#include "engine/compare/compare.h"
#include "engine/device/device.h"

/* The metrics of tensors of `count` elements, of what device_compare() gave, or metrics_compute()
 * summed: nothing else is needed. */
struct metrics metrics_of_sums(const struct device_sums *sums, int64_t count);

#endif
