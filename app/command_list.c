/* lockstep list: what there is to test. */
#include "app/app.h"
#include "app/arguments.h"
#include "app/report.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"
#include "engine/suite/selection.h"

#include <stdlib.h>
#include <string.h>

static int list_groups(void)
{
    static const char *const meaning[GROUP_COUNT] = {
        "a baseline run, and variants of one rank that must agree with it",
        "saving, loading and resuming",
        "conversion between checkpoint formats",
        "generation",
        "agreement with Megatron-LM",
        "variants of several ranks",
        "training on streamed data",
        "evaluation with lm_eval",
    };
    for (int group = 0; group < GROUP_COUNT; group++)
        printf("%-12s %s%s\n", test_group_name((enum test_group)group), meaning[group],
               group == GROUP_BASIC || group == GROUP_DISTRIBUTED ? "" : " (not implemented yet)");
    return EXIT_DONE;
}

/* "basic main, checkpoint normal, ..." without the groups that the model does not implement. */
static void add_actions(const struct tested_model *model, struct text *line)
{
    bool first = true;
    for (int group = 0; group < GROUP_COUNT; group++) {
        if (model->actions[group] == ACTION_NOT_IMPLEMENTED)
            continue;
        text_format(line, "%s%s %s", first ? "" : ", ", test_group_name((enum test_group)group),
                    test_action_name(model->actions[group]));
        first = false;
    }
}

static int list_models(const struct test_list *list)
{
    struct text line = {0};
    size_t width = 16;
    for (int i = 0; i < list->model_count; i++) {
        size_t length = strlen(list->models[i].name);
        width = length > width ? length : width;
    }
    for (int i = 0; i < list->model_count; i++) {
        text_clear(&line);
        text_add(&line, list->models[i].name);
        text_pad(&line, width + 2);
        add_actions(&list->models[i], &line);
        printf("%s%s\n", line.data, list->models[i].requires_cuda ? "; needs CUDA" : "");
    }
    text_free(&line);
    return EXIT_DONE;
}

static int list_variants(const struct config_search *search)
{
    struct status status = STATUS_NONE;
    char **names = NULL;
    int count = config_list_variants(search, &names, &status);
    if (count < 0)
        return app_complain(EXIT_USAGE, "%s", status.text);
    printf("%-24s %-12s %5s  %-16s %s\n", "variant", "group", "ranks", "compared with",
           "tolerances");
    for (int i = 0; i < count; i++) {
        struct variant_config *variant = variant_load(search, names[i], &status);
        if (!variant) {
            config_names_free(names, count);
            return app_complain(EXIT_USAGE, "%s", status.text);
        }
        printf("%-24s %-12s %5d  %-16s %s%s\n", variant->name, test_group_name(variant->group),
               variant->ranks, variant->compares_with ? variant->compares_with : "-",
               variant->tolerances ? variant->tolerances : "-",
               variant->requires_cuda ? "  (needs CUDA)" : "");
        variant_free(variant);
    }
    config_names_free(names, count);
    return EXIT_DONE;
}

/* `width`: of the column of ids. */
static void print_test(const struct test_list *list, int test, size_t width)
{
    enum { ACTION_WIDTH = 15 }; /* "not_implemented" */
    const struct test_case *of = &list->tests[test];
    struct text line = {0};
    text_add(&line, of->id);
    text_pad(&line, width + 1);
    text_add(&line, test_action_name(test_action_of(list, test)));
    text_pad(&line, width + 1 + ACTION_WIDTH + 1);
    if (of->kind == TEST_NOT_BUILT)
        text_add(&line, "not implemented yet");
    else if (of->unsupported)
        text_add(&line, "not supported by the model");
    else if (of->kind == TEST_DISTRIBUTED)
        text_format(&line, "%d ranks, compared with %s", of->ranks, of->reference);
    else if (of->kind == TEST_COMPARISON)
        text_format(&line, "compared with %s", of->reference);
    else
        text_add(&line, test_kind_name(of->kind));
    puts(line.data);
    text_free(&line);
}

static int list_tests(const struct test_list *list, const struct selection *selection)
{
    struct status status = STATUS_NONE;
    struct test_choice *choices = memory_zeroed((size_t)list->test_count, sizeof(*choices));
    int *shown = memory_zeroed((size_t)list->test_count, sizeof(*shown)), count = 0;
    bool ok = selection_apply(selection, list, choices, &status);
    for (int i = 0; ok && i < list->test_count; i++)
        if (choices[i].choice != CHOICE_UNNAMED && choices[i].choice != CHOICE_UNASKED &&
            choices[i].choice != CHOICE_DEPENDENCY)
            shown[count++] = i;
    int width = report_id_width(list, shown, count);
    for (int i = 0; i < count; i++)
        print_test(list, shown[i], (size_t)width);
    free(shown);
    free(choices);
    if (!ok)
        return app_complain(EXIT_USAGE, "%s", status.text);
    return count > 0 ? EXIT_DONE : EXIT_NO_TESTS;
}

static int list_what(const char *what, const struct app_options *app, struct word_list *words,
                     const struct word_list *models, const struct word_list *groups)
{
    static const char *const kinds[] = {"models", "groups", "variants", "tests"};
    struct status status = STATUS_NONE;
    bool tests = strcmp(what, "tests") == 0;
    if (!tests && words->count > 1)
        return app_complain(EXIT_USAGE, "\"%s\" is one word too many", words->words[1]);
    if (strcmp(what, "groups") == 0)
        return list_groups();
    if (strcmp(what, "variants") == 0)
        return list_variants(&app->search);
    if (!tests && strcmp(what, "models") != 0) {
        const char *closest = names_closest(what, kinds, ARRAY_LENGTH(kinds));
        return app_complain(EXIT_USAGE, "cannot list \"%s\"; %s%s%s", what,
                            closest ? "did you mean " : "there are models, groups, variants, tests",
                            closest ? closest : "", closest ? "?" : "");
    }
    struct test_list *list = test_list_create(&app->search, models->words, models->count, &status);
    if (!list)
        return app_complain(EXIT_USAGE, "%s", status.text);
    struct selection selection = {.patterns = words->words + 1,
                                  .pattern_count = words->count - 1,
                                  .groups = groups->words,
                                  .group_count = groups->count};
    int code = tests ? list_tests(list, &selection) : list_models(list);
    test_list_free(list);
    return code;
}

int app_list(int argc, char **argv, const struct app_options *app)
{
    static const struct usage usage = {
        "lockstep list", "models|groups|variants|tests [PATTERN...] [options]",
        "Lists models with their groups, groups, variants, or the tests that patterns name (all\n"
        "without one; patterns as in lockstep test)."};
    struct word_list words = {0}, models = {0}, groups = {0};
    const struct argument arguments[] = {
        {"--models", NULL, ARGUMENT_WORDS, &models, "MODEL", "only these models"},
        {"--groups", NULL, ARGUMENT_WORDS, &groups, "GROUP", "only these groups"},
    };
    struct status status = STATUS_NONE;
    enum arguments_result parsed =
        arguments_parse(argc, argv, &usage, arguments, ARRAY_LENGTH(arguments), &words, &status);
    int code = EXIT_DONE;
    if (parsed == ARGUMENTS_WRONG)
        code = app_complain(EXIT_USAGE, "%s", status.text);
    else if (parsed == ARGUMENTS_OK && words.count == 0)
        code = app_complain(EXIT_USAGE, "list what? models, groups, variants or tests");
    else if (parsed == ARGUMENTS_OK)
        code = list_what(words.words[0], app, &words, &models, &groups);
    word_list_free(&words);
    word_list_free(&models);
    word_list_free(&groups);
    return code;
}
