/* Metrics of tensors that lie on a device which compares them itself. One thread. */
#ifndef ENGINE_COMPARE_METRICS_DEVICE_H
#define ENGINE_COMPARE_METRICS_DEVICE_H

#include "engine/compare/compare.h"
#include "engine/device/device.h"

/* metrics_compute() for tensors in the memory of `device`, which computes the sums: nothing but
 * those is fetched. False with STATUS_UNSUPPORTED where the device cannot (types, a scale that is
 * no power of two, or not at all). */
bool metrics_compute_on(struct device *device, const struct tensor *reference,
                        const struct tensor *test, double scale, struct metrics *metrics,
                        struct status *status);

#endif
