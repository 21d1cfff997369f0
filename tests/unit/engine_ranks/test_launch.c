/* Launchers that are stopped: whatever they are and have started, it is asked to end, has time to
 * remove what it keeps, and then nothing of it is left. This executable also stands for mpirun:
 * "test_launch rank". */
#include "helper_pool.h"

#include "engine/ranks/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KEEPS "LOCKSTEP_TEST_KEEPS" /* the file that stands for those of mpirun */

enum { HURRY_MILLISECONDS = 300 };

/* As mpirun does: not at once, and on SIGTERM only. */
static int be_mpirun(void)
{
    sigset_t term;
    int number;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    signal(SIGTERM, SIG_DFL); /* it is ignored where the launcher did */
    int file = open(getenv(KEEPS), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0 || write(STDOUT_FILENO, "ready\n", 6) != 6)
        return 1;
    close(file);
    sigwait(&term, &number);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return unlink(getenv(KEEPS)) != 0;
}

struct case_of_launch {
    char folder[64], keeps[100], script[100];
    struct launch launch;
};

static void write_script(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

/* Starts it, until so many have said that they are ready. */
static void start(struct case_of_launch *it, const char *text, int ready)
{
    struct status status = STATUS_NONE;
    char token[32], said[4096];
    size_t length = 0;
    snprintf(it->folder, sizeof(it->folder), "%s", getenv("TMPDIR"));
    snprintf(it->keeps, sizeof(it->keeps), "%s/session", it->folder);
    snprintf(it->script, sizeof(it->script), "%s/launcher", it->folder);
    snprintf(token, sizeof(token), "token-%d", (int)getpid());
    setenv(KEEPS, it->keeps, 1);
    write_script(it->script, text);
    char program[600];
    ssize_t got = readlink("/proc/self/exe", program, sizeof(program) - 1);
    assert_true(got > 0);
    program[got] = '\0';
    struct launch_options options = {.size = 2,
                                     .program = program,
                                     .launcher = it->script,
                                     .address = "nowhere",
                                     .token = token};
    if (!launch_start(&it->launch, &options, &status))
        fail_msg("%s", status.text);
    for (int count = 0; count < ready;) {
        struct pollfd poller = {.fd = it->launch.output, .events = POLLIN};
        assert_int_equal(poll(&poller, 1, PATIENCE_SECONDS * 1000), 1);
        got = read(it->launch.output, said + length, sizeof(said) - 1 - length);
        assert_true(got > 0);
        said[length += (size_t)got] = '\0';
        count = 0;
        for (const char *at = said; (at = strstr(at, "ready\n")); at++)
            count++;
    }
    assert_true(count_relatives() > 0);
    assert_int_equal(access(it->keeps, F_OK), 0);
}

static void test_asked_first(void **state)
{
    static const struct {
        const char *name, *script;
        int ready;
    } cases[] = {
        {"exec'ed", "exec \"$@\"", 1},
        {"not exec'ed", "\"$@\"\necho over", 1},
        {"asks it itself", "trap 'kill $child' TERM\n\"$@\" &\nchild=$!\nwait\nwait", 1},
        {"ignores the question", "trap '' TERM\n\"$@\"\nsleep 0.01", 1},
        {"has gone before", "\"$@\" &\nexit 0", 1},
        {"in a session of its own", "setsid \"$@\" &\nwait", 1},
        {"leaves others behind",
         "setsid sh -c 'echo ready; sleep 1000; true' &\nsleep 1000 &\nexec \"$@\"", 2},
    };
    (void)state;
    for (int i = 0; i < (int)(sizeof(cases) / sizeof(cases[0])); i++) {
        struct case_of_launch it;
        print_message("%s\n", cases[i].name);
        start(&it, cases[i].script, cases[i].ready);
        it.launch.patience = PATIENCE_SECONDS * 1000;
        launch_stop(&it.launch, 0);
        assert_int_equal(count_relatives(), 0); /* nothing is waited for here */
        assert_int_not_equal(access(it.keeps, F_OK), 0);
        unlink(it.script);
    }
}

/* Who does not end is ended. */
static void test_killed_then(void **state)
{
    static const char *const scripts[] = {
        "trap '' TERM\necho ready\n\"$@\" &\nwhile :; do sleep 0.01; done",
        "\"$@\" &\ntrap '' TERM\necho ready\nexec sleep 1000",
        "env -i sleep 1000 &\nsetsid sh -c 'trap \"\" TERM; echo ready; sleep 1000' &\nexec \"$@\"",
    };
    (void)state;
    for (int i = 0; i < (int)(sizeof(scripts) / sizeof(scripts[0])); i++) {
        struct case_of_launch it;
        start(&it, scripts[i], 2);
        it.launch.patience = HURRY_MILLISECONDS;
        launch_stop(&it.launch, 0);
        assert_int_equal(count_relatives(), 0);
        unlink(it.keeps);
        unlink(it.script);
    }
}

/* Other launches of the same engine, and what it has started itself, are left alone. */
static void test_others_stay(void **state)
{
    (void)state;
    struct case_of_launch it;
    pid_t other = fork();
    if (other == 0) {
        setenv(LAUNCH_TOKEN, "token-of-another", 1);
        execlp("sleep", "sleep", "1000", (char *)NULL);
        _exit(127);
    }
    start(&it, "setsid sh -c 'echo ready; sleep 1000' &\nexec \"$@\"", 2);
    launch_stop(&it.launch, 0);
    assert_int_equal(count_relatives(), 1);
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, NULL, 0), other);
    unlink(it.script);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return be_mpirun();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    pool_test_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_first),
        cmocka_unit_test(test_killed_then),
        cmocka_unit_test(test_others_stay),
    };
    return pool_test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
