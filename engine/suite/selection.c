#include "engine/suite/selection.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/suite/keyword.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool action_runs(enum test_action action, bool skip_slow, bool run_extra_slow)
{
    switch (action) {
    case ACTION_MAIN:
        return true;
    case ACTION_NORMAL:
        return !skip_slow;
    case ACTION_UNIMPORTANT:
    case ACTION_BROKEN:
        return run_extra_slow;
    case ACTION_NOT_IMPLEMENTED:
        return false;
    }
    return false;
}

/* The first of the test's groups whose action does not run, or GROUP_COUNT if all do. */
static enum test_group test_dropped_by(const struct test_list *list, int test, bool skip_slow,
                                       bool run_extra_slow)
{
    const struct test_case *of = &list->tests[test];
    const enum test_action *actions = list->models[of->model].actions;
    int group = 0;
    while (group < GROUP_COUNT && (!(of->groups & (1u << group)) ||
                                   action_runs(actions[group], skip_slow, run_extra_slow)))
        group++;
    return (enum test_group)group;
}

static bool is_glob(const char *pattern)
{
    return strpbrk(pattern, "*?[") != NULL;
}

/* Whether `id` is `pattern` or something in it: "llama/basic" holds "llama/basic/ce4". */
static bool is_within(const char *id, const char *pattern)
{
    size_t length = strlen(pattern);
    while (length > 0 && pattern[length - 1] == '/')
        length--;
    return length > 0 && strncmp(id, pattern, length) == 0 &&
           (id[length] == '\0' || id[length] == '/');
}

/* MODEL/NAME, as runs are called. */
static bool is_short_name(const char *model, const char *name, const char *pattern)
{
    size_t length = strlen(model);
    return name[0] && strncmp(pattern, model, length) == 0 && pattern[length] == '/' &&
           strcmp(pattern + length + 1, name) == 0;
}

bool test_matches(const struct test_list *list, int test, const char *pattern)
{
    const struct test_case *of = &list->tests[test];
    if (is_glob(pattern))
        return fnmatch(pattern, of->id, 0) == 0;
    return is_within(of->id, pattern) ||
           is_short_name(test_model_name(list, test), of->name, pattern);
}

static bool is_any_of(const char *name, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(name, words[i]) == 0)
            return true;
    return count == 0;
}

/* `kind`: also what `lockstep list` calls them, without the s. */
static bool unknown_name(const char *kind, const char *word, const char *const *candidates,
                         int count, struct status *status)
{
    const char *closest = names_closest(word, candidates, count);
    if (closest)
        return status_fail(status, STATUS_NOT_FOUND, "no %s \"%s\"; did you mean %s?", kind, word,
                           closest);
    return status_fail(status, STATUS_NOT_FOUND, "no %s \"%s\" (see lockstep list %ss)", kind, word,
                       kind);
}

static bool check_groups(const struct selection *selection, struct status *status)
{
    const char *names[GROUP_COUNT];
    for (int i = 0; i < GROUP_COUNT; i++)
        names[i] = test_group_name((enum test_group)i);
    for (int i = 0; i < selection->group_count; i++)
        if (!is_any_of(selection->groups[i], names, GROUP_COUNT))
            return unknown_name("group", selection->groups[i], names, GROUP_COUNT, status);
    return true;
}

static bool check_models(const struct selection *selection, const struct test_list *list,
                         struct status *status)
{
    const char **names = memory_zeroed((size_t)list->model_count, sizeof(*names));
    bool ok = true;
    for (int i = 0; i < list->model_count; i++)
        names[i] = list->models[i].name;
    for (int i = 0; ok && i < selection->model_count; i++)
        if (list->model_count == 0 || !is_any_of(selection->models[i], names, list->model_count))
            ok = unknown_name("model", selection->models[i], names, list->model_count, status);
    free(names);
    return ok;
}

/* A test of the same model and name in another group than MODEL/GROUP/NAME says; NULL: none. */
static const char *in_other_group(const struct test_list *list, const char *pattern)
{
    const char *first = strchr(pattern, '/'), *last = strrchr(pattern, '/');
    for (int i = 0; first && last > first && i < list->test_count; i++) {
        const char *model = test_model_name(list, i);
        if (strlen(model) == (size_t)(first - pattern) &&
            strncmp(model, pattern, (size_t)(first - pattern)) == 0 && list->tests[i].name[0] &&
            strcmp(list->tests[i].name, last + 1) == 0)
            return list->tests[i].id;
    }
    return NULL;
}

/* The closest of ids, their first parts and MODEL/NAME, for a pattern that names nothing. */
static bool unknown_pattern(const struct test_list *list, const char *pattern,
                            struct status *status)
{
    char **names = NULL;
    int count = 0, capacity = 0;
    const char *other = in_other_group(list, pattern);
    if (other)
        return status_fail(status, STATUS_NOT_FOUND, "no test \"%s\"; did you mean %s?", pattern,
                           other);
    for (int i = 0; i < list->model_count; i++)
        ARRAY_PUSH(names, count, capacity, memory_string(list->models[i].name));
    for (int i = 0; i < list->test_count; i++) {
        const struct test_case *of = &list->tests[i];
        ARRAY_PUSH(names, count, capacity, memory_string(of->id));
        const char *last = strrchr(of->id, '/');
        ARRAY_PUSH(names, count, capacity, memory_string_part(of->id, (size_t)(last - of->id)));
        if (of->name[0])
            ARRAY_PUSH(names, count, capacity,
                       memory_format("%s/%s", test_model_name(list, i), of->name));
    }
    unknown_name("test", pattern, (const char *const *)names, count, status);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return false;
}

static bool check_patterns(const struct selection *selection, const struct test_list *list,
                           struct status *status)
{
    for (int i = 0; i < selection->pattern_count; i++) {
        bool found = false;
        for (int test = 0; test < list->test_count && !found; test++)
            found = test_matches(list, test, selection->patterns[i]);
        if (!found)
            return unknown_pattern(list, selection->patterns[i], status);
    }
    return true;
}

static enum choice asked_for(const struct selection *selection, const struct test_list *list,
                             int test, char reason[200])
{
    const char *model = test_model_name(list, test);
    const char *group = test_group_name(list->tests[test].group);
    bool matches = selection->pattern_count == 0;
    for (int i = 0; i < selection->pattern_count && !matches; i++)
        matches = test_matches(list, test, selection->patterns[i]);
    if (matches && selection->keyword)
        matches = keyword_matches(selection->keyword, list->tests[test].id);
    if (!is_any_of(model, selection->models, selection->model_count))
        snprintf(reason, 200, "Skipping model %.100s", model);
    else if (!is_any_of(group, selection->groups, selection->group_count))
        snprintf(reason, 200, "Skipping group %s", group);
    else if (!matches)
        snprintf(reason, 200, "No pattern names it");
    return reason[0] == '\0' ? CHOICE_RUN : matches ? CHOICE_UNASKED : CHOICE_UNNAMED;
}

/* Why the action of `group` keeps the test from running. */
static void drop(const struct test_list *list, int test, enum test_group group,
                 struct test_choice *choice)
{
    enum test_action action = list->models[list->tests[test].model].actions[group];
    const char *model = test_model_name(list, test);
    if (action == ACTION_NOT_IMPLEMENTED) {
        choice->choice = CHOICE_NOT_BUILT;
        snprintf(choice->reason, sizeof(choice->reason),
                 "Group %s is not implemented for model %.100s.", test_group_name(group), model);
        return;
    }
    choice->choice = CHOICE_DROPPED;
    snprintf(choice->reason, sizeof(choice->reason),
             "Skipping testing group %s for model %.100s. (%s, %s)", test_group_name(group), model,
             test_action_name(action),
             action == ACTION_NORMAL ? "--skip-slow" : "needs --run-extra-slow");
}

static void choose(const struct selection *selection, const struct test_list *list, int test,
                   struct test_choice *choice)
{
    const struct test_case *of = &list->tests[test];
    *choice = (struct test_choice){.choice = CHOICE_RUN};
    choice->choice = asked_for(selection, list, test, choice->reason);
    if (choice->choice != CHOICE_RUN)
        return;
    enum test_group group =
        test_dropped_by(list, test, selection->skip_slow, selection->run_extra_slow);
    if (group != GROUP_COUNT) {
        drop(list, test, group, choice);
    } else if (of->kind == TEST_NOT_BUILT) {
        choice->choice = CHOICE_NOT_BUILT;
        snprintf(choice->reason, sizeof(choice->reason), "Group %s is not implemented yet.",
                 test_group_name(of->group));
    }
}

static void add_dependencies(const struct test_list *list, struct test_choice *choices, int test)
{
    for (int i = 0; i < list->tests[test].dependency_count; i++) {
        int on = list->tests[test].dependencies[i];
        if (choices[on].choice != CHOICE_UNNAMED && choices[on].choice != CHOICE_UNASKED &&
            choices[on].choice != CHOICE_DROPPED)
            continue;
        choices[on] = (struct test_choice){.choice = CHOICE_DEPENDENCY};
        add_dependencies(list, choices, on);
    }
}

/* Of the tests that would run, those that failed before: the only ones, or the first. */
static void prefer_failed(const struct selection *selection, const struct test_list *list,
                          struct test_choice *choices)
{
    bool any = false;
    for (int test = 0; test < list->test_count; test++) {
        bool failed = names_find(selection->failed, list->tests[test].id) >= 0;
        choices[test].first = failed && choices[test].choice == CHOICE_RUN;
        any = any || choices[test].first;
    }
    for (int test = 0; any && !selection->failed_first && test < list->test_count; test++)
        if (choices[test].choice == CHOICE_RUN && !choices[test].first)
            choices[test] = (struct test_choice){.choice = CHOICE_UNASKED,
                                                 .reason = "It did not fail last time"};
}

bool selection_apply(const struct selection *selection, const struct test_list *list,
                     struct test_choice *choices, struct status *status)
{
    if (!check_models(selection, list, status) || !check_groups(selection, status) ||
        !check_patterns(selection, list, status))
        return false;
    if (selection->keyword && !keyword_check(selection->keyword, status))
        return status_context(status, "-k");
    for (int test = 0; test < list->test_count; test++)
        choose(selection, list, test, &choices[test]);
    if (selection->failed)
        prefer_failed(selection, list, choices);
    for (int test = 0; test < list->test_count; test++)
        if (choices[test].choice == CHOICE_RUN)
            add_dependencies(list, choices, test);
    return true;
}
