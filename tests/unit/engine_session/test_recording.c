/* Recordings: what is played back is what was told, picture by picture; other commands and spoilt
 * files are refused or harmless. */
#include "engine/session/recorder.h"
#include "engine/session/replay.h"

#include "engine/base/memory.h"
#include "engine/session/picture_fields.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const commands[] = {
    "stop on divergence", "nonsense", "file llama/bf4 fault dropped-micro-batch",
    "break decoder.1",    "continue", "delete",
    "continue",           "blame",    "quit"};

/* All that the front end was told, as text. */
static void hear(struct session *session, struct text *heard, uint64_t *done, int *pictures)
{
    struct pollfd fd = {.fd = session_wake_fd(session), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 60000), 1);
    struct session_event *events = session_take_events(session);
    for (struct session_event *event = events; event; event = event->next) {
        if (event->kind == EVENT_CHANGED)
            continue; /* snapshots may be published faster than they are looked at */
        text_format(heard, "%d %d %d %s\n", (int)event->kind, (int)event->command, event->ok,
                    event->text ? event->text : "");
        if (event->picture) {
            picture_write(heard, event->picture);
            text_add(heard, "\n");
            ++*pictures;
        }
        if (event->kind == EVENT_DONE)
            *done = event->command;
    }
    session_events_free(events);
}

static void request_all(struct session *session, struct text *heard, uint64_t *done)
{
    int pictures = 0;
    for (int kind = 0; kind < PICTURE_KIND_COUNT; kind++) {
        struct picture_request request = {.kind = (enum picture_kind)kind,
                                          .step = -1,
                                          .value = -1,
                                          .at = -1,
                                          .rows = 9,
                                          .columns = 7,
                                          .heat_rows = 11,
                                          .heat_columns = 13,
                                          .bins = 17};
        session_request(session, &request);
    }
    while (pictures < PICTURE_KIND_COUNT)
        hear(session, heard, done, &pictures);
}

static void add_snapshot(struct session *session, struct text *heard)
{
    const struct snapshot *snapshot = session_snapshot(session);
    fields_write(heard, snapshot_fields, snapshot);
    text_add(heard, "\n");
    snapshot_release(&snapshot);
}

static void add_completion(struct session *session, struct text *heard)
{
    char **matches = NULL;
    int count = session_complete(session, "break fw decoder.1.out", 9, 22, &matches);
    for (int i = 0; i < count; i++) {
        text_format(heard, "%s ", matches[i]);
        free(matches[i]);
    }
    if (count > 0)
        free(matches);
}

/* Does all the commands; what came of it, as text. */
static char *do_all(const struct session_options *options)
{
    struct status status = STATUS_NONE;
    struct session *session = session_start(options, &status);
    if (!session)
        fail_msg("%s", status.text);
    struct text heard = {0};
    uint64_t done = 0;
    for (int i = 0; i < ARRAY_LENGTH(commands); i++) {
        int pictures = 0;
        uint64_t number = session_post(session, commands[i]);
        while (done < number)
            hear(session, &heard, &done, &pictures);
        add_snapshot(session, &heard);
        add_completion(session, &heard);
        request_all(session, &heard, &done);
    }
    session_stop(session);
    return text_take(&heard);
}

static char *make_recording(char path[64])
{
    strcpy(path, "/tmp/lockstep-recording-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct session_options options = {
        .search = {.overrides = tiny_overrides, .override_count = tiny_override_count},
        .device = "cpu",
        .threads = 1,
        .keep_limit = -1,
        .record = path};
    return do_all(&options);
}

static void must_equal(const char *found, const char *expected)
{
    size_t same = 0;
    while (found[same] && found[same] == expected[same])
        same++;
    if (found[same] || expected[same])
        fail_msg("at %zu:\n%.200s\nis not\n%.200s", same, found + (same > 100 ? same - 100 : 0),
                 expected + (same > 100 ? same - 100 : 0));
}

static void test_played_back(void **state)
{
    char path[64];
    (void)state;
    char *told = make_recording(path);
    struct session_options options = {.device = "cpu", .replay = path};
    char *again = do_all(&options);
    must_equal(again, told);
    assert_non_null(strstr(told, "introduced it")); /* blame said something */
    assert_non_null(strstr(told, "\"heat\":["));
    assert_non_null(strstr(told, "null")); /* not-a-number came through */
    free(again);
    free(told);
    unlink(path);
}

/* ---- other commands ---- */

static void ignore_emit(void *context, enum event_kind kind, const char *text)
{
    (void)context;
    assert_true(kind < EVENT_DONE);
    (void)text;
}

static bool never(void *context)
{
    (void)context;
    return false;
}

static void drop_snapshot(void *context, struct snapshot *snapshot)
{
    const struct snapshot *given = snapshot;
    (void)context;
    assert_non_null(snapshot->run);
    snapshot_release(&given);
}

static void drop_words(void *context, struct words *words)
{
    (void)context;
    words_release(words);
}

static const struct debugger_sink nobody = {
    .emit = ignore_emit, .cancelled = never, .publish = drop_snapshot, .loaded = drop_words};

static void test_other_commands(void **state)
{
    char path[64];
    struct session_engine engine;
    struct status status = STATUS_NONE;
    bool quit = false;
    (void)state;
    free(make_recording(path));
    assert_true(replay_open(path, &engine, &status));
    engine.start(engine.state, &(struct session_options){0}, &nobody);
    assert_false(engine.execute(engine.state, "run", &quit, &status));
    must_contain(status.text, "goes on with \"stop on divergence\"");
    assert_true(engine.execute(engine.state, commands[0], &quit, &status));
    assert_false(engine.execute(engine.state, commands[1], &quit, &status));
    must_contain(status.text, "unknown command"); /* as it failed then */
    for (int i = 2; i < ARRAY_LENGTH(commands); i++)
        assert_true(engine.execute(engine.state, commands[i], &quit, &status));
    assert_true(quit);
    assert_false(engine.execute(engine.state, "run", &quit, &status));
    must_contain(status.text, "ends here");
    engine.free(engine.state);
    unlink(path);
}

/* ---- spoilt files ---- */

static char *read_all(const char *path, size_t *length)
{
    FILE *file = fopen(path, "r");
    char *data = memory_zeroed(1 << 22, 1);
    assert_non_null(file);
    *length = fread(data, 1, (1 << 22) - 1, file);
    fclose(file);
    return data;
}

static void play_all(const char *path, int *played)
{
    struct session_engine engine;
    struct status status = STATUS_NONE;
    bool quit;
    if (!replay_open(path, &engine, &status)) {
        assert_true(status.code != STATUS_OK && strstr(status.text, path));
        return;
    }
    ++*played;
    engine.start(engine.state, &(struct session_options){0}, &nobody);
    for (int i = 0; i < ARRAY_LENGTH(commands); i++) {
        struct picture_request request = {.kind = (enum picture_kind)(i % PICTURE_KIND_COUNT)};
        engine.execute(engine.state, commands[i], &quit, &status);
        struct picture *picture = engine.picture(engine.state, &request);
        assert_int_equal(picture->request.kind, request.kind);
        picture_free(picture);
    }
    engine.free(engine.state);
}

static void test_spoilt_files(void **state)
{
    static const char *const words[] = {"null", "-1", "1e9", "[]", "{}", "\"\"", "true"};
    struct random random = random_start("recording");
    char path[64];
    size_t length;
    int played = 0;
    (void)state;
    free(make_recording(path));
    char *good = read_all(path, &length);
    for (int round = 0; round < 60; round++) {
        /* A number or a text becomes something else, or the file ends early. */
        size_t place = random_bits(&random) % length, size = strcspn(good + place, ",]}\n");
        const char *word = words[random_bits(&random) % ARRAY_LENGTH(words)];
        bool cut = round % 10 == 0;
        while (place > 0 && !strchr(":,[\n", good[place - 1])) {
            place--;
            size++;
        }
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fwrite(good, 1, place, file);
        if (!cut) {
            fputs(word, file);
            fwrite(good + place + size, 1, length - place - size, file);
        }
        fclose(file);
        play_all(path, &played);
    }
    free(good);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_played_back),
        cmocka_unit_test(test_other_commands),
        cmocka_unit_test(test_spoilt_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
