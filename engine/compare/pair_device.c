/* Comparison where the tensors are: on a device whose memory the host cannot read. It is queued
 * behind the instruction; the host waits for the result at once, or for many together. */
#include "engine/base/memory.h"
#include "engine/compare/metrics_device.h"
#include "engine/compare/pair_internal.h"

#include <stdlib.h>

enum { QUEUE_MOST = 256 };

struct pair_queue {
    struct device_sums *there; /* [QUEUE_MOST], device memory */
    int values[QUEUE_MOST], count;
};

static size_t queue_bytes(void)
{
    return QUEUE_MOST * sizeof(struct device_sums);
}

static bool queue_open(struct pair *pair, struct status *status)
{
    void *memory = NULL;
    if (pair->queue)
        return true;
    if (!device_allocate(pair->test->executor->device, MEMORY_WORKSPACE, queue_bytes(), &memory,
                         status))
        return false;
    pair->queue = memory_zeroed(1, sizeof(*pair->queue));
    pair->queue->there = memory;
    return true;
}

void pair_queue_free(struct pair *pair)
{
    if (!pair->queue)
        return;
    device_release(pair->test->executor->device, MEMORY_WORKSPACE, pair->queue->there,
                   queue_bytes());
    free(pair->queue);
    pair->queue = NULL;
}

void pair_tell(struct pair *pair, int value)
{
    struct pair_result *result = &pair->results[value];
    int64_t elements = shape_elements(pair->test->program->values[value].shape);
    result->sampled = result->compared && !(result->verdict.failures & FAILURE_SHAPE) &&
                      result->metrics.count < elements;
    if (result->compared && pair->observer)
        pair->observer(pair->observer_context, pair, pair->entered_step, value, result);
}

static void take_sums(struct pair *pair, int value, const struct device_sums *sums)
{
    struct pair_result *result = &pair->results[value];
    result->metrics =
        metrics_of_sums(sums, shape_elements(pair->test->program->values[value].shape));
    result->verdict = metrics_judge(&result->metrics, result->limits);
    result->compared = true;
}

bool pair_settle(struct pair *pair, struct status *status)
{
    struct pair_queue *queue = pair->queue;
    if (!queue || queue->count == 0)
        return true;
    struct device_sums sums[QUEUE_MOST];
    int count = queue->count;
    queue->count = 0;
    if (!device_download(pair->test->executor->device, sums, queue->there,
                         (size_t)count * sizeof(*sums), status))
        return false;
    for (int i = 0; i < count; i++) {
        take_sums(pair, queue->values[i], &sums[i]);
        pair_tell(pair, queue->values[i]);
    }
    return true;
}

/* The reference's tensor, or the rows of it that the value is, where they lie in the memory of
 * `device`. */
static bool reference_there(const struct pair *pair, int value, const struct device *device,
                            struct tensor *reference)
{
    const struct recording *recording = pair->options.recording;
    int other = pair->reference_value ? pair->reference_value[value] : -1;
    if (other < 0 || (pair->held && pair->held[other].data))
        return false;
    if (pair->reference) {
        if (pair->reference->executor->device != device ||
            !executor_holds(pair->reference->executor, other))
            return false;
        *reference = executor_tensor(pair->reference->executor, other);
    } else if (!recording || recording->device != device ||
               !recording_tensor(recording, pair_recorded_step(pair, other), other, reference) ||
               !recording_on_device(recording, reference)) {
        return false;
    }
    if (pair->reference_row[value] >= 0)
        *reference = pair_rows_of(reference, pair->reference_row[value],
                                  pair_whole_shape(&pair->test->program->values[value]));
    return true;
}

/* Whether the test's side is a whole tensor in memory that the host cannot read. */
static bool test_there(const struct pair *pair, int value)
{
    const struct executor *test = pair->test->executor;
    return !device_host_memory(test->device) &&
           !pair_is_part(&pair->test->program->values[value]) && executor_holds(test, value);
}

bool pair_compare_on_device(struct pair *pair, int value, bool *queued, struct status *status)
{
    struct device *device = pair->test->executor->device;
    struct status reason = STATUS_NONE;
    struct tensor reference;
    *queued = false;
    /* The queue's memory may take that of a recording: so first it, then where the sides are. */
    if (!test_there(pair, value) || !reference_there(pair, value, device, &reference))
        return true;
    if (!queue_open(pair, status))
        return false;
    if (!reference_there(pair, value, device, &reference))
        return true;
    struct pair_queue *queue = pair->queue;
    struct tensor test = executor_tensor(pair->test->executor, value);
    *queued = device_compare(device, &reference, &test, pair_scale_of(pair, value),
                             queue->there + queue->count, &reason);
    if (!*queued)
        return reason.code == STATUS_UNSUPPORTED ||
               status_fail(status, reason.code, "%s", reason.text);
    queue->values[queue->count++] = value;
    return (pair->defer && queue->count < QUEUE_MOST) || pair_settle(pair, status);
}
