/* Waiting for what NCCL does, with limits. */
#include "engine/comm/nccl/nccl_internal.h"

#include "engine/base/clock.h"

bool nccl_goes_on(struct nccl_mesh *mesh, ncclComm_t comm, cudaStream_t stream, const char *doing,
                  struct status *status)
{
    const struct nccl_library *library = &mesh->context->library;
    ncclResult_t state = ncclSuccess, asked = library->CommGetAsyncError(comm, &state);
    if (asked != ncclSuccess || (state != ncclSuccess && state != ncclInProgress)) {
        nccl_fail(library, comm, asked != ncclSuccess ? asked : state, doing, status);
        return false;
    }
    if (state == ncclInProgress)
        return true; /* it may not be on the stream yet */
    cudaError_t error = stream ? cudaStreamQuery(stream) : cudaSuccess;
    if (error == cudaErrorNotReady)
        return true;
    if (error != cudaSuccess)
        cuda_fail(mesh->context->device, (int)error, doing, status);
    return false;
}

static bool wait_for(struct nccl_mesh *mesh, ncclComm_t comm, cudaStream_t stream,
                     const char *doing, nccl_meanwhile *meanwhile, struct status *status)
{
    struct status own = STATUS_NONE;
    struct backoff backoff = {0};
    double deadline = clock_seconds() + mesh->over.limit;
    while (nccl_goes_on(mesh, comm, stream, doing, &own)) {
        if (clock_seconds() > deadline) {
            status_fail(&own, STATUS_IO, "%s: %s has not come to its end within %g s",
                        mesh->context->library.version, doing, mesh->over.limit);
            break;
        }
        if (meanwhile && !meanwhile(mesh, &own))
            break;
        backoff_pause(&backoff);
    }
    if (own.code != STATUS_OK)
        return status_fail(status, own.code, "%s", own.text);
    return true;
}

static bool wait_after(struct nccl_mesh *mesh, ncclComm_t comm, ncclResult_t result,
                       cudaStream_t stream, const char *doing, nccl_meanwhile *meanwhile,
                       struct status *status)
{
    if (result != ncclSuccess && result != ncclInProgress)
        return nccl_fail(&mesh->context->library, comm, result, doing, status);
    return wait_for(mesh, comm, stream, doing, meanwhile, status);
}

bool nccl_settle(struct nccl_mesh *mesh, ncclComm_t comm, ncclResult_t result, const char *doing,
                 nccl_meanwhile *meanwhile, struct status *status)
{
    return wait_after(mesh, comm, result, NULL, doing, meanwhile, status);
}

bool nccl_finish(struct nccl_mesh *mesh, ncclComm_t comm, ncclResult_t result, const char *doing,
                 nccl_meanwhile *meanwhile, struct status *status)
{
    return wait_after(mesh, comm, result, mesh->context->device->stream, doing, meanwhile, status);
}
