/* Who owns the memory of a planned program: for a run that does not fit, and for views. */
#ifndef ENGINE_PROGRAM_MEMORY_REPORT_H
#define ENGINE_PROGRAM_MEMORY_REPORT_H

#include "engine/program/memory_plan.h"

/* The values that own memory while instruction `index` runs, largest first (equal ones in order of
 * their ids). Values that look into or take over another one's memory are left out. Gives their
 * number, and the ids of all in *values (NULL if there is none), which the caller frees. */
int memory_plan_owners(const struct memory_plan *plan, const struct program *program, int index,
                       int **values);

/* Adds to a failed status, on further lines, what the plan says: the forecast by class, the
 * instruction at which most is live, and the largest owners there. Returns false. */
bool memory_report_add(const struct memory_plan *plan, const struct program *program,
                       struct status *status);

#endif
