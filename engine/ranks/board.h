/* The control page of a pool: a few words for each rank, in memory that the engine and all ranks of
 * this machine map. The engine writes how far a rank may run, a rank writes where it stands and
 * what it waits in; neither needs a message as long as the other one runs. Ranks also meet here
 * before data move, so that one that comes for something else is found before anything happened,
 * and a wait can be given up. A rank on another machine has a page of its own, kept alike by
 * messages. Its records are for all; the rest is internal to engine/ranks. */
#ifndef ENGINE_RANKS_BOARD_H
#define ENGINE_RANKS_BOARD_H

#include "engine/comm/comm.h"

#include <stdatomic.h>
#include <stdint.h>

enum board_state {
    BOARD_STARTING = 0, /* not set up */
    BOARD_IDLE,         /* before its next instruction, and may not run it */
    BOARD_RUNNING,
    BOARD_WAITING, /* in a collective or receive, for others; nothing has moved */
    BOARD_MOVING,  /* in a collective: all have come, data move */
    BOARD_FAILED,  /* its instruction failed */
};

/* One collective that a rank took part in: the flight recorder. */
struct comm_record {
    uint64_t sequence; /* from 1, counts the collectives of the rank */
    struct comm_descriptor what;
    int step, instruction;
    int64_t entered, left; /* CLOCK_MONOTONIC of its machine, nanoseconds; left: 0 = still in it */
};

enum { BOARD_RECORDS = 256, BOARD_MAGIC = 0x6c737032, BOARD_NEWS_WORDS = MESH_MAX_RANKS / 64 };

/* How often a group has met, and for what. Two places: a member that has come for meeting n + 1
 * must not write over what slower ones still read of meeting n; it cannot come for n + 2 before all
 * have come for n + 1. */
struct board_meeting {
    _Atomic uint64_t sequence;
    struct comm_descriptor what;
};

struct board_rank {
    /* by the engine */
    _Alignas(64) _Atomic uint64_t command; /* epoch << 32 | instructions below this may run */
    _Atomic uint32_t generation;           /* of messages and meetings: see board_begin_anew */
    _Atomic uint32_t cancelled;            /* the epoch whose waiting is to end; 0: none */
    _Atomic uint32_t step;                 /* of the training, for the records */
    _Atomic uint32_t order;                /* counts commands: see `seen` */
    /* by the rank */
    _Alignas(64) _Atomic uint64_t position; /* epoch << 32 | the next instruction */
    _Atomic uint32_t state;                 /* enum board_state */
    _Atomic uint32_t seen; /* the last order that it obeys: once it has seen that it may run no
                              further, it comes to no other meeting than the one that it is in */
    _Atomic uint32_t bell; /* changes when others have done something */
    _Atomic uint64_t waiting_since; /* nanoseconds; while BOARD_WAITING */
    _Atomic int32_t waiting_group;  /* whose meeting; -1: for a message */
    _Atomic uint64_t busy;          /* nanoseconds in instructions of this epoch */
    _Atomic uint64_t recorded;      /* how many records were written, ever */
    struct board_meeting meetings[COMM_GROUP_COUNT][2];
    struct comm_record records[BOARD_RECORDS]; /* record n is at (n - 1) % BOARD_RECORDS */
};

struct board_page {
    uint32_t magic, size;
    _Alignas(64) _Atomic uint32_t engine_sleeps; /* it wants its event descriptor written */
    /* Bit r: rank r has changed its words since the engine looked at them. With many ranks, few of
     * them have when the engine looks. */
    _Alignas(64) _Atomic uint64_t news[BOARD_NEWS_WORDS];
    struct board_rank ranks[];
};

struct board {
    struct board_page *page;
    size_t bytes;
    int size;
    int fd;   /* of the memory; -1 after it was handed over */
    int wake; /* event descriptor of the engine; -1: none */
    /* The page is this rank's own: what it does is told to the others by messages. */
    const struct board_link *link;
    /* Called while a rank waits in a meeting: true as long as it wants to be called every
     * millisecond. NULL: never. */
    bool (*meanwhile)(void *context);
    void *meanwhile_context;
};

/* How a rank on another machine keeps its page up to date. */
struct board_link {
    /* Tells the engine what this rank has done: `group` is the one that it now waits in, or -1. */
    void (*publish)(void *context, int group);
    /* Takes what has come, waiting for it at most so long. */
    void (*listen)(void *context, int milliseconds);
    void *context;
};

static inline uint64_t board_pair(uint32_t epoch, uint32_t number)
{
    return (uint64_t)epoch << 32 | number;
}
static inline uint32_t board_epoch(uint64_t pair)
{
    return (uint32_t)(pair >> 32);
}
static inline int board_number(uint64_t pair)
{
    return (int)(uint32_t)pair;
}

/* A zeroed page for `size` ranks, and an event descriptor to wake its owner. */
bool board_create(struct board *board, int size, struct status *status);
/* Maps the page behind `fd` (taken over, as is `wake`). */
bool board_map(struct board *board, int fd, int wake, int size, struct status *status);
void board_close(struct board *board);

/* ---- a rank's side ---- */

/* The number of the last order, to be loaded before the command; and: it is obeyed now. */
uint32_t board_order(const struct board *board, int rank);
void board_obey(struct board *board, int rank, uint32_t order);
/* Its state, and the engine is told. */
void board_set_state(struct board *board, int rank, enum board_state state);
void board_set_position(struct board *board, int rank, uint32_t epoch, int next);
/* Whether the waiting of this rank's epoch is to end. Cheap. */
bool board_is_cancelled(struct board *board, int rank);
/* Comes to a meeting: says so, and does not wait. */
void board_come(struct board *board, int rank, const struct comm_descriptor *what, uint64_t number);
/* Comes to a meeting and waits until all members have. `number` counts this group's meetings.
 * STATUS_CANCELLED when it is given up. Those who came for something else never meet: they wait
 * until the engine, which sees it, cancels. */
bool board_meet(struct board *board, int rank, const struct comm_descriptor *what, uint64_t number,
                const int *members, int count, struct status *status);
/* Writes a record of a collective that begins; its number. */
uint64_t board_record_enter(struct board *board, int rank, const struct comm_descriptor *what,
                            int step, int instruction);
void board_record_leave(struct board *board, int rank, uint64_t record);

/* ---- the engine's side ---- */

/* Notes that a rank has changed its words: what ranks of this machine do by themselves. */
void board_add_news(struct board *board, int rank);
/* Takes the news of ranks 64 * word to 64 * word + 63, as bits: their words are read after that. */
uint64_t board_take_news(struct board *board, int word);
/* Wakes a rank that waits in a meeting, so that it looks again. */
void board_ring(struct board *board, int rank);
/* Whether the rank obeys the last order: see board_rank.seen. */
bool board_has_seen(const struct board *board, int rank);
/* Whether the rank waits for what cannot come by itself when all other ranks are at rest: some
 * member has not come, or has come for something else. Only then may it be told to give up: one
 * that does while others find it there would leave them alone with their data. A message is taken
 * whole or not at all. */
bool board_is_stuck(const struct board *board, int rank, const struct mesh *mesh);
/* Forgets the meetings of all ranks (all idle) and begins another generation, in which messages of
 * earlier ones count for nothing. */
void board_begin_anew(struct board *board, uint32_t generation);
/* The last records, oldest first; returns how many. May run while the rank does. */
int board_records(const struct board *board, int rank, struct comm_record *records, int most);

#endif
