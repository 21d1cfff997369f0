/* Between the runner and its workers. */
#ifndef ENGINE_SUITE_RUNNER_INTERNAL_H
#define ENGINE_SUITE_RUNNER_INTERNAL_H

#include "engine/suite/runner.h"

enum test_state { TEST_WAITING = 0, TEST_RUNNING, TEST_DONE };

struct runner {
    const struct runner_options *options;
    struct outcome *outcomes;
    enum test_state *states; /* by test; those that are not in the order are TEST_DONE */
    int done, failures;
    bool stopped;
};

/* The next test whose dependencies have all ended, now TEST_RUNNING; -1 when none is ready (yet).
 * Skips those whose dependencies did not pass. */
int runner_next(struct runner *runner);
/* The outcome of `test` is complete. */
void runner_finish(struct runner *runner, int test);
bool runner_is_done(const struct runner *runner);

bool runner_run_workers(struct runner *runner, struct status *status);

#endif
