/* Conditions: values, precedence, errors; random expressions against their own construction. */
#include "engine/session/conditions.h"

#include "engine/base/text.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static double value_of(const char *text, const double *variables)
{
    struct status status = STATUS_NONE;
    struct condition *condition = condition_parse(text, &status);
    if (!condition)
        fail_msg("%s: %s", text, status.text);
    double value = condition_value(condition, variables);
    condition_free(condition);
    return value;
}

static bool holds(const char *text, const double *variables)
{
    struct status status = STATUS_NONE;
    struct condition *condition = condition_parse(text, &status);
    if (!condition)
        fail_msg("%s: %s", text, status.text);
    bool result = condition_holds(condition, variables);
    condition_free(condition);
    return result;
}

static void unknown_all(double *variables)
{
    for (int i = 0; i < VARIABLE_COUNT; i++)
        variables[i] = NAN;
}

static void test_meaning(void **state)
{
    (void)state;
    double v[VARIABLE_COUNT];
    unknown_all(v);
    v[VARIABLE_REL_RMS] = 2e-3;
    v[VARIABLE_STEP] = 2;
    v[VARIABLE_RANK] = 0;
    v[VARIABLE_NAN] = 0;
    assert_true(holds("rel_rms > 1e-3", v));
    assert_false(holds("rel_rms > 1e-2", v));
    assert_true(holds("rel_rms>1e-3 and step==2", v));
    assert_true(holds("rel_rms > 1e-3 && !(rank == 1)", v));
    assert_false(holds("nan", v));
    assert_true(holds("nan or step = 2", v));
    assert_true(holds("not nan and not (step != 2)", v));
    assert_true(holds("step == 1 || step == 2 && rank == 0", v));
    assert_false(holds("(step == 1 || step == 2) && rank == 1", v));
    assert_true(value_of("1 - 2 - 3", v) == -4);
    assert_true(value_of("2 + 3 * -4 / 8", v) == 0.5);
    v[VARIABLE_NAN] = 3;
    assert_true(holds("nan", v));
}

/* What is not known makes no comparison true, in neither direction. */
static void test_unknown(void **state)
{
    (void)state;
    static const char *const comparisons[] = {"cosine < 1",  "cosine > 1",  "cosine <= 1",
                                              "cosine >= 1", "cosine == 1", "cosine != 1",
                                              "cosine",      "1/0 == 1",    "ulp - ulp == 0"};
    double v[VARIABLE_COUNT];
    unknown_all(v);
    for (size_t i = 0; i < sizeof(comparisons) / sizeof(comparisons[0]); i++)
        assert_false(holds(comparisons[i], v));
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {{"", "missing at column 1"},
                 {"rel_rsm > 1", "did you mean 'rel_rms'"},
                 {"step == ", "missing at column 9"},
                 {"(step == 2", "')' is missing"},
                 {"step == 2 2", "not understood at column 11"},
                 {"step == 2)", "not understood"},
                 {"and", "nothing is called 'and'"},
                 {"1 < 2 < 3", "not understood"},
                 {"$", "missing at column 1"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct status status = STATUS_NONE;
        assert_null(condition_parse(cases[i].text, &status));
        if (!strstr(status.text, cases[i].says))
            fail_msg("'%s' gives: %s", cases[i].text, status.text);
    }
}

/* Nesting that would cost stack or memory is refused, not followed. */
static void test_deep(void **state)
{
    (void)state;
    static const char *const pieces[] = {"(", "-", "!", "not ", "1+", "(-(!"};
    for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
        struct text text = {0};
        struct status status = STATUS_NONE;
        for (int i = 0; i < 100000; i++)
            text_add(&text, pieces[p]);
        text_add(&text, "1");
        assert_null(condition_parse(text.data, &status));
        assert_int_equal(status.code, STATUS_INVALID);
        text_free(&text);
    }
}

/* Writes a random fully bracketed expression and computes its value on the way. */
static double write_random(struct random *random, int depth, const double *v, struct text *text)
{
    if (depth == 0 || random_integer(random, 0, 3) == 0) {
        if (random_integer(random, 0, 1)) {
            int which = (int)random_integer(random, 0, VARIABLE_COUNT - 1);
            text_add(text, variable_name(which));
            return v[which];
        }
        double number = (double)random_integer(random, 0, 20) / 4;
        text_format(text, "%.17g", number);
        return number;
    }
    static const char *const words[] = {"+", "-", "*", "<", ">=", "and", "or"};
    int which = (int)random_integer(random, 0, 6);
    text_add(text, "(");
    double a = write_random(random, depth - 1, v, text);
    text_format(text, " %s ", words[which]);
    double b = write_random(random, depth - 1, v, text);
    text_add(text, ")");
    const double results[] = {a + b,           a - b, a * b, a < b, a >= b, a != 0 && b != 0,
                              a != 0 || b != 0};
    return results[which];
}

static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("conditions");
    double v[VARIABLE_COUNT];
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < VARIABLE_COUNT; i++)
            v[i] = (double)random_integer(&random, -8, 8) / 2;
        struct text text = {0};
        double expected = write_random(&random, 4, v, &text);
        double got = value_of(text.data, v);
        if (got != expected)
            fail_msg("%s gives %g, not %g", text.data, got, expected);
        text_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meaning), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_deep), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
