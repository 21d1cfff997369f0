#include "engine/device/module.h"

#include "engine/base/module.h"

#include <stdio.h>

const struct device_ops *device_module_load(const char *name, struct status *status)
{
    char symbol[64];
    snprintf(symbol, sizeof(symbol), "device_%s", name);
    const struct device_ops *ops = module_symbol(name, symbol, status);
    if (!ops)
        status_context(status, "device %s (--device cpu needs no module)", name);
    return ops;
}
