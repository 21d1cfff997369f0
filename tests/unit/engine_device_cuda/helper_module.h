/* The CUDA device that tests run on: the emulated one, or that of the GPU if the environment has
 * LOCKSTEP_TEST_DEVICE=cuda. */
#ifndef TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_MODULE_H
#define TESTS_UNIT_ENGINE_DEVICE_CUDA_HELPER_MODULE_H

#include "engine/device/device.h"

bool module_is_emulated(void);
/* Lets device_open() and device_module_load() find the module that tests run on. */
void module_choose(void);
/* Its table; NULL, after saying so, if there is none. */
const struct device_ops *module_table(void);
/* The exit status of a test that got none: 0 only where nothing was built, without a C++ compiler.
 * A module that does not load has failed. */
int module_missing(void);

/* What the emulation counts: waits, fetched bytes, graphs (tests/cuda_emulator/runtime.h). 0 where
 * there is none, or before it is loaded. */
size_t module_count(const char *counter);

/* Runs a call whose operands are in host memory, those of outputs not set, on a device that has
 * memory of its own. Fails the test if it fails. The memory of what it gives is the caller's. */
void module_run(struct device *device, const struct op_call *call,
                struct tensor results[OP_MAX_OUTPUTS]);

#endif
