/* Which worker gets which test, on random lists. */
#include "engine/base/memory.h"
#include "engine/suite/runner_internal.h"
#include "tests/unit/engine_suite/helper_list.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { TESTS = 30, WORKERS = 3, ROUNDS = 100 };

/* Baselines and tests that compare with one of them, which depend on it. */
static struct test_list *random_list(struct random *random)
{
    struct test_list *list = make_list(1, ACTION_NORMAL);
    int baselines = (int)random_integer(random, 1, 6);
    for (int i = 0; i < TESTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        make_test(list, 0, GROUP_BASIC, name);
        list->tests[i].variant = memory_string(name);
        if (i < baselines)
            continue;
        int reference = (int)random_integer(random, 0, baselines - 1);
        list->tests[i].reference = memory_string(list->tests[reference].variant);
        make_dependency(list, i, reference);
    }
    return list;
}

static struct runner start(const struct runner_options *options)
{
    size_t tests = (size_t)options->list->test_count;
    struct runner runner = {.options = options};
    runner.outcomes = memory_zeroed(tests, sizeof(*runner.outcomes));
    runner.states = memory_zeroed(tests, sizeof(*runner.states));
    runner.run_by = memory_zeroed(tests, sizeof(*runner.run_by));
    for (size_t i = 0; i < tests; i++)
        runner.run_by[i] = -1;
    return runner;
}

static void finish(struct runner *runner)
{
    for (int i = 0; i < runner->options->list->test_count; i++)
        outcome_free(&runner->outcomes[i]);
    free(runner->outcomes);
    free(runner->states);
    free(runner->run_by);
}

/* 0: its reference was run by this worker; 1: by nobody who lives, or it has none; 2: by another.
 */
static int distance(const struct runner *runner, const int *ran, int test, int worker)
{
    const struct test_case *of = &runner->options->list->tests[test];
    int owner = of->dependency_count ? ran[of->dependencies[0]] : -1;
    return owner < 0 ? 1 : owner == worker ? 0 : 2;
}

/* Takes the next test for a worker and checks that no other one that is ready suits it better. */
static int take(struct runner *runner, int *ran, int worker)
{
    const struct test_list *list = runner->options->list;
    int nearest = 3;
    for (int i = 0; i < TESTS; i++) {
        const struct test_case *of = &list->tests[i];
        bool ready = runner->states[i] == TEST_WAITING &&
                     (!of->dependency_count || runner->states[of->dependencies[0]] == TEST_DONE);
        int far = distance(runner, ran, i, worker);
        nearest = ready && far < nearest ? far : nearest;
    }
    int test = runner_next(runner, worker);
    assert_int_equal(test >= 0, nearest < 3); /* no worker waits while something is ready */
    if (test >= 0) {
        assert_int_equal(distance(runner, ran, test, worker), nearest);
        ran[test] = worker;
    }
    return test;
}

static void test_workers_keep_to_their_references(void **state)
{
    (void)state;
    struct random random = random_start("workers");
    for (int round = 0; round < ROUNDS; round++) {
        struct test_list *list = random_list(&random);
        int order[TESTS], ran[TESTS], running[WORKERS] = {-1, -1, -1};
        for (int i = 0; i < TESTS; i++) {
            order[i] = i;
            ran[i] = -1;
        }
        struct runner_options options = {
            .list = list, .order = order, .count = TESTS, .workers = WORKERS};
        struct runner runner = start(&options);
        while (runner.done < TESTS) {
            int worker = (int)random_integer(&random, 0, WORKERS - 1);
            if (running[worker] < 0) {
                running[worker] = take(&runner, ran, worker);
                continue;
            }
            outcome_set(&runner.outcomes[running[worker]], OUTCOME_PASSED, "%s", "");
            runner_finish(&runner, running[worker]);
            running[worker] = -1;
            if (random_integer(&random, 0, 9) > 0)
                continue;
            runner_forget(&runner, worker); /* it was lost */
            for (int i = 0; i < TESTS; i++)
                ran[i] = ran[i] == worker ? -1 : ran[i];
        }
        for (int worker = 0; worker < WORKERS; worker++)
            assert_int_equal(runner_next(&runner, worker), -1);
        finish(&runner);
        test_list_free(list);
    }
}

/* Starts a process that dies of the first test that it is given. */
static bool start_mortal(void *context, int number, struct worker_process *worker,
                         struct status *status)
{
    int *starts = context, sockets[2];
    (void)status;
    assert_in_range(number, 0, WORKERS - 1);
    starts[number]++;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char line[32];
        close(sockets[0]);
        _exit(read(sockets[1], line, sizeof(line)) > 0 ? 3 : 0);
    }
    close(sockets[1]);
    *worker = (struct worker_process){pid, sockets[0]};
    return true;
}

/* One that is gone leaves its number, and with it its GPU, to who comes in its place. */
static void test_successors_keep_the_number(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct test_list *list = make_list(1, ACTION_NORMAL);
    struct outcome outcomes[TESTS] = {0};
    int order[TESTS], starts[WORKERS] = {0}, all = 0;
    for (int i = 0; i < TESTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        order[i] = make_test(list, 0, GROUP_BASIC, name);
    }
    struct runner_options options = {.list = list,
                                     .order = order,
                                     .count = TESTS,
                                     .workers = WORKERS,
                                     .start_worker = start_mortal,
                                     .worker_context = starts};
    assert_true(runner_run(&options, outcomes, &status));
    for (int i = 0; i < TESTS; i++) {
        assert_int_equal(outcomes[i].kind, OUTCOME_FAILED);
        outcome_free(&outcomes[i]);
    }
    for (int worker = 0; worker < WORKERS; worker++) {
        assert_true(starts[worker] > 0);
        all += starts[worker];
    }
    assert_int_equal(all, TESTS);
    test_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_successors_keep_the_number),
        cmocka_unit_test(test_workers_keep_to_their_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
