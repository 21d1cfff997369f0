/* Between the runner and its workers. */
#ifndef ENGINE_SUITE_RUNNER_INTERNAL_H
#define ENGINE_SUITE_RUNNER_INTERNAL_H

#include "engine/suite/runner.h"

enum test_state { TEST_WAITING = 0, TEST_RUNNING, TEST_DONE };

struct runner {
    const struct runner_options *options;
    struct outcome *outcomes;
    enum test_state *states; /* by test; those that are not in the order are TEST_DONE */
    int *run_by;             /* by test: the worker that runs or ran it and still lives, or -1 */
    int done, failures;
    bool stopped;
};

/* The next test whose dependencies have all ended, now TEST_RUNNING; -1 when none is ready (yet).
 * Skips those whose dependencies did not pass. With several workers, a worker first gets tests that
 * compare with what it ran itself, and last those that compare with what another one did: it would
 * have to run their reference, too. */
int runner_next(struct runner *runner, int worker);
/* The worker was lost with all that it had kept. */
void runner_forget(struct runner *runner, int worker);
/* The outcome of `test` is complete. */
void runner_finish(struct runner *runner, int test);
bool runner_is_done(const struct runner *runner);

bool runner_run_workers(struct runner *runner, struct status *status);

#endif
