/* The order in which tests run, and which of them hang together. */
#include "engine/base/memory.h"
#include "engine/suite/selection.h"

#include <stdlib.h>

bool choice_runs(const struct test_choice *choice)
{
    return choice->choice == CHOICE_RUN || choice->choice == CHOICE_DEPENDENCY;
}

/* Appends `test` after what it depends on. Dependencies are made of references between variants,
 * of which the configuration has checked that they do not go in circles; `seen` ends a circle all
 * the same. */
static void append(const struct test_list *list, const struct test_choice *choices, int test,
                   bool *seen, int *order, int *count)
{
    if (seen[test] || !choice_runs(&choices[test]))
        return;
    seen[test] = true;
    for (int i = 0; i < list->tests[test].dependency_count; i++)
        append(list, choices, list->tests[test].dependencies[i], seen, order, count);
    order[(*count)++] = test;
}

int selection_order(const struct test_list *list, const struct test_choice *choices, int *order)
{
    bool *seen = memory_zeroed((size_t)list->test_count, sizeof(*seen));
    int count = 0;
    for (int test = 0; test < list->test_count; test++)
        if (choices[test].first)
            append(list, choices, test, seen, order, &count);
    for (int test = 0; test < list->test_count; test++)
        append(list, choices, test, seen, order, &count);
    free(seen);
    return count;
}

static int root_of(int *parent, int test)
{
    while (parent[test] != test)
        test = parent[test] = parent[parent[test]];
    return test;
}

/* Union of every test in `order` with those of its dependencies that are in `order`, too. */
static void join(const struct test_list *list, const int *order, int count, int *parent)
{
    bool *running = memory_zeroed((size_t)list->test_count, sizeof(*running));
    for (int i = 0; i < count; i++)
        running[order[i]] = true;
    for (int i = 0; i < count; i++) {
        const struct test_case *of = &list->tests[order[i]];
        for (int k = 0; k < of->dependency_count; k++)
            if (running[of->dependencies[k]])
                parent[root_of(parent, order[i])] = root_of(parent, of->dependencies[k]);
    }
    free(running);
}

/* The root of the largest group without a number yet (the first of equals), -1 if none has two. */
static int next_group(const int *order, int count, const int *parent, const int *sizes,
                      const int *numbers)
{
    int best = -1;
    for (int i = 0; i < count; i++) {
        int root = parent[order[i]];
        if (numbers[root] < 0 && sizes[root] > 1 && (best < 0 || sizes[root] > sizes[best]))
            best = root;
    }
    return best;
}

int selection_groups(const struct test_list *list, const int *order, int count, int *group_of)
{
    size_t tests = (size_t)list->test_count;
    int *parent = memory_zeroed(tests, sizeof(int)), *sizes = memory_zeroed(tests, sizeof(int));
    int *numbers = memory_zeroed(tests, sizeof(int));
    int groups = 0;
    for (int i = 0; i < list->test_count; i++) {
        parent[i] = i;
        numbers[i] = group_of[i] = -1;
    }
    join(list, order, count, parent);
    for (int i = 0; i < count; i++) {
        parent[order[i]] = root_of(parent, order[i]);
        sizes[parent[order[i]]]++;
    }
    for (int root; (root = next_group(order, count, parent, sizes, numbers)) >= 0;)
        numbers[root] = groups++;
    for (int i = 0; i < count; i++)
        group_of[order[i]] = numbers[parent[order[i]]];
    free(parent);
    free(sizes);
    free(numbers);
    return groups;
}
