/* The engine thread from outside: queues, events, snapshots, interrupts. */
#include "engine/session/session.h"

#include "engine/base/memory.h"
#include "engine/session/engine.h"
#include "engine/session/pictures.h"
#include "engine/session/snapshot.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What came so far. */
struct heard {
    struct text output;
    uint64_t done; /* the newest command that ended */
    int done_count, failed;
    int running, stopped; /* events */
    bool quit;
};

static struct session *open_session(void)
{
    struct session_options options = {
        .search = {.overrides = tiny_overrides, .override_count = tiny_override_count},
        .device = "cpu",
        .threads = 1,
        .keep_limit = -1};
    struct status status = STATUS_NONE;
    struct session *session = session_start(&options, &status);
    if (!session)
        fail_msg("%s", status.text);
    return session;
}

static void hear(struct session *session, struct heard *heard)
{
    struct session_event *events = session_take_events(session);
    for (const struct session_event *event = events; event; event = event->next) {
        if (event->text && (event->kind == EVENT_OUTPUT || event->kind == EVENT_ERROR))
            text_add(&heard->output, event->text);
        heard->running += event->kind == EVENT_RUNNING;
        heard->stopped += event->kind == EVENT_STOPPED;
        heard->quit = heard->quit || event->kind == EVENT_QUIT;
        if (event->kind != EVENT_DONE)
            continue;
        assert_true(event->command == heard->done + 1); /* in order, none lost */
        heard->done = event->command;
        heard->done_count++;
        heard->failed += !event->ok;
    }
    session_events_free(events);
}

static void wait_readable(struct session *session)
{
    struct pollfd fd = {.fd = session_wake_fd(session), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 60000), 1);
}

static void wait_done(struct session *session, struct heard *heard, uint64_t number)
{
    while (heard->done < number) {
        wait_readable(session);
        hear(session, heard);
    }
}

static void test_commands(void **state)
{
    (void)state;
    struct session *session = open_session();
    struct heard heard = {0};
    session_post(session, "file llama/bf4");
    session_post(session, "nonsense");
    session_post(session, "break decoder.1");
    wait_done(session, &heard, session_post(session, "run"));
    must_contain(heard.output.data, "in lockstep");
    must_contain(heard.output.data, "unknown command");
    must_contain(heard.output.data, "Breakpoint 1");
    assert_int_equal(heard.failed, 1);
    assert_int_equal(heard.running, 1);
    assert_int_equal(heard.stopped, 1);
    const struct snapshot *snapshot = session_snapshot(session);
    assert_int_equal(snapshot->state, RUN_STOPPED);
    assert_string_equal(snapshot->run, "llama/bf4");
    assert_string_equal(snapshot->reference, "llama/df4");
    must_contain(snapshot->place, "step 1, forward, micro-batch 1/4, decoder.1");
    must_contain(snapshot->stop_reason, "Breakpoint 1");
    assert_true(snapshot->next > 0 && snapshot->compared > 0);
    assert_int_equal(snapshot->breakpoints, 1);
    assert_true(snapshot->memory_planned > 0 && snapshot->memory_live > 0);
    char **matches;
    int count = session_complete(session, "break fw decoder.1.out", 9, 22, &matches);
    assert_true(count > 0);
    for (int i = 0; i < count; i++)
        free(matches[i]);
    free(matches);
    wait_done(session, &heard, session_post(session, "quit"));
    assert_true(heard.quit);
    session_stop(session); /* snapshots outlive it */
    assert_string_equal(snapshot->run, "llama/bf4");
    snapshot_release(&snapshot);
    assert_null(snapshot);
    text_free(&heard.output);
}

/* A front end that can run the shell's commands; `answers`: it does, else it leaves. */
static void check_shell(bool answers)
{
    struct session_options options = {.device = "cpu", .threads = 1, .shell = true};
    struct status status = STATUS_NONE;
    struct session *session = session_start(&options, &status);
    assert_non_null(session);
    struct text heard = {0};
    uint64_t done = 0;
    int failed = 0, asked = 0;
    session_post(session, "echo before");
    session_post(session, "!first one");
    session_post(session, "  shell second");
    uint64_t last = session_post(session, "echo after");
    while (done < last && (answers || asked == 0)) {
        wait_readable(session);
        struct session_event *events = session_take_events(session);
        for (const struct session_event *event = events; event; event = event->next) {
            if (event->kind == EVENT_OUTPUT || event->kind == EVENT_ERROR)
                text_add(&heard, event->text);
            if (event->kind == EVENT_DONE) {
                done = event->command;
                failed += !event->ok;
            }
            if (event->kind != EVENT_SHELL)
                continue;
            text_format(&heard, "<%s>", event->text);
            asked++;
            if (answers)
                session_shell_ended(session, asked == 2 ? "there is no shell" : NULL);
        }
        session_events_free(events);
    }
    if (answers) {
        assert_string_equal(heard.data, "before\n<first one><second>there is no shellafter\n");
        assert_int_equal(failed, 1);
    } else { /* the engine waits for it, and does not go on without */
        assert_string_equal(heard.data, "before\n<first one>");
    }
    session_stop(session);
    text_free(&heard);
}

static void test_shell(void **state)
{
    (void)state;
    check_shell(true);
    check_shell(false);
}

/* Goes on for ever: to the end, and again. */
static void write_endless(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 3000; i++)
        fputs("run\n", file);
    assert_int_equal(fclose(file), 0);
}

/* An interrupt stops the command that runs and those that wait, and no later one. */
static void test_interrupt(void **state)
{
    (void)state;
    char path[] = "/tmp/lockstep_endless_XXXXXX", line[80];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_endless(path);
    struct session *session = open_session();
    struct heard heard = {0};
    wait_done(session, &heard, session_post(session, "file llama/bf4"));
    snprintf(line, sizeof(line), "source %s", path);
    uint64_t endless = session_post(session, line);
    uint64_t waiting = session_post(session, "info run");
    while (heard.running < 2) {
        wait_readable(session);
        hear(session, &heard);
    }
    session_interrupt(session);
    wait_done(session, &heard, endless);
    assert_int_equal(heard.failed >= 1, true);
    wait_done(session, &heard, waiting);
    must_contain(heard.output.data, "interrupted before it began: info run");
    text_clear(&heard.output);
    wait_done(session, &heard, session_post(session, "info run"));
    must_contain(heard.output.data, "llama/bf4");
    text_clear(&heard.output);
    session_interrupt(session); /* nothing runs: it must not hit what comes next */
    wait_done(session, &heard, session_post(session, "start"));
    must_contain(heard.output.data, "step 1, restore");
    session_stop(session);
    text_free(&heard.output);
    remove(path);
}

/* Stopping the session ends a run that is on its way, and drops what waits. */
static void test_stop_while_running(void **state)
{
    (void)state;
    struct session *session = open_session();
    struct heard heard = {0};
    session_post(session, "file llama/bf4");
    for (int i = 0; i < 1000; i++)
        session_post(session, "run");
    while (heard.running == 0) {
        wait_readable(session);
        hear(session, &heard);
    }
    session_stop(session);
    text_free(&heard.output);
    session_stop(open_session()); /* and one that never did anything */
    session_stop(NULL);
}

static void test_rapid_commands(void **state)
{
    (void)state;
    static const char *const lines[] = {"stepi",
                                        "step",
                                        "next",
                                        "reverse-stepi",
                                        "list",
                                        "info run",
                                        "break decoder.0",
                                        "delete",
                                        "stop on divergence",
                                        "bogus",
                                        "print fw decoder.0.output[0,:2]",
                                        "info tensors mlp",
                                        "",
                                        "until backward",
                                        "start",
                                        "watch gradient decoder.0.norm_1.weight",
                                        "backtrace",
                                        "diff",
                                        "goto 1:20",
                                        "info memory"};
    struct random random = random_start("rapid commands");
    struct session *session = open_session();
    struct heard heard = {0};
    uint64_t last = session_post(session, "file llama/df2");
    for (int i = 0; i < 500; i++) {
        last = session_post(session, lines[random_integer(&random, 0, ARRAY_LENGTH(lines) - 1)]);
        if (i % 50 == 49)
            session_interrupt(session);
        if (i % 7 == 0) {
            const struct snapshot *snapshot = session_snapshot(session);
            if (snapshot)
                assert_true(snapshot->next <= snapshot->instructions);
            snapshot_release(&snapshot);
            hear(session, &heard);
        }
    }
    wait_done(session, &heard, last);
    assert_int_equal(heard.done_count, 501);
    assert_int_equal(heard.running, heard.stopped);
    wait_done(session, &heard, session_post(session, "info run"));
    session_stop(session);
    text_free(&heard.output);
}

/* ---- pictures that are not wanted any more ---- */

/* An engine whose pictures of tensors take until they are given up. */
struct slow_engine {
    struct debugger_sink sink;
    _Atomic int begun;
};

static void slow_start(void *state, const struct session_options *options,
                       const struct debugger_sink *sink)
{
    (void)options;
    ((struct slow_engine *)state)->sink = *sink;
}

static bool slow_execute(void *state, const char *line, bool *quit, struct status *status)
{
    (void)state;
    (void)line;
    (void)quit;
    (void)status;
    return true;
}

static struct picture *slow_picture(void *state, const struct picture_request *request)
{
    struct slow_engine *slow = state;
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    if (request->kind != PICTURE_TENSOR)
        return picture;
    atomic_fetch_add(&slow->begun, 1);
    while (!request->quick && !slow->sink.unwanted(slow->sink.context))
        sched_yield();
    return picture;
}

static void slow_free(void *state)
{
    (void)state; /* the test's own */
}

static void request_tensor(struct session *session, int value, bool quick)
{
    session_request(
        session, &(struct picture_request){.kind = PICTURE_TENSOR, .value = value, .quick = quick});
}

static void wait_begun(const struct slow_engine *slow, int count)
{
    while (atomic_load(&slow->begun) < count)
        sched_yield();
}

/* The value of the next picture of a tensor; commands that end on the way are counted. */
static int next_picture(struct session *session, int *done)
{
    for (;;) {
        int value = -1;
        struct session_event *events = session_take_events(session);
        for (const struct session_event *event = events; event; event = event->next) {
            *done += event->kind == EVENT_DONE;
            if (event->kind == EVENT_PICTURE && event->picture->request.kind == PICTURE_TENSOR) {
                assert_int_equal(value, -1); /* each is waited for before the next is asked for */
                value = event->picture->request.value;
            }
        }
        session_events_free(events);
        if (value >= 0)
            return value;
        wait_readable(session);
    }
}

/* A picture that takes long ends for a command, for a newer one and for an interrupt, and for
 * nothing else; also when those come before it begins. */
static void test_unwanted_picture(void **state)
{
    (void)state;
    struct slow_engine slow = {0};
    struct session_engine engine = {.state = &slow,
                                    .start = slow_start,
                                    .execute = slow_execute,
                                    .picture = slow_picture,
                                    .free = slow_free};
    struct session_options options = {.device = "cpu", .engine = &engine};
    struct status status = STATUS_NONE;
    struct session *session = session_start(&options, &status);
    int done = 0;
    assert_non_null(session);
    request_tensor(session, 1, false);
    session_request(session, &(struct picture_request){.kind = PICTURE_STATE});
    wait_begun(&slow, 1);
    session_post(session, "something");
    assert_int_equal(next_picture(session, &done), 1);
    request_tensor(session, 2, false);
    wait_begun(&slow, 2);
    session_interrupt(session);
    assert_int_equal(next_picture(session, &done), 2);
    request_tensor(session, 3, false);
    request_tensor(session, 4, true); /* perhaps before the other has begun */
    wait_begun(&slow, 4);
    session_post(session, "something else");
    request_tensor(session, 5, false);
    wait_begun(&slow, 5);
    session_stop(session); /* does not wait for it either */
}

/* ---- pictures without a pause ---- */

/* An engine that is asked for the next picture while it takes one; for the state's too, as it
 * publishes one. */
struct asked_engine {
    struct debugger_sink sink;
    struct session *_Atomic session;
    _Atomic bool asking;
    _Atomic int looked_after;
};

static void asked_start(void *state, const struct session_options *options,
                        const struct debugger_sink *sink)
{
    (void)options;
    ((struct asked_engine *)state)->sink = *sink;
}

static bool asked_execute(void *state, const char *line, bool *quit, struct status *status)
{
    struct asked_engine *asked = state;
    (void)line, (void)quit, (void)status;
    asked->sink.publish(asked->sink.context, snapshot_of(&(struct snapshot){.state = RUN_RUNNING}));
    return true;
}

static struct picture *asked_picture(void *state, const struct picture_request *request)
{
    struct asked_engine *asked = state;
    struct picture *picture = memory_zeroed(1, sizeof(*picture));
    picture->request = *request;
    if (atomic_load(&asked->asking))
        session_request(atomic_load(&asked->session), request);
    return picture;
}

static void asked_idle(void *state)
{
    atomic_fetch_add(&((struct asked_engine *)state)->looked_after, 1);
}

/* Commands run, a run goes on, and the engine looks after its ranks, while pictures are asked for
 * without a pause. */
static void test_pictures_without_a_pause(void **state)
{
    (void)state;
    struct asked_engine asked = {.asking = true};
    struct session_engine engine = {.state = &asked,
                                    .start = asked_start,
                                    .execute = asked_execute,
                                    .picture = asked_picture,
                                    .idle = asked_idle,
                                    .free = slow_free};
    struct session_options options = {.device = "cpu", .engine = &engine};
    struct status status = STATUS_NONE;
    struct heard heard = {0};
    struct session *session = session_start(&options, &status);
    assert_non_null(session);
    atomic_store(&asked.session, session);
    session_request(session, &(struct picture_request){.kind = PICTURE_RANKS});
    session_request(session, &(struct picture_request){.kind = PICTURE_STATE});
    for (int i = 0; i < 3; i++)
        wait_done(session, &heard, session_post(session, "something"));
    for (int before = atomic_load(&asked.looked_after);
         atomic_load(&asked.looked_after) < before + 2;)
        hear(session, &heard);
    atomic_store(&asked.asking, false);
    wait_done(session, &heard, session_post(session, "something"));
    session_stop(session);
    text_free(&heard.output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unwanted_picture), cmocka_unit_test(test_pictures_without_a_pause),
        cmocka_unit_test(test_commands),         cmocka_unit_test(test_shell),
        cmocka_unit_test(test_interrupt),        cmocka_unit_test(test_stop_while_running),
        cmocka_unit_test(test_rapid_commands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
