/* The log of a screen: what is said becomes lines. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "tests/unit/random.h"
#include "ui/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void must_have(const struct ui *ui, int line, const char *text)
{
    assert_true(line < ui->log.count);
    assert_string_equal(ui->log.lines[line].text, text);
}

static void test_lines(void **state)
{
    struct ui *ui = memory_zeroed(1, sizeof(*ui));
    (void)state;
    ui_log(ui, LOG_OUTPUT, "one\n\nthree\n");
    ui_log(ui, LOG_OUTPUT, "four");
    ui_log(ui, LOG_OUTPUT, "");
    assert_int_equal(ui->log.count, 4);
    must_have(ui, 0, "one");
    must_have(ui, 1, "");
    must_have(ui, 2, "three");
    must_have(ui, 3, "four");
    log_free(&ui->log);
    free(ui);
}

/* Text without a line's end is cut between characters, and nothing of it is lost. */
static void test_long_lines(void **state)
{
    static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x94\x80", "\xf0\x9f\x98\x80"};
    (void)state;
    struct random random = random_start("long lines");
    for (int round = 0; round < 10; round++) {
        struct ui *ui = memory_zeroed(1, sizeof(*ui));
        struct text text = {0}, joined = {0};
        for (int64_t i = random_integer(&random, 0, 20 * LOG_LINE_BYTES); i >= 0; i--)
            text_add(&text, characters[random_integer(&random, 0, ARRAY_LENGTH(characters) - 1)]);
        ui_log(ui, LOG_OUTPUT, text.data);
        for (int i = 0; i < ui->log.count; i++) {
            const char *line = ui->log.lines[i].text;
            assert_true(strlen(line) <= LOG_LINE_BYTES);
            assert_true((line[0] & 0xc0) != 0x80);
            text_add(&joined, line);
        }
        assert_in_range(ui->log.count, text.length / LOG_LINE_BYTES,
                        text.length / (LOG_LINE_BYTES - 4) + 1);
        assert_string_equal(joined.data, text.data);
        text_free(&text);
        text_free(&joined);
        log_free(&ui->log);
        free(ui);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
