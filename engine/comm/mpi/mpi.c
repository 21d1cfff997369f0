#include "engine/comm/mpi/mpi_internal.h"

#include "engine/base/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool mpi_failed(int code, const char *what, struct status *status)
{
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return status_fail(status, STATUS_IO, "%s: %.*s", what, length, text);
}

/* Counts of MPI 3 are ints: data are counted in elements, and refused where that is not enough. */
bool mpi_fits(const struct group *group, size_t elements, struct status *status)
{
    return elements <= INT_MAX / (size_t)group->count ||
           status_fail(status, STATUS_UNSUPPORTED, "%zu elements are too many for one collective",
                       elements);
}

MPI_Datatype mpi_type(enum dtype dtype)
{
    switch (dtype_size(dtype)) {
    case 1:
        return MPI_UINT8_T;
    case 2:
        return MPI_UINT16_T;
    case 4:
        return MPI_UINT32_T;
    default:
        return MPI_UINT64_T;
    }
}

int mpi_place(const struct group *group, int global)
{
    for (int k = 0; k < group->count; k++)
        if (group->members[k] == global)
            return k;
    return -1;
}

static void copy_alone(const struct op_call *call, const struct comm_descriptor *what)
{
    const struct tensor *in = &call->inputs[0], *out = &call->outputs[0];
    if (in->data != out->data)
        memmove(out->data, in->data, (size_t)what->elements * dtype_size(what->dtype));
}

static bool mpi_run(void *context, const struct op_call *call, struct status *status)
{
    struct mesh_comm *mesh = context;
    const struct comm_descriptor what = comm_describe(call);
    if (what.op == OP_SEND || what.op == OP_RECEIVE)
        return mpi_message(mesh, call, &what, status);
    const struct group *group = &mesh->groups[what.group];
    if (group->count == 0)
        return status_fail(status, STATUS_INTERNAL, "%s over a group that rank %d is not in",
                           op_name(what.op), mesh->processes->rank);
    if (!comm_call_fits(call, &what, group->count, status) ||
        !mpi_fits(group, (size_t)what.elements, status))
        return false;
    if (group->count == 1) {
        copy_alone(call, &what);
        return true;
    }
    if (mesh->hooks && mesh->hooks->meet &&
        !mesh->hooks->meet(mesh->hooks->context, &what, group->members, group->count, status))
        return false;
    mpi_collect_posted(mesh->processes);
    return mpi_collective(mesh, call, &what, status);
}

/* ---- processes and groups ---- */

static bool mpi_start(void **context, struct status *status)
{
    struct processes *processes = memory_zeroed(1, sizeof(*processes));
    int provided = 0, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    const char *doing = code == MPI_SUCCESS ? "MPI_Comm_dup" : "MPI_Init_thread";
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(MPI_COMM_WORLD, &processes->messages);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(MPI_COMM_WORLD, &processes->notes);
    if (code != MPI_SUCCESS) {
        free(processes); /* the process ends: MPI's own goes with it */
        return mpi_failed(code, doing, status);
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(processes->messages, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(processes->notes, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &processes->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes->size);
    *context = processes;
    return true;
}

static void mpi_finish(void *context)
{
    struct processes *processes = context;
    for (int t = 0; t < processes->team_count; t++) {
        MPI_Comm_free(&processes->teams[t].comm);
        free(processes->teams[t].members);
    }
    free(processes->teams);
    mpi_collect_posted(processes);
    MPI_Comm_free(&processes->messages);
    MPI_Comm_free(&processes->notes);
    MPI_Finalize();
    free(processes->posted);
    free(processes);
}

static int mpi_processes_rank(const void *context)
{
    return ((const struct processes *)context)->rank;
}

static int mpi_processes_size(const void *context)
{
    return ((const struct processes *)context)->size;
}

/* The communicator of these members; made by all of them when it is new. */
static bool find_team(struct processes *processes, const int *members, int count, MPI_Comm *comm,
                      struct status *status)
{
    size_t bytes = (size_t)count * sizeof(*members);
    for (int t = 0; t < processes->team_count; t++) {
        const struct team *team = &processes->teams[t];
        if (team->count == count && memcmp(team->members, members, bytes) == 0) {
            *comm = team->comm;
            return true;
        }
    }
    MPI_Group everyone, group;
    struct team team = {.members = memory_zeroed((size_t)count, sizeof(*members)), .count = count};
    memcpy(team.members, members, bytes);
    MPI_Comm_group(MPI_COMM_WORLD, &everyone);
    MPI_Group_incl(everyone, count, members, &group);
    int code = MPI_Comm_create_group(MPI_COMM_WORLD, group, 0, &team.comm);
    MPI_Group_free(&group);
    MPI_Group_free(&everyone);
    if (code != MPI_SUCCESS) {
        free(team.members);
        return mpi_failed(code, "MPI_Comm_create_group", status);
    }
    MPI_Comm_set_errhandler(team.comm, MPI_ERRORS_RETURN);
    ARRAY_PUSH(processes->teams, processes->team_count, processes->team_capacity, team);
    *comm = team.comm;
    return true;
}

static void mpi_close(void *context)
{
    struct mesh_comm *mesh = context;
    for (int g = 0; g < COMM_GROUP_COUNT; g++)
        free(mesh->groups[g].members);
    free(mesh->scratch);
    free(mesh);
}

static bool open_group(struct mesh_comm *mesh, const struct mesh *shape, enum comm_group group,
                       struct status *status)
{
    struct group *own = &mesh->groups[group];
    int rank = mesh->processes->rank;
    own->members = memory_zeroed((size_t)mesh_size(shape), sizeof(*own->members));
    own->count = mesh_members(shape, rank, group, own->members);
    own->rank = mpi_place(own, rank);
    return own->count < 2 ||
           find_team(mesh->processes, own->members, own->count, &own->comm, status);
}

static bool mpi_open(void *context, const struct mesh *shape, const struct comm_hooks *hooks,
                     void **comm, struct status *status)
{
    struct processes *processes = context;
    if (mesh_size(shape) > processes->size || processes->rank >= mesh_size(shape))
        return status_fail(status, STATUS_INVALID, "rank %d of %d processes is in no mesh of %d",
                           processes->rank, processes->size, mesh_size(shape));
    struct mesh_comm *mesh = memory_zeroed(1, sizeof(*mesh));
    mesh->processes = processes;
    mesh->hooks = hooks;
    for (int group = 0; group < COMM_GROUP_COUNT; group++)
        if (!open_group(mesh, shape, (enum comm_group)group, status)) {
            mpi_close(mesh);
            return false;
        }
    *comm = mesh;
    return true;
}

static void mpi_begin_anew(void *context, int generation)
{
    ((struct mesh_comm *)context)->generation = generation;
}

static bool mpi_carry_on(void *context)
{
    struct processes *processes = ((struct mesh_comm *)context)->processes;
    if (processes->posted_count > 0)
        mpi_collect_posted(processes);
    return processes->posted_count > 0;
}

static bool tell(void *context, int rank, const struct comm_note *note, struct status *status)
{
    return mpi_tell(((struct mesh_comm *)context)->processes, rank, note, status);
}

static bool hear(void *context, int *rank, struct comm_note *note)
{
    return mpi_hear(((struct mesh_comm *)context)->processes, rank, note);
}

static int mpi_size(void *context, enum comm_group group)
{
    return ((struct mesh_comm *)context)->groups[group].count;
}

static int mpi_rank(void *context, enum comm_group group)
{
    return ((struct mesh_comm *)context)->groups[group].rank;
}

extern const struct comm_module comm_mpi;
const struct comm_module comm_mpi = {
    .name = "mpi",
    .kinds = OP_COUNT,
    .start = mpi_start,
    .finish = mpi_finish,
    .rank = mpi_processes_rank,
    .size = mpi_processes_size,
    .open = mpi_open,
    .ops = {"mpi", mpi_close, mpi_size, mpi_rank, mpi_run, mpi_begin_anew, mpi_carry_on, tell,
            hear},
};
