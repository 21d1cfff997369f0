#include "engine/base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void failing_sets_code_and_text(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    assert_int_equal(status.code, STATUS_OK);
    assert_false(status_fail(&status, STATUS_NOT_FOUND, "no %s in %d files", "model", 3));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    assert_string_equal(status.text, "no model in 3 files");
    assert_false(status_fail(NULL, STATUS_IO, "nobody listens %d", 1));
    assert_false(status_context(NULL, "nobody"));
}

static void context_comes_before_the_text(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    status_fail(&status, STATUS_IO, "cannot read");
    assert_false(status_context(&status, "file %s", "a.yaml"));
    assert_false(status_context(&status, "model llama"));
    assert_string_equal(status.text, "model llama: file a.yaml: cannot read");
    assert_int_equal(status.code, STATUS_IO);
}

static void the_old_text_may_be_an_argument(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    status_fail(&status, STATUS_IO, "first");
    status_fail(&status, STATUS_INVALID, "second, after %s", status.text);
    assert_string_equal(status.text, "second, after first");
    status_context(&status, "again %s", status.text);
    assert_string_equal(status.text, "again second, after first: second, after first");
}

/* Every length around the size of the buffer: whole when it fits, else cut and marked. */
static void long_texts_are_cut_and_marked(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    char wanted[2 * sizeof(status.text)];
    for (size_t length = sizeof(status.text) - 5; length < sizeof(status.text) + 5; length++) {
        memset(wanted, 'x', length);
        wanted[length] = '\0';
        status_fail(&status, STATUS_INVALID, "%s", wanted);
        if (length < sizeof(status.text)) {
            assert_string_equal(status.text, wanted);
        } else {
            assert_int_equal(strlen(status.text), sizeof(status.text) - 1);
            assert_string_equal(status.text + sizeof(status.text) - 5, "x...");
        }
    }
    status_context(&status, "%s", wanted);
    assert_int_equal(strlen(status.text), sizeof(status.text) - 1);
    assert_non_null(strstr(status.text, "x...: x"));
    assert_string_equal(status.text + sizeof(status.text) - 5, "x...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_sets_code_and_text),
        cmocka_unit_test(context_comes_before_the_text),
        cmocka_unit_test(the_old_text_may_be_an_argument),
        cmocka_unit_test(long_texts_are_cut_and_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
