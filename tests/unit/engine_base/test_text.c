#include "engine/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void pieces_add_up(void **state)
{
    (void)state;
    struct text text = {0};
    char wanted[8000] = "";
    for (int i = 0; i < 500; i++) {
        text_add(&text, "a");
        text_format(&text, "%d,", i);
        text_add_part(&text, "bcd", (size_t)i % 4);
        snprintf(wanted + strlen(wanted), 32, "a%d,%.*s", i, i % 4, "bcd");
    }
    assert_string_equal(text.data, wanted);
    assert_int_equal(text.length, strlen(wanted));
    assert_true(text.capacity > text.length);
    text_clear(&text);
    assert_string_equal(text.data, "");
    assert_int_equal(text.length, 0);
    text_free(&text);
    assert_null(text.data);
    text_free(&text);
}

static void adding_nothing_makes_an_empty_string(void **state)
{
    (void)state;
    struct text text = {0};
    text_clear(&text);
    assert_null(text.data);
    text_format(&text, "%s", "");
    assert_non_null(text.data);
    assert_string_equal(text.data, "");
    text_free(&text);
    text_add(&text, "");
    assert_string_equal(text.data, "");
    text_add_part(&text, NULL, 0);
    assert_string_equal(text.data, "");
    text_free(&text);
}

static void taking_hands_the_string_over(void **state)
{
    (void)state;
    struct text text = {0};
    char *empty = text_take(&text);
    assert_string_equal(empty, "");
    text_add(&text, "kept");
    char *kept = text_take(&text);
    assert_null(text.data);
    text_add(&text, "other");
    assert_string_equal(kept, "kept");
    free(empty);
    free(kept);
    text_free(&text);
}

static void padding_reaches_the_column_of_the_last_line(void **state)
{
    (void)state;
    struct text text = {0};
    text_pad(&text, 2);
    text_add(&text, "long line\nab");
    text_pad(&text, 5);
    text_add(&text, "c");
    text_pad(&text, 3); /* already beyond: one blank keeps the columns apart */
    text_add(&text, "d");
    assert_string_equal(text.data, "  long line\nab   c d");
    text_free(&text);
}

static void thousands_are_grouped(void **state)
{
    (void)state;
    char buffer[32];
    assert_string_equal(text_thousands(0, buffer), "0");
    assert_string_equal(text_thousands(999, buffer), "999");
    assert_string_equal(text_thousands(-999, buffer), "-999");
    assert_string_equal(text_thousands(1000, buffer), "1,000");
    assert_string_equal(text_thousands(-100000, buffer), "-100,000");
    assert_string_equal(text_thousands(41943040, buffer), "41,943,040");
    assert_string_equal(text_thousands(INT64_MIN, buffer), "-9,223,372,036,854,775,808");
}

static void bytes_have_a_unit_that_fits(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1229, "1.2 KiB"},
        {10188, "9.9 KiB"},
        {10239, "10 KiB"}, /* not "10.0" */
        {61u << 20, "61 MiB"},
        {(1u << 20) - 1, "1.0 MiB"}, /* not "1024 KiB" */
        {(1u << 30) - 1, "1.0 GiB"},
        {5ull << 40, "5.0 TiB"},
        {UINT64_MAX, "16777216 TiB"},
    };
    char buffer[32];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(text_bytes(cases[i].bytes, buffer), cases[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up),
        cmocka_unit_test(adding_nothing_makes_an_empty_string),
        cmocka_unit_test(taking_hands_the_string_over),
        cmocka_unit_test(padding_reaches_the_column_of_the_last_line),
        cmocka_unit_test(thousands_are_grouped),
        cmocka_unit_test(bytes_have_a_unit_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
