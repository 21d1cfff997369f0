/* Runs a program on a device, one instruction at a time. One thread. */
#ifndef ENGINE_PROGRAM_EXECUTOR_H
#define ENGINE_PROGRAM_EXECUTOR_H

#include "engine/comm/comm.h"
#include "engine/program/memory_plan.h"

struct executor {
    const struct program *program;       /* borrowed */
    struct device *device;               /* borrowed */
    struct comm *comm;                   /* borrowed */
    struct memory_plan *plan;            /* owned */
    char *persistent, *step, *workspace; /* the arenas, device memory */
    int next; /* the program counter: next instruction to run, 0 to instruction_count */
    const struct interrupt *interrupt; /* borrowed; NULL: instructions run to their end */
    bool torn; /* the next instruction was begun and given up: its outputs' memory holds anything */
    int64_t done; /* elements of it that are done already: it goes on from there (in place only) */
    bool ran;     /* the next instruction has run, and only has to be passed */
    bool hollow;  /* somebody is writing the states anew and has not come to the end: nothing is
                     held, no instruction may run */
};

/* Plans and allocates; uploads constants; states are undefined until written. NULL on failure; when
 * memory is refused, the text goes on with the plan's forecast and the largest owners.
 * `program`, `device` and `comm` must outlive the executor. */
struct executor *executor_create(const struct program *program, struct device *device,
                                 struct comm *comm, enum plan_mode mode, struct status *status);
void executor_free(struct executor *executor);

/* Runs the instruction at the program counter and moves on. On failure the counter stays, and the
 * text names the instruction, and its operands if the device was lost with it. An
 * interrupt may end it with STATUS_CANCELLED: the instruction has not run, and gives the same bits
 * when it runs again. Of instructions that write over their own inputs only those are given up that
 * treat each element by itself (sums, updates of parameters): they go on where they were, and until
 * then neither their inputs nor their outputs are held. */
bool executor_run_one(struct executor *executor, struct status *status);
/* Moves back by the instruction that just ran, as if it had been given up: what follows from it was
 * not done. When it is its turn again, it is only passed. */
void executor_take_back(struct executor *executor);
/* Whether the next instruction has read its inputs, or a part of them, for outputs that stay:
 * whoever changes one of them now must go back to before it first. */
bool executor_has_read(const struct executor *executor);
/* Back to the first instruction (inputs and states as they are). */
void executor_rewind(struct executor *executor);

/* A view of a value in device memory. Whether it holds the value now: executor_holds. */
struct tensor executor_tensor(const struct executor *executor, int value);
bool executor_holds(const struct executor *executor, int value);

/* Copies between host memory and a value (contiguous, value_bytes). */
bool executor_write(struct executor *executor, int value, const void *data, struct status *status);
bool executor_read(struct executor *executor, int value, void *data, struct status *status);
/* The same for what may be large: the executor's interrupt ends it (STATUS_CANCELLED), and a part
 * is copied then. */
bool executor_try_write(struct executor *executor, int value, const void *data,
                        struct status *status);
bool executor_try_read(struct executor *executor, int value, void *data, struct status *status);
/* A host view of a value: device memory itself where the host can read it, else a copy into
 * *buffer (realloc'ed, owned by the caller). Valid until the executor runs on. */
bool executor_view(struct executor *executor, int value, void **buffer, struct tensor *view,
                   struct status *status);
/* Fills in the operands' memory of instruction `index`. */
void executor_call(const struct executor *executor, int index, struct op_call *call);

#endif
