#include "engine/ranks/collectives.h"

#include <string.h>

const char *rank_collectives_name(enum rank_collectives collectives)
{
    static const char *const names[COLLECTIVES_COUNT] = {"auto", "mpi", "nccl"};
    return names[collectives];
}

bool rank_collectives_find(const char *name, enum rank_collectives *collectives)
{
    for (int i = 0; i < COLLECTIVES_COUNT; i++)
        if (strcmp(name, rank_collectives_name((enum rank_collectives)i)) == 0) {
            *collectives = (enum rank_collectives)i;
            return true;
        }
    return false;
}
