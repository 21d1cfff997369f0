/* The driver's management library, loaded while the program runs: toolkits come without its header
 * and machines without a driver without the library. Its ABI is stable; see NVIDIA's "NVML API
 * Reference Guide" for the functions. */
#include "engine/device/cuda/cuda.h"

#include <dlfcn.h>

typedef int nvml_return; /* 0 is success */
struct nvml_device;
struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml {
    nvml_return (*init)(void);
    nvml_return (*shutdown)(void);
    nvml_return (*find)(const char *bus, struct nvml_device **device);
    nvml_return (*memory)(struct nvml_device *device, struct nvml_memory *memory);
};

/* ISO C does not convert between data and function pointers; POSIX demands that dlsym's fit. */
static bool find_function(void *library, const char *name, void *function)
{
    *(void **)function = dlsym(library, name);
    return *(void **)function != NULL;
}

static bool read_totals(void *library, const char *bus, struct nvml_memory *memory)
{
    struct nvml nvml;
    struct nvml_device *device;
    if (!find_function(library, "nvmlInit_v2", &nvml.init) ||
        !find_function(library, "nvmlShutdown", &nvml.shutdown) ||
        !find_function(library, "nvmlDeviceGetHandleByPciBusId_v2", &nvml.find) ||
        !find_function(library, "nvmlDeviceGetMemoryInfo", &nvml.memory) || nvml.init() != 0)
        return false;
    bool done = nvml.find(bus, &device) == 0 && nvml.memory(device, memory) == 0;
    nvml.shutdown();
    return done;
}

bool cuda_nvml_totals(const char *bus, int64_t *used, int64_t *total)
{
    struct nvml_memory memory;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    bool done = read_totals(library, bus, &memory);
    dlclose(library);
    if (!done)
        return false;
    *used = (int64_t)memory.used;
    *total = (int64_t)memory.total;
    return true;
}
