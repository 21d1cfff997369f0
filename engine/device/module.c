#include "engine/device/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tries folder/lockstep_name.so. On failure the loader's reason is added to the status, where
 * a file that is there but does not load is the more telling one. */
static void *load_from(const char *folder, const char *below, const char *name,
                       struct status *status)
{
    char path[PATH_MAX + 64];
    int length = snprintf(path, sizeof(path), "%s%s/lockstep_%s.so", folder, below, name);
    if (length < 0 || (size_t)length >= sizeof(path) || access(path, R_OK) != 0)
        return NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        status_fail(status, STATUS_UNSUPPORTED, "the %s device does not load: %s", name, dlerror());
    return handle;
}

static bool program_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (length <= 0)
        return false;
    folder[length] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

const struct device_ops *device_module_load(const char *name, struct status *status)
{
    char folder[PATH_MAX], symbol[64];
    const char *chosen = getenv("LOCKSTEP_MODULE_PATH");
    struct status reason = STATUS_NONE;
    void *handle = chosen && *chosen ? load_from(chosen, "", name, &reason) : NULL;
    if (!handle && program_folder(folder)) {
        handle = load_from(folder, "", name, &reason);
        if (!handle)
            handle = load_from(folder, "/../lib/lockstep", name, &reason);
    }
    if (!handle) {
        status_fail(status, STATUS_UNSUPPORTED, "%s",
                    reason.code ? reason.text : "there is no module for this device");
        status_context(status, "device %s", name);
        return NULL;
    }
    snprintf(symbol, sizeof(symbol), "device_%s", name);
    const struct device_ops *ops = dlsym(handle, symbol);
    if (!ops)
        status_fail(status, STATUS_UNSUPPORTED, "the module of device %s has no table %s", name,
                    symbol);
    return ops;
}
