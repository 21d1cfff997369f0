/* Expressions that users write: which ones are compiled, and that large ones are refused before the
 * C library takes all memory for them. */
#include "engine/base/expression.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool is_fine(const char *text, char why[EXPRESSION_WHY_SIZE])
{
    regex_t expression;
    if (!expression_compile(text, &expression, why))
        return false;
    regfree(&expression);
    return true;
}

static void usual_ones_are_found(void **state)
{
    (void)state;
    regex_t expression;
    char why[EXPRESSION_WHY_SIZE];
    assert_true(expression_compile("^d[fp][0-9]+(_z[23])?$", &expression, why));
    assert_int_equal(regexec(&expression, "dp2_z3", 0, NULL, 0), 0);
    assert_int_equal(regexec(&expression, "dp2_z4", 0, NULL, 0), REG_NOMATCH);
    regfree(&expression);
}

static void many_repetitions_are_compiled(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a{1000}",      "(a{1,50}){50}", "a{,5}",   "[]{9999999}]{3}",  "[[:alpha:]]{1,80}",
        "(a|b){2,}x*?", "((a+)+)+",      "\\{9999", "[^][:digit:]{99]", "a)",
    };
    char why[EXPRESSION_WHY_SIZE] = "";
    for (int i = 0; i < ARRAY_LENGTH(texts); i++)
        if (!is_fine(texts[i], why))
            fail_msg("%s: %s", texts[i], why);
}

static void too_many_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a{5001}",
        "(((a{1,1000}){1,1000}){1,1000})",
        "((a{2,}){99,})*{30}",
        "(a|[b]{9}|\\({9}){9}{9}{9}",
        "(){9999999999999999999999}",
        "((((((((((((((((a+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+",
        "a++++++++++++++++++++++++++++++++++++++++",
        "(a{9999",
    };
    char why[EXPRESSION_WHY_SIZE];
    for (int i = 0; i < ARRAY_LENGTH(texts); i++) {
        assert_false(is_fine(texts[i], why));
        assert_string_equal(why, "its repetitions make more than 5000 characters");
    }
}

static void mistakes_are_told(void **state)
{
    (void)state;
    char why[EXPRESSION_WHY_SIZE], *longest = memory_zeroed(EXPRESSION_LENGTH + 2, 1);
    assert_false(is_fine("(a", why));
    assert_string_equal(why, "Unmatched ( or \\(");
    assert_false(is_fine("[[:", why));
    assert_false(is_fine("a\\", why));
    memset(longest, '(', EXPRESSION_LENGTH + 1);
    assert_false(is_fine(longest, why));
    assert_string_equal(why, "longer than 1000 bytes");
    longest[EXPRESSION_LENGTH] = '\0';
    assert_false(is_fine(longest, why));
    assert_string_equal(why, "Unmatched ( or \\(");
    memset(longest, 'a', EXPRESSION_LENGTH);
    assert_true(is_fine(longest, why));
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usual_ones_are_found),
        cmocka_unit_test(many_repetitions_are_compiled),
        cmocka_unit_test(too_many_are_refused),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
