#include "engine/base/unicode.h"
#include "tests/unit/random.h"
#include "ui/text_width.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

static void expect_shown(const char *text, const char *shown, int columns)
{
    struct text out = {0};
    int used = text_clip(&out, text, strlen(text), 0, 1000);
    assert_string_equal(out.data ? out.data : "", shown);
    assert_int_equal(used, columns);
    assert_int_equal(text_width(text, strlen(text)), columns);
    text_free(&out);
}

static void test_what_is_shown(void **state)
{
    (void)state;
    expect_shown("", "", 0);
    expect_shown("decoder.0", "decoder.0", 9);
    expect_shown("h\u00e9\u4e2d!", "h\u00e9\u4e2d!", 5); /* CJK is two wide */
    expect_shown("e\u0301x", "e\u0301x", 2);             /* mark on its base */
    expect_shown("\u0301x", " \u0301x", 2);              /* mark without a base */
    expect_shown("\x1b[31mred\x07", "^[[31mred^G", 11);  /* no escape sequence gets out */
    expect_shown("a\x7f\r\n", "a^?^M^J", 7);
    expect_shown("\xff\xc0\x80z", "\\xff\\xc0\\x80z", 13);        /* overlong NUL */
    expect_shown("\xed\xa0\x80", "\\xed\\xa0\\x80", 12);          /* surrogate */
    expect_shown("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80", 16); /* above U+10FFFF */
    expect_shown("\xe4\xb8", "\\xe4\\xb8", 8);                    /* cut in the middle */
    expect_shown("a\u202eb\u200bc", "a\\u202eb\\u200bc", 15);     /* reorders, hides */
    expect_shown("\xc2\x85", "\\u0085", 6);                       /* C1 control */
    expect_shown("ab\tc", "ab      c", 9);
    expect_shown("o\u0300\u0301\u0302\u0303\u0304\u0305", "o\u0300\u0301\u0302", 1);
}

static void test_fit(void **state)
{
    (void)state;
    int used = -1;
    assert_int_equal(text_fit("ab\u4e2dc", 6, 3, &used), 2); /* the wide one does not fit */
    assert_int_equal(used, 2);
    assert_int_equal(text_fit("ab\u4e2dc", 6, 4, &used), 5);
    assert_int_equal(used, 4);
    assert_int_equal(text_fit("e\u0301e", 4, 1, &used), 3); /* the mark stays with its base */
    assert_int_equal(text_fit("\x1b", 1, 1, &used), 0);
    assert_int_equal(text_fit("abc", 3, 0, NULL), 0);
}

static void expect_clip(const char *text, int skip, int columns, const char *shown)
{
    struct text out = {0};
    text_clip(&out, text, strlen(text), skip, columns);
    assert_string_equal(out.data ? out.data : "", shown);
    text_free(&out);
}

static void test_clip(void **state)
{
    (void)state;
    expect_clip("abcdef", 2, 3, "cde");
    expect_clip("\u4e2d\u6587\u5b57", 1, 4, " \u6587 "); /* both halves become blanks */
    expect_clip("\u4e2d\u6587", 2, 10, "\u6587");
    expect_clip("abc", 5, 5, "");
    expect_clip("a\x1b"
                "b",
                2, 2, " b");
}

/* Random bytes: every glyph moves forward, prints only what is printable, and the width of the
 * pieces is the width of the whole. */
static void test_random_bytes(void **state)
{
    (void)state;
    struct random random = random_start("widths");
    srand((unsigned)random_bits(&random));
    for (int round = 0; round < 20000; round++) {
        char bytes[24];
        size_t length = (size_t)(rand() % (int)sizeof(bytes));
        for (size_t i = 0; i < length; i++)
            bytes[i] = (char)(rand() % 3 ? rand() % 256 : 0xc0 + rand() % 0x40);
        int columns = text_width(bytes, length);
        struct text out = {0};
        assert_int_equal(text_clip(&out, bytes, length, 0, 100000), columns);
        int wide = 0;
        for (size_t at = 0; at < out.length;) {
            int32_t character;
            at += unicode_decode(out.data + at, out.length - at, &character);
            assert_true(character >= 0x20 && character != 0x7f);
            assert_true(wcwidth((wchar_t)character) >= 0);
            wide += wcwidth((wchar_t)character);
        }
        assert_int_equal(wide, columns);
        int skip = rand() % 10, window = rand() % 10;
        text_clear(&out);
        int part = text_clip(&out, bytes, length, skip, window);
        int left = columns - skip < 0 ? 0 : columns - skip;
        assert_int_equal(part, left < window ? left : window);
        text_free(&out);
    }
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_shown),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
