#include "engine/suite/tests.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"

#include <stdlib.h>
#include <string.h>

const char *test_kind_name(enum test_kind kind)
{
    static const char *const names[] = {"baseline", "comparison", "distributed", "frozen weights",
                                        "not implemented"};
    return names[kind];
}

/* Every variant, loaded once for all models. */
struct variants {
    struct variant_config **items;
    char **names;
    int count;
};

static bool load_variants(struct variants *variants, const struct config_search *search,
                          struct status *status)
{
    variants->count = config_list_variants(search, &variants->names, status);
    if (variants->count < 0)
        return false;
    variants->items = memory_zeroed((size_t)variants->count, sizeof(*variants->items));
    for (int i = 0; i < variants->count; i++)
        if (!(variants->items[i] = variant_load(search, variants->names[i], status)))
            return false;
    return variants_check(variants->items, variants->count, status);
}

static struct test_case *add_test(struct test_list *list, int model, enum test_group group,
                                  const char *name)
{
    const char *model_name = list->models[model].name, *group_name = test_group_name(group);
    struct test_case test = {.model = model, .group = group, .groups = 1u << group};
    test.id = name[0] ? memory_format("%s/%s/%s", model_name, group_name, name)
                      : memory_format("%s/%s", model_name, group_name);
    test.name = memory_string(name);
    test.requires_cuda = list->models[model].requires_cuda;
    ARRAY_PUSH(list->tests, list->test_count, list->test_capacity, test);
    return &list->tests[list->test_count - 1];
}

/* The single-process run that a variant goes back to. Tensors have one name in every layout, so
 * that the chain of comparisons between layouts can be cut short. */
static const char *reference_of(const struct variants *variants,
                                const struct variant_config *variant)
{
    const char *name = variant->compares_with;
    for (int i = 0; name && i < variants->count; i++)
        if (strcmp(variants->items[i]->name, name) == 0 && variants->items[i]->ranks > 1) {
            name = variants->items[i]->compares_with;
            i = -1;
        }
    return name;
}

static void add_variant_test(struct test_list *list, int model, const struct config *config,
                             const struct variants *variants, const struct variant_config *variant)
{
    struct test_case *test = add_test(list, model, variant->group, variant->name);
    test->variant = memory_string(variant->name);
    test->reference = memory_string(reference_of(variants, variant));
    test->ranks = variant->ranks > 1 ? variant->ranks : 1;
    test->requires_cuda = test->requires_cuda || variant->requires_cuda;
    test->unsupported = config_skips_variant(config, variant->name);
    test->kind = variant->ranks > 1       ? TEST_DISTRIBUTED
                 : variant->compares_with ? TEST_COMPARISON
                                          : TEST_BASELINE;
}

static void add_dependency(struct test_list *list, int test, const char *variant)
{
    struct test_case *of = &list->tests[test];
    char *id = memory_format("%s/%s/%s", test_model_name(list, test), test_group_name(GROUP_BASIC),
                             variant);
    int on = test_list_find(list, id);
    free(id);
    if (on < 0 || on == test)
        return;
    for (int i = 0; i < of->dependency_count; i++)
        if (of->dependencies[i] == on)
            return;
    of->dependencies = memory_resize(of->dependencies, (size_t)of->dependency_count + 1,
                                     sizeof(*of->dependencies));
    of->dependencies[of->dependency_count++] = on;
}

/* Every variant depends on the model's plain run, and on what it is compared with; one that is
 * skipped in any case depends on nothing. */
static void add_dependencies(struct test_list *list, int first)
{
    for (int i = first; i < list->test_count; i++) {
        if (!list->tests[i].variant || list->tests[i].unsupported)
            continue;
        add_dependency(list, i, "simple");
        if (list->tests[i].reference)
            add_dependency(list, i, list->tests[i].reference);
    }
}

static bool add_model(struct test_list *list, const struct config_search *search, const char *name,
                      const struct variants *variants, struct status *status)
{
    struct config *config = config_load(search, name, status);
    if (!config)
        return false;
    int model = list->model_count++, first = list->test_count;
    struct tested_model *tested = &list->models[model];
    tested->name = memory_string(name);
    tested->requires_cuda = config->requires_cuda;
    memcpy(tested->actions, config->groups, sizeof(tested->actions));
    for (int i = 0; i < variants->count; i++)
        if (variants->items[i]->group == GROUP_BASIC)
            add_variant_test(list, model, config, variants, variants->items[i]);
    add_test(list, model, GROUP_BASIC, "frozen")->kind = TEST_FROZEN;
    for (int group = GROUP_BASIC + 1; group < GROUP_COUNT; group++)
        if (group != GROUP_DISTRIBUTED)
            add_test(list, model, (enum test_group)group, "")->kind = TEST_NOT_BUILT;
    for (int i = 0; i < variants->count; i++)
        if (variants->items[i]->group == GROUP_DISTRIBUTED)
            add_variant_test(list, model, config, variants, variants->items[i]);
    add_dependencies(list, first);
    config_free(config);
    return true;
}

static bool check_names(const char *const *wanted, int wanted_count, char **names, int count,
                        struct status *status)
{
    for (int i = 0; i < wanted_count; i++) {
        bool found = false;
        for (int k = 0; k < count && !found; k++)
            found = strcmp(wanted[i], names[k]) == 0;
        if (found)
            continue;
        const char *closest = names_closest(wanted[i], (const char *const *)names, count);
        return status_fail(status, STATUS_NOT_FOUND, "no model \"%s\"%s%s%s", wanted[i],
                           closest ? "; did you mean " : " (see lockstep list models)",
                           closest ? closest : "", closest ? "?" : "");
    }
    return true;
}

static bool is_wanted(const char *name, const char *const *wanted, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(name, wanted[i]) == 0)
            return true;
    return count == 0;
}

static bool add_models(struct test_list *list, const struct config_search *search,
                       const char *const *wanted, int wanted_count, const struct variants *variants,
                       struct status *status)
{
    char **names = NULL;
    int count = config_list_models(search, &names, status);
    bool ok = count >= 0 && check_names(wanted, wanted_count, names, count, status);
    list->models = memory_zeroed(count > 0 ? (size_t)count : 0, sizeof(*list->models));
    for (int i = 0; ok && i < count; i++)
        if (is_wanted(names[i], wanted, wanted_count))
            ok = add_model(list, search, names[i], variants, status);
    if (count >= 0)
        config_names_free(names, count);
    return ok;
}

struct test_list *test_list_create(const struct config_search *search, const char *const *models,
                                   int model_count, struct status *status)
{
    struct test_list *list = memory_zeroed(1, sizeof(*list));
    struct variants variants = {0};
    bool ok = load_variants(&variants, search, status) &&
              add_models(list, search, models, model_count, &variants, status);
    for (int i = 0; variants.items && i < variants.count; i++)
        variant_free(variants.items[i]);
    free(variants.items);
    list->variants = variants.names;
    list->variant_count = variants.count > 0 ? variants.count : 0;
    if (ok)
        return list;
    test_list_free(list);
    return NULL;
}

void test_list_free(struct test_list *list)
{
    if (!list)
        return;
    for (int i = 0; i < list->test_count; i++) {
        free(list->tests[i].id);
        free(list->tests[i].name);
        free(list->tests[i].variant);
        free(list->tests[i].reference);
        free(list->tests[i].dependencies);
    }
    for (int i = 0; i < list->model_count; i++)
        free(list->models[i].name);
    if (list->variants)
        config_names_free(list->variants, list->variant_count);
    free(list->tests);
    free(list->models);
    free(list);
}

int test_list_find(const struct test_list *list, const char *id)
{
    for (int i = 0; i < list->test_count; i++)
        if (strcmp(list->tests[i].id, id) == 0)
            return i;
    return -1;
}

const char *test_model_name(const struct test_list *list, int test)
{
    return list->models[list->tests[test].model].name;
}

enum test_action test_action_of(const struct test_list *list, int test)
{
    static const enum test_action weaker[] = {ACTION_MAIN, ACTION_NORMAL, ACTION_UNIMPORTANT,
                                              ACTION_BROKEN, ACTION_NOT_IMPLEMENTED};
    const struct test_case *of = &list->tests[test];
    int weakest = 0;
    for (int group = 0; group < GROUP_COUNT; group++)
        for (int i = 0; i < ARRAY_LENGTH(weaker); i++)
            if ((of->groups & (1u << group)) &&
                list->models[of->model].actions[group] == weaker[i] && i > weakest)
                weakest = i;
    return weaker[weakest];
}
