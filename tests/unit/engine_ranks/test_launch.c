/* Launchers that are stopped: whatever they are and have started, it is asked to end, has time to
 * remove what it keeps, and then nothing of it is left. This executable also stands for mpirun:
 * "test_launch rank". */
#include "helper_pool.h"

#include "engine/ranks/launch.h"
#include "engine/ranks/rank.h"

#include <errno.h>
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
#define ALIVE "LOCKSTEP_TEST_ALIVE" /* a pipe that all hold open, whatever their environment */

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

/* Whether anybody is left of those that have opened the pipe. */
static bool holds_pipe(int pipe)
{
    char byte;
    return read(pipe, &byte, 1) < 0 && errno == EAGAIN;
}

static int make_pipe(char *path, size_t size)
{
    snprintf(path, size, "%s/alive", getenv("TMPDIR"));
    setenv(ALIVE, path, 1);
    assert_int_equal(mkfifo(path, 0600), 0);
    int pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(pipe >= 0);
    return pipe;
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
        {"asks it itself", "trap 'kill $child' TERM\n\"$@\" &\nchild=$!\necho ready\nwait\nwait",
         2},
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

/* What nobody can know by its environment, session or parent. */
static const char *const hidden[] = {
    "exec 9>$" ALIVE "\nenv -i setsid sleep 1000 &\nexec \"$@\"",
    "exec 9>$" ALIVE "\nenv -i setsid sleep 1000 &\n\"$@\"\necho over",
    "exec 9>$" ALIVE "\nenv -i setsid sh -c 'sleep 1000 & setsid sleep 1000 & exit' &\nexec \"$@\"",
    /* it is asked, does not listen, and starts others while it is killed */
    "exec 9>$" ALIVE
    "\nenv -i setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05 & sleep 0.01; done' &\n"
    "(env -i setsid sh -c '(sleep 1000 &)')\n\"$@\" &",
};

static void test_hidden(void **state)
{
    char path[100];
    (void)state;
    for (int i = 0; i < (int)(sizeof(hidden) / sizeof(hidden[0])); i++) {
        struct case_of_launch it;
        int pipe = make_pipe(path, sizeof(path));
        print_message("%s\n", hidden[i]);
        start(&it, hidden[i], 1);
        assert_true(holds_pipe(pipe));
        it.launch.patience = HURRY_MILLISECONDS;
        launch_stop(&it.launch, 0);
        assert_false(holds_pipe(pipe));
        assert_int_equal(count_relatives(), 0);
        close(pipe);
        unlink(path);
        unlink(it.keeps);
        unlink(it.script);
    }
}

/* An engine in a process of its own, which does nothing once its launcher is there. */
static pid_t start_engine(const char *script, pid_t *keeper, pid_t *launcher)
{
    int ready[2];
    pid_t found[2];
    assert_int_equal(pipe(ready), 0);
    pid_t engine = fork();
    if (engine == 0) {
        struct case_of_launch it;
        start(&it, script, 1);
        found[0] = it.launch.keeper;
        found[1] = it.launch.pid;
        if (write(ready[1], found, sizeof(found)) != sizeof(found))
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], found, sizeof(found)), sizeof(found));
    close(ready[0]);
    *keeper = found[0];
    *launcher = found[1];
    return engine;
}

/* The engine is killed, and the launcher too, in every second case. */
static void test_engine_killed(void **state)
{
    char path[100], script[100], keeps[100];
    (void)state;
    snprintf(script, sizeof(script), "%s/launcher", getenv("TMPDIR"));
    snprintf(keeps, sizeof(keeps), "%s/session", getenv("TMPDIR"));
    for (int i = 0; i < (int)(sizeof(hidden) / sizeof(hidden[0])); i++) {
        pid_t keeper, launcher;
        int pipe = make_pipe(path, sizeof(path));
        pid_t engine = start_engine(hidden[i], &keeper, &launcher);
        assert_true(holds_pipe(pipe));
        if (i % 2)
            kill(launcher, SIGKILL);
        kill(engine, SIGKILL);
        waitpid(engine, NULL, 0);
        assert_true(wait_for_no_relatives()); /* the keeper is one, and ends last */
        assert_false(holds_pipe(pipe));
        close(pipe);
        unlink(path);
        unlink(keeps);
        unlink(script);
    }
}

/* Without the keeper those are found that have the token, and the launcher is asked to end. */
static void test_keeper_killed(void **state)
{
    struct case_of_launch it;
    (void)state;
    start(&it, "setsid sh -c 'echo ready; sleep 1000' &\nexec \"$@\"", 2);
    assert_false(launch_has_ended(&it.launch));
    assert_int_equal(kill(it.launch.keeper, SIGKILL), 0);
    struct pollfd poller = {.fd = it.launch.descriptor, .events = POLLIN};
    assert_int_equal(poll(&poller, 1, PATIENCE_SECONDS * 1000), 1);
    assert_true(launch_has_ended(&it.launch));
    assert_true(WIFSIGNALED(it.launch.wait_status) && WTERMSIG(it.launch.wait_status) == SIGKILL);
    it.launch.patience = PATIENCE_SECONDS * 1000;
    launch_stop(&it.launch, 0);
    assert_true(wait_for_no_relatives());
    assert_int_not_equal(access(it.keeps, F_OK), 0);
    unlink(it.script);
}

/* How it has ended is told as it is, and who asks the keeper to end asks in vain. */
static void test_endings(void **state)
{
    (void)state;
    for (int killed = 0; killed < 2; killed++) {
        struct case_of_launch it;
        char how[100];
        start(&it, killed ? "\"$@\" &\nwait" : "\"$@\" &\nsleep 0.1\nexit 7", 1);
        assert_int_equal(kill(it.launch.keeper, SIGTERM), 0);
        if (killed)
            assert_int_equal(kill(it.launch.pid, SIGKILL), 0);
        struct pollfd poller = {.fd = it.launch.descriptor, .events = POLLIN};
        assert_int_equal(poll(&poller, 1, PATIENCE_SECONDS * 1000), 1);
        assert_true(launch_has_ended(&it.launch));
        assert_string_equal(launch_status_text(it.launch.wait_status, how, sizeof(how)),
                            killed ? "was killed by signal 9 (Killed)"
                                   : "ended with exit status 7");
        launch_stop(&it.launch, 0);
        assert_int_equal(count_relatives(), 0);
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
    wait_for_relatives(1); /* it has become another program */
    start(&it, "setsid sh -c 'echo ready; sleep 1000' &\nexec \"$@\"", 2);
    launch_stop(&it.launch, 0);
    assert_int_equal(count_relatives(), 1);
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, NULL, 0), other);
    unlink(it.script);
}

/* What takes itself for the engine again, because it does not know its arguments, ends there. */
static void test_launched_starts_none(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct launch launch;
    struct launch_options options = {
        .size = 2, .program = "/bin/true", .launcher = "true", .address = "-", .token = "token"};
    setenv(LAUNCH_TOKEN, "token-of-another", 1);
    bool started = launch_start(&launch, &options, &status);
    unsetenv(LAUNCH_TOKEN);
    launch_stop(&launch, 0);
    assert_false(started);
    assert_non_null(strstr(status.text, LAUNCH_TOKEN));
}

/* It is told which of the two did not start, and neither leaves a descriptor. */
static void test_not_started(void **state)
{
    static const struct {
        const char *program, *launcher, *told;
    } cases[] = {
        {"/dev/null/lockstep", "true", "/dev/null/lockstep: Not a directory"},
        {"/bin/true", "true", "/bin/true: the keeper of the launch did not start"},
        {"/proc/self/exe", "/dev/null/launcher --fast", "/dev/null/launcher: Not a directory"},
    };
    (void)state;
    int descriptors = count_descriptors();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct status status = STATUS_NONE;
        struct launch launch;
        struct launch_options options = {.size = 2,
                                         .program = cases[i].program,
                                         .launcher = cases[i].launcher,
                                         .address = "-",
                                         .token = "token-of-none"};
        assert_false(launch_start(&launch, &options, &status));
        assert_string_equal(status.text, cases[i].told);
        assert_int_equal(count_descriptors(), descriptors);
    }
    assert_true(wait_for_no_relatives());
}

int main(int argc, char **argv)
{
    int code;
    if (keeper_serve(argc, argv, &code))
        return code;
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return be_mpirun();
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    pool_test_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asked_first),   cmocka_unit_test(test_killed_then),
        cmocka_unit_test(test_hidden),        cmocka_unit_test(test_engine_killed),
        cmocka_unit_test(test_keeper_killed), cmocka_unit_test(test_endings),
        cmocka_unit_test(test_others_stay),   cmocka_unit_test(test_launched_starts_none),
        cmocka_unit_test(test_not_started),
    };
    return pool_test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
