/* lockstep tui, and lockstep without arguments on a terminal: the screens. */
#include "app/app.h"
#include "app/arguments.h"
#include "app/run_words.h"

#include "ui/ui.h"
#include "ui/user_files.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* "120x40": columns, then rows, as terminals are named. */
static bool parse_size(const char *text, struct ui_options *options, struct status *status)
{
    char rest;
    if (sscanf(text, "%dx%d%c", &options->cols, &options->rows, &rest) == 2 && options->cols > 0 &&
        options->rows > 0 && options->cols <= 1000 && options->rows <= 1000)
        return true;
    return status_fail(status, STATUS_INVALID,
                       "--size takes COLUMNSxROWS, such as 120x40, at most 1000x1000; not \"%s\"",
                       text);
}

static bool run_screens(struct ui_options *options, bool no_state, struct status *status)
{
    char *standard = options->script || options->replay ? NULL : user_state_path("runs");
    if (no_state)
        options->state = NULL;
    else if (!options->state)
        options->state = standard;
    bool ok = ui_run(options, status);
    free(standard);
    return ok;
}

int app_tui(int argc, char **argv, const struct app_options *app)
{
    const char *size = "80x24";
    const char *no_color = getenv("NO_COLOR");
    bool no_state = false;
    struct word_list positional = {0};
    struct status status = STATUS_NONE;
    struct ui_options options = {.search = app->search,
                                 .device = app->device,
                                 .threads = app->threads,
                                 .launch = app->launch,
                                 .program_path = app->program_path};
    const struct argument arguments[] = {
        {"--fault", NULL, ARGUMENT_TEXT, &options.file.fault, "SPEC", "put a fault into the run"},
        {"--against", NULL, ARGUMENT_TEXT, &options.file.against, "REFERENCE",
         "compare with a VARIANT, MODEL/VARIANT or a trace's folder; none: alone"},
        {"--init-from", NULL, ARGUMENT_TEXT, &options.file.init_from, "FILE",
         "initial parameters (safetensors, or a recipe in JSON)"},
        {"--data", NULL, ARGUMENT_TEXT, &options.file.data, "FILE",
         "tokens, labels and documents of each step (safetensors)"},
        {"--theme", NULL, ARGUMENT_TEXT, &options.theme, "NAME",
         "dark (default), light, mono, or one of your own"},
        {"--ascii", NULL, ARGUMENT_FLAG, &options.ascii, NULL, "no characters beyond ASCII"},
        {"--no-mouse", NULL, ARGUMENT_FLAG, &options.no_mouse, NULL, "leave the mouse alone"},
        {"--script", NULL, ARGUMENT_TEXT, &options.script, "FILE",
         "keys and commands from a file, on a screen in memory (docs/screens.md)"},
        {"--state", NULL, ARGUMENT_TEXT, &options.state, "FOLDER",
         "where folds, breakpoints and the like of each run are kept (default: "
         "$XDG_STATE_HOME/lockstep/runs, with --script and --replay nowhere)"},
        {"--no-state", NULL, ARGUMENT_FLAG, &no_state, NULL, "keep and bring back nothing"},
        {"--record", NULL, ARGUMENT_TEXT, &options.record, "FILE",
         "write down all that the screens are told"},
        {"--replay", NULL, ARGUMENT_TEXT, &options.replay, "FILE",
         "play such a file back instead of running anything"},
        {"--size", NULL, ARGUMENT_TEXT, &size, "COLSxROWS", "of that screen (default 80x24)"},
    };
    const struct usage usage = {"lockstep tui", "[MODEL[/VARIANT]] [options]",
                                "Opens the screens: on the list of tests, or on a run and its "
                                "reference. ? shows the keys.\n"
                                "Without arguments, on a terminal, lockstep does the same."};
    options.no_colors =
        app->color == COLOR_NEVER || (app->color == COLOR_AUTO && no_color && no_color[0]);
    enum arguments_result result =
        arguments_parse(argc, argv, &usage, arguments,
                        (int)(sizeof(arguments) / sizeof(arguments[0])), &positional, &status);
    int code = EXIT_DONE;
    options.exit_code = &code;
    setlocale(LC_ALL, "");
    if (result == ARGUMENTS_WRONG ||
        (result == ARGUMENTS_OK && !(run_words_take(&usage, &positional, &options.file, &status) &&
                                     parse_size(size, &options, &status))))
        code = app_complain(EXIT_USAGE, "%s", status.text);
    else if (result == ARGUMENTS_OK && !run_screens(&options, no_state, &status))
        code = app_complain(EXIT_FAILED, "%s", status.text);
    word_list_free(&positional);
    return code;
}
