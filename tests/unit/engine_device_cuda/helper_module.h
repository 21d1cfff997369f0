/* The CUDA device that tests run on: the emulated one, or that of the GPU if the environment has
 * LOCKSTEP_TEST_DEVICE=cuda. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_MODULE_H
#define TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_MODULE_H

#include "engine/device/device.h"

bool module_is_emulated(void);
/* Lets device_open() and device_module_load() find the module that tests run on. */
void module_choose(void);
/* Its table; NULL, after saying so, if this build has none: without a C++ compiler. */
const struct device_ops *module_table(void);

#endif
