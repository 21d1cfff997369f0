/* What ranks print: random bytes in random pieces come out as they went in, in files and in what is
 * shown, whole line by whole line. */
#include "tests/unit/random.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/suite/capture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RANKS = 3, STREAMS = 2, LINES = 400 };

static char *read_file(const char *path)
{
    struct text text = {0};
    char bytes[4096];
    size_t length;
    FILE *file = fopen(path, "r");
    if (!file)
        return NULL;
    while ((length = fread(bytes, 1, sizeof(bytes), file)) > 0)
        text_add_part(&text, bytes, length);
    fclose(file);
    return text_take(&text);
}

static char *file_of(const char *folder, const char *test, const char *what, int rank)
{
    char *path = rank >= 0 ? memory_format("%s/models/%s/pytest_%s_%d", folder, test, what, rank)
                           : memory_format("%s/models/%s/pytest_%s", folder, test, what);
    char *content = read_file(path);
    free(path);
    return content;
}

/* Random lines for each stream, which ranks print in turns, in pieces that end anywhere. */
static void print_at_random(struct random *random, struct capture *capture,
                            struct text printed[RANKS][STREAMS])
{
    size_t sent[RANKS][STREAMS] = {0};
    for (int rank = 0; rank < RANKS; rank++)
        for (int stream = 0; stream < STREAMS; stream++)
            for (int line = 0; line < LINES; line++)
                text_format(&printed[rank][stream], "rank %d stream %d line %d %.*s\n", rank,
                            stream, line, (int)random_integer(random, 0, 60),
                            "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl");
    for (int left = RANKS * STREAMS; left > 0;) {
        int rank = (int)random_integer(random, 0, RANKS - 1);
        int stream = (int)random_integer(random, 0, STREAMS - 1);
        const struct text *all = &printed[rank][stream];
        size_t *at = &sent[rank][stream], rest = all->length - *at;
        if (rest == 0)
            continue;
        size_t length = (size_t)random_integer(random, 1, 200);
        length = length < rest ? length : rest;
        capture_take(capture, rank, stream, all->data + *at, length, 0);
        *at += length;
        left -= *at == all->length;
    }
}

static void free_printed(struct text printed[RANKS][STREAMS])
{
    for (int rank = 0; rank < RANKS; rank++)
        for (int stream = 0; stream < STREAMS; stream++)
            text_free(&printed[rank][stream]);
}

static char *make_folder(void)
{
    char *folder = memory_format("%s/capture-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void remove_folder(char *folder)
{
    char *command = memory_format("rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    free(command);
    free(folder);
}

static void test_files(void **state)
{
    (void)state;
    static const char *const names[] = {"stdout", "stderr"};
    struct random random = random_start("captured files");
    struct text printed[RANKS][STREAMS] = {0};
    struct status status = STATUS_NONE;
    char *folder = make_folder(), last[64];
    struct capture_options options = {.results = folder, .ranks = RANKS};
    struct capture *capture = capture_create(&options);
    assert_true(capture_begin(capture, "m", "v", RANKS, &status));
    print_at_random(&random, capture, printed);
    char *replay = capture_replay(capture);
    assert_non_null(replay);
    capture_note(capture, "success", -1, "1");
    capture_end(capture);
    capture_take(capture, 0, 0, "late", 4, 0); /* of no test: kept nowhere */
    char *after = capture_replay(capture);
    assert_null(strstr(after, "late"));
    free(after);
    for (int rank = 0; rank < RANKS; rank++)
        for (int stream = 0; stream < STREAMS; stream++) {
            char *content = file_of(folder, "m/v", names[stream], rank);
            assert_string_equal(content, printed[rank][stream].data);
            free(content);
            snprintf(last, sizeof(last), "rank %d stream %d line %d ", rank, stream, LINES - 1);
            assert_non_null(strstr(replay, last));
            snprintf(last, sizeof(last), "rank %d stream %d line %d ", rank, stream, LINES - 20);
            assert_non_null(strstr(replay, last));
            snprintf(last, sizeof(last), "rank %d stream %d line %d ", rank, stream, LINES - 21);
            assert_null(strstr(replay, last));
        }
    assert_non_null(strstr(replay, folder));
    free(replay);
    char *success = file_of(folder, "m/v", "success", -1);
    assert_string_equal(success, "1");
    free(success);
    /* the next test begins with nothing */
    assert_true(capture_begin(capture, "m", "w", 1, &status));
    assert_null(capture_replay(capture));
    assert_int_equal(capture_printed(capture, 1, 0), 0);
    capture_free(capture);
    char *empty = file_of(folder, "m/w", "stdout", 0), *none = file_of(folder, "m/w", "stdout", 1);
    assert_string_equal(empty, "");
    assert_null(none); /* that rank does not run */
    free(empty);
    remove_folder(folder);
    free_printed(printed);
}

/* Escapes for terminals and bytes that are no UTF-8 do not get into reports. */
static void test_harmless(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct capture_options options = {.ranks = 1};
    char *before = memory_string(getenv("TMPDIR")), *folder = make_folder();
    setenv("TMPDIR", folder, 1); /* it makes a folder of its own, which it leaves to its reader */
    struct capture *capture = capture_create(&options);
    static const char bad[] = "a\033[2Jb \xff\xc3\n caf\xc3\xa9\n";
    assert_true(capture_begin(capture, "m", "v", 1, &status));
    capture_take(capture, 0, 1, bad, sizeof(bad) - 1, 0);
    char *replay = capture_replay(capture);
    assert_non_null(strstr(replay, "stderr rank 0"));
    assert_non_null(strstr(replay, "a^[[2Jb \\xff\\xc3\n"));
    assert_non_null(strstr(replay, "caf\xc3\xa9\n"));
    free(replay);
    capture_free(capture);
    setenv("TMPDIR", before ? before : "/tmp", 1);
    free(before);
    remove_folder(folder);
}

/* Standard output while `capture` shows what ranks print. */
static void test_direct(void **state)
{
    (void)state;
    struct random random = random_start("captured lines");
    struct text printed[RANKS][STREAMS] = {0};
    struct status status = STATUS_NONE;
    char *folder = make_folder(), *path = memory_format("%s/shown", folder), prefix[32];
    struct capture_options options = {.direct = true, .ranks = RANKS};
    struct capture *capture = capture_create(&options);
    int next[RANKS] = {0}, stdout_before = dup(STDOUT_FILENO), stderr_before = dup(STDERR_FILENO);
    fflush(stdout);
    assert_non_null(freopen(path, "w", stdout));
    assert_non_null(freopen("/dev/null", "w", stderr));
    assert_true(capture_begin(capture, "m", "v", RANKS, &status));
    print_at_random(&random, capture, printed);
    capture_take(capture, 0, 0, "no end", 6, 0);
    char *replay = capture_replay(capture);
    capture_free(capture);
    fflush(stdout);
    dup2(stdout_before, STDOUT_FILENO);
    dup2(stderr_before, STDERR_FILENO);
    assert_null(replay);
    char *shown = read_file(path), *rest = shown;
    for (char *line; (line = strsep(&rest, "\n"));) {
        int rank, stream, number;
        if (sscanf(line, "[rank %d] rank %*d stream %d line %d", &rank, &stream, &number) != 3)
            continue;
        snprintf(prefix, sizeof(prefix), "[rank %d] rank %d ", rank, rank);
        assert_int_equal(strncmp(line, prefix, strlen(prefix)), 0);
        assert_int_equal(stream, 0);
        assert_int_equal(number, next[rank]++);
    }
    for (int rank = 0; rank < RANKS; rank++)
        assert_int_equal(next[rank], LINES);
    free(shown);
    shown = read_file(path);
    assert_non_null(strstr(shown, "\n[rank 0] no end\n"));
    free(shown);
    free(path);
    remove_folder(folder);
    free_printed(printed);
    close(stdout_before);
    close(stderr_before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_harmless),
        cmocka_unit_test(test_direct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
