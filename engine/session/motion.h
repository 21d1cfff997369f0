/* Moving the run: forward until something stops it, and to a place back or forward. Engine thread.
 */
#ifndef ENGINE_SESSION_MOTION_H
#define ENGINE_SESSION_MOTION_H

#include "engine/session/debugger.h"

struct motion {
    int64_t goal;             /* position to stop at, -1 = none */
    bool fresh;               /* breakpoints at the start count: nothing stopped here before */
    struct breakpoint *until; /* stops like a breakpoint; borrowed, NULL = none */
    bool elsewhere; /* only other ranks have the place of `until`: the first that comes there stops
                       all, and is selected */
};

/* Runs forward, emits EVENT_RUNNING and EVENT_STOPPED, and says where and why it stopped. A stop of
 * whatever kind is success; false only when an instruction failed. */
bool motion_run(struct debugger *debugger, const struct motion *motion, struct status *status);

/* What would stop the run at a place, without counting or telling: for reverse-continue. */
struct stops {
    int numbers[16], number_count; /* breakpoints */
    bool until;
    int value;      /* the tensor that a breakpoint stopped for, -1 = none */
    int diverged;   /* value, -1 = none */
    int not_finite; /* value, -1 = none */
    bool interrupted, ended, goal;
    bool switched; /* another rank stopped, and is selected now */
};

void stops_clear(struct stops *stops);
bool stops_any(const struct stops *stops);
/* Adds what stops after the instruction that ran, and before the one that comes next. */
void stops_after(struct debugger *debugger, const struct pair_event *event, struct stops *stops);
void stops_before(struct debugger *debugger, struct stops *stops);
/* Says that the breakpoint stopped the run, which is also in `text` then, and notes its commands as
 * due. Where hit_commands_are_silent, the caller takes back what was said. */
void stops_tell(struct debugger *debugger, const struct breakpoint *breakpoint, char *text,
                int size);

/* Goes to a position, forward or back, without stopping at breakpoints. Sets *arrived to false when
 * an interrupt stopped it on the way. Between two steps, what the first of them computed is there,
 * as when the run comes from it. */
bool motion_go_to(struct debugger *debugger, int64_t position, bool *arrived,
                  struct status *status);
/* The same, back to where the step begins; nothing of the one before is there. For what goes on
 * from there. */
bool motion_go_to_step(struct debugger *debugger, int step, bool *arrived, struct status *status);

/* One instruction and its comparisons, noted in the record. *interrupted when the user did not want
 * to wait for them: then nothing has moved. */
bool motion_run_one(struct debugger *debugger, struct pair_event *event, bool *interrupted,
                    struct status *status);

/* After other work on the pair that failed. If an interrupt ended it, the run may stand elsewhere
 * than at position `before`, where the work began: says where, and how to come back. */
void motion_after_failure(struct debugger *debugger, int64_t before, struct status *status);

/* Says where the run stands (the listing line of the next instruction). */
void motion_show_place(struct debugger *debugger);

/* Which instructions belong together. */
enum group_level { LEVEL_PART = 0, LEVEL_LAYER, LEVEL_PHASE };

/* The first position after `position` where another group begins, and the last before it. */
int64_t motion_group_end(const struct debugger *debugger, int64_t position, enum group_level level);
int64_t motion_group_start(const struct debugger *debugger, int64_t position,
                           enum group_level level);

#endif
