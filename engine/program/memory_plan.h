/* Where every value of a program lives, decided before the run.
 *
 * Two arenas: the persistent one (states, inputs, constants) and the step arena (computed values),
 * plus one workspace as large as the hungriest instruction needs. */
#ifndef ENGINE_PROGRAM_MEMORY_PLAN_H
#define ENGINE_PROGRAM_MEMORY_PLAN_H

#include "engine/program/program.h"

enum plan_mode {
    PLAN_REUSE = 0, /* memory is given on when a value was read for the last time */
    PLAN_KEEP,      /* every value of a step stays readable until the step begins again */
};

struct placement {
    bool persistent;
    int64_t offset; /* bytes in its arena */
    int64_t bytes;
    int first, last; /* live from this instruction to that one (inclusive); persistent: all */
    int overwritten; /* instruction that writes another value over it in place, or INT_MAX */
    int shares;      /* value whose memory it takes over or looks into, or -1 */
};

struct memory_plan {
    enum plan_mode mode;
    struct placement *placements; /* by value id */
    int value_count;
    int instruction_count;
    int64_t persistent_bytes, step_bytes, workspace_bytes;
    int64_t class_bytes[MEMORY_CLASS_COUNT]; /* of the persistent arena, by class */
    int64_t *live; /* by instruction: bytes of live computed values while it runs */
    int peak;      /* instruction with the most live bytes */
};

/* Plans `program` for `device` (which is asked for workspace sizes). NULL on failure: two
 * instructions would need a state before and after its update. Free with memory_plan_free. */
struct memory_plan *memory_plan_create(const struct program *program, struct device *device,
                                       enum plan_mode mode, struct status *status);
void memory_plan_free(struct memory_plan *plan);

/* All bytes that a run with this plan allocates. */
int64_t memory_plan_total(const struct memory_plan *plan);
/* Live bytes by class while instruction `index` runs (persistent ones included). */
void memory_plan_classes(const struct memory_plan *plan, const struct program *program, int index,
                         int64_t classes[MEMORY_CLASS_COUNT]);
/* Whether the value's memory still (or already) holds it when `next` is the next instruction to
 * run: computed before, and not given on since. */
bool memory_plan_holds(const struct memory_plan *plan, const struct program *program, int value,
                       int next);

#endif
