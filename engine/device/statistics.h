/* Statistics of a tensor in host memory: as device_ops.sample() takes them of one in a device's. */
#ifndef ENGINE_DEVICE_STATISTICS_H
#define ENGINE_DEVICE_STATISTICS_H

#include "engine/device/device.h"
#include "engine/tensor/mosaic.h"

/* One pass over the tensor, by all threads; the result depends neither on their number nor on how
 * the tensor is cut into parts. Without finite elements mean and squares are 0. */
struct device_statistics statistics_of_host(const struct mosaic *tensor);

#endif
