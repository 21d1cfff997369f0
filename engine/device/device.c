#include "engine/device/device.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/device/module.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct device {
    const struct device_ops *ops;
    void *context;
    int64_t memory_limit;
    struct device_memory memory;
    struct device_reserve *reserves;
    char *passed_over;
};

const char *memory_class_name(enum memory_class memory_class)
{
    static const char *const names[MEMORY_CLASS_COUNT] = {
        [MEMORY_PARAMETERS] = "parameters",   [MEMORY_GRADIENTS] = "gradients",
        [MEMORY_OPTIMIZER] = "optimizer",     [MEMORY_ACTIVATIONS] = "activations",
        [MEMORY_INPUTS] = "inputs",           [MEMORY_WORKSPACE] = "workspace",
        [MEMORY_COLLECTIVES] = "collectives",
    };
    return names[memory_class];
}

bool device_memory_limit(int64_t *bytes, struct status *status)
{
    const char *text = getenv("LOCKSTEP_GPU_MEMORY_LIMIT");
    static const char units[] = "KMGT";
    *bytes = 0;
    if (!text || !*text)
        return true;
    char *end;
    double number = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    double factor = 1;
    for (const char *u = units; unit && u <= unit; u++)
        factor *= 1024;
    if (unit)
        end += end[1] == 'i' && end[2] == 'B' ? 3 : end[1] == 'B' ? 2 : 1;
    if (end == text || *end || !(number * factor >= 1 && number * factor <= 0x1p60))
        return status_fail(status, STATUS_INVALID,
                           "LOCKSTEP_GPU_MEMORY_LIMIT is \"%s\", not a size such as 8G or 500M",
                           text);
    *bytes = (int64_t)(number * factor);
    return true;
}

static struct device *open_ops(const struct device_ops *ops, const struct device_options *options,
                               struct status *status)
{
    static const struct device_options defaults = {0};
    struct device *device = memory_zeroed(1, sizeof(*device));
    if (!options)
        options = &defaults;
    device->ops = ops;
    device->memory_limit = options->memory_limit;
    bool limited = device->memory_limit > 0 || ops->host_memory ||
                   device_memory_limit(&device->memory_limit, status);
    if (!limited || !ops->open(&device->context, options, status)) {
        free(device);
        return NULL;
    }
    return device;
}

static const struct device_ops *find_ops(const char *name, struct status *status)
{
    if (strcmp(name, "cpu") == 0)
        return &device_cpu;
    if (strcmp(name, "reference") == 0)
        return &device_reference;
    if (strcmp(name, "cuda") == 0)
        return device_module_load("cuda", status);
    status_fail(status, STATUS_NOT_FOUND, "no device \"%s\" (there are auto, cpu, cuda, reference)",
                name);
    return NULL;
}

/* Loading the module takes up to 0.3 s, which machines without a driver need not wait for. The
 * second name is that of Windows' subsystem for Linux. */
static bool may_have_gpu(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0;
}

static struct device *open_auto(const struct device_options *options, struct status *status)
{
    struct status why = STATUS_NONE;
    const struct device_ops *cuda = may_have_gpu() ? find_ops("cuda", &why) : NULL;
    struct device *device = cuda ? open_ops(cuda, options, &why) : NULL;
    if (device)
        return device;
    device = open_ops(&device_cpu, options, status);
    if (device && why.code != STATUS_OK)
        device->passed_over = memory_string(why.text);
    return device;
}

struct device *device_open(const char *name, const struct device_options *options,
                           struct status *status)
{
    if (strcmp(name, "auto") == 0)
        return open_auto(options, status);
    const struct device_ops *ops = find_ops(name, status);
    return ops ? open_ops(ops, options, status) : NULL;
}

struct device *device_wrap(const struct device_ops *ops, void *context)
{
    struct device *device = memory_zeroed(1, sizeof(*device));
    device->ops = ops;
    device->context = context;
    return device;
}

void device_close(struct device *device)
{
    if (!device)
        return;
    device->ops->close(device->context);
    free(device->passed_over);
    free(device);
}

const char *device_passed_over(const struct device *device)
{
    return device->passed_over;
}

const char *device_name(const struct device *device)
{
    return device->ops->name;
}

const char *device_place(const struct device *device)
{
    return device->ops->place ? device->ops->place(device->context) : "";
}

void *device_handle(const struct device *device)
{
    return device->context;
}

bool device_host_memory(const struct device *device)
{
    return device->ops->host_memory;
}

bool device_supports(struct device *device, const struct op_call *call)
{
    return device->ops->supports(device->context, call);
}

size_t device_workspace(struct device *device, const struct op_call *call)
{
    return device->ops->workspace ? device->ops->workspace(device->context, call) : 0;
}

bool device_run(struct device *device, const struct op_call *call, struct status *status)
{
    return device->ops->run(device->context, call, status);
}

bool device_synchronize(struct device *device, struct status *status)
{
    return device->ops->synchronize ? device->ops->synchronize(device->context, status) : true;
}

static void count(struct device_memory *memory, enum memory_class memory_class, int64_t bytes)
{
    memory->live[memory_class] += bytes;
    memory->live_total += bytes;
    if (memory->live[memory_class] > memory->peak[memory_class])
        memory->peak[memory_class] = memory->live[memory_class];
    if (memory->live_total > memory->peak_total)
        memory->peak_total = memory->live_total;
}

static bool check_limit(const struct device *device, enum memory_class memory_class, size_t bytes,
                        struct status *status)
{
    char asked[32], used[32], limit[32];
    int64_t live = device->memory.live_total + device->memory.reserve, most = device->memory_limit;
    if (most <= 0 || (live <= most && bytes <= (size_t)(most - live)))
        return true;
    return status_fail(status, STATUS_MEMORY,
                       "no memory for %s: %s asked for, %s in use, limit of the %s device %s",
                       memory_class_name(memory_class), text_bytes(bytes, asked),
                       text_bytes((uint64_t)live, used), device->ops->name,
                       text_bytes((uint64_t)most, limit));
}

static bool allocate(struct device *device, enum memory_class memory_class, size_t bytes,
                     void **memory, struct status *status)
{
    char asked[32], used[32];
    if (!check_limit(device, memory_class, bytes, status))
        return false;
    if (!device->ops->allocate(device->context, bytes, memory, status))
        return status_context(status, "no memory for %s: %s asked for, %s in use on the %s device",
                              memory_class_name(memory_class), text_bytes(bytes, asked),
                              text_bytes((uint64_t)device->memory.live_total, used),
                              device->ops->name);
    count(&device->memory, memory_class, (int64_t)bytes);
    return true;
}

/* By the first who has something. */
static bool give_back(const struct device *device)
{
    for (struct device_reserve *reserve = device->reserves; reserve; reserve = reserve->next)
        if (reserve->give_back(reserve->context))
            return true;
    return false;
}

bool device_allocate(struct device *device, enum memory_class memory_class, size_t bytes,
                     void **memory, struct status *status)
{
    struct status refused = STATUS_NONE;
    while (!allocate(device, memory_class, bytes, memory, &refused)) {
        if (refused.code != STATUS_MEMORY || !give_back(device))
            return status_fail(status, refused.code, "%s", refused.text);
        refused = STATUS_NONE;
    }
    return true;
}

bool device_reserve_open(struct device *device, struct device_reserve *reserve,
                         struct status *status)
{
    if (!check_limit(device, MEMORY_WORKSPACE, (size_t)reserve->bytes, status) ||
        !device->ops->allocate(device->context, (size_t)reserve->bytes, &reserve->memory, status))
        return false;
    device->memory.reserve += reserve->bytes;
    reserve->next = device->reserves;
    device->reserves = reserve;
    return true;
}

void device_reserve_close(struct device *device, struct device_reserve *reserve)
{
    struct device_reserve **link = &device->reserves;
    while (*link != reserve)
        link = &(*link)->next;
    *link = reserve->next;
    device->ops->release(device->context, reserve->memory, (size_t)reserve->bytes);
    device->memory.reserve -= reserve->bytes;
}

void device_reclaim(struct device *device)
{
    while (give_back(device))
        ;
}

void device_release(struct device *device, enum memory_class memory_class, void *memory,
                    size_t bytes)
{
    if (!memory)
        return;
    device->ops->release(device->context, memory, bytes);
    count(&device->memory, memory_class, -(int64_t)bytes);
}

bool device_upload(struct device *device, void *to, const void *host, size_t bytes,
                   struct status *status)
{
    return device->ops->upload(device->context, to, host, bytes, status);
}

bool device_download(struct device *device, void *host, const void *from, size_t bytes,
                     struct status *status)
{
    return device->ops->download(device->context, host, from, bytes, status);
}

bool device_compare(struct device *device, const struct tensor *reference,
                    const struct tensor *test, double scale, struct device_sums *sums,
                    struct status *status)
{
    if (!device->ops->compare)
        return status_fail(status, STATUS_UNSUPPORTED, "the %s device does not compare",
                           device->ops->name);
    return device->ops->compare(device->context, reference, test, scale, sums, status);
}

bool device_sample(struct device *device, const struct tensor *from, int64_t step, int64_t count,
                   void *samples, struct device_statistics *statistics, struct status *status)
{
    if (!device->ops->sample)
        return status_fail(status, STATUS_UNSUPPORTED, "the %s device does not sample",
                           device->ops->name);
    return device->ops->sample(device->context, from, step, count, samples, statistics, status);
}

bool device_totals(struct device *device, int64_t *used, int64_t *total)
{
    return device->ops->totals && device->ops->totals(device->context, used, total);
}

int device_processes(struct device *device, struct device_process *processes, int most)
{
    return device->ops->processes ? device->ops->processes(device->context, processes, most) : 0;
}

bool device_lost(struct device *device)
{
    bool last;
    return device && device->ops->lost && device->ops->lost(device->context, &last);
}

bool device_lost_by_last(struct device *device)
{
    bool last = false;
    return device->ops->lost && device->ops->lost(device->context, &last) && last;
}

bool device_room(struct device *device, int64_t *bytes)
{
    int64_t used, total;
    if (device->memory_limit <= 0 && !device_totals(device, &used, &total))
        return false;
    const struct device_memory *memory = &device->memory;
    *bytes = device->memory_limit > 0 ? device->memory_limit
                                      : total - used + memory->live_total + memory->reserve;
    return true;
}

void device_memory(const struct device *device, struct device_memory *memory)
{
    *memory = device->memory;
}

void device_memory_reset_peak(struct device *device)
{
    memcpy(device->memory.peak, device->memory.live, sizeof(device->memory.peak));
    device->memory.peak_total = device->memory.live_total;
}
