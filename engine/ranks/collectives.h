/* What carries the data of collectives between rank processes whose tensors are on GPUs. Ranks on
 * CPUs always use MPI. Pure functions; any thread. */
#ifndef ENGINE_RANKS_COLLECTIVES_H
#define ENGINE_RANKS_COLLECTIVES_H

#include <stdbool.h>

enum rank_collectives {
    COLLECTIVES_AUTO = 0, /* NCCL where every rank has a GPU of its own, else MPI */
    COLLECTIVES_MPI,      /* through the memory of the host */
    COLLECTIVES_NCCL,     /* or the run fails */
    COLLECTIVES_COUNT,
};

/* "auto", "mpi", "nccl": static. */
const char *rank_collectives_name(enum rank_collectives collectives);
/* False: there is none of that name. */
bool rank_collectives_find(const char *name, enum rank_collectives *collectives);

#endif
