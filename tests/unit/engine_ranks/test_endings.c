/* Who is the cause when several ranks have come to an end, whatever comes in which order. */
#include "engine/base/memory.h"
#include "engine/ranks/pool_internal.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4, EXIT_3 = 3 << 8, LEFT = PROTOCOL_LEFT << 8, UNKNOWN = -1 };

struct fake {
    struct rank_pool pool;
    struct pool_process processes[RANKS];
};

/* Nothing comes over its connections any more, and mpirun has ended, too: nothing is waited for. */
static void begin(struct fake *fake)
{
    *fake = (struct fake){.pool = {.options = {.size = RANKS},
                                   .started = true,
                                   .shared = true,
                                   .epoll = -1,
                                   .launch = {.descriptor = -1, .output = -1, .ended = true}}};
    fake->pool.processes = fake->processes;
    for (int rank = 0; rank < RANKS; rank++)
        fake->processes[rank] = (struct pool_process){.control = {.fd = -1},
                                                      .guardian = {.fd = -1},
                                                      .output = {-1, -1},
                                                      .pid = 100 + rank,
                                                      .wait_status = -1,
                                                      .log = -1};
}

static void finish(struct fake *fake, int rank, int wait_status)
{
    struct pool_process *process = &fake->processes[rank];
    process->ended = process->control_closed = true;
    process->wait_status = wait_status;
    process->end_number = fake->pool.ends++;
}

static void fail_one(struct fake *fake, int rank)
{
    fake->processes[rank].has_failed = true;
    strcpy(fake->processes[rank].failure.reason, "it could not");
}

static void expect_report(struct fake *fake, int seen, const char *report)
{
    struct status status = STATUS_NONE;
    assert_false(pool_fail_cause(&fake->pool, seen, "while it started", &status));
    assert_string_equal(status.text, report);
}

/* What rank 1 does is told, whichever of the others it takes along, and in whatever order that is
 * told. */
static void expect_first(int wait_status, const char *report)
{
    struct random random = random_start("endings");
    for (int round = 0; round < 50; round++) {
        struct fake fake;
        int when = (int)random_integer(&random, 0, RANKS - 1);
        begin(&fake);
        for (int step = 0; step < RANKS; step++) {
            int other = (step + 2) % RANKS;
            if (step == when)
                finish(&fake, 1, wait_status);
            if (other != 1 && random_integer(&random, 0, 1))
                finish(&fake, other, LEFT);
            else if (other != 1 && random_integer(&random, 0, 1))
                fail_one(&fake, other);
            else if (other != 1)
                fake.processes[other].stopped_by = SIGTSTP;
        }
        for (int seen = 0; seen < RANKS; seen++)
            expect_report(&fake, seen, report);
    }
}

static void test_consequences(void **state)
{
    (void)state;
    expect_first(SIGSEGV, "process 101 of rank 1 was killed by signal 11 (Segmentation fault) "
                          "while it started");
    expect_first(EXIT_3, "process 101 of rank 1 ended with exit status 3 while it started");
    expect_first(UNKNOWN, "process 101 of rank 1 is gone with its guardian, which was killed "
                          "while it started");
}

/* Of several that end of themselves, the first. */
static void test_order(void **state)
{
    struct fake fake;
    (void)state;
    begin(&fake);
    finish(&fake, 3, UNKNOWN);
    finish(&fake, 2, SIGABRT);
    finish(&fake, 0, EXIT_3);
    for (int seen = 0; seen < RANKS; seen++)
        assert_int_equal(pool_find_cause(&fake.pool, seen), 2);
}

/* One that has left is told of when nothing else explains it; one that is stopped is no reason why
 * another has failed, but it is one why others are silent. */
static void test_nobody_else(void **state)
{
    struct fake fake;
    (void)state;
    begin(&fake);
    fail_one(&fake, 0);
    fake.processes[3].stopped_by = SIGSTOP;
    assert_int_equal(pool_find_cause(&fake.pool, 2), 3);
    expect_report(&fake, 0, "rank 0: it could not");
    finish(&fake, 2, LEFT);
    expect_report(
        &fake, 0,
        "process 102 of rank 2 has closed its connection with the engine while it started");
    fake.processes[2].trouble = "has sent what is no message";
    expect_report(&fake, 0, "process 102 of rank 2 has sent what is no message while it started");
}

/* A launcher that was killed explains all; one that has ended, as its ranks have, nothing. */
static void test_launcher(void **state)
{
    struct fake fake;
    (void)state;
    begin(&fake);
    for (int rank = RANKS - 1; rank >= 0; rank--)
        finish(&fake, rank, rank == 2 ? SIGKILL : rank == 1 ? EXIT_3 : UNKNOWN);
    fake.pool.launch.wait_status = SIGKILL;
    expect_report(&fake, 0,
                  "process 102 of rank 2 is gone with its launcher, which was killed by signal 9 "
                  "(Killed) while it started");
    fake.pool.launch.wait_status = 0;
    expect_report(&fake, 0,
                  "process 102 of rank 2 was killed by signal 9 (Killed) while it started");
    fake.processes[1].wait_status = fake.processes[2].wait_status = UNKNOWN;
    expect_report(&fake, 0,
                  "process 103 of rank 3 is gone with its guardian, which was killed while it "
                  "started");
    fake.pool.options.launch.launcher = "srun";
    expect_report(&fake, 0,
                  "process 103 of rank 3 is gone with its launcher, which ended with exit status 0 "
                  "while it started");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consequences),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_nobody_else),
        cmocka_unit_test(test_launcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
