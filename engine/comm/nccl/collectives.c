#include "engine/comm/nccl/nccl_internal.h"

/* Data that only move are bytes to NCCL, whatever their type. */
static ncclDataType_t sum_type(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_BF16:
        return ncclBfloat16;
    case DTYPE_F16:
        return ncclFloat16;
    case DTYPE_F64:
        return ncclFloat64;
    case DTYPE_I32:
        return ncclInt32;
    default:
        return ncclFloat32;
    }
}

static int place_of(const struct nccl_group *group, int global)
{
    for (int k = 0; k < group->count; k++)
        if (group->members[k] == global)
            return k;
    return -1;
}

static ncclResult_t begin(struct nccl_mesh *mesh, const struct op_call *call,
                          const struct comm_descriptor *what, int root)
{
    const struct nccl_library *library = &mesh->context->library;
    ncclComm_t comm = mesh->context->set.comms[what->group];
    cudaStream_t stream = mesh->context->device->stream;
    const void *in = call->inputs[0].data;
    void *out = call->outputs[0].data;
    size_t elements = (size_t)what->elements, bytes = elements * dtype_size(what->dtype);
    ncclRedOp_t sum = what->average ? ncclAvg : ncclSum;
    switch (what->op) {
    case OP_ALL_REDUCE:
        return library->AllReduce(in, out, elements, sum_type(what->dtype), sum, comm, stream);
    case OP_REDUCE_SCATTER:
        return library->ReduceScatter(in, out, elements / (size_t)mesh->groups[what->group].count,
                                      sum_type(what->dtype), sum, comm, stream);
    case OP_ALL_GATHER:
        return library->AllGather(in, out, bytes, ncclUint8, comm, stream);
    default:
        return library->Broadcast(in, out, bytes, ncclUint8, root, comm, stream);
    }
}

bool nccl_collective(struct nccl_mesh *mesh, const struct op_call *call,
                     const struct comm_descriptor *what, struct status *status)
{
    const struct nccl_group *group = &mesh->groups[what->group];
    char doing[128];
    int root = what->op == OP_BROADCAST ? place_of(group, what->peer) : 0;
    if (root < 0)
        return status_fail(status, STATUS_INVALID, "rank %d is not in the group that it sends to",
                           what->peer);
    if (what->elements == 0)
        return true;
    comm_descriptor_text(what, doing, sizeof(doing));
    ncclResult_t result = begin(mesh, call, what, root);
    if (nccl_finish(mesh, mesh->context->set.comms[what->group], result, doing, NULL, status))
        return true;
    status_context(status, "rank %d, %d of %d in its %s group", mesh->own, group->rank,
                   group->count, comm_group_name(what->group));
    nccl_give_up(mesh);
    return false;
}
