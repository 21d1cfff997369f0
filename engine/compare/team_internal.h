/* Between the files of the team. */
#ifndef ENGINE_COMPARE_TEAM_INTERNAL_H
#define ENGINE_COMPARE_TEAM_INTERNAL_H

#include "engine/compare/team.h"

/* Lists the tensors that the ranks hold, and who holds which part. */
void team_list_tensors(struct team *team);
void team_free_tensors(struct team *team);
/* Forgets what arrived in the last step. */
void team_clear_tensors(struct team *team);
/* Takes over what a rank computed: checks it against the ranks that hold the same part, and adds it
 * to the whole. Fills the event. */
bool team_take_value(struct team *team, int rank, int value, struct team_event *event,
                     struct status *status);
/* Judges the initial parameters as whole tensors. */
bool team_take_parameters(struct team *team, struct team_event *event, struct status *status);

/* ---- team_motion.c ---- */

/* Where every rank stands. Free `next`. */
struct team_place {
    int step;
    int *next; /* [ranks]: the next instruction */
};
struct team_place team_where(const struct team *team);
/* The end of a step. */
struct team_place team_end_of(const struct team *team, int step);
/* Takes all ranks there, through the beginning of that step. */
bool team_go_to(struct team *team, const struct team_place *place, struct status *status);

#endif
