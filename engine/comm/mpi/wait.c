#include "engine/comm/mpi/mpi_internal.h"

#include <sched.h>
#include <time.h>

enum { SPIN_MICROSECONDS = 50, LONGEST_NAP_MICROSECONDS = 1000 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void mpi_back_off(struct backoff *backoff)
{
    if (backoff->began <= 0)
        backoff->began = now();
    if (now() - backoff->began < SPIN_MICROSECONDS * 1e-6) {
        sched_yield(); /* more ranks than cores: whom we wait for may need this one */
        return;
    }
    backoff->nap = backoff->nap ? backoff->nap * 2 : 1;
    if (backoff->nap > LONGEST_NAP_MICROSECONDS)
        backoff->nap = LONGEST_NAP_MICROSECONDS;
    nanosleep(&(struct timespec){.tv_nsec = backoff->nap * 1000}, NULL);
}

bool mpi_cancelled(const struct mesh_comm *mesh)
{
    return mesh->hooks && mesh->hooks->cancelled(mesh->hooks->context);
}

bool mpi_wait(struct mesh_comm *mesh, MPI_Request *request, struct status *status)
{
    struct backoff backoff = {0};
    for (;;) {
        int done = 0, code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS)
            return mpi_failed(code, "MPI_Test", status);
        if (done)
            return true;
        if (mpi_cancelled(mesh))
            return status_fail(status, STATUS_CANCELLED, "given up while data moved");
        mpi_back_off(&backoff);
    }
}
