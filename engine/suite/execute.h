/* Runs one test in this process. */
#ifndef ENGINE_SUITE_EXECUTE_H
#define ENGINE_SUITE_EXECUTE_H

#include "engine/ranks/pool.h"
#include "engine/suite/capture.h"
#include "engine/suite/outcome.h"
#include "engine/suite/references.h"
#include "engine/suite/selection.h"

#include <signal.h>

/* What tests run in. The device is opened by the first test and used by all, and the processes of
 * ranks are started by the first distributed one. One thread: the processes end with it. */
struct environment {
    const struct config_search *search; /* borrowed */
    const char *device_name;            /* borrowed: "auto", "cpu", ... */
    int threads;                        /* 0 = all cores */
    int gpu;           /* where the device is one: which, counted round those that there are */
    const char *fault; /* borrowed: put into the tests' runs; NULL = none */
    const struct test_choice *choices; /* borrowed: a fault is put into CHOICE_RUN only, not into
                                          what they depend on; NULL: into all */
    const volatile sig_atomic_t *interrupted; /* borrowed: not 0 ends the running test; or NULL */
    struct rank_launch launch;                /* how ranks are started; strings are borrowed */
    int ranks;           /* processes that are started for the first distributed test: the most that
                            any of them needs; 0: what the first one needs */
    const char *results; /* borrowed: folder for what ranks print; NULL: see capture.h */
    bool no_capture;     /* what ranks print is shown at once */
    struct device *device; /* NULL until needed */
    struct comm *comm;
    struct references references; /* recorded baselines, for the tests that compare with them */
    struct rank_pool *pool;       /* started once, for all distributed tests; NULL until needed */
    struct capture *capture;
};

void environment_close(struct environment *environment);

/* Runs the test (not one of TEST_NOT_BUILT). `outcome` must be zeroed; it is only
 * OUTCOME_NONE afterwards if the test was interrupted. */
void test_execute(struct environment *environment, const struct test_list *list, int test,
                  struct outcome *outcome);

#endif
