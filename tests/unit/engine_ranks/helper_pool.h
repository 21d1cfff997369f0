/* A pool of rank processes for tests, whose executable is also the rank: "test_x rank". */
#ifndef TESTS_UNIT_ENGINE_RANKS_HELPER_POOL_H
#define TESTS_UNIT_ENGINE_RANKS_HELPER_POOL_H

#include "engine/ranks/pool.h"

#include <sys/types.h>

enum { PATIENCE_SECONDS = 60 };

struct pool_printed {
    int64_t bytes[16]; /* of each rank, both streams */
    char last[256];    /* the beginning of what came last */
};

struct pool_test {
    struct rank_pool *pool;
    struct config *config;
    struct device *device;
    const char *address; /* where ranks find the engine by TCP; NULL: they are near */
    struct pool_printed printed;
    const char *overrides[8];
    struct config_search search;
};

/* Modules, sanitizers, a folder for temporary files, and a word in the environment by which all
 * processes that come of this one are known: count_relatives. */
void pool_test_environment(void);
/* At the end of all tests, of which so many failed: that nothing is left of them. Returns the exit
 * status. */
int pool_test_finish(int failed);
/* Skips the test where there is no mpirun, or no module for MPI. */
void pool_test_need_mpirun(void);
/* `timeout`: how many seconds a rank may be silent; 0: as long as tests wait for anything. */
struct rank_pool *pool_test_start(struct pool_test *it, int size, int timeout);
/* A small model of that name, `tokens` long. */
void pool_test_load(struct pool_test *it, const char *name, int tokens);
/* A pool and a device; what it held before is not freed. */
void pool_test_begin(struct pool_test *it, int ranks, int timeout);
void pool_test_end(struct pool_test *it);
struct world *pool_test_world(struct pool_test *it, const struct run_options *options);

void allow_all(struct world *world);
bool all_at_end(const struct world *world);
/* Takes events until one is not WORLD_DONE, or all ranks are at the end of their step. */
enum world_event_kind run_on(struct world *world, struct world_event *event);
void run_step_of(struct world *world);
/* Of all named values, which need not lie in memory that this process can read. */
uint64_t bits_of(const struct world *world);

int count_descriptors(void);        /* open ones of this process */
int count_relatives(void);          /* processes that come of this one, of whatever parent */
int signal_relatives(int number);   /* sends it to all of them, and counts them */
void wait_for_relatives(int count); /* until there are so many */
bool wait_for_no_relatives(void);
/* A file that an engine has left: in the folder for temporary files, or in shared memory. */
bool find_left_over(pid_t engine, char *found, size_t size);

#endif
