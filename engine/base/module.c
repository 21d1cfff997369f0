#include "engine/base/module.h"

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
        status_fail(status, STATUS_UNSUPPORTED, "the %s module does not load: %s", name, dlerror());
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

void *module_symbol(const char *name, const char *symbol, struct status *status)
{
    char folder[PATH_MAX];
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
                    reason.code ? reason.text : "there is no such module in this build");
        return NULL;
    }
    void *address = dlsym(handle, symbol);
    if (!address)
        status_fail(status, STATUS_UNSUPPORTED, "lockstep_%s.so has no %s", name, symbol);
    return address;
}
