#include "engine/program/faults.h"
#include "engine/ranks/world.h"

bool world_check_fault(const struct world *world, const char *fault, struct status *status)
{
    for (int rank = 0; fault && rank < world->size; rank++)
        if (faults_changed(world->ranks[rank].run->program, NULL, 0) > 0)
            return true;
    return !fault || faults_apply(world->ranks[0].run->program, fault, status);
}
