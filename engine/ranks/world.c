#include "engine/ranks/world.h"

const char *rank_state_name(enum rank_state state)
{
    static const char *const names[] = {"starting", "stopped", "running",
                                        "waiting",  "failed",  "lost"};
    return names[state];
}
