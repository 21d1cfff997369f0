/* Whether a device works, found out without touching it in this process. */
#ifndef APP_PROBE_H
#define APP_PROBE_H

#include "engine/device/device.h"

/* Opens the device in a process of its own, since what a GPU's driver starts does not survive the
 * fork of workers. False with the device's own reason. */
bool probe_device(const char *name, const struct device_options *options, struct status *status);

#endif
