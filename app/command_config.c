/* lockstep config: shows or checks configurations. */
#include "app/app.h"
#include "app/arguments.h"

#include <stdlib.h>
#include <string.h>

static int show(const char *name, const struct app_options *app)
{
    struct status status = STATUS_NONE;
    struct config *config = config_load(&app->search, name, &status);
    if (!config)
        return app_complain(EXIT_USAGE, "%s", status.text);
    printf("%s", config->resolved);
    config_free(config);
    return EXIT_DONE;
}

static int check(const struct app_options *app)
{
    char *report = NULL;
    int problems = config_check_all(&app->search, &report);
    if (problems > 0)
        fprintf(stderr, "%s\n", report);
    else
        printf("All configurations are right.\n");
    free(report);
    return problems > 0 ? EXIT_USAGE : EXIT_DONE;
}

int app_config(int argc, char **argv, const struct app_options *app)
{
    static const struct usage usage = {
        "lockstep config", "show MODEL[/VARIANT] | check",
        "show: the resolved configuration, with the file and line where each value is from.\n"
        "check: all models, variants and tolerance tables; every problem, and exit code 2 if any."};
    struct word_list words = {0};
    struct status status = STATUS_NONE;
    int code = EXIT_DONE;
    enum arguments_result parsed = arguments_parse(argc, argv, &usage, NULL, 0, &words, &status);
    if (parsed == ARGUMENTS_WRONG)
        code = app_complain(EXIT_USAGE, "%s", status.text);
    else if (parsed == ARGUMENTS_OK && words.count == 2 && strcmp(words.words[0], "show") == 0)
        code = show(words.words[1], app);
    else if (parsed == ARGUMENTS_OK && words.count == 1 && strcmp(words.words[0], "check") == 0)
        code = check(app);
    else if (parsed == ARGUMENTS_OK)
        code = app_complain(EXIT_USAGE, "usage: %s %s", usage.name, usage.synopsis);
    word_list_free(&words);
    return code;
}
