#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/ranks/world.h"

#include <stdlib.h>

bool world_check_fault(const struct world *world, const char *fault, struct status *status)
{
    if (!fault)
        return true;
    struct program **programs = memory_zeroed((size_t)world->size, sizeof(*programs));
    for (int rank = 0; rank < world->size; rank++)
        programs[rank] = world->ranks[rank].run->program;
    bool ok = faults_check_ranks(programs, world->size, fault, status);
    free(programs);
    return ok;
}
