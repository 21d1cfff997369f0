/* What is wrong with one instruction of one rank, as far as the program, the reference and the
 * other ranks can tell. Engine thread. */
#ifndef ENGINE_COMPARE_TEAM_CHECK_H
#define ENGINE_COMPARE_TEAM_CHECK_H

#include "engine/compare/team.h"

enum suspicion {
    SUSPICION_NONE = 0,
    SUSPICION_LAYOUT,     /* its operands are spread over ranks in a way that does not give what the
                             output is said to be: a sum or a gathering is missing, or is over the
                             wrong ranks */
    SUSPICION_DIFFERENT,  /* the reference computes it by another instruction, from other operands,
                             or with other parameters */
    SUSPICION_COLLECTIVE, /* what its members brought is right when put together, and what it gave
                             is not */
    SUSPICION_KERNEL,     /* float64 of the same inputs is something else */
    SUSPICION_PLACE, /* what it computes from was right, and its result is not: no more is known */
};

/* An instruction of the team: `why` says in one sentence what is wrong with it. */
struct suspect {
    int rank, instruction;
    enum suspicion suspicion;
    int counterpart; /* the reference's instruction at its place, -1 if there is none */
    char why[300];
};

/* Whether the layouts of operands and output fit. */
bool team_check_layout(const struct team *team, int rank, int instruction, struct suspect *suspect);
/* Whether the reference has the same instruction at the same place (layer, part, phase,
 * micro-batch), on what it has in place of the operands. Without a live reference nothing is
 * suspected. */
bool team_check_structure(const struct team *team, int rank, int instruction,
                          struct suspect *suspect);
/* Whether a collective whose inputs are at hand gave, on this rank, what it should. */
bool team_check_collective(struct team *team, int rank, int instruction, struct suspect *suspect);
/* Whether float64 confirms it; collectives are not looked at. */
bool team_check_kernel(struct team *team, int rank, int instruction, struct suspect *suspect);

/* The instruction of rank `member` that meets collective `instruction` of `rank`: the one of the
 * same place in the order of their common group; for a receive, its send. -1 if there is none. */
int team_meeting(const struct team *team, int rank, int instruction, int member);
/* The ranks that bring something to a collective; returns their number. */
int team_members(const struct team *team, int rank, int instruction, int *members);

#endif
