/* Selection: the whole table of actions and flags, patterns, names that do not exist. */
#include "engine/base/memory.h"
#include "engine/suite/keyword.h"
#include "tests/unit/engine_suite/helper_list.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* Columns: no flag, --skip-slow, --run-extra-slow, both. */
static const struct {
    enum test_action action;
    bool runs[4];
} table[] = {
    {ACTION_MAIN, {true, true, true, true}},
    {ACTION_NORMAL, {true, false, true, false}},
    {ACTION_UNIMPORTANT, {false, false, true, true}},
    {ACTION_BROKEN, {false, false, true, true}},
    {ACTION_NOT_IMPLEMENTED, {false, false, false, false}},
};

static void test_table(void **state)
{
    (void)state;
    for (int row = 0; row < 5; row++)
        for (int flags = 0; flags < 4; flags++) {
            struct test_list *list = make_list(1, table[row].action);
            struct selection selection = {.skip_slow = flags & 1, .run_extra_slow = flags & 2};
            struct test_choice choice;
            struct status status = STATUS_NONE;
            make_test(list, 0, GROUP_BASIC, "simple");
            assert_true(selection_apply(&selection, list, &choice, &status));
            assert_int_equal(choice.choice == CHOICE_RUN, table[row].runs[flags]);
            assert_int_equal(choice.reason[0] == '\0', table[row].runs[flags]);
            if (table[row].action == ACTION_NOT_IMPLEMENTED)
                assert_int_equal(choice.choice, CHOICE_NOT_BUILT);
            test_list_free(list);
        }
}

/* A test of several groups runs only if each of them does: all pairs, all flags. */
static void test_several_groups(void **state)
{
    (void)state;
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < 5; b++)
            for (int flags = 0; flags < 4; flags++) {
                struct test_list *list = make_list(1, ACTION_MAIN);
                int test = make_test(list, 0, GROUP_DISTRIBUTED, "save_load");
                list->tests[test].groups |= 1u << GROUP_CONVERT;
                list->models[0].actions[GROUP_DISTRIBUTED] = table[a].action;
                list->models[0].actions[GROUP_CONVERT] = table[b].action;
                struct selection selection = {.skip_slow = flags & 1, .run_extra_slow = flags & 2};
                struct test_choice choice;
                struct status status = STATUS_NONE;
                assert_true(selection_apply(&selection, list, &choice, &status));
                assert_int_equal(choice.choice == CHOICE_RUN,
                                 table[a].runs[flags] && table[b].runs[flags]);
                test_list_free(list);
            }
}

static struct test_list *two_models(void)
{
    struct test_list *list = make_list(2, ACTION_MAIN);
    for (int model = 0; model < 2; model++) {
        make_test(list, model, GROUP_BASIC, "simple"); /* 0, 4 */
        make_test(list, model, GROUP_BASIC, "bf4");
        make_test(list, model, GROUP_BASIC, "bf4_z2");
        make_test(list, model, GROUP_DISTRIBUTED, "dp2");
    }
    return list;
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *matches; /* one letter for each test */
    } cases[] = {
        {"m0", "yyyynnnn"},
        {"m0/basic", "yyynnnnn"},
        {"m0/basic/", "yyynnnnn"},
        {"m0/basic/bf4", "nynnnnnn"},
        {"m0/bf4", "nynnnnnn"},
        {"m1/dp2", "nnnnnnny"},
        {"*/basic/bf4*", "nyynnyyn"},
        {"m?/*/dp2", "nnnynnny"},
        {"m0/bas", "nnnnnnnn"},
        {"bf4", "nnnnnnnn"},
        {"", "nnnnnnnn"},
        {"m", "nnnnnnnn"},
        {"m0/basic/bf", "nnnnnnnn"},
        {"m[01]/basic/simple", "ynnnynnn"},
    };
    struct test_list *list = two_models();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int test = 0; test < list->test_count; test++)
            assert_int_equal(test_matches(list, test, cases[i].pattern),
                             cases[i].matches[test] == 'y');
    test_list_free(list);
}

/* Patterns, models and groups all have to agree. */
static void test_filters(void **state)
{
    (void)state;
    const char *models[] = {"m1"}, *groups[] = {"basic"}, *patterns[] = {"*/*/bf4", "*/*/dp2"};
    struct selection selection = {.patterns = patterns,
                                  .pattern_count = 2,
                                  .models = models,
                                  .model_count = 1,
                                  .groups = groups,
                                  .group_count = 1};
    struct test_choice choices[8];
    struct status status = STATUS_NONE;
    struct test_list *list = two_models();
    assert_true(selection_apply(&selection, list, choices, &status));
    for (int test = 0; test < 8; test++)
        assert_int_equal(choices[test].choice, test == 5 ? CHOICE_RUN
                                               : test == 1 || test == 3 || test == 7
                                                   ? CHOICE_UNASKED
                                                   : CHOICE_UNNAMED);
    assert_string_equal(choices[1].reason, "Skipping model m0");
    test_list_free(list);
}

static void expect_failure(const struct test_list *list, const struct selection *selection,
                           const char *part)
{
    struct test_choice choices[8];
    struct status status = STATUS_NONE;
    assert_false(selection_apply(selection, list, choices, &status));
    assert_int_equal(status.code, STATUS_NOT_FOUND);
    if (!strstr(status.text, part))
        fail_msg("\"%s\" lacks \"%s\"", status.text, part);
}

static void test_unknown_names(void **state)
{
    (void)state;
    const char *model[] = {"m11"}, *group[] = {"basics"}, *pattern[] = {"m0/simpel"};
    struct test_list *list = two_models();
    expect_failure(list, &(struct selection){.models = model, .model_count = 1}, "m1?");
    expect_failure(list, &(struct selection){.groups = group, .group_count = 1}, "basic?");
    expect_failure(list, &(struct selection){.patterns = pattern, .pattern_count = 1},
                   "m0/simple?");
    test_list_free(list);
}

/* The list of the built-in configurations. */
static void test_real_list(void **state)
{
    (void)state;
    const char *models[] = {"llama"}, *wrong[] = {"lama"};
    struct status status = STATUS_NONE;
    struct test_list *list = test_list_create(NULL, models, 1, &status);
    assert_non_null(list);
    int bf4 = test_list_find(list, "llama/basic/bf4");
    int simple = test_list_find(list, "llama/basic/simple");
    int df4 = test_list_find(list, "llama/basic/df4");
    assert_true(simple >= 0 && df4 >= 0 && bf4 > df4);
    assert_int_equal(list->tests[bf4].kind, TEST_COMPARISON);
    assert_string_equal(list->tests[bf4].reference, "df4");
    assert_int_equal(list->tests[bf4].dependency_count, 2);
    assert_int_equal(list->tests[bf4].dependencies[0], simple);
    assert_int_equal(list->tests[bf4].dependencies[1], df4);
    assert_int_equal(list->tests[simple].dependency_count, 0);
    int distributed = test_list_find(list, "llama/distributed/stp2");
    assert_int_equal(list->tests[distributed].kind, TEST_DISTRIBUTED);
    assert_int_equal(list->tests[distributed].ranks, 2);
    assert_string_equal(list->tests[distributed].reference, "simple");
    /* dp2_z2 compares with dp2, which has several ranks and compares with df2 */
    assert_string_equal(list->tests[test_list_find(list, "llama/distributed/dp2_z2")].reference,
                        "df2");
    assert_int_equal(list->tests[test_list_find(list, "llama/convert")].kind, TEST_NOT_BUILT);
    int basic = 0;
    for (int i = 0; i < list->test_count; i++)
        basic += list->tests[i].group == GROUP_BASIC;
    assert_int_equal(basic, 12); /* 11 variants of the facts, section 5.1, and frozen weights */
    test_list_free(list);
    assert_null(test_list_create(NULL, wrong, 1, &status));
    assert_non_null(strstr(status.text, "did you mean llama?"));
}

/* Expressions on ids as pytest's -k, evaluated for random ids and compared with what they mean. */
static void test_keywords(void **state)
{
    static const char *const bad[][2] = {
        {"", "column 1: expected a part"},      {"ce4 or", "column 7: expected a part"},
        {"(ce4", "column 5: expected and, or"}, {"ce4 bf16", "column 5: expected and, or"},
        {"not", "column 4: expected a part"},   {"ce4 and or bf4", "column 9: expected a part"},
        {"()", "column 2: expected a part"},    {"ce4)", "column 4: expected and, or"},
    };
    (void)state;
    struct random random = random_start("keywords");
    for (int i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct status status = STATUS_NONE;
        assert_false(keyword_check(bad[i][0], &status));
        if (!strstr(status.text, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], status.text);
    }
    char deep[4001];
    memset(deep, '(', 4000);
    deep[4000] = '\0';
    struct status status = STATUS_NONE;
    assert_false(keyword_check(deep, &status));
    for (int i = 0; i < 200; i++) {
        bool a = random_integer(&random, 0, 1), b = random_integer(&random, 0, 1);
        bool c = random_integer(&random, 0, 1);
        char id[64];
        snprintf(id, sizeof(id), "llama/%s/%s%s", a ? "ALPHA" : "x", b ? "beta" : "y",
                 c ? "Gamma+4" : "z");
        assert_int_equal(keyword_matches("alpha", id), a);
        assert_int_equal(keyword_matches("not alpha", id), !a);
        assert_int_equal(keyword_matches("alpha or beta and gamma+4", id), a || (b && c));
        assert_int_equal(keyword_matches("(alpha or beta) and gamma+4", id), (a || b) && c);
        assert_int_equal(keyword_matches("not alpha and not (beta or gamma)", id), !a && !b && !c);
        assert_int_equal(keyword_matches("not(alpha or not beta)", id), !(a || !b));
        assert_true(keyword_matches("LLAMA/", id));
        assert_false(keyword_matches("notalpha", id));
    }
}

/* With patterns, and with what runs because others depend on it. */
static void test_keyword_selects(void **state)
{
    (void)state;
    struct test_list *list = make_list(2, ACTION_MAIN);
    struct test_choice choices[6];
    struct status status = STATUS_NONE;
    for (int model = 0; model < 2; model++) {
        make_test(list, model, GROUP_BASIC, "simple");
        make_test(list, model, GROUP_BASIC, "ce4");
        make_test(list, model, GROUP_BASIC, "bf4");
    }
    const char *first = test_model_name(list, 0);
    struct selection selection = {
        .patterns = &first, .pattern_count = 1, .keyword = "ce4 or nothing"};
    assert_true(selection_apply(&selection, list, choices, &status));
    for (int i = 0; i < 6; i++)
        assert_int_equal(choices[i].choice, i == 1 ? CHOICE_RUN : CHOICE_UNNAMED);
    selection.keyword = "ce4 or";
    assert_false(selection_apply(&selection, list, choices, &status));
    assert_non_null(strstr(status.text, "-k: \"ce4 or\", column 7"));
    test_list_free(list);
}

/* Those that failed before: the only ones with what they depend on, or the first. */
static void test_last_failed(void **state)
{
    (void)state;
    struct test_list *list = make_list(1, ACTION_MAIN);
    static const char *const names[] = {"simple", "df4", "ce4", "bf4", "dp2"};
    struct test_choice choices[5];
    struct status status = STATUS_NONE;
    int order[5];
    for (int i = 0; i < 5; i++)
        make_test(list, 0, GROUP_BASIC, names[i]);
    for (int i = 1; i < 5; i++)
        make_dependency(list, i, 0);
    make_dependency(list, 3, 1);
    struct names failed = {0};
    names_set(&failed, "m0/basic/gone", 1);
    struct selection selection = {.failed = &failed, .keyword = "not dp2"};
    assert_true(selection_apply(&selection, list, choices, &status));
    assert_int_equal(selection_order(list, choices, order), 4); /* none of them failed */
    names_set(&failed, "m0/basic/dp2", 1);                      /* not asked for */
    names_set(&failed, list->tests[3].id, 1);
    assert_true(selection_apply(&selection, list, choices, &status));
    static const enum choice alone[] = {CHOICE_DEPENDENCY, CHOICE_DEPENDENCY, CHOICE_UNASKED,
                                        CHOICE_RUN, CHOICE_UNNAMED};
    for (int i = 0; i < 5; i++)
        assert_int_equal(choices[i].choice, alone[i]);
    assert_string_equal(choices[2].reason, "It did not fail last time");
    assert_true(choices[3].first);
    selection.failed_first = true;
    assert_true(selection_apply(&selection, list, choices, &status));
    static const int expected[] = {0, 1, 3, 2};
    assert_int_equal(selection_order(list, choices, order), 4);
    assert_memory_equal(order, expected, sizeof(expected));
    names_free(&failed);
    test_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_failed),    cmocka_unit_test(test_table),
        cmocka_unit_test(test_keywords),       cmocka_unit_test(test_keyword_selects),
        cmocka_unit_test(test_several_groups), cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_filters),        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_real_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
