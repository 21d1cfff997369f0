/* Comparison where the tensors are: on a device whose memory the host cannot read. */
#include "engine/compare/metrics_device.h"
#include "engine/compare/pair_internal.h"

/* Whether both sides are whole tensors in the memory of one device. */
static bool both_there(const struct pair *pair, int value, int other)
{
    const struct executor *test = pair->test->executor;
    if (!pair->reference || other < 0 || pair->reference_row[value] >= 0)
        return false;
    if (pair->held && pair->held[other].data)
        return false;
    return pair->reference->executor->device == test->device && !device_host_memory(test->device) &&
           !pair_is_part(&pair->test->program->values[value]) && executor_holds(test, value) &&
           executor_holds(pair->reference->executor, other);
}

bool pair_compare_on_device(struct pair *pair, int value, bool *done, struct metrics *metrics,
                            struct status *status)
{
    int other = pair->reference_value ? pair->reference_value[value] : -1;
    struct status reason = STATUS_NONE;
    *done = false;
    if (!both_there(pair, value, other))
        return true;
    struct tensor test = executor_tensor(pair->test->executor, value);
    struct tensor reference = executor_tensor(pair->reference->executor, other);
    *done = metrics_compute_on(pair->test->executor->device, &reference, &test,
                               pair_scale_of(pair, value), metrics, &reason);
    if (*done || reason.code == STATUS_UNSUPPORTED)
        return true;
    return status_fail(status, reason.code, "%s", reason.text);
}
