/* Worker processes of `lockstep test -n`. */
#ifndef APP_WORKERS_H
#define APP_WORKERS_H

#include "engine/suite/runner.h"

struct worker_context {
    const struct environment *environment; /* not opened: each worker opens its own device */
    const struct test_list *list;
    int workers; /* that share the cores */
};

/* runner_options.start_worker; the context is a struct worker_context. Forks: this process must not
 * have computed anything yet, as threads of libraries do not survive a fork. Worker `number` takes
 * that GPU, counted round those that there are, and so does its successor. */
bool worker_start(void *context, int number, struct worker_process *worker, struct status *status);

#endif
