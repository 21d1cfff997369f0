/* Worker processes: a test's number goes there as a line, its outcome comes back as a line. */
#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/suite/runner_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct worker {
    int number;
    struct worker_process process; /* pid 0: none */
    int test;                      /* that it runs, -1: none */
    double started;
    struct text received; /* an incomplete line */
};

static bool send_all(int socket, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(socket, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

void worker_serve(int socket, struct environment *environment, const struct test_list *list)
{
    char line[32];
    ssize_t length;
    /* The parent sends one number at a time and waits for its outcome. */
    while ((length = read(socket, line, sizeof(line) - 1)) > 0) {
        struct outcome outcome = {0};
        line[length] = '\0';
        int test = atoi(line);
        if (test < 0 || test >= list->test_count)
            break;
        test_execute(environment, list, test, &outcome);
        char *answer = outcome_encode(&outcome, test);
        bool ok = answer && send_all(socket, answer, strlen(answer)) && send_all(socket, "\n", 1);
        free(answer);
        outcome_free(&outcome);
        if (!ok)
            break;
    }
    environment_close(environment);
    close(socket);
}

static void stop_worker(struct worker *worker)
{
    if (worker->process.pid > 0) {
        /* Workers that were started later hold copies of the socket: closing alone tells nobody. */
        shutdown(worker->process.socket, SHUT_RDWR);
        close(worker->process.socket);
        if (worker->test >= 0)
            kill(worker->process.pid, SIGKILL);
        while (waitpid(worker->process.pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    text_free(&worker->received);
    *worker = (struct worker){.test = -1};
}

/* Reaps a worker that is gone, and fails the test that it ran. */
static void bury(struct runner *runner, struct worker *worker, const char *instead)
{
    int state = 0, test = worker->test;
    while (waitpid(worker->process.pid, &state, 0) < 0 && errno == EINTR)
        continue;
    worker->process.pid = 0;
    close(worker->process.socket);
    worker->test = -1;
    text_clear(&worker->received);
    runner_forget(runner, worker->number);
    if (test < 0)
        return;
    struct outcome *outcome = &runner->outcomes[test];
    if (instead)
        outcome_set(outcome, OUTCOME_FAILED, "%s", instead);
    else if (WIFSIGNALED(state))
        outcome_set(outcome, OUTCOME_FAILED, "the worker died: signal %d (%s)", WTERMSIG(state),
                    strsignal(WTERMSIG(state)));
    else
        outcome_set(outcome, OUTCOME_FAILED, "the worker ended with exit code %d",
                    WEXITSTATUS(state));
    outcome->seconds = clock_seconds() - worker->started;
    runner_finish(runner, test);
}

static bool start(const struct runner *runner, struct worker *worker, struct status *status)
{
    const struct runner_options *options = runner->options;
    return options->start_worker(options->worker_context, worker->number, &worker->process, status);
}

/* Gives the worker a test, if one is ready. */
static bool feed(struct runner *runner, struct worker *worker, struct status *status)
{
    char line[32];
    if (worker->test >= 0)
        return true;
    int test = runner_next(runner, worker->number);
    if (test < 0)
        return true;
    worker->test = test;
    if (worker->process.pid <= 0 && !start(runner, worker, status))
        return false;
    worker->started = clock_seconds();
    int length = snprintf(line, sizeof(line), "%d\n", test);
    if (!send_all(worker->process.socket, line, (size_t)length))
        bury(runner, worker, NULL);
    return true;
}

static void take_line(struct runner *runner, struct worker *worker)
{
    char *end = worker->received.data ? strchr(worker->received.data, '\n') : NULL;
    if (!end || worker->test < 0)
        return;
    *end = '\0';
    int test = worker->test, answered = -1;
    struct outcome *outcome = &runner->outcomes[test];
    if (!outcome_decode(worker->received.data, outcome, &answered) || answered != test) {
        outcome_free(outcome);
        outcome_set(outcome, OUTCOME_FAILED, "the worker sent no valid outcome");
    }
    text_clear(&worker->received);
    worker->test = -1;
    runner_finish(runner, test);
}

static void receive(struct runner *runner, struct worker *worker)
{
    char bytes[65536];
    ssize_t length = read(worker->process.socket, bytes, sizeof(bytes));
    if (length < 0 && errno == EINTR)
        return;
    if (length <= 0) {
        bury(runner, worker, NULL);
        return;
    }
    text_add_part(&worker->received, bytes, (size_t)length);
    take_line(runner, worker);
}

static void enforce_limit(struct runner *runner, struct worker *worker)
{
    double limit = runner->options->time_limit;
    char reason[100];
    if (limit <= 0 || worker->test < 0 || clock_seconds() - worker->started < limit)
        return;
    kill(worker->process.pid, SIGKILL);
    snprintf(reason, sizeof(reason), "no end after %.0f s", limit);
    bury(runner, worker, reason);
}

/* Waits for news of the workers that run something; returns how many there are. */
static int wait_for_news(struct runner *runner, struct worker *workers, int count)
{
    struct pollfd *polls = memory_zeroed((size_t)count, sizeof(*polls));
    int busy = 0;
    for (int i = 0; i < count; i++) {
        polls[i] =
            (struct pollfd){workers[i].test >= 0 ? workers[i].process.socket : -1, POLLIN, 0};
        busy += workers[i].test >= 0;
    }
    if (busy > 0 && poll(polls, (nfds_t)count, 200) < 0)
        for (int i = 0; i < count; i++)
            polls[i].revents = 0; /* a signal: the caller looks at `interrupted` */
    for (int i = 0; i < count; i++) {
        if (polls[i].revents)
            receive(runner, &workers[i]);
        enforce_limit(runner, &workers[i]);
    }
    free(polls);
    return busy;
}

bool runner_run_workers(struct runner *runner, struct status *status)
{
    int count = runner->options->workers;
    struct worker *workers = memory_zeroed((size_t)count, sizeof(*workers));
    bool ok = true;
    for (int i = 0; i < count; i++)
        workers[i] = (struct worker){.number = i, .test = -1};
    while (ok && !runner_is_done(runner)) {
        int done = runner->done;
        for (int i = 0; ok && i < count; i++)
            ok = feed(runner, &workers[i], status);
        if (ok && wait_for_news(runner, workers, count) == 0 && runner->done == done)
            break; /* nothing runs, and nothing can */
    }
    for (int i = 0; i < count; i++)
        stop_worker(&workers[i]);
    free(workers);
    return ok;
}
