#include "tests/unit/engine_suite/helper_list.h"

#include "engine/base/memory.h"

struct test_list *make_list(int models, enum test_action action)
{
    struct test_list *list = memory_zeroed(1, sizeof(*list));
    list->models = memory_zeroed((size_t)models, sizeof(*list->models));
    list->model_count = models;
    for (int i = 0; i < models; i++) {
        list->models[i].name = memory_format("m%d", i);
        for (int group = 0; group < GROUP_COUNT; group++)
            list->models[i].actions[group] = action;
    }
    return list;
}

int make_test(struct test_list *list, int model, enum test_group group, const char *name)
{
    struct test_case test = {.model = model, .group = group, .groups = 1u << group};
    test.id = memory_format("m%d/%s/%s", model, test_group_name(group), name);
    test.name = memory_string(name);
    ARRAY_PUSH(list->tests, list->test_count, list->test_capacity, test);
    return list->test_count - 1;
}

void make_dependency(struct test_list *list, int test, int on)
{
    struct test_case *of = &list->tests[test];
    of->dependencies = memory_resize(of->dependencies, (size_t)of->dependency_count + 1,
                                     sizeof(*of->dependencies));
    of->dependencies[of->dependency_count++] = on;
}
