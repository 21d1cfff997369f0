/* The ranks of one run: each has its own program of the same configuration, and they meet in
 * collectives. A world is either in this process (deterministic, one thread: a collective runs
 * when every member has arrived) or in rank processes (pool.h) that execute instructions on memory
 * that this process can read. Both are driven in the same way and give the same events.
 * One thread (the engine's). */
#ifndef ENGINE_RANKS_WORLD_H
#define ENGINE_RANKS_WORLD_H

#include "engine/ranks/summary.h"
#include "engine/train/run.h"

enum rank_state {
    RANK_STARTING = 0, /* its process or connection is not there yet */
    RANK_STOPPED,      /* stands before its next instruction */
    RANK_RUNNING,      /* computes */
    RANK_WAITING,      /* has arrived at a collective (or receive) and waits for others */
    RANK_FAILED,       /* an instruction failed; the text says why; its memory can be read */
    RANK_LOST,         /* its process died, was killed, or does not answer */
};

struct world_rank {
    struct run *run; /* program, placement of values, memory, reports. In a pool the engine's twin
                        of what the rank process has: compiled from the same configuration */
    enum rank_state state;
    int allowed;          /* it may run instructions of the current step below this index */
    double waiting_since; /* RANK_WAITING: CLOCK_MONOTONIC, seconds */
    char reason[1000];    /* RANK_FAILED, RANK_LOST: what happened, where in the program */
};

enum world_event_kind {
    WORLD_DONE = 0, /* an instruction has run: its outputs can be read */
    WORLD_FAILED,   /* state of the rank is RANK_FAILED */
    WORLD_LOST,     /* state of the rank is RANK_LOST */
    WORLD_MISMATCH, /* ranks disagree in a collective: see world_waiting_text */
};

struct world_event {
    enum world_event_kind kind;
    int rank, step, instruction;
};

struct world_ops;  /* in process, or processes: world_internal.h */
struct gatherings; /* who has come to which collective: world_internal.h */

struct world {
    const struct config *config; /* borrowed */
    int size;                    /* config->distributed.world_size */
    struct world_rank *ranks;    /* [size] */
    int threads; /* for whoever computes beside the ranks: the cores that their processes leave free
                    here, or one; 0: all */
    struct gatherings *gatherings;
    const struct world_ops *ops;
    void *context;
};

/* Compiles, plans, allocates and initialises all ranks in this process, on one device; they stop
 * before their first instruction. `options` are those of every rank (their `rank` is set here).
 * NULL on failure. */
struct world *world_create(const struct config *config, struct device *device,
                           const struct run_options *options, struct status *status);
void world_free(struct world *world);

/* Fails if a part of `fault` (NULL: none), which was to be put into the programs of a new world,
 * changed none of them: no rank has such an instruction. The message is that of the rank that the
 * part names, else of rank 0, whose program may then be half changed: free the world. */
bool world_check_fault(const struct world *world, const char *fault, struct status *status);

/* Lets a rank run up to, not including, instruction `limit` of its current step (at the end of a
 * step: of the next one, which it enters). Returns at once. */
bool world_allow(struct world *world, int rank, int limit, struct status *status);
/* Withdraws what is not yet begun: a rank stops at its next instruction; one that waits in a
 * collective goes on waiting. */
void world_hold(struct world *world, int rank);

/* Makes progress and gives the next event; false when there is none within `seconds` (0: do not
 * wait), or when the world is quiet: then there will be none. In this process each call runs at
 * most one instruction, of the lowest rank that may run and stands furthest behind, so that the
 * order is always the same. */
bool world_next(struct world *world, double seconds, struct world_event *event);

/* Whether nothing can move: every rank is stopped, waiting, failed or lost, and no collective is
 * complete. */
bool world_is_quiet(const struct world *world);

/* For a rank that waits: "rank 3 waits in all_reduce(tensor, 65536 x f32) at
 * decoder.1.mlp.layer_2 for rank 2, which stands before reduce_scatter(...) at ...". */
const char *world_waiting_text(const struct world *world, int rank, char *buffer, int size);
/* The ranks that a waiting rank waits for, as flags; returns their number. */
int world_waits_for(const struct world *world, int rank, bool *for_ranks);

/* Takes all ranks (back or forward) to the start of a step, from saved points. */
bool world_go_to_step(struct world *world, int step, struct status *status);

/* Whether a rank's tensors are fetched when the engine looks at them: it is on another machine, or
 * its tensors are on a GPU. Of such a rank the hash of a value's bytes (XXH3), or what a trace
 * keeps of it: statistics of the part that it has, and the samples of the whole tensor that are in
 * that part, which come to their places in `samples` (sampling->count elements). The value is one
 * that the twin holds. False with STATUS_IO when the rank is lost or does not answer. */
bool world_is_far(const struct world *world, int rank);
bool world_hash_far(struct world *world, int rank, int value, uint64_t *hash,
                    struct status *status);
bool world_summarize_far(struct world *world, int rank, int value, const struct sampling *sampling,
                         struct device_statistics *statistics, char *samples,
                         struct status *status);

/* The instructions of all ranks in one step, in an order in which they can run, the same whatever
 * runs them and however fast: in rounds, one of each rank that need not wait for others. Returns
 * their number (of ranks that never meet, what comes before that); free *order. */
struct world_place {
    int rank, instruction;
};
int world_order(const struct world *world, struct world_place **order);

/* What a finished step reports, over all ranks: the loss is the sum of what the ranks contributed,
 * seconds the slowest rank's. False while a rank is still in the step. */
bool world_report(const struct world *world, int step, struct step_report *report);

#endif
