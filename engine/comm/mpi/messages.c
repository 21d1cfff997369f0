#include "engine/comm/mpi/mpi_internal.h"

#include "engine/base/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A tag says of which generation a message is, and its dtype. MPI promises tags up to 32767. */
enum { TAG_DTYPES = 16, TAG_GENERATIONS = 2048 };

static int tag_of(const struct mesh_comm *mesh, enum dtype dtype)
{
    return mesh->generation % TAG_GENERATIONS * TAG_DTYPES + (int)dtype;
}

void mpi_collect_posted(struct processes *processes)
{
    for (int i = processes->posted_count - 1; i >= 0; i--) {
        struct posted *posted = &processes->posted[i];
        int done = 0;
        if (MPI_Test(&posted->request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done) {
            free(posted->copy);
            *posted = processes->posted[--processes->posted_count];
        }
    }
}

static bool send(struct mesh_comm *mesh, const struct op_call *call, size_t elements,
                 struct status *status)
{
    struct processes *processes = mesh->processes;
    const struct tensor *in = &call->inputs[0];
    size_t bytes = elements * dtype_size(in->dtype);
    struct posted posted = {.copy = memory_try(bytes, 1)};
    mpi_collect_posted(processes);
    if (!posted.copy)
        return status_fail(status, STATUS_MEMORY, "no memory for a message of %zu bytes", bytes);
    memcpy(posted.copy, in->data, bytes);
    int code = MPI_Isend(posted.copy, (int)elements, mpi_type(in->dtype), call->parameters.peer,
                         tag_of(mesh, in->dtype), processes->messages, &posted.request);
    if (code != MPI_SUCCESS) {
        free(posted.copy);
        return mpi_failed(code, "MPI_Isend", status);
    }
    ARRAY_PUSH(processes->posted, processes->posted_count, processes->posted_capacity, posted);
    return true;
}

/* Waits for the next message of this rank, of any generation. Nothing is posted while it is not
 * there, so that giving up leaves nothing behind. */
static bool find_message(struct mesh_comm *mesh, int from, MPI_Message *message, MPI_Status *found,
                         struct status *status)
{
    struct backoff backoff = {0};
    for (int there = 0; !there;) {
        int code =
            MPI_Improbe(from, MPI_ANY_TAG, mesh->processes->messages, &there, message, found);
        if (code != MPI_SUCCESS)
            return mpi_failed(code, "MPI_Improbe", status);
        mpi_collect_posted(mesh->processes);
        if (!there && mpi_cancelled(mesh))
            return status_fail(status, STATUS_CANCELLED, "given up before anything came");
        if (!there)
            backoff_pause(&backoff);
    }
    return true;
}

/* The message is there: this is not given up, as MPI would go on writing to the memory. */
static bool take_message(struct mesh_comm *mesh, MPI_Message *message, void *to, int count,
                         enum dtype dtype, struct status *status)
{
    MPI_Request request;
    int code = MPI_Imrecv(to, count, mpi_type(dtype), message, &request);
    return code == MPI_SUCCESS ? mpi_wait(mesh, &request, true, status)
                               : mpi_failed(code, "MPI_Imrecv", status);
}

/* Takes the next message; *fitting tells whether it went to `out`. Messages between two ranks are
 * received in the order in which they were sent. */
static bool receive_one(struct mesh_comm *mesh, const struct op_call *call, bool *current,
                        struct status *status)
{
    const struct tensor *out = &call->outputs[0];
    int64_t elements = shape_elements(out->shape);
    int from = call->parameters.peer, count = 0;
    MPI_Message message;
    MPI_Status found;
    if (!find_message(mesh, from, &message, &found, status))
        return false;
    enum dtype dtype = (enum dtype)(found.MPI_TAG % TAG_DTYPES);
    MPI_Get_count(&found, mpi_type(dtype), &count);
    *current = found.MPI_TAG == tag_of(mesh, dtype);
    if (*current && dtype == out->dtype && count == elements)
        return take_message(mesh, &message, out->data, count, dtype, status);
    void *dropped = memory_zeroed((size_t)count, dtype_size(dtype));
    bool ok = take_message(mesh, &message, dropped, count, dtype, status);
    free(dropped);
    if (ok && *current)
        return status_fail(status, STATUS_INVALID, "rank %d sent %d x %s instead of %lld x %s",
                           from, count, dtype_name(dtype), (long long)elements,
                           dtype_name(out->dtype));
    return ok;
}

bool mpi_message(struct mesh_comm *mesh, const struct op_call *call,
                 const struct comm_descriptor *what, struct status *status)
{
    const struct comm_hooks *hooks = mesh->hooks;
    const struct group *world = &mesh->groups[COMM_WORLD];
    if (what->peer < 0 || what->peer >= world->count || what->peer == mesh->processes->rank)
        return status_fail(status, STATUS_INVALID, "there is no rank %d to exchange messages with",
                           what->peer);
    if (what->elements > INT_MAX)
        return mpi_fits(world, (size_t)what->elements, status);
    bool sends = what->op == OP_SEND, current = false, ok = true;
    if (sends && hooks && hooks->passed)
        hooks->passed(hooks->context, what);
    if (sends)
        return send(mesh, call, (size_t)what->elements, status);
    while (ok && !current)
        ok = receive_one(mesh, call, &current, status);
    if (ok && hooks && hooks->passed)
        hooks->passed(hooks->context, what);
    return ok;
}

/* ---- notes ---- */

bool mpi_tell(struct processes *processes, int rank, const struct comm_note *note,
              struct status *status)
{
    struct posted posted = {.copy = memory_zeroed(1, sizeof(*note))};
    mpi_collect_posted(processes);
    memcpy(posted.copy, note, sizeof(*note));
    int code = MPI_Isend(posted.copy, (int)sizeof(*note), MPI_BYTE, rank, 0, processes->notes,
                         &posted.request);
    if (code != MPI_SUCCESS) {
        free(posted.copy);
        return mpi_failed(code, "MPI_Isend", status);
    }
    ARRAY_PUSH(processes->posted, processes->posted_count, processes->posted_capacity, posted);
    return true;
}

bool mpi_hear(struct processes *processes, int *rank, struct comm_note *note)
{
    int there = 0;
    MPI_Message message;
    MPI_Status found;
    if (MPI_Improbe(MPI_ANY_SOURCE, 0, processes->notes, &there, &message, &found) != MPI_SUCCESS ||
        !there)
        return false;
    *rank = found.MPI_SOURCE;
    return MPI_Mrecv(note, (int)sizeof(*note), MPI_BYTE, &message, &found) == MPI_SUCCESS;
}
