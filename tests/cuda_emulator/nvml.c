/* The part of the driver's management library that the CUDA device uses. Its GPU has 16 GiB, or
 * what LOCKSTEP_EMULATED_MEMORY says, and those processes on it that LOCKSTEP_EMULATED_PROCESSES
 * lists as PID:PROGRAM:BYTES, with commas between them; bytes below 0 are not known. A GPU that
 * plays "mig" is found by its UUID only. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

struct memory {
    unsigned long long total, free, used;
};

struct process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory);
int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count,
                                            struct process *processes);
int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length);

static bool plays(const char *what)
{
    const char *chosen = getenv("LOCKSTEP_EMULATED_GPU");
    return chosen && strcmp(chosen, what) == 0;
}

int nvmlInit_v2(void)
{
    return SUCCESS;
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device)
{
    *device = NULL;
    return strncmp(bus, "0000:00:", 8) == 0 && !plays("mig") ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    *device = NULL;
    bool known = strcmp(uuid, "MIG-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf") == 0;
    return known && plays("mig") ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = NULL;
    return index == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 1;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending)
{
    (void)device;
    *current = *pending = plays("mig") || plays("mig-empty");
    return SUCCESS;
}

/* Calls `take` for each process; gives their number. */
static unsigned each(void (*take)(void *context, unsigned place, const struct process *process,
                                  const char *name),
                     void *context)
{
    unsigned count = 0;
    const char *list = getenv("LOCKSTEP_EMULATED_PROCESSES");
    while (list && *list) {
        struct process process = {0};
        char name[64] = "";
        long long bytes = 0;
        int length = 0;
        if (sscanf(list, "%u:%63[^:]:%lld%n", &process.pid, name, &bytes, &length) < 3)
            break;
        process.bytes = (unsigned long long)bytes;
        take(context, count++, &process, name);
        list += length;
        list += *list == ',';
    }
    return count;
}

static void add_bytes(void *context, unsigned place, const struct process *process,
                      const char *name)
{
    (void)place, (void)name;
    if ((long long)process->bytes > 0)
        *(unsigned long long *)context += process->bytes;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
    const char *chosen = getenv("LOCKSTEP_EMULATED_MEMORY");
    (void)device;
    memory->total = chosen ? strtoull(chosen, NULL, 10) : 16ull << 30;
    memory->used = 0;
    each(add_bytes, &memory->used);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

struct room {
    struct process *processes;
    unsigned count;
};

static void put(void *context, unsigned place, const struct process *process, const char *name)
{
    const struct room *room = context;
    (void)name;
    if (place < room->count)
        room->processes[place] = *process;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count,
                                            struct process *processes)
{
    struct room room = {processes, processes ? *count : 0};
    (void)device;
    *count = each(put, &room);
    return *count > room.count ? INSUFFICIENT_SIZE : SUCCESS;
}

struct wanted {
    unsigned pid;
    char name[64];
};

static void take_name(void *context, unsigned place, const struct process *process,
                      const char *name)
{
    struct wanted *wanted = context;
    (void)place;
    if (process->pid == wanted->pid)
        snprintf(wanted->name, sizeof(wanted->name), "%s", name);
}

int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length)
{
    struct wanted wanted = {pid, ""};
    each(take_name, &wanted);
    snprintf(name, length, "%s", wanted.name);
    return wanted.name[0] ? SUCCESS : NOT_FOUND;
}
