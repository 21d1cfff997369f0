/* The walk back from a divergent value of one rank, through collectives to other ranks, to the
 * instruction and rank that introduced the error. Engine thread. */
#ifndef ENGINE_COMPARE_TEAM_BLAME_H
#define ENGINE_COMPARE_TEAM_BLAME_H

#include "engine/compare/team_check.h"

/* One link of the chain of instructions behind a value. */
struct team_link {
    int step, rank, instruction;
    int value;     /* its output that leads to the divergent value */
    double error;  /* of that output against the reference, relative; NAN when not compared */
    bool diverged; /* the output failed its limits */
};

struct team_blame {
    struct team_link *links; /* links[0] produced the value; owned, team_blame_free */
    int count, capacity;
    struct suspect guilty; /* SUSPICION_NONE: nothing stands out behind the last link */
    int guilty_step;
    char stayed[300]; /* why it did not go back to the step before, where a state came from; "" */
};

/* Walks from `value` of `rank`, in the step where the team is. Where nothing but states is left
 * that could have brought the error, the team goes back to the end of the step before, and the walk
 * goes on there from what differs; then the team returns to where it was. What it stands for then
 * is bit-identical; a rank that had arrived at a collective stands before it. False when it could
 * not return: `status` says why, and the blame is empty. */
bool team_blame_walk(struct team *team, int rank, int value, struct team_blame *blame,
                     struct status *status);
void team_blame_free(struct team_blame *blame);

#endif
