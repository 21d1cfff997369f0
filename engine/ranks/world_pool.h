/* A world whose ranks are the processes of a pool. Internal to world_pool*.c. */
#ifndef ENGINE_RANKS_WORLD_POOL_H
#define ENGINE_RANKS_WORLD_POOL_H

#include "engine/ranks/pool_internal.h"
#include "engine/ranks/rank_memory.h"
#include "engine/ranks/world_internal.h"

/* The engine's side of one rank. */
struct pool_rank_run {
    struct pool_memory link;
    struct rank_memory memory;
    struct device *device; /* on which the twin was made */
    uint32_t epoch;        /* of the step that it is in */
    uint64_t busy;         /* nanoseconds of it that the twin has counted */
    bool told_mismatch;
    uint64_t seen_position; /* when it was last seen to move, and where */
    uint32_t seen_state;
    double moved;
    bool held_up; /* moves data with a rank that was lost, and does not get on */
};

/* Ranks in the order in which what they did is told: those first that stand furthest behind. A
 * heap; where its twin stands does not change while a rank is in it. */
struct pool_queue {
    struct pool_news {
        int step, next, rank;
    } * news; /* [size] */
    int count;
    bool *has; /* [size] */
};

struct pool_world {
    struct rank_pool *pool;
    struct device *device; /* borrowed: answers for sizes */
    struct pool_rank_run *ranks;
    double next_check; /* for ranks that do not move */
    bool *dirty;       /* [size]: the engine has changed what its state follows from */
    bool any_dirty;
    struct pool_queue queue; /* ranks that have run more than their twins have counted */
    bool any_mismatch;       /* one was told */
    int restless;            /* the rank that was last found to move: most often it still does */
};

extern const struct world_ops world_pool_ops;

struct pool_world *world_pool_context(const struct world *world);
struct board_rank *world_pool_page(const struct world *world, int rank);
/* Begins an epoch: the rank stands before the first instruction of its twin's step. */
void world_pool_begin_epoch(struct world *world, int rank);
/* Orders a rank to run the instructions of its epoch below `limit`. */
void world_pool_command(struct world *world, int rank, int limit);
/* The state of a rank whose twin stands where it stands. */
void world_pool_settle(struct world *world, int index);
/* It is looked at anew when events are taken, whether it has news or not. */
void world_pool_touch(struct world *world, int rank);
/* Forgets what ranks have done: twins were set back. */
void world_pool_forget_news(struct world *world);
/* Makes `event` tell of a rank, where its twin stands. */
void world_pool_give(const struct world *world, int index, enum world_event_kind kind,
                     struct world_event *event);
/* Process or connection of a rank is gone: the same for it, or for the cause of that (see
 * pool_find_cause), if that is a rank of this world that was not told of. Returns which. */
int world_pool_lose_cause(struct world *world, int index);
/* The same, as it does not answer. */
void world_pool_lose_silent(struct world *world, int index);
/* Whether a rank should be moving on by itself. One that waits for others does not count. */
bool world_pool_should_move(const struct world *world, int index);
/* The event of a rank that computes for too long, hangs, or was stopped; false: there is none, or
 * it is not time to look again. */
bool world_pool_take_stuck(struct world *world, struct world_event *event);
/* Whom to blame when the ranks of `overdue` do not move; -1: nobody. */
int world_pool_culprit(const struct world *world, const bool *overdue);
/* Gives ranks back to the pool, which is not sound when one of them does not stop. */
void world_pool_release(struct world *world);
/* Stops all ranks, also those that wait for others. False: one was lost, or does not stop. */
bool world_pool_stop(struct world *world, struct status *status);
bool world_pool_go_to_step(struct world *world, int step, struct status *status);

#endif
