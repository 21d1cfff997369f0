/* What ranks print: against a plain model of it with random bytes, filters, searches, bounds, and
 * two threads. */
#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "engine/session/output.h"
#include "tests/unit/random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void append(struct rank_output *output, int rank, enum rank_stream stream, const char *text)
{
    rank_output_append(output, rank, stream, text, strlen(text), 1000 + rank);
}

static struct output_page fetch(struct rank_output *output, const struct output_query *query)
{
    struct output_page page;
    struct status status = STATUS_NONE;
    assert_true(rank_output_fetch(output, query, &page, &status));
    return page;
}

/* All lines that pass, joined by '|'. */
static char *all(struct rank_output *output, const struct output_filter *filter)
{
    struct output_query query = {
        .filter = *filter, .anchor = OUTPUT_NEWEST, .before = 1 << 20, .after = 100};
    struct output_page page = fetch(output, &query);
    struct text text = {0};
    text_add(&text, "");
    for (int i = 0; i < page.count; i++)
        text_format(&text, "%s%d%s%s%s", i ? "|" : "", page.lines[i].rank,
                    page.lines[i].stream == RANK_STDERR ? "!" : ":", page.lines[i].text,
                    page.lines[i].partial ? "~" : "");
    output_page_free(&page);
    return text_take(&text);
}

static void assert_all(struct rank_output *output, const struct output_filter *filter,
                       const char *expected)
{
    char *text = all(output, filter);
    assert_string_equal(text, expected);
    free(text);
}

static void test_lines(void **state)
{
    struct rank_output *output = rank_output_create(NULL);
    struct output_filter filter = {.range_count = 0};
    struct status status = STATUS_NONE;
    (void)state;
    append(output, 0, RANK_STDOUT, "one\ntw");
    append(output, 2, RANK_STDERR, "bad\n\n");
    append(output, 0, RANK_STDOUT, "o\nthree");
    assert_all(output, &filter, "0:one|2!bad|2!|0:two|0:three~");
    /* a progress bar begins its line anew; CR LF ends one, also when split */
    append(output, 1, RANK_STDERR, "  1%\r 50%");
    append(output, 1, RANK_STDERR, "\r 99%\r");
    append(output, 1, RANK_STDERR, "100%\r");
    assert_true(output_filter_ranks(&filter, "1", &status));
    assert_all(output, &filter, "1!100%~");
    append(output, 1, RANK_STDERR, "\ndos\r\n");
    assert_all(output, &filter, "1!100%|1!dos");
    assert_true(output_filter_ranks(&filter, "0,2-5", &status));
    rank_output_finish(output);
    assert_all(output, &filter, "0:one|2!bad|2!|0:two|0:three");
    filter.streams = 1u << RANK_STDERR;
    assert_all(output, &filter, "2!bad|2!");
    filter.streams = 0;
    assert_true(output_filter_pattern(&filter, "/^t|d$/", &status));
    assert_all(output, &filter, "2!bad|0:two|0:three");
    assert_true(output_filter_pattern(&filter, "re", &status));
    assert_all(output, &filter, "0:three");
    char text[100];
    assert_string_equal(output_filter_text(&filter, text, 100), "rank 0,2-5 \"re\"");
    struct rank_output_counts counts;
    rank_output_count(output, -1, &counts);
    assert_int_equal(counts.lines[RANK_STDOUT], 3);
    assert_int_equal(counts.lines[RANK_STDERR], 4);
    assert_int_equal(counts.dropped, 0);
    rank_output_free(output);
}

/* Columns of ranks, and a search that goes around. */
static void test_split_and_search(void **state)
{
    struct rank_output *output = rank_output_create(NULL);
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 2, .after = 1, .split = 2};
    struct status status = STATUS_NONE;
    char line[32];
    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(line, sizeof(line), "%d %s\n", i, i == 7 || i == 20 ? "here" : "");
        append(output, i % 4, RANK_STDOUT, line);
    }
    append(output, 2, RANK_STDERR, "open");
    assert_true(output_filter_ranks(&query.filter, "1-3", &status));
    struct output_page page = fetch(output, &query);
    const int sequences[] = {33, 37, 34, 38};
    assert_int_equal(page.count, 5); /* ranks 1 and 2, and what 2 has begun */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(page.lines[i].sequence, sequences[i]);
        assert_int_equal(page.lines[i].rank, 1 + i / 2);
    }
    assert_true(page.lines[4].partial);
    output_page_free(&page);
    query = (struct output_query){.before = 1, .after = 1, .search = "here", .search_direction = 1};
    const int64_t found[] = {7, 20, 7}; /* then around the end */
    for (int i = 0; i < 3; i++) {
        page = fetch(output, &query);
        assert_int_equal(page.anchor, found[i]);
        assert_int_equal(page.lines[page.before].sequence, found[i]);
        query.anchor = page.anchor;
        output_page_free(&page);
    }
    query.search_direction = -1;
    page = fetch(output, &query);
    assert_int_equal(page.anchor, 20);
    output_page_free(&page);
    strcpy(query.search, "nowhere");
    page = fetch(output, &query);
    assert_int_equal(page.anchor, -1);
    assert_int_equal(page.count, 2);
    output_page_free(&page);
    rank_output_free(output);
}

static void test_wrong_filters(void **state)
{
    static const char *const wrong[] = {"",   "x",  "3-1", "1,",  ",1",
                                        "1-", "-1", "1 2", "0x1", "99999999999"};
    struct output_filter filter = {.range_count = 0};
    struct rank_output *output = rank_output_create(NULL);
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct status status = STATUS_NONE;
        assert_false(output_filter_ranks(&filter, wrong[i], &status));
        assert_non_null(strstr(status.text, "0-3,7"));
    }
    struct status status = STATUS_NONE;
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 1};
    struct output_page page;
    assert_true(output_filter_pattern(&query.filter, "/(/", &status));
    append(output, 0, RANK_STDOUT, "x\n");
    assert_false(rank_output_fetch(output, &query, &page, &status));
    assert_non_null(strstr(status.text, "/(/"));
    rank_output_free(output);
}

/* Nothing that a rank prints acts on a terminal, and all of it is UTF-8. */
static void test_printable(void **state)
{
    struct rank_output_limits limits = {.line_bytes = 4000};
    struct rank_output *output = rank_output_create(&limits);
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 10000, .after = 10};
    struct random random = random_start("output 1");
    unsigned seed = (unsigned)random_bits(&random);
    (void)state;
    append(output, 0, RANK_STDOUT, "\033[2J\a\xff\xc3\xa9\xe2\x80\xae\xc2\x9b\x7f\tend\n");
    struct output_page page = fetch(output, &query);
    assert_string_equal(page.lines[0].text, "^[[2J^G\\xff\xc3\xa9\\u202e\\u009b^?\tend");
    output_page_free(&page);
    for (int i = 0; i < 200; i++) {
        char bytes[3000];
        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (char)((rand_r(&seed) >> 5) & (i % 2 ? 0xff : 0x9f));
        rank_output_append(output, i % 3, i & 1 ? RANK_STDERR : RANK_STDOUT, bytes, sizeof(bytes),
                           i);
    }
    page = fetch(output, &query);
    assert_true(page.count > 100);
    for (int i = 0; i < page.count; i++) {
        const char *text = page.lines[i].text;
        for (size_t at = 0, length = strlen(text); at < length;) {
            int32_t character;
            at += unicode_decode(text + at, length - at, &character);
            assert_true(character == '\t' || (character >= 0x20 && character != 0x7f &&
                                              !(character >= 0x80 && character < 0xa0) &&
                                              !unicode_is_treacherous(character)));
        }
    }
    output_page_free(&page);
    rank_output_free(output);
}

/* ---- against a model ---- */

enum { RANKS = 5, MOST_LINES = 40, MODEL_LINES = 4000 };

struct model_line {
    int rank, stream;
    char text[24];
    bool gone;
};

static struct model_line model[MODEL_LINES];

/* Lines that rank `rank` keeps are its last MOST_LINES. */
static void drop_oldest(int count, int rank)
{
    int kept = 0;
    for (int i = count - 1; i >= 0; i--)
        if (model[i].rank == rank && ++kept > MOST_LINES)
            model[i].gone = true;
}

static bool model_passes(const struct output_filter *filter, int i)
{
    return !model[i].gone && output_filter_has_rank(filter, model[i].rank) &&
           (!filter->streams || (filter->streams & 1u << model[i].stream)) &&
           strstr(model[i].text, filter->pattern);
}

/* The page that the model would give, compared line by line. */
static void compare_page(struct rank_output *output, const struct output_query *query, int count)
{
    struct output_page page = fetch(output, query);
    int from = query->anchor > count ? count : (int)query->anchor, first = from, seen = 0;
    for (; first > 0 && seen < query->before; first--)
        seen += model_passes(&query->filter, first - 1);
    assert_int_equal(page.before, seen);
    int line = 0, after = 0;
    for (int i = first; i < count && after < query->after + (i < from); i++) {
        if (!model_passes(&query->filter, i))
            continue;
        assert_true(line < page.count);
        assert_int_equal(page.lines[line].sequence, i);
        assert_int_equal(page.lines[line].rank, model[i].rank);
        assert_int_equal(page.lines[line].stream, model[i].stream);
        assert_string_equal(page.lines[line].text, model[i].text);
        after += i >= from;
        line++;
    }
    assert_int_equal(page.count, line);
    output_page_free(&page);
}

static void compare_search(struct rank_output *output, const struct output_filter *filter,
                           const char *pattern, int64_t from, int direction, int count)
{
    struct status status = STATUS_NONE;
    int64_t found, expected = -1;
    assert_true(rank_output_search(output, filter, pattern, from, direction, &found, &status));
    for (int64_t i = from + direction; i >= 0 && i < count && expected < 0; i += direction)
        if (model_passes(filter, (int)i) && strstr(model[i].text, pattern))
            expected = i;
    assert_int_equal(found, expected);
}

static void test_random(void **state)
{
    struct rank_output_limits limits = {.lines = MOST_LINES};
    struct rank_output *output = rank_output_create(&limits);
    struct random random = random_start("output 2");
    unsigned seed = (unsigned)random_bits(&random);
    int count = 0;
    (void)state;
    while (count < MODEL_LINES) {
        struct model_line *line = &model[count++];
        *line = (struct model_line){.rank = rand_r(&seed) % RANKS, .stream = rand_r(&seed) % 2};
        line->rank = rand_r(&seed) % 4 ? line->rank : 0; /* one that prints more */
        snprintf(line->text, sizeof(line->text), "%x", (unsigned)rand_r(&seed));
        int split = rand_r(&seed) % (int)strlen(line->text); /* lines come in two pieces */
        rank_output_append(output, line->rank, (enum rank_stream)line->stream, line->text,
                           (size_t)split, count);
        append(output, line->rank, (enum rank_stream)line->stream, line->text + split);
        append(output, line->rank, (enum rank_stream)line->stream, "\n");
        drop_oldest(count, line->rank);
        if (count % 37)
            continue;
        struct output_query query = {.anchor = rand_r(&seed) % (count + 5),
                                     .before = rand_r(&seed) % 30,
                                     .after = rand_r(&seed) % 30};
        struct status status = STATUS_NONE;
        query.filter.streams = (unsigned)rand_r(&seed) % 4;
        if (rand_r(&seed) % 2)
            assert_true(output_filter_ranks(&query.filter, "0,2-3", &status));
        if (rand_r(&seed) % 2)
            snprintf(query.filter.pattern, sizeof(query.filter.pattern), "%x",
                     (unsigned)rand_r(&seed) % 16);
        compare_page(output, &query, count);
        compare_search(output, &query.filter, "7", rand_r(&seed) % count, 1, count);
        compare_search(output, &query.filter, "7", rand_r(&seed) % count, -1, count);
    }
    rank_output_free(output);
}

/* A thousand ranks that print for ever take no more than they may, and each keeps its newest. */
static void test_bounds(void **state)
{
    struct rank_output_limits limits = {.bytes = 8 << 20};
    struct rank_output *output = rank_output_create(&limits);
    struct rank_output_counts counts;
    char line[300];
    (void)state;
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 200000; i++) {
        int length = snprintf(line, sizeof(line), "%d", i);
        line[length] = ' ';
        line[20 + i % 250] = '\n';
        rank_output_append(output, i % 100, RANK_STDOUT, line, (size_t)(21 + i % 250), i);
        line[20 + i % 250] = 'x';
    }
    rank_output_count(output, -1, &counts);
    assert_int_equal(counts.lines[RANK_STDOUT], 200000);
    assert_int_equal(counts.kept + counts.dropped, 200000);
    assert_true(counts.dropped > 0 && counts.kept > 10000);
    assert_true(counts.memory <= 8 << 20);
    for (int rank = 0; rank < 100; rank++) {
        struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 1};
        query.filter.ranges[0] = (struct rank_range){rank, rank};
        query.filter.range_count = 1;
        struct output_page page = fetch(output, &query);
        assert_int_equal(atoi(page.lines[0].text), 200000 - 100 + rank);
        output_page_free(&page);
    }
    rank_output_free(output);
}

static void test_long_lines(void **state)
{
    struct rank_output *output = rank_output_create(NULL);
    size_t length = 3 << 20;
    char *line = memory_zeroed(length, 1);
    (void)state;
    memset(line, 'a', length);
    rank_output_append(output, 0, RANK_STDOUT, line, length, 1); /* 3 MiB without an end */
    rank_output_append(output, 0, RANK_STDOUT, line, length, 1);
    append(output, 0, RANK_STDOUT, "\nnext\n");
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 10};
    struct output_page page = fetch(output, &query);
    assert_int_equal(page.count, 2);
    assert_int_equal(strlen(page.lines[0].text), OUTPUT_TEXT_BYTES);
    assert_true(page.lines[0].cut);
    assert_false(page.lines[1].cut);
    assert_true(page.counts.memory < 100000);
    output_page_free(&page);
    free(line);
    rank_output_free(output);
}

/* ---- two threads ---- */

struct writer {
    struct rank_output *output;
    int lines;
};

static void *write_lines(void *context)
{
    const struct writer *writer = context;
    char text[4000];
    for (int i = 0; i < writer->lines; i += 50) {
        size_t length = 0;
        for (int k = 0; k < 50; k++)
            length += (size_t)snprintf(text + length, sizeof(text) - length, "line %d\n", i + k);
        rank_output_append(writer->output, i / 50 % 8, RANK_STDOUT, text, length, i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct rank_output_limits limits = {.lines = 5000};
    struct writer writer = {rank_output_create(&limits), 400000};
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = 50};
    struct rank_output_counts counts = {0};
    pthread_t thread;
    (void)state;
    strcpy(query.filter.pattern, "99"); /* long walks, in which lines are dropped */
    assert_int_equal(pthread_create(&thread, NULL, write_lines, &writer), 0);
    while (counts.lines[RANK_STDOUT] < writer.lines) {
        struct output_page page = fetch(writer.output, &query);
        for (int i = 0; i < page.count; i++) {
            assert_non_null(strstr(page.lines[i].text, "99"));
            assert_true(i == 0 || page.lines[i].sequence > page.lines[i - 1].sequence);
        }
        counts = page.counts;
        output_page_free(&page);
    }
    pthread_join(thread, NULL);
    assert_int_equal(counts.kept, 8 * 5000);
    rank_output_free(writer.output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),         cmocka_unit_test(test_split_and_search),
        cmocka_unit_test(test_wrong_filters), cmocka_unit_test(test_printable),
        cmocka_unit_test(test_random),        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_long_lines),    cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
