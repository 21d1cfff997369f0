/* What an implementation of worlds gives: world_local.c (ranks in this process) and the pool of
 * rank processes. Internal to engine/ranks. */
#ifndef ENGINE_RANKS_WORLD_INTERNAL_H
#define ENGINE_RANKS_WORLD_INTERNAL_H

#include "engine/ranks/protocol.h"
#include "engine/ranks/world.h"

/* The functions of world.h without their prefix, with the same contracts. world.c has what is the
 * same for all: it asks the twins (world_rank.run) where the ranks stand, so an implementation
 * keeps run->executor->next, run->step and state as its ranks go on. */
struct world_ops {
    const char *name; /* "in process", "processes" */
    /* Frees `context` and stops the ranks; world.c then frees the runs. */
    void (*free)(struct world *world);
    bool (*allow)(struct world *world, int rank, int limit, struct status *status);
    void (*hold)(struct world *world, int rank);
    bool (*next)(struct world *world, double seconds, struct world_event *event);
    bool (*is_quiet)(const struct world *world);
    bool (*go_to_step)(struct world *world, int step, struct status *status);
    /* Whether the message of the receive that `rank` stands before has been sent. */
    bool (*has_message)(const struct world *world, int rank);
    /* Asks a rank about a value; the answer is of the protocol. NULL: the engine reads all memory
     * itself. */
    bool (*ask)(struct world *world, int rank, const struct question *question, struct text *answer,
                struct status *status);
};

/* A world without ranks' runs yet, whose ranks[] have the size of the configuration's world. */
struct world *world_start(const struct config *config, const struct world_ops *ops, void *context);

/* The last step at or before `step` whose beginning all ranks can restore. */
int world_common_point(const struct world *world, int step);

/* An implementation says whenever the state of a rank, or where it stands, has changed: so nobody
 * has to look at all ranks to know whether a collective is complete. */
void world_note(struct world *world, int rank);
/* Whether anywhere two ranks stand in different collectives of one group. */
bool world_has_disagreement(const struct world *world);

/* Whether a twin stands at the end of its step. */
bool world_run_at_end(const struct run *run);
/* Whether a rank failed or was lost: nothing more comes of it. */
bool world_has_ended(const struct world *world, int rank);
/* The instruction that a rank stands before, NULL at the end of a step. */
const struct instruction *world_standing(const struct world *world, int rank);
/* Whether that instruction waits for other ranks (a collective over more than one rank, or a
 * receive; sends leave at once). */
bool world_is_meeting(const struct world *world, int rank);
/* Whether all members of the collective that `rank` stands before wait for the same group (their
 * descriptors may differ), or the message of its receive is there. */
bool world_is_complete(const struct world *world, int rank);
/* Whether members of the collective that `rank` stands before wait in it with other kinds or
 * sizes. */
bool world_disagrees(const struct world *world, int rank);

#endif
