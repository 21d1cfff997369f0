/* Rank processes: launched once, used for one run after the other. They connect back to the engine;
 * whatever they print comes to it; whatever happens to one of them (a signal, an exit, a connection
 * that breaks) is noticed, and takes neither the engine nor what the rank has computed away.
 * One thread (the engine's): the processes end with the thread that made the pool. */
#ifndef ENGINE_RANKS_POOL_H
#define ENGINE_RANKS_POOL_H

#include "engine/comm/comm.h"
#include "engine/ranks/board.h"
#include "engine/ranks/launch_options.h"
#include "engine/ranks/world.h"

/* What a rank prints, as it comes. `stream` is 0 for standard output, 1 for standard error. */
typedef void rank_pool_output(void *context, int rank, int stream, const char *bytes, size_t length,
                              int64_t nanoseconds);

struct rank_pool_options {
    int size;            /* processes; runs of fewer ranks use the first ones */
    const char *program; /* this executable, of which "rank" and "keeper" are commands (rank.h);
                            NULL: /proc/self/exe */
    struct rank_launch launch;
    double start_timeout;        /* until all must be there; 0: 30, or that of an instruction if
                                    that is more */
    int threads;                 /* of each rank; 0: an even share of the cores */
    int worker;                  /* which of those that run at the same time on the same machines:
                                    its ranks begin behind the GPUs of those before it */
    rank_pool_output *on_output; /* called from pool and world functions; may be NULL */
    void *output_context;        /* borrowed */
    const char
        *output_folder; /* existing; what rank 3 prints is added to logs_rank_3.txt; or NULL */
};

struct rank_pool;

/* Launches the processes and waits until all are there. Strings are copied. NULL on failure. */
struct rank_pool *rank_pool_create(const struct rank_pool_options *options, struct status *status);
/* Ends all processes: nothing is left of them. NULL is fine. */
void rank_pool_free(struct rank_pool *pool);
int rank_pool_size(const struct rank_pool *pool);
/* Whether all processes can be used for another run. */
bool rank_pool_is_sound(const struct rank_pool *pool);
/* Ends all processes and launches them again. */
bool rank_pool_restart(struct rank_pool *pool, struct status *status);
/* Takes what has come, waiting at most so long: for those who wait for output only. */
void rank_pool_poll(struct rank_pool *pool, double seconds);

/* What carries the collectives of the present run, or of the last one: "MPI", "NCCL 2.28.9", "MPI
 * through host memory (ranks 0 and 1 share GPU 0000:01:00.0)"; "" before there was any. Borrowed
 * until the next run. */
const char *rank_pool_carrier(const struct rank_pool *pool);

struct rank_process_state {
    int64_t pid;
    const char *host; /* borrowed; "" before it has connected */
    bool ended;
    int wait_status;    /* as of waitpid, when it has ended; -1: not known */
    int stopped_by;     /* signal that stopped it, 0: none */
    int64_t printed[2]; /* bytes, by stream */
};
void rank_pool_describe(const struct rank_pool *pool, int rank,
                        struct rank_process_state *description);
/* How often ranks were stopped by signals, or went on after that. */
uint64_t rank_pool_halts(const struct rank_pool *pool);

/* The last collectives that a rank took part in, oldest first, BOARD_RECORDS at most; also of one
 * that was lost. Returns how many. */
int rank_pool_collectives(const struct rank_pool *pool, int rank, struct comm_record *records,
                          int most);

/* As world_create, in the processes of a pool, which it restarts if it is not sound. `search` is
 * what `config` was loaded with; `options->change` is NULL or faults_change. A pool has one world
 * at a time, and outlives it. The device answers for sizes of workspace; it computes nothing. */
struct world *world_create_in_pool(struct rank_pool *pool, const struct config *config,
                                   const struct config_search *search, struct device *device,
                                   const struct run_options *options, struct status *status);

#endif
