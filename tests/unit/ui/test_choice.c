/* Which tests a filter keeps, against what the same words mean by hand. */
#include "ui/test_filter.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool passes(const struct test_list *tests, const char *id, const char *filter,
                   const char *outcome)
{
    int test = test_list_find(tests, id);
    assert_true(test >= 0);
    return test_filter_passes(filter, tests, test, outcome);
}

static void test_words(void **state)
{
    struct status status = STATUS_NONE;
    struct test_list *tests = test_list_create(NULL, NULL, 0, &status);
    (void)state;
    assert_non_null(tests);
    const char *bf4 = "llama/basic/bf4", *dp2 = "mistral/distributed/dp2";
    assert_true(passes(tests, bf4, "", NULL));
    assert_true(passes(tests, bf4, "  llama  bf4 ", NULL));
    assert_false(passes(tests, bf4, "llama dp2", NULL));
    assert_true(passes(tests, bf4, "*/basic/bf*", NULL));
    assert_false(passes(tests, dp2, "*/basic/*", NULL));
    assert_true(passes(tests, dp2, "model=llama,mistral", NULL));
    assert_false(passes(tests, dp2, "model=llama,mistra", NULL));
    assert_false(passes(tests, dp2, "model=", NULL));
    assert_true(passes(tests, dp2, "group=distributed dp", NULL));
    assert_false(passes(tests, bf4, "group=distributed", NULL));
    assert_true(passes(tests, bf4, "outcome=failed,error", "FAILED"));
    assert_false(passes(tests, bf4, "outcome=failed", "PASSED"));
    assert_false(passes(tests, bf4, "outcome=failed", NULL));
    assert_false(passes(tests, bf4, "colour=red", NULL)); /* no such key */
    for (int i = 0; i < tests->test_count; i++) {
        char *own = memory_format("model=%s group=%s action=%s %s", test_model_name(tests, i),
                                  test_group_name(tests->tests[i].group),
                                  test_action_name(test_action_of(tests, i)), tests->tests[i].id);
        assert_true(test_filter_passes(own, tests, i, NULL));
        free(own);
    }
    test_list_free(tests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
