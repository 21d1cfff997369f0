#include "ui/text_width.h"
#include "ui/theme.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_built_in_themes(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct theme dark, light, mono;
    assert_true(theme_load(&dark, "dark", NULL, &status));
    assert_true(theme_load(&light, "light", NULL, &status));
    assert_true(theme_load(&mono, "mono", NULL, &status));
    assert_int_equal(dark.styles[THEME_DIVERGED].foreground, 203);
    assert_int_equal(dark.styles[THEME_DIVERGED].attributes, THEME_BOLD);
    assert_int_not_equal(memcmp(&dark, &light, sizeof(dark)), 0);
    for (int role = 0; role < THEME_ROLE_COUNT; role++) {
        assert_int_equal(mono.styles[role].foreground, THEME_COLOR_DEFAULT);
        assert_int_equal(mono.styles[role].background, THEME_COLOR_DEFAULT);
    }
    /* What must stand out does so without colour too. */
    assert_true(mono.styles[THEME_SELECTION].attributes & THEME_REVERSE);
    assert_true(mono.styles[THEME_FOCUS].attributes != mono.styles[THEME_FRAME].attributes);

    assert_false(theme_load(&dark, "solar", NULL, &status));
    assert_string_equal(status.text, "no theme 'solar'; there are: dark, light, mono");
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_user_file(void **state)
{
    (void)state;
    char path[] = "/tmp/lockstep-theme-XXXXXX";
    close(mkstemp(path));
    struct status status = STATUS_NONE;
    struct theme theme, built_in;
    assert_true(theme_load(&built_in, "dark", NULL, &status));

    write_file(path,
               "dark diverged 9 default underline # mine\nsolar focus bright-blue 230 bold\n");
    assert_true(theme_load(&theme, "dark", path, &status));
    assert_int_equal(theme.styles[THEME_DIVERGED].foreground, 9);
    assert_int_equal(theme.styles[THEME_DIVERGED].attributes, THEME_UNDERLINE);
    assert_true(theme_load(&theme, "solar", path, &status));
    assert_int_equal(theme.styles[THEME_FOCUS].foreground, 12);
    assert_int_equal(theme.styles[THEME_FOCUS].background, 230);
    assert_int_equal(theme.styles[THEME_BAR].background, THEME_COLOR_DEFAULT);

    static const char *const wrong[][2] = {
        {"dark nan 1 2\ndark divergd 1 2\n", ":2: 'divergd' is no role; did you mean 'diverged'?"},
        {"dark nan pink 2\n", ":1: 'pink' is no colour"},
        {"dark nan 1 256\n", ":1: '256' is no colour"},
        {"dark nan 1\n", ":1: '' is no colour"},
        {"dark nan 1 2 blink\n", ":1: 'blink' is no attribute"}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        write_file(path, wrong[i][0]);
        assert_false(theme_load(&theme, "dark", path, &status));
        assert_non_null(strstr(status.text, wrong[i][1]));
        assert_memory_equal(&theme, &built_in, sizeof(theme));
    }
    unlink(path);
}

static void test_nearest_color(void **state)
{
    (void)state;
    assert_int_equal(theme_nearest_color(203, 256), 203);
    assert_int_equal(theme_nearest_color(196, 16), 9); /* pure red */
    assert_int_equal(theme_nearest_color(16, 16), 0);
    assert_int_equal(theme_nearest_color(231, 16), 15);
    assert_int_equal(theme_nearest_color(244, 16), 8);
    assert_int_equal(theme_nearest_color(9, 8), 1);
    assert_int_equal(theme_nearest_color(15, 8), 7);
    assert_int_equal(theme_nearest_color(5, 0), THEME_COLOR_DEFAULT);
    assert_int_equal(theme_nearest_color(THEME_COLOR_DEFAULT, 256), THEME_COLOR_DEFAULT);
}

static void test_marks_and_bars(void **state)
{
    (void)state;
    for (int i = 0; i < THEME_MARK_COUNT; i++) {
        const char *mark = theme_mark((enum theme_mark)i, false);
        assert_int_equal(text_width(mark, strlen(mark)), 1);
        assert_int_equal(strlen(theme_mark((enum theme_mark)i, true)), 1);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(mark, theme_mark((enum theme_mark)j, false));
            assert_string_not_equal(theme_mark((enum theme_mark)i, true),
                                    theme_mark((enum theme_mark)j, true));
        }
    }
    static const struct {
        double fraction;
        const char *plain, *ascii;
    } bars[] = {{0, "    ", "    "},
                {1, "\u2588\u2588\u2588\u2588", "####"},
                {0.5, "\u2588\u2588  ", "##  "},
                {0.40625, "\u2588\u258b  ", "##  "},
                {7, "\u2588\u2588\u2588\u2588", "####"},
                {-1, "    ", "    "},
                {NAN, "    ", "    "}};
    for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
        struct text out = {0};
        theme_bar(&out, bars[i].fraction, 4, false);
        assert_string_equal(out.data, bars[i].plain);
        text_clear(&out);
        theme_bar(&out, bars[i].fraction, 4, true);
        assert_string_equal(out.data, bars[i].ascii);
        text_free(&out);
    }
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in_themes),
        cmocka_unit_test(test_user_file),
        cmocka_unit_test(test_nearest_color),
        cmocka_unit_test(test_marks_and_bars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
