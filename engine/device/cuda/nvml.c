/* The driver's management library, loaded while the program runs: toolkits come without its header
 * and machines without a driver without the library. Its ABI is stable; see NVIDIA's "NVML API
 * Reference Guide" for the functions. */
#include "engine/base/memory.h"
#include "engine/device/cuda/cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef LOCKSTEP_NVML_LIBRARY
#define LOCKSTEP_NVML_LIBRARY "libnvidia-ml.so.1"
#endif

typedef int nvml_return; /* 0 is success */
enum { NVML_ERROR_INSUFFICIENT_SIZE = 7 };
struct nvml_device;
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_process { /* nvmlProcessInfo_v2_t */
    unsigned pid;
    unsigned long long bytes; /* all ones: not known */
    unsigned gpu_instance, compute_instance;
};

struct nvml {
    void *handle;
    nvml_return (*init)(void);
    nvml_return (*shutdown)(void);
    nvml_return (*by_bus)(const char *bus, struct nvml_device **device);
    nvml_return (*by_uuid)(const char *uuid, struct nvml_device **device);
    nvml_return (*by_index)(unsigned index, struct nvml_device **device);
    nvml_return (*count)(unsigned *count);
    nvml_return (*memory)(struct nvml_device *device, struct nvml_memory *memory);
    nvml_return (*mig_mode)(struct nvml_device *device, unsigned *current, unsigned *pending);
    nvml_return (*processes)(struct nvml_device *device, unsigned *count,
                             struct nvml_process *processes);
    nvml_return (*process_name)(unsigned pid, char *name, unsigned length);
};

/* ISO C does not convert between data and function pointers; POSIX demands that dlsym's fit. */
static bool find_function(const struct nvml *nvml, const char *name, void *function)
{
    *(void **)function = dlsym(nvml->handle, name);
    return *(void **)function != NULL;
}

static bool find_functions(struct nvml *nvml)
{
    return find_function(nvml, "nvmlInit_v2", &nvml->init) &&
           find_function(nvml, "nvmlShutdown", &nvml->shutdown) &&
           find_function(nvml, "nvmlDeviceGetHandleByPciBusId_v2", &nvml->by_bus) &&
           find_function(nvml, "nvmlDeviceGetHandleByUUID", &nvml->by_uuid) &&
           find_function(nvml, "nvmlDeviceGetHandleByIndex_v2", &nvml->by_index) &&
           find_function(nvml, "nvmlDeviceGetCount_v2", &nvml->count) &&
           find_function(nvml, "nvmlDeviceGetMemoryInfo", &nvml->memory);
}

/* Older drivers do without: then nothing is known of other processes, or of MIG. */
static void find_newer_functions(struct nvml *nvml)
{
    find_function(nvml, "nvmlDeviceGetMigMode", &nvml->mig_mode);
    if (!find_function(nvml, "nvmlSystemGetProcessName", &nvml->process_name) ||
        !find_function(nvml, "nvmlDeviceGetComputeRunningProcesses_v3", &nvml->processes))
        nvml->processes = NULL;
}

struct nvml *cuda_nvml_open(void)
{
    struct nvml nvml = {.handle = dlopen(LOCKSTEP_NVML_LIBRARY, RTLD_NOW | RTLD_LOCAL)};
    if (!nvml.handle)
        return NULL;
    struct nvml *opened = memory_zeroed(1, sizeof(*opened));
    if (find_functions(&nvml) && nvml.init() == 0) {
        find_newer_functions(&nvml);
        *opened = nvml;
        return opened;
    }
    dlclose(nvml.handle);
    free(opened);
    return NULL;
}

void cuda_nvml_close(struct nvml *nvml)
{
    if (!nvml)
        return;
    nvml->shutdown();
    dlclose(nvml->handle);
    free(nvml);
}

static bool find_device(const struct nvml *nvml, const char *place, struct nvml_device **device)
{
    bool part = strncmp(place, "MIG-", 4) == 0;
    return (part ? nvml->by_uuid : nvml->by_bus)(place, device) == 0;
}

bool cuda_nvml_totals(const struct nvml *nvml, const char *place, int64_t *used, int64_t *total)
{
    struct nvml_device *device;
    struct nvml_memory memory;
    if (!nvml || !find_device(nvml, place, &device) || nvml->memory(device, &memory) != 0)
        return false;
    *used = (int64_t)memory.used;
    *total = (int64_t)memory.total;
    return true;
}

/* All of them; NULL if there are none or it does not say. */
static struct nvml_process *list_processes(const struct nvml *nvml, struct nvml_device *device,
                                           unsigned *count)
{
    enum { SPARE = 16 }; /* processes may start between the two calls */
    *count = 0;
    nvml_return result = nvml->processes(device, count, NULL);
    if (result != NVML_ERROR_INSUFFICIENT_SIZE || *count > 1u << 16)
        return NULL;
    *count += SPARE;
    struct nvml_process *all = calloc(*count, sizeof(*all));
    if (all && nvml->processes(device, count, all) == 0)
        return all;
    free(all);
    return NULL;
}

static struct device_process describe(const struct nvml *nvml, const struct nvml_process *process)
{
    struct device_process found = {
        .pid = process->pid, .bytes = process->bytes > INT64_MAX ? -1 : (int64_t)process->bytes};
    char name[1024] = "";
    if (nvml->process_name(process->pid, name, sizeof(name)) != 0)
        return found;
    name[sizeof(name) - 1] = '\0';
    name[strcspn(name, " ")] = '\0'; /* some drivers give the whole command line */
    const char *slash = strrchr(name, '/');
    snprintf(found.name, sizeof(found.name), "%.95s", slash ? slash + 1 : name);
    return found;
}

/* The driver numbers processes as the host does. Within a container this one has another number
 * there, which it cannot tell: then it is listed among the others. */
static bool in_first_namespace(void)
{
    const ino_t first = 0xEFFFFFFC; /* Linux, include/linux/proc_ns.h: PROC_PID_INIT_INO */
    struct stat state;
    return stat("/proc/self/ns/pid", &state) == 0 && state.st_ino == first;
}

int cuda_nvml_processes(const struct nvml *nvml, const char *place,
                        struct device_process *processes, int most)
{
    struct nvml_device *device;
    struct nvml_process *all = NULL;
    unsigned count = 0;
    int others = 0;
    bool own_known = in_first_namespace();
    if (nvml && nvml->processes && find_device(nvml, place, &device))
        all = list_processes(nvml, device, &count);
    for (unsigned i = 0; all && i < count; i++) {
        if (own_known && all[i].pid == (unsigned)getpid())
            continue;
        if (others < most)
            processes[others] = describe(nvml, &all[i]);
        others++;
    }
    free(all);
    return others;
}

bool cuda_nvml_mig(const struct nvml *nvml)
{
    unsigned count = 0, current, pending;
    if (!nvml || !nvml->mig_mode || nvml->count(&count) != 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct nvml_device *device;
        if (nvml->by_index(i, &device) == 0 && nvml->mig_mode(device, &current, &pending) == 0 &&
            current == 1)
            return true;
    }
    return false;
}
