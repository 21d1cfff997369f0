/* Values on a device: their samples and statistics are put side by side in one block of its memory,
 * which is fetched when it is full, or at the end of a step. */
#include "engine/base/memory.h"
#include "engine/device/device.h"
#include "engine/trace/trace_internal.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 4 << 20, ALIGNMENT = 64 };

struct gathered {
    char *name;
    struct tensor tensor; /* of which only type and shape count */
    size_t at;            /* bytes in the block: statistics, then samples */
};

struct trace_gatherer {
    struct trace_writer *writer;
    struct device *device;
    char *block; /* device memory */
    size_t used;
    struct gathered *list;
    int count, capacity;
};

struct trace_gatherer *trace_gatherer_create(struct trace_writer *writer, struct device *device)
{
    void *block = NULL;
    if (device_host_memory(device) || trace_keeps_tensors(writer) ||
        !device_allocate(device, MEMORY_WORKSPACE, BLOCK_BYTES, &block, NULL))
        return NULL;
    struct trace_gatherer *gatherer = memory_zeroed(1, sizeof(*gatherer));
    *gatherer = (struct trace_gatherer){.writer = writer, .device = device, .block = block};
    return gatherer;
}

static void clear(struct trace_gatherer *gatherer)
{
    for (int i = 0; i < gatherer->count; i++)
        free(gatherer->list[i].name);
    gatherer->count = 0;
    gatherer->used = 0;
}

void trace_gatherer_free(struct trace_gatherer *gatherer)
{
    if (!gatherer)
        return;
    clear(gatherer);
    free(gatherer->list);
    device_release(gatherer->device, MEMORY_WORKSPACE, gatherer->block, BLOCK_BYTES);
    free(gatherer);
}

void trace_add_summary(struct trace_writer *writer, const char *name, const struct tensor *tensor,
                       void *samples, const struct device_statistics *statistics)
{
    struct trace_statistics finished = trace_statistics_from(statistics);
    trace_put_samples(writer, name, tensor, samples, &finished);
}

static size_t sample_bytes(const struct tensor *tensor)
{
    return (size_t)trace_sample_count(tensor->shape) * dtype_size(tensor->dtype);
}

static bool put(const struct trace_gatherer *gatherer, const struct gathered *one,
                const char *block, struct status *status)
{
    struct device_statistics found;
    size_t bytes = sample_bytes(&one->tensor);
    void *samples = memory_try(bytes, 1);
    if (!samples)
        return status_fail(status, STATUS_MEMORY, "no memory to record \"%s\"", one->name);
    memcpy(&found, block + one->at, sizeof(found));
    memcpy(samples, block + one->at + sizeof(found), bytes);
    trace_add_summary(gatherer->writer, one->name, &one->tensor, samples, &found);
    return true;
}

bool trace_gather_finish(struct trace_gatherer *gatherer, struct status *status)
{
    if (gatherer->count == 0)
        return true;
    char *block = memory_try(gatherer->used, 1);
    bool ok =
        block
            ? device_download(gatherer->device, block, gatherer->block, gatherer->used, status)
            : status_fail(status, STATUS_MEMORY, "no memory to record %d tensors", gatherer->count);
    for (int i = 0; ok && i < gatherer->count; i++)
        ok = put(gatherer, &gatherer->list[i], block, status);
    free(block);
    clear(gatherer);
    return ok;
}

/* Types that the device has no statistics of are rare, and fetched whole. */
static bool fetch_whole(struct trace_gatherer *gatherer, const char *name,
                        const struct tensor *there, struct status *status)
{
    struct tensor here = *there;
    size_t bytes = (size_t)shape_elements(there->shape) * dtype_size(there->dtype);
    here.data = memory_try(bytes, 1);
    if (!here.data)
        return status_fail(status, STATUS_MEMORY, "no memory to record \"%s\"", name);
    bool ok = trace_gather_finish(gatherer, status) &&
              device_download(gatherer->device, here.data, there->data, bytes, status) &&
              trace_add(gatherer->writer, name, &here, status);
    free(here.data);
    return ok;
}

bool trace_gather(struct trace_gatherer *gatherer, const char *name, const struct tensor *there,
                  struct status *status)
{
    size_t head = sizeof(struct device_statistics), bytes = head + sample_bytes(there);
    if (!dtype_is_float(there->dtype) || there->dtype == DTYPE_F64)
        return fetch_whole(gatherer, name, there, status);
    if (gatherer->used + bytes > BLOCK_BYTES && !trace_gather_finish(gatherer, status))
        return false;
    char *to = gatherer->block + gatherer->used;
    if (!device_sample(gatherer->device, there, trace_sampling_step(there->shape),
                       trace_sample_count(there->shape), to + head,
                       (struct device_statistics *)(void *)to, status))
        return false;
    struct gathered one = {memory_string(name), *there, gatherer->used};
    ARRAY_PUSH(gatherer->list, gatherer->count, gatherer->capacity, one);
    gatherer->used += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return true;
}
