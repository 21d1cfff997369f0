/* Order and groups of tests, on random graphs of dependencies. */
#include "tests/unit/engine_suite/helper_list.h"
#include "tests/unit/random.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

enum { TESTS = 40, ROUNDS = 200 };

/* A random graph without circles: edges go from a random rank to a lower one, so that a test may
 * depend on one that is listed after it. */
static struct test_list *random_list(struct random *random)
{
    struct test_list *list = make_list(1, ACTION_NORMAL);
    int rank[TESTS];
    for (int i = 0; i < TESTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        make_test(list, 0, GROUP_BASIC, name);
        rank[i] = (int)random_integer(random, 0, 1000);
    }
    int edges = (int)random_integer(random, 0, TESTS);
    for (int i = 0; i < edges; i++) {
        int a = (int)random_integer(random, 0, TESTS - 1);
        int b = (int)random_integer(random, 0, TESTS - 1);
        if (rank[a] > rank[b])
            make_dependency(list, a, b);
    }
    return list;
}

static bool runs(const struct test_choice *choice)
{
    return choice->choice == CHOICE_RUN || choice->choice == CHOICE_DEPENDENCY;
}

static void check_order(const struct test_list *list, const struct test_choice *choices,
                        const int *order, int count)
{
    int place[TESTS];
    for (int i = 0; i < TESTS; i++)
        place[i] = -1;
    for (int i = 0; i < count; i++) {
        assert_int_equal(place[order[i]], -1); /* once */
        place[order[i]] = i;
    }
    for (int i = 0; i < TESTS; i++) {
        assert_int_equal(place[i] >= 0, runs(&choices[i]));
        for (int k = 0; place[i] >= 0 && k < list->tests[i].dependency_count; k++) {
            int on = list->tests[i].dependencies[k];
            assert_true(place[on] >= 0 && place[on] < place[i]);
        }
    }
}

/* Labels spread along edges until nothing changes. */
static void check_groups(const struct test_list *list, const int *order, int count,
                         const int *group_of, int groups)
{
    int label[TESTS], sizes[TESTS] = {0};
    bool changed = true;
    for (int i = 0; i < TESTS; i++)
        label[i] = -1;
    for (int i = 0; i < count; i++)
        label[order[i]] = order[i];
    while (changed) {
        changed = false;
        for (int i = 0; i < TESTS; i++)
            for (int k = 0; label[i] >= 0 && k < list->tests[i].dependency_count; k++) {
                int *other = &label[list->tests[i].dependencies[k]];
                if (*other < 0 || *other == label[i])
                    continue;
                changed = true;
                *other = label[i] = *other < label[i] ? *other : label[i];
            }
    }
    for (int i = 0; i < TESTS; i++)
        for (int k = 0; k < TESTS; k++)
            if (i != k && label[i] >= 0 && label[i] == label[k])
                assert_true(group_of[i] >= 0 && group_of[i] == group_of[k]);
            else if (i != k && group_of[i] >= 0)
                assert_int_not_equal(group_of[i], group_of[k]);
    for (int i = 0; i < TESTS; i++)
        if (group_of[i] >= 0)
            sizes[group_of[i]]++;
    for (int group = 0; group < groups; group++)
        assert_true(sizes[group] > 1 && (group == 0 || sizes[group] <= sizes[group - 1]));
}

static void test_random_graphs(void **state)
{
    (void)state;
    struct random random = random_start("order");
    for (int round = 0; round < ROUNDS; round++) {
        struct test_list *list = random_list(&random);
        const char *patterns[3];
        for (int i = 0; i < 3; i++)
            patterns[i] = list->tests[random_integer(&random, 0, TESTS - 1)].id;
        struct selection selection = {.patterns = patterns,
                                      .pattern_count = (int)random_integer(&random, 0, 3)};
        struct test_choice choices[TESTS];
        struct status status = STATUS_NONE;
        int order[TESTS], group_of[TESTS];
        assert_true(selection_apply(&selection, list, choices, &status));
        int count = selection_order(list, choices, order);
        check_order(list, choices, order, count);
        int groups = selection_groups(list, order, count, group_of);
        check_groups(list, order, count, group_of, groups);
        test_list_free(list);
    }
}

/* Without dependencies the listed order stays, and nothing hangs together. */
static void test_stable(void **state)
{
    (void)state;
    struct test_list *list = make_list(1, ACTION_MAIN);
    struct test_choice choices[3];
    struct status status = STATUS_NONE;
    int order[3], group_of[3];
    make_test(list, 0, GROUP_BASIC, "c");
    make_test(list, 0, GROUP_BASIC, "a");
    make_test(list, 0, GROUP_BASIC, "b");
    assert_true(selection_apply(&(struct selection){0}, list, choices, &status));
    assert_int_equal(selection_order(list, choices, order), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(selection_groups(list, order, 3, group_of), 0);
    test_list_free(list);
}

/* A dependency that its action drops is run all the same; one that cannot run is not chosen. */
static void test_dropped_dependency(void **state)
{
    (void)state;
    struct test_list *list = make_list(2, ACTION_MAIN);
    struct test_choice choices[3];
    struct status status = STATUS_NONE;
    list->models[1].actions[GROUP_BASIC] = ACTION_UNIMPORTANT;
    list->models[1].actions[GROUP_CONVERT] = ACTION_NOT_IMPLEMENTED;
    int test = make_test(list, 0, GROUP_BASIC, "a");
    int dropped = make_test(list, 1, GROUP_BASIC, "b");
    int impossible = make_test(list, 1, GROUP_CONVERT, "c");
    make_dependency(list, test, dropped);
    make_dependency(list, test, impossible);
    assert_true(selection_apply(&(struct selection){0}, list, choices, &status));
    assert_int_equal(choices[test].choice, CHOICE_RUN);
    assert_int_equal(choices[dropped].choice, CHOICE_DEPENDENCY);
    assert_int_equal(choices[impossible].choice, CHOICE_NOT_BUILT);
    test_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_stable),
        cmocka_unit_test(test_dropped_dependency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
