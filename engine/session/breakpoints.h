/* Breakpoints and watchpoints. Engine thread.
 *
 * A breakpoint on a tensor, one whose condition looks at a tensor's comparison, and a watchpoint
 * stop just after the instruction that wrote the tensor; every other stops before the
 * instruction. */
#ifndef ENGINE_SESSION_BREAKPOINTS_H
#define ENGINE_SESSION_BREAKPOINTS_H

#include "engine/compare/pair.h"
#include "engine/session/conditions.h"
#include "engine/session/places.h"
#include "engine/session/statistics.h"

struct breakpoint {
    int number;
    bool watch, temporary, enabled;
    bool lost; /* its place is not in the program that is loaded now */
    struct place place;
    char *condition_text; /* NULL = none */
    struct condition *condition;
    char *commands; /* to be done when it stops the run (hit_commands.h); NULL: none */
    int hits;
    bool has_last; /* watch: statistics of the tensor when it was written last */
    struct statistics last;
};

struct breakpoints {
    struct breakpoint *list;
    int count, capacity;
    int next_number; /* from 1 */
};

/* Reads "PLACE [if CONDITION]", for a run of `steps` steps. Free with breakpoint_release, or put it
 * into a list. */
bool breakpoint_parse(const struct program *program, int steps, const char *text,
                      struct breakpoint *breakpoint, struct status *status);
/* Moves a breakpoint into the list and gives it a number. The pointer is good until the list
 * changes. */
struct breakpoint *breakpoints_add(struct breakpoints *breakpoints,
                                   const struct breakpoint *breakpoint);
void breakpoint_release(struct breakpoint *breakpoint);
/* Adds the same breakpoint bound to another program; without one of its place there, nothing. */
void breakpoints_copy(struct breakpoints *breakpoints, const struct breakpoint *breakpoint,
                      const struct program *program, int steps);
/* Gives it another condition; "": none. On failure it keeps its own. */
bool breakpoint_set_condition(struct breakpoint *breakpoint, const char *text,
                              struct status *status);
struct breakpoint *breakpoints_find(struct breakpoints *breakpoints, int number);
bool breakpoints_remove(struct breakpoints *breakpoints, int number);
void breakpoints_clear(struct breakpoints *breakpoints);
/* Reads all places again against another program, of a run of `steps` steps; those that it has not
 * are marked lost. */
void breakpoints_rebind(struct breakpoints *breakpoints, const struct program *program, int steps);

/* Whether it stops after the instruction (see above). */
bool breakpoint_is_after(const struct breakpoint *breakpoint);
/* Whether it stops the run before instruction `instruction` of `step`. Changes nothing. */
bool breakpoint_stops_before(const struct breakpoint *breakpoint, struct pair *pair, int step,
                             int instruction);
/* Whether it stops the run after the instruction that just ran, and for which value. */
bool breakpoint_stops_after(const struct breakpoint *breakpoint, struct pair *pair,
                            const struct pair_event *event, int *value);

/* "breakpoint 1, gradient decoder.1.mlp.layer_2.weight if nan" into `buffer`. */
const char *breakpoint_text(const struct breakpoint *breakpoint, char *buffer, int size);

#endif
