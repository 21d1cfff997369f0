/* The table of the module. */
#include "engine/comm/nccl/nccl_internal.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

static void nccl_close_mesh(void *memory)
{
    struct nccl_mesh *mesh = memory;
    nccl_messages_close(mesh);
    for (int g = 0; g < COMM_GROUP_COUNT; g++)
        free(mesh->groups[g].members);
    free(mesh->sent);
    free(mesh);
}

static void find_groups(struct nccl_mesh *mesh)
{
    for (int g = 0; g < COMM_GROUP_COUNT; g++) {
        struct nccl_group *group = &mesh->groups[g];
        group->members = memory_zeroed((size_t)mesh_size(mesh->over.mesh), sizeof(*group->members));
        group->count = mesh_members(mesh->over.mesh, mesh->own, (enum comm_group)g, group->members);
        group->rank = -1;
        for (int k = 0; k < group->count; k++)
            if (group->members[k] == mesh->own)
                group->rank = k;
    }
}

static bool nccl_open(void *context, const struct comm_over *over, void **comm,
                      struct status *status)
{
    struct nccl_mesh *mesh = memory_zeroed(1, sizeof(*mesh));
    mesh->context = context;
    mesh->over = *over;
    mesh->own = comm_rank(over->messenger, COMM_WORLD);
    find_groups(mesh);
    mesh->sent = memory_zeroed((size_t)mesh->groups[COMM_WORLD].count, sizeof(*mesh->sent));
    if (!nccl_set_open(mesh, status)) {
        status_context(status, "rank %d of %d", mesh->own, mesh->groups[COMM_WORLD].count);
        nccl_close_mesh(mesh);
        return false;
    }
    mesh->over.greeter = NULL;
    *comm = mesh;
    return true;
}

/* A group of this rank alone: the result is the input. */
static bool copy_alone(struct nccl_mesh *mesh, const struct op_call *call,
                       const struct comm_descriptor *what, struct status *status)
{
    const struct tensor *in = &call->inputs[0], *out = &call->outputs[0];
    if (in->data == out->data)
        return true;
    cudaError_t error =
        cudaMemcpyAsync(out->data, in->data, (size_t)what->elements * dtype_size(what->dtype),
                        cudaMemcpyDeviceToDevice, mesh->context->device->stream);
    return !error || cuda_fail(mesh->context->device, (int)error, op_name(what->op), status);
}

static bool nccl_run(void *context, const struct op_call *call, struct status *status)
{
    struct nccl_mesh *mesh = context;
    const struct comm_hooks *hooks = mesh->over.hooks;
    const struct comm_descriptor what = comm_describe(call);
    const struct nccl_group *group = &mesh->groups[what.group];
    if (mesh->failure.code != STATUS_OK)
        return status_fail(status, mesh->failure.code, "%s", mesh->failure.text);
    if (mesh->context->set.broken)
        return status_fail(status, STATUS_IO, "%s: the communicators were given up earlier",
                           mesh->context->library.version);
    if (!cuda_graphs_flush(mesh->context->device, status))
        return false;
    if (what.op == OP_SEND || what.op == OP_RECEIVE)
        return nccl_message(mesh, call, &what, status);
    if (group->count == 0)
        return status_fail(status, STATUS_INTERNAL, "%s over a group that rank %d is not in",
                           op_name(what.op), mesh->own);
    if (!comm_call_fits(call, &what, group->count, status))
        return false;
    if (group->count == 1)
        return copy_alone(mesh, call, &what, status);
    if (hooks && hooks->meet &&
        !hooks->meet(hooks->context, &what, group->members, group->count, status))
        return false;
    return nccl_collective(mesh, call, &what, status);
}

static void nccl_begin_anew(void *context, int generation)
{
    struct nccl_mesh *mesh = context;
    mesh->generation = generation;
    nccl_messages_forget(mesh);
}

static bool nccl_carry_on(void *context)
{
    struct nccl_mesh *mesh = context;
    bool notes = comm_carry_on(mesh->over.messenger);
    return nccl_messages_carry_on(mesh) || notes;
}

static int nccl_size(void *context, enum comm_group group)
{
    return ((const struct nccl_mesh *)context)->groups[group].count;
}

static int nccl_rank(void *context, enum comm_group group)
{
    return ((const struct nccl_mesh *)context)->groups[group].rank;
}

/* ---- the library ---- */

static bool nccl_start(void **context, void *device, int rank, bool shared, struct status *status)
{
    struct nccl_context *nccl = memory_zeroed(1, sizeof(*nccl));
    nccl->device = device;
    if (shared)
        nccl_allow_sharing(rank);
    if (!nccl_library_load(&nccl->library, status)) {
        free(nccl);
        return false;
    }
    *context = nccl;
    return true;
}

/* By an abort: nothing is under way, and an orderly end would wait for ranks that may be gone. */
static void nccl_finish_all(void *context)
{
    nccl_set_abort(context);
    free(context);
}

static const char *nccl_version(const void *context)
{
    return ((const struct nccl_context *)context)->library.version;
}

/* The symbol that the module is looked up by. */
extern const struct comm_device_module comm_nccl;
const struct comm_device_module comm_nccl = {
    .name = "nccl",
    .kinds = OP_COUNT,
    .start = nccl_start,
    .finish = nccl_finish_all,
    .version = nccl_version,
    .open = nccl_open,
    .ops = {"nccl", nccl_close_mesh, nccl_size, nccl_rank, nccl_run, nccl_begin_anew, nccl_carry_on,
            NULL, NULL},
};
