#include "engine/comm/mpi/mpi_internal.h"

bool mpi_cancelled(const struct mesh_comm *mesh)
{
    return mesh->hooks && mesh->hooks->cancelled(mesh->hooks->context);
}

bool mpi_wait(struct mesh_comm *mesh, MPI_Request *request, bool patient, struct status *status)
{
    struct backoff backoff = {0};
    for (;;) {
        int done = 0, code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return mpi_failed(code, "MPI_Test", status);
        if (done)
            return true;
        if (mpi_cancelled(mesh) && !patient) /* asked in any case: it does what else is to do */
            return status_fail(status, STATUS_CANCELLED, "given up while data moved");
        backoff_pause(&backoff);
    }
}
