/* Collectives of tensors that are not in the host's memory, through it: inputs are fetched, results
 * are put back. The bits are those of the communicator that carries them. */
#include "engine/base/memory.h"
#include "engine/ranks/rank_internal.h"

#include <stdlib.h>

struct staging {
    struct comm *inner;    /* borrowed */
    struct device *device; /* borrowed */
    struct stage {
        void *memory;
        size_t bytes;
    } in[OP_MAX_INPUTS], out[OP_MAX_OUTPUTS]; /* kept from call to call: most are alike */
};

static bool enlarge(struct stage *stage, size_t bytes, struct status *status)
{
    if (bytes <= stage->bytes)
        return true;
    free(stage->memory);
    stage->memory = memory_try(bytes, 1);
    stage->bytes = stage->memory ? bytes : 0;
    return stage->memory || status_fail(status, STATUS_MEMORY,
                                        "no memory of the host for a collective: %zu bytes", bytes);
}

static size_t tensor_bytes(const struct tensor *tensor)
{
    return (size_t)shape_elements(tensor->shape) * dtype_size(tensor->dtype);
}

static bool staging_run(void *context, const struct op_call *call, struct status *status)
{
    struct staging *staging = context;
    struct op_call here = *call;
    for (int i = 0; i < call->input_count; i++) {
        size_t bytes = tensor_bytes(&call->inputs[i]);
        if (!enlarge(&staging->in[i], bytes, status) ||
            !device_download(staging->device, staging->in[i].memory, call->inputs[i].data, bytes,
                             status))
            return false;
        here.inputs[i].data = staging->in[i].memory;
    }
    for (int i = 0; i < call->output_count; i++) {
        if (!enlarge(&staging->out[i], tensor_bytes(&call->outputs[i]), status))
            return false;
        here.outputs[i].data = staging->out[i].memory;
    }
    if (!comm_run(staging->inner, &here, status))
        return false;
    for (int i = 0; i < call->output_count; i++)
        if (!device_upload(staging->device, call->outputs[i].data, here.outputs[i].data,
                           tensor_bytes(&call->outputs[i]), status))
            return false;
    return true;
}

static void staging_close(void *context)
{
    struct staging *staging = context;
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        free(staging->in[i].memory);
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        free(staging->out[i].memory);
    free(staging);
}

static int staging_size(void *context, enum comm_group group)
{
    return comm_size(((struct staging *)context)->inner, group);
}

static int staging_rank(void *context, enum comm_group group)
{
    return comm_rank(((struct staging *)context)->inner, group);
}

static void staging_begin_anew(void *context, int generation)
{
    comm_begin_anew(((struct staging *)context)->inner, generation);
}

static bool staging_carry_on(void *context)
{
    return comm_carry_on(((struct staging *)context)->inner);
}

struct comm *rank_staged_comm(struct comm *inner, struct device *device)
{
    static const struct comm_ops ops = {.name = "staged",
                                        .close = staging_close,
                                        .size = staging_size,
                                        .rank = staging_rank,
                                        .run = staging_run,
                                        .begin_anew = staging_begin_anew,
                                        .carry_on = staging_carry_on};
    struct staging *staging = memory_zeroed(1, sizeof(*staging));
    *staging = (struct staging){.inner = inner, .device = device};
    return comm_wrap(&ops, staging);
}
