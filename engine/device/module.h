/* Devices that are modules (shared objects) beside the program, loaded when asked for, so that
 * the program starts on machines that lack their libraries. */
#ifndef ENGINE_DEVICE_MODULE_H
#define ENGINE_DEVICE_MODULE_H

#include "engine/device/device.h"

/* Loads lockstep_<name>.so and gives its table, the symbol `const struct device_ops
 * device_<name>`. Looked for in $LOCKSTEP_MODULE_PATH, the folder of the executable, and
 * ../lib/lockstep from there. NULL on failure (STATUS_UNSUPPORTED, with the loader's reason).
 * Modules stay loaded: the GPU libraries do not survive unloading. */
const struct device_ops *device_module_load(const char *name, struct status *status);

#endif
