/* A session of very many ranks, played by one process: nothing of what they say is lost, all of
 * them stand where they are shown to stand, and the one that is missing is found. This executable
 * also plays the ranks.
 */
#include "bench/simulate.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/ranks/rank.h"
#include "engine/session/output.h"
#include "engine/session/pictures.h"
#include "engine/session/session.h"
#include "tests/unit/random.h"

#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* link: lockstep_simulated */

enum { PATIENCE_SECONDS = 120, ROOM = 40 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RANKS = 64 };
#else
enum { RANKS = 1024 };
#endif

struct crowd {
    struct simulation what;
    char folder[64];
    char *path; /* before */
    struct session *session;
    struct picture *picture; /* of ranks, the newest */
    struct text heard;
    bool done, ok;
};

static void open_crowd(struct crowd *crowd)
{
    char self[PATH_MAX];
    struct status status = STATUS_NONE;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    assert_true(length > 0);
    self[length] = '\0';
    strcpy(crowd->folder, "/tmp/lockstep-crowd-XXXXXX");
    assert_non_null(mkdtemp(crowd->folder));
    if (!simulation_write_folder(&crowd->what, crowd->folder, self, &status))
        fail_msg("%s", status.text);
    crowd->path = memory_string(getenv("PATH"));
    char *path = memory_format("%s:%s", crowd->folder, crowd->path);
    setenv("PATH", path, 1);
    free(path);
    const char *directories[] = {crowd->folder};
    struct session_options options = {
        .search = {.directories = directories, .directory_count = 1},
        .device = "cpu",
        .threads = 1,
        .keep_limit = -1,
        .launch.timeout = PATIENCE_SECONDS,
    };
    crowd->session = session_start(&options, &status);
    if (!crowd->session)
        fail_msg("%s", status.text);
}

static void close_crowd(struct crowd *crowd)
{
    session_stop(crowd->session);
    picture_free(crowd->picture);
    text_free(&crowd->heard);
    setenv("PATH", crowd->path, 1);
    free(crowd->path);
    char *command = memory_format("rm -rf '%s'", crowd->folder);
    assert_int_equal(system(command), 0);
    free(command);
}

static void take_events(struct crowd *crowd)
{
    struct session_event *events = session_take_events(crowd->session);
    for (struct session_event *event = events; event; event = event->next) {
        if (event->text)
            text_format(&crowd->heard, "%s\n", event->text);
        if (event->kind == EVENT_DONE) {
            crowd->done = true;
            crowd->ok = event->ok;
        }
        if (event->kind != EVENT_PICTURE || !event->picture->ranks)
            continue;
        picture_free(crowd->picture);
        crowd->picture = event->picture;
        event->picture = NULL;
    }
    session_events_free(events);
}

typedef bool condition(struct crowd *crowd);

static void wait_for(struct crowd *crowd, condition *holds)
{
    struct pollfd fd = {.fd = session_wake_fd(crowd->session), .events = POLLIN};
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!holds(crowd)) {
        if (clock_seconds() > deadline)
            fail_msg("it does not happen; it said: %s",
                     crowd->heard.data ? crowd->heard.data : "nothing");
        poll(&fd, 1, 50);
        take_events(crowd);
    }
}

static bool is_done(struct crowd *crowd)
{
    return crowd->done;
}

static void post(struct crowd *crowd, const char *line)
{
    crowd->done = false;
    session_post(crowd->session, line);
}

static void run(struct crowd *crowd, const char *line)
{
    post(crowd, line);
    wait_for(crowd, is_done);
    if (!crowd->ok)
        fail_msg("%s: %s", line, crowd->heard.data);
}

static bool has_picture(struct crowd *crowd)
{
    return crowd->picture != NULL;
}

static const struct ranks_picture *look(struct crowd *crowd)
{
    struct picture_request request = {.kind = PICTURE_RANKS};
    picture_free(crowd->picture);
    crowd->picture = NULL;
    session_request(crowd->session, &request);
    wait_for(crowd, has_picture);
    assert_int_equal(crowd->picture->ranks->rank_count, crowd->what.ranks);
    return crowd->picture->ranks;
}

static int64_t lines_of(struct crowd *crowd, int rank)
{
    struct rank_output_counts counts;
    rank_output_count(session_output(crowd->session), rank, &counts);
    return counts.lines[RANK_STDOUT] + counts.lines[RANK_STDERR];
}

static bool all_lines_came(struct crowd *crowd)
{
    return lines_of(crowd, -1) >= (int64_t)crowd->what.ranks * crowd->what.lines * 2;
}

/* The lines of one rank, each in its stream: none lost, none twice, none of another rank. */
static void check_lines(struct crowd *crowd, int rank)
{
    struct status status = STATUS_NONE;
    char begin[80];
    int count = crowd->what.lines * 2;
    assert_int_equal(lines_of(crowd, rank), count);
    for (int stream = 0; stream < RANK_STREAM_COUNT; stream++) {
        struct output_page page;
        struct output_query query = {
            .filter = {.ranges = {{rank, rank}}, .range_count = 1, .streams = 1u << stream},
            .anchor = OUTPUT_NEWEST,
            .before = count + 1,
            .scan = INT64_MAX,
        };
        assert_true(rank_output_fetch(session_output(crowd->session), &query, &page, &status));
        assert_int_equal(page.count, (count + 1 - stream) / 2);
        for (int i = 0; i < page.count; i++) {
            snprintf(begin, sizeof(begin), "rank %d line %d of nothing but words at ", rank,
                     2 * i + stream);
            assert_memory_equal(page.lines[i].text, begin, strlen(begin));
        }
        output_page_free(&page);
    }
}

static void test_nothing_is_lost(void **state)
{
    (void)state;
    struct random random = random_start("many ranks");
    struct crowd crowd = {.what = {.ranks = RANKS / 4,
                                   .lines = (int)random_integer(&random, 1, 60),
                                   .missing_rank = -1,
                                   .missing_instruction = -1}};
    open_crowd(&crowd);
    run(&crowd, "file small/many");
    run(&crowd, "run");
    const struct ranks_picture *ranks = look(&crowd);
    for (int rank = 0; rank < crowd.what.ranks; rank++) {
        assert_int_equal(ranks->ranks[rank].situation, SITUATION_STOPPED);
        assert_int_equal(ranks->ranks[rank].step, 1);
        assert_true(ranks->ranks[rank].instructions > ROOM);
        assert_int_equal(ranks->ranks[rank].next, ranks->ranks[rank].instructions);
    }
    wait_for(&crowd, all_lines_came);
    for (int round = 0; round < 20; round++)
        check_lines(&crowd, (int)random_integer(&random, 0, crowd.what.ranks - 1));
    close_crowd(&crowd);
}

static bool one_hangs(struct crowd *crowd)
{
    struct status status = STATUS_NONE;
    int64_t sequence = -1;
    struct output_filter all = {0};
    return rank_output_search(session_output(crowd->session), &all, " hangs", -1, 1, &sequence,
                              &status) &&
           sequence >= 0;
}

static int count_running(const struct ranks_picture *ranks)
{
    int count = 0;
    for (int rank = 0; rank < ranks->rank_count; rank++)
        count += ranks->ranks[rank].situation == SITUATION_RUNNING;
    return count;
}

/* A stop does not wait long for those that are in an instruction: on a busy machine some of them
 * say later that they are through. */
static const struct ranks_picture *look_until_one_runs(struct crowd *crowd)
{
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    const struct ranks_picture *ranks = look(crowd);
    while (count_running(ranks) > 1 && clock_seconds() < deadline)
        ranks = look(crowd);
    return ranks;
}

static bool waits_for_ranks(struct crowd *crowd)
{
    const struct snapshot *snapshot = session_snapshot(crowd->session);
    bool waits = snapshot->waits;
    snapshot_release(&snapshot);
    return waits || crowd->done;
}

/* The run does not move, as one rank does not: all are seen all the same, not only at the end. */
static void look_while_one_hangs(struct crowd *crowd)
{
    wait_for(crowd, waits_for_ranks);
    for (int round = 0; round < 3; round++) {
        const struct rank_picture *one = &look(crowd)->ranks[crowd->what.missing_rank];
        assert_false(crowd->done);
        assert_int_equal(one->situation, SITUATION_RUNNING);
    }
}

/* The rank that computes while all others stand or wait. */
static void test_missing_rank_is_found(void **state)
{
    (void)state;
    struct random random = random_start("missing");
    struct crowd crowd = {.what = {.ranks = RANKS}};
    crowd.what.missing_rank = (int)random_integer(&random, 1, RANKS - 1);
    crowd.what.missing_instruction = (int)random_integer(&random, 5, ROOM);
    open_crowd(&crowd);
    run(&crowd, "file small/many");
    post(&crowd, "run");
    wait_for(&crowd, one_hangs);
    look_while_one_hangs(&crowd);
    session_interrupt(crowd.session);
    wait_for(&crowd, is_done);
    const struct ranks_picture *ranks = look_until_one_runs(&crowd);
    int waiting = 0;
    for (int rank = 0; rank < RANKS; rank++) {
        const struct rank_picture *one = &ranks->ranks[rank];
        bool missing = rank == crowd.what.missing_rank;
        assert_int_equal(one->situation == SITUATION_RUNNING, missing);
        assert_true(missing || one->situation == SITUATION_STOPPED ||
                    one->situation == SITUATION_WAITING);
        if (missing)
            assert_int_equal(one->next, crowd.what.missing_instruction);
        waiting += one->situation == SITUATION_WAITING;
        if (one->situation == SITUATION_WAITING)
            assert_true(one->wait.missing_count > 0);
    }
    print_message("%d of %d ranks wait\n", waiting, RANKS);
    struct text table = {0};
    char number[32];
    ranks_picture_table(ranks, 16, &table);
    snprintf(number, sizeof(number), "\n%d ", crowd.what.missing_rank);
    const char *row = strstr(table.data, number);
    assert_non_null(row); /* a row of its own among few */
    assert_non_null(strstr(row, "running"));
    text_free(&table);
    kill((pid_t)ranks->ranks[0].pid, SIGKILL); /* who hangs would be waited for */
    close_crowd(&crowd);
}

/* Screens may ask for pictures without a pause. */
static void test_end_is_seen_while_pictures_are_taken(void **state)
{
    (void)state;
    struct crowd crowd = {.what = {.ranks = 8, .missing_rank = -1, .missing_instruction = -1}};
    open_crowd(&crowd);
    run(&crowd, "file small/many");
    run(&crowd, "start");
    kill((pid_t)look(&crowd)->ranks[0].pid, SIGKILL);
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    while (!strstr(crowd.heard.data, "a rank was lost") && clock_seconds() < deadline)
        look(&crowd);
    assert_non_null(strstr(crowd.heard.data, "a rank was lost"));
    close_crowd(&crowd);
}

static int be_ranks(int count, char **words)
{
    struct simulation what;
    struct status status = STATUS_NONE;
    return simulation_read(&what, count - 2, words + 2) && simulation_serve(&what, &status) ? 0 : 1;
}

int main(int count, char **words)
{
    int code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_missing_rank_is_found),
        cmocka_unit_test(test_end_is_seen_while_pictures_are_taken),
    };
    if (keeper_serve(count, words, &code))
        return code;
    if (count > 1 && strcmp(words[1], "simulate") == 0)
        return be_ranks(count, words);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
