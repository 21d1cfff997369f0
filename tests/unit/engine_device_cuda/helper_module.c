#include "helper_module.h"

#include "engine/device/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool module_is_emulated(void)
{
    const char *device = getenv("LOCKSTEP_TEST_DEVICE");
    return !device || strcmp(device, "cuda") != 0;
}

void module_choose(void)
{
    if (module_is_emulated())
        setenv("LOCKSTEP_MODULE_PATH", LOCKSTEP_EMULATED_MODULE, 1);
}

const struct device_ops *module_table(void)
{
    struct status status = STATUS_NONE;
    module_choose();
    const struct device_ops *ops = device_module_load("cuda", &status);
    if (!ops)
        printf("no CUDA device to test: %s\n", status.text);
    return ops;
}
