#include "engine/comm/mpi/mpi_internal.h"

#include "engine/base/memory.h"
#include "engine/comm/combine.h"

#include <stdlib.h>
#include <string.h>

enum { SMALL_BYTES = 4096 };

static void *scratch(struct mesh_comm *mesh, size_t bytes, struct status *status)
{
    if (bytes <= mesh->scratch_bytes)
        return mesh->scratch;
    free(mesh->scratch);
    mesh->scratch = memory_try(bytes, 1);
    mesh->scratch_bytes = mesh->scratch ? bytes : 0;
    if (!mesh->scratch)
        status_fail(status, STATUS_MEMORY, "no memory for a collective: %zu bytes", bytes);
    return mesh->scratch;
}

static bool start(int code, const char *what, struct mesh_comm *mesh, MPI_Request *request,
                  struct status *status)
{
    return code == MPI_SUCCESS ? mpi_wait(mesh, request, false, status)
                               : mpi_failed(code, what, status);
}

static bool all_gather(struct mesh_comm *mesh, const struct group *group, const void *in, void *out,
                       enum dtype dtype, size_t elements, struct status *status)
{
    MPI_Datatype type = mpi_type(dtype);
    MPI_Request request;
    return start(
        MPI_Iallgather(in, (int)elements, type, out, (int)elements, type, group->comm, &request),
        "MPI_Iallgather", mesh, &request, status);
}

/* Piece k of `elements` elements that are dealt out evenly, the last pieces being smaller. */
static void deal(const struct group *group, size_t elements, int *counts, int *places)
{
    size_t each = (elements + (size_t)group->count - 1) / (size_t)group->count;
    for (int k = 0; k < group->count; k++) {
        size_t first = (size_t)k * each;
        first = first < elements ? first : elements;
        places[k] = (int)first;
        counts[k] = (int)(elements - first < each ? elements - first : each);
    }
}

static void sum_pieces(const char *pieces, const struct group *group, enum dtype dtype,
                       size_t elements, bool average, void *out)
{
    const void **in = memory_zeroed((size_t)group->count, sizeof(*in));
    for (int k = 0; k < group->count; k++)
        in[k] = pieces + (size_t)k * elements * dtype_size(dtype);
    combine_sum(dtype, out, in, group->count, elements, average);
    free(in);
}

/* Each rank gets its piece of every rank's `in`: piece k goes to rank k. */
static bool exchange(struct mesh_comm *mesh, const struct group *group, const void *in,
                     const int *counts, const int *places, enum dtype dtype, void *received,
                     struct status *status)
{
    int *own = memory_zeroed(2 * (size_t)group->count, sizeof(*own));
    MPI_Datatype type = mpi_type(dtype);
    MPI_Request request;
    for (int k = 0; k < group->count; k++) {
        own[k] = counts[group->rank];
        own[group->count + k] = k * counts[group->rank];
    }
    bool ok = start(MPI_Ialltoallv(in, counts, places, type, received, own, own + group->count,
                                   type, group->comm, &request),
                    "MPI_Ialltoallv", mesh, &request, status);
    free(own);
    return ok;
}

/* Every rank sums one piece of the tensor, and the sums are gathered. A small tensor is gathered
 * whole and summed by everyone: one message fewer on the way. */
static bool all_reduce(struct mesh_comm *mesh, const struct group *group,
                       const struct op_call *call, size_t elements, struct status *status)
{
    enum dtype dtype = call->inputs[0].dtype;
    size_t size = dtype_size(dtype),
           each = (elements + (size_t)group->count - 1) / (size_t)group->count;
    bool average = call->parameters.average, small = elements * size <= SMALL_BYTES;
    const void *in = call->inputs[0].data;
    void *out = call->outputs[0].data;
    char *pieces = scratch(mesh, (small ? elements : each) * (size_t)group->count * size, status);
    if (!pieces)
        return false;
    if (small) {
        if (!all_gather(mesh, group, in, pieces, dtype, elements, status))
            return false;
        sum_pieces(pieces, group, dtype, elements, average, out);
        return true;
    }
    int *counts = memory_zeroed(2 * (size_t)group->count, sizeof(*counts));
    int *places = counts + group->count;
    deal(group, elements, counts, places);
    bool ok = exchange(mesh, group, in, counts, places, dtype, pieces, status);
    if (ok) {
        MPI_Request request;
        char *piece = (char *)out + (size_t)places[group->rank] * size;
        sum_pieces(pieces, group, dtype, (size_t)counts[group->rank], average, piece);
        ok = start(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, out, counts, places,
                                   mpi_type(dtype), group->comm, &request),
                   "MPI_Iallgatherv", mesh, &request, status);
    }
    free(counts);
    return ok;
}

static bool reduce_scatter(struct mesh_comm *mesh, const struct group *group,
                           const struct op_call *call, size_t elements, struct status *status)
{
    enum dtype dtype = call->inputs[0].dtype;
    size_t each = elements / (size_t)group->count;
    char *pieces = scratch(mesh, elements * dtype_size(dtype), status);
    int *counts = memory_zeroed(2 * (size_t)group->count, sizeof(*counts));
    deal(group, elements, counts, counts + group->count);
    bool ok = pieces && exchange(mesh, group, call->inputs[0].data, counts, counts + group->count,
                                 dtype, pieces, status);
    if (ok)
        sum_pieces(pieces, group, dtype, each, call->parameters.average, call->outputs[0].data);
    free(counts);
    return ok;
}

static bool broadcast(struct mesh_comm *mesh, const struct group *group, const struct op_call *call,
                      size_t elements, struct status *status)
{
    const struct tensor *in = &call->inputs[0], *out = &call->outputs[0];
    int root = mpi_place(group, call->parameters.peer);
    MPI_Request request;
    if (root < 0)
        return status_fail(status, STATUS_INVALID, "rank %d is not in the group that it sends to",
                           call->parameters.peer);
    if (root == group->rank && in->data != out->data)
        memcpy(out->data, in->data, elements * dtype_size(in->dtype));
    return start(
        MPI_Ibcast(out->data, (int)elements, mpi_type(out->dtype), root, group->comm, &request),
        "MPI_Ibcast", mesh, &request, status);
}

bool mpi_collective(struct mesh_comm *mesh, const struct op_call *call,
                    const struct comm_descriptor *what, struct status *status)
{
    const struct group *group = &mesh->groups[what->group];
    size_t elements = (size_t)what->elements;
    switch (what->op) {
    case OP_ALL_REDUCE:
        return all_reduce(mesh, group, call, elements, status);
    case OP_ALL_GATHER:
        return all_gather(mesh, group, call->inputs[0].data, call->outputs[0].data, what->dtype,
                          elements, status);
    case OP_REDUCE_SCATTER:
        return reduce_scatter(mesh, group, call, elements, status);
    case OP_BROADCAST:
        return broadcast(mesh, group, call, elements, status);
    default:
        return status_fail(status, STATUS_INTERNAL, "%s is no collective", op_name(what->op));
    }
}
