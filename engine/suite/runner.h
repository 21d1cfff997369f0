/* Runs the selected tests: here, one after the other, or in worker processes. */
#ifndef ENGINE_SUITE_RUNNER_H
#define ENGINE_SUITE_RUNNER_H

#include "engine/suite/execute.h"

#include <sys/types.h>

/* A worker process with a socket to it. */
struct worker_process {
    pid_t pid;
    int socket;
};

struct runner_options {
    const struct test_list *list; /* borrowed */
    const int *order;             /* borrowed: tests, each after those it depends on */
    int count;
    struct environment *environment; /* used when workers <= 1 */
    int workers;
    /* Starts a process that calls worker_serve on its end of a socket pair: worker `number`, from
     * 0; the same again for the successor of one that is gone. */
    bool (*start_worker)(void *context, int number, struct worker_process *worker,
                         struct status *status);
    void *worker_context;
    int maximum_failures; /* stop after so many; 0 = never */
    double time_limit;    /* seconds that one test may take in a worker; 0 = no limit */
    /* Told about each test that ended; `done` of `count` have. May be NULL. */
    void (*report)(void *context, int test, const struct outcome *outcome, int done);
    void *report_context;
    const volatile sig_atomic_t
        *interrupted; /* set by a signal handler: start no further test; or NULL */
};

/* Runs them. `outcomes` has list->test_count zeroed elements, owned by the caller; those that were
 * not run stay OUTCOME_NONE. A test whose dependency did not pass is skipped with that reason. A
 * worker that dies or takes too long fails the test that it ran, and is replaced. False only when
 * no worker can be started. */
bool runner_run(const struct runner_options *options, struct outcome *outcomes,
                struct status *status);

/* The life of a worker: reads test numbers from `socket`, runs the tests, writes outcomes, until
 * the other end is closed. */
void worker_serve(int socket, struct environment *environment, const struct test_list *list);

#endif
