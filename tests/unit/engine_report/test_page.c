/* The parts of a page that must hold whatever comes in: escaping, words for a shell, what tensors
 * are looked into, and that a single wrong element is seen. */
#include "engine/report/html.h"

#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Random bytes, with much of what matters. */
static void random_text(struct random *random, char *text, int size)
{
    static const char special[] = "<>&\"'^\\\033\177\n\xff\xe2\x80\xae\xef\xbf\xbe\xc2\x85 ab";
    int length = (int)random_integer(random, 0, size - 1);
    for (int i = 0; i < length; i++) {
        bool any = random_integer(random, 0, 3) == 0;
        text[i] = any ? (char)random_integer(random, 1, 255)
                      : special[random_integer(random, 0, (int)sizeof(special) - 2)];
    }
    text[length] = '\0';
}

/* Takes the entities back; nothing else may be markup. */
static char *unescaped(const char *html)
{
    static const struct {
        const char *entity, *text;
    } entities[] = {{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}, {"&quot;", "\""}, {"&#39;", "'"}};
    struct text out = {0};
    while (*html) {
        int found = -1;
        for (int i = 0; i < ARRAY_LENGTH(entities); i++)
            if (strncmp(html, entities[i].entity, strlen(entities[i].entity)) == 0)
                found = i;
        assert_true(found >= 0 || !strchr("<>&\"'", *html));
        text_add_part(&out, found >= 0 ? entities[found].text : html,
                      found >= 0 ? strlen(entities[found].text) : 1);
        html += found >= 0 ? strlen(entities[found].entity) : 1;
    }
    return text_take(&out);
}

/* Tabs are control characters here, and HTML lacks two characters at the end of each plane. */
static bool is_for_html(const char *text)
{
    size_t length = strlen(text);
    int32_t character = 0;
    bool good = true;
    for (size_t at = 0; good && at < length;) {
        at += unicode_decode(text + at, length - at, &character);
        good = character != '\t' && (character < 0 || (character & 0xfffe) != 0xfffe);
    }
    return good;
}

static void text_is_escaped(void **state)
{
    struct random random = random_start("page");
    char text[60];
    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct text html = {0}, expected = {0};
        random_text(&random, text, sizeof(text));
        html_text(&html, text);
        for (size_t at = 0; at < html.length;) {
            int32_t character;
            at += unicode_decode(html.data + at, html.length - at, &character);
            assert_true(character >= 0x20 && !(character >= 0x7f && character < 0xa0));
            assert_true((character & 0xfffe) != 0xfffe);
            assert_false(unicode_is_treacherous(character));
        }
        char *back = unescaped(html.length ? html.data : "");
        unicode_add_printable(&expected, text, strlen(text));
        if (is_for_html(text))
            assert_string_equal(back, expected.length ? expected.data : "");
        free(back);
        text_free(&html);
        text_free(&expected);
    }
}

static void a_shell_reads_words_back(void **state)
{
    struct random random = random_start("page");
    char text[40], read[200];
    (void)state;
    for (int round = 0; round < 40; round++) {
        struct text command = {0};
        random_text(&random, text, sizeof(text));
        text_add(&command, "printf '%s.' ");
        page_shell_word(&command, text);
        FILE *pipe = popen(command.data, "r");
        assert_non_null(pipe);
        size_t length = fread(read, 1, sizeof(read) - 1, pipe);
        assert_int_equal(pclose(pipe), 0);
        read[length] = '\0';
        assert_int_equal(length, strlen(text) + 1);
        assert_memory_equal(read, text, length - 1);
        text_free(&command);
    }
}

static int add_row(struct page *page, const char *name, enum page_status status, double of_limit)
{
    struct page_row row = {.step = page_step(page, "1"),
                           .name = (char *)(uintptr_t)name,
                           .position = page->row_count,
                           .status = status,
                           .of_limit = of_limit,
                           .error = of_limit,
                           .sized = true,
                           .shape = shape_of2(1000, 700),
                           .measured = status != PAGE_UNMATCHED};
    return page_add_row(page, &row);
}

static void the_first_and_the_worst_are_chosen(void **state)
{
    struct page *page = page_create("title", "test", "reference");
    int rows[PAGE_VIEWS];
    (void)state;
    assert_int_equal(page_choose(page, rows), 0);
    add_row(page, "fw a", PAGE_WITHIN, 0.9);
    add_row(page, "fw b", PAGE_DIVERGED, 1.5);
    for (int i = 0; i < 10; i++)
        add_row(page, "fw c", PAGE_DIVERGED, 2 + i);
    add_row(page, "fw d", PAGE_NOT_FINITE, INFINITY);
    add_row(page, "fw e", PAGE_UNMATCHED, NAN);
    assert_int_equal(page->failed, 13);
    assert_int_equal(page->compared, 13);
    assert_int_equal(page->unmatched, 1);
    assert_int_equal(page->first, 1);
    assert_int_equal(page_choose(page, rows), PAGE_VIEWS);
    const int expected[PAGE_VIEWS] = {1, 12, 11, 10, 9};
    assert_memory_equal(rows, expected, sizeof(expected));
    page_free(page);
}

/* What a comparison's JSON says of elements that are no numbers comes back, and so does a scalar.
 */
static void elements_that_are_no_numbers_come_back(void **state)
{
    static const double numbers[] = {NAN, INFINITY, -INFINITY, 0.1};
    struct worst_element worst[ARRAY_LENGTH(numbers)];
    struct comparison_log log = {0};
    struct text json = {0};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(numbers); i++)
        worst[i] = (struct worst_element){i, numbers[i], numbers[(i + 1) % 4]};
    struct tensor_result result = {
        .step = "train_1",
        .name = "fw x",
        .shape_test = shape_of1(4),
        .shape_reference = shape_of1(4),
        .metrics = {.count = 4, .nan_test = 1},
        .verdict = {.failures = FAILURE_NOT_FINITE, .worst = INFINITY},
        .worst = worst,
        .worst_count = ARRAY_LENGTH(worst),
    };
    comparison_log_add(&log, &result);
    comparison_log_json(&log, &json);
    struct page *page = page_create("title", "test", "reference");
    assert_true(page_add_json(page, json.data));
    assert_int_equal(page->view_count, 1);
    const struct page_view *view = &page->views[0];
    assert_int_equal(view->worst_count, ARRAY_LENGTH(worst));
    for (int i = 0; i < view->worst_count; i++) {
        const double pairs[][2] = {{view->worst[i].reference, worst[i].reference},
                                   {view->worst[i].test, worst[i].test}};
        for (int side = 0; side < 2; side++)
            assert_true(isnan(pairs[side][1]) ? isnan(pairs[side][0])
                                              : pairs[side][0] == pairs[side][1]);
    }
    assert_true(page_add_json(page, "{\"tensors\": [{\"step\": \"train_1\", \"name\": \"fw y\", "
                                    "\"shape_test\": [], \"dtype_test\": \"f32\"}]}"));
    assert_true(page->rows[1].sized);
    assert_int_equal(page->rows[1].shape.rank, 0);
    page_free(page);
    text_free(&json);
    comparison_log_free(&log);
}

/* One wrong element among 700,000 shows in the map, and so does one that is not finite. */
static void single_elements_are_seen(void **state)
{
    struct random random = random_start("page");
    struct shape shape = shape_of2(1000, 700);
    int64_t count = shape_elements(shape);
    float *numbers = memory_zeroed((size_t)count, sizeof(float));
    float *wrong = memory_zeroed((size_t)count, sizeof(float));
    (void)state;
    for (int64_t i = 0; i < count; i++)
        numbers[i] = wrong[i] = (float)random_integer(&random, -100, 100);
    int64_t bad = random_integer(&random, 0, count - 1), nan = (bad + count / 2) % count;
    wrong[bad] += 7;
    wrong[nan] = NAN;
    struct tensor reference = tensor_of(numbers, DTYPE_F32, shape);
    struct tensor test = tensor_of(wrong, DTYPE_F32, shape);
    struct page *page = page_create("title", "test", "reference");
    page_add_view(page, add_row(page, "fw a", PAGE_NOT_FINITE, INFINITY), &reference, &test, 1, 1,
                  NULL);
    const struct page_view *view = &page->views[0];
    assert_int_equal(view->heat_rows, PAGE_HEAT_ROWS);
    assert_int_equal(view->heat_columns, PAGE_HEAT_COLUMNS);
    assert_true(view->heat_most == 7);
    int seen = 0, not_finite = 0;
    for (int i = 0; i < view->heat_rows * view->heat_columns; i++) {
        seen += view->heat[i] == 7;
        not_finite += isnan(view->heat[i]);
        if (view->heat[i] == 7)
            assert_int_equal(i, bad / 700 * PAGE_HEAT_ROWS / 1000 * PAGE_HEAT_COLUMNS +
                                    bad % 700 * PAGE_HEAT_COLUMNS / 700);
    }
    assert_int_equal(seen, 1);
    assert_int_equal(not_finite, 1);
    int64_t sums[3] = {0};
    for (int b = 0; b < view->bins; b++) {
        sums[0] += view->test_bins[b];
        sums[1] += view->reference_bins[b];
        sums[2] += view->difference_bins[b];
    }
    assert_int_equal(sums[0], count - 1);
    assert_int_equal(sums[1], count);
    assert_int_equal(sums[2], count - 1);
    page_free(page);
    free(numbers);
    free(wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(a_shell_reads_words_back),
        cmocka_unit_test(the_first_and_the_worst_are_chosen),
        cmocka_unit_test(elements_that_are_no_numbers_come_back),
        cmocka_unit_test(single_elements_are_seen),
    };
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
