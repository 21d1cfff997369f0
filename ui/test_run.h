/* Running tests beside the screens: `lockstep test` in a process of its own, whose lines are read
 * as they come. UI thread. */
#ifndef UI_TEST_RUN_H
#define UI_TEST_RUN_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct ui_options;
struct test_run;

/* What has no result yet: which of these runs at the moment cannot be told. */
#define TEST_RUN_TO_COME "to come"

struct test_result {
    char *id;
    char *outcome;                   /* "PASSED", "FAILED", ... or TEST_RUN_TO_COME */
    char *duration, *worst, *memory; /* as shown: "1.20s", "0.31" of its limit, "31 MiB"; or "" */
    char *remark;                    /* the worst tensor, or why; "" */
};

struct test_run *test_run_create(void);
/* Ends the process. NULL is fine. */
void test_run_free(struct test_run *run);

/* Starts the program again with these tests. Fails if one runs already. */
bool test_run_start(struct test_run *run, const struct ui_options *options, const char *const *ids,
                    int count, int64_t now_ms, struct status *status);
void test_run_stop(struct test_run *run);
bool test_run_is_running(const struct test_run *run);

/* For poll(); -1 when nothing runs. */
int test_run_fd(const struct test_run *run);
/* Takes what the descriptor announced; each line goes to `line` (may be NULL). True if something
 * changed. */
bool test_run_take(struct test_run *run, void (*line)(void *context, const char *text),
                   void *context);

/* The newest result of a test, or NULL. Good until the next test_run_take. */
const struct test_result *test_run_result(const struct test_run *run, const char *id);
/* Of the process that runs, with what the tests depend on; the count is what can be told so far. */
int test_run_done(const struct test_run *run);
int test_run_count(const struct test_run *run);
/* Time left as far as can be told, "12s" or "-". Static storage of the run. */
const char *test_run_left(struct test_run *run, int64_t now_ms);

#endif
