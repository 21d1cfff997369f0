/* lockstep diff: compares two traces. */
#include "app/app.h"
#include "app/arguments.h"

#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/diff.h"
#include "engine/report/page.h"

#include <stdlib.h>
#include <string.h>

struct diff_options {
    struct word_list traces;
    const char *tolerances, *factor, *html;
    bool json, only_common;
    int samples, failures;
};

static struct tolerances *load_tolerances(const struct app_options *app,
                                          const struct diff_options *options, struct status *status)
{
    const char *device = strcmp(app->device, "cuda") == 0 ? "cuda" : "cpu";
    char *end = NULL;
    double factor = options->factor ? strtod(options->factor, &end) : 1;
    if (options->factor && (*end || end == options->factor || !(factor > 0 && factor <= 1e9))) {
        status_fail(status, STATUS_INVALID,
                    "--factor takes a number above 0, at most 1e9, not \"%s\"", options->factor);
        return NULL;
    }
    struct tolerances *tolerances =
        tolerances_load(&app->search, options->tolerances, device, status);
    if (tolerances)
        tolerances_rescale(tolerances, factor);
    return tolerances;
}

static int print_diff(const struct app_options *app, const struct diff_options *options,
                      const struct diff *diff)
{
    struct text text = {0};
    struct report_options report = {.samples = options->samples,
                                    .failures = options->failures,
                                    .color = app_wants_color(app, stdout)};
    if (options->json)
        diff_json(diff, &text);
    else
        diff_report(diff, &report, &text);
    fputs(text.data ? text.data : "", stdout);
    if (options->json)
        putchar('\n');
    text_free(&text);
    return comparison_log_passed(&diff->log) ? EXIT_DONE : EXIT_FAILED;
}

/* The same command, for whoever reads the page. */
static char *command_of(const struct app_options *app, const struct diff_options *options)
{
    struct text command = {0};
    text_add(&command, "lockstep diff ");
    page_shell_word(&command, options->traces.words[0]);
    text_add(&command, " ");
    page_shell_word(&command, options->traces.words[1]);
    text_add(&command, " --tolerances ");
    page_shell_word(&command, options->tolerances);
    if (options->factor)
        text_format(&command, " --factor %s", options->factor);
    if (options->only_common)
        text_add(&command, " --only-common");
    for (int i = 0; i < app->search.directory_count; i++) {
        text_add(&command, " --config-dir ");
        page_shell_word(&command, app->search.directories[i]);
    }
    text_format(&command, " --device %s", app->device);
    return text_take(&command);
}

static bool write_page(const struct app_options *app, const struct diff_options *options,
                       struct page *page, struct status *status)
{
    struct text text = {0};
    page->command = command_of(app, options);
    page_write(page, &text);
    bool good = file_write(options->html, text.data, text.length, FILE_REPLACE, status);
    text_free(&text);
    page_free(page);
    return good;
}

/* Whatever is compared of it may be equal, and yet not all that the run did. */
static void warn_of_unfinished(const struct trace *trace)
{
    if (trace->unfinished)
        app_complain(0, "%s: its run did not come to its end: the last step recorded is %s",
                     trace->directory, trace->steps[trace->step_count - 1].name);
}

static int compare(const struct app_options *app, const struct diff_options *options)
{
    struct status status = STATUS_NONE;
    bool can_write = !options->html || file_can_write(options->html, &status);
    struct tolerances *tolerances = can_write ? load_tolerances(app, options, &status) : NULL;
    struct trace *reference = tolerances ? trace_open(options->traces.words[0], &status) : NULL;
    struct trace *test = reference ? trace_open(options->traces.words[1], &status) : NULL;
    if (test) {
        warn_of_unfinished(reference);
        warn_of_unfinished(test);
    }
    struct diff *diff =
        test ? diff_traces(reference, test, tolerances, options->only_common, &status) : NULL;
    int code = diff ? print_diff(app, options, diff) : app_complain(EXIT_USAGE, "%s", status.text);
    if (diff && options->html &&
        !write_page(app, options, page_of_diff(diff, reference, test, tolerances), &status))
        code = app_complain(EXIT_USAGE, "%s", status.text);
    diff_free(diff);
    trace_close(test);
    trace_close(reference);
    tolerances_free(tolerances);
    return code;
}

int app_diff(int argc, char **argv, const struct app_options *app)
{
    static const struct usage usage = {"lockstep diff", "REFERENCE TEST [options]",
                                       "Compares two traces, tensor by tensor. Exit codes: 0 all "
                                       "within limits, 1 not, 2 bad usage,\n"
                                       "or a trace that cannot be read."};
    struct diff_options options = {.tolerances = "default", .samples = 3};
    const struct argument arguments[] = {
        {"--tolerances", NULL, ARGUMENT_TEXT, &options.tolerances, "NAME",
         "tolerance table (default: default)"},
        {"--factor", NULL, ARGUMENT_TEXT, &options.factor, "X", "multiply the limits by X"},
        {"--only-common", NULL, ARGUMENT_FLAG, &options.only_common, NULL,
         "judge only what both traces have, and count the rest"},
        {"--samples", NULL, ARGUMENT_INTEGER, &options.samples, "N",
         "worst elements shown for each failed tensor"},
        {"--failures", NULL, ARGUMENT_INTEGER, &options.failures, "N",
         "failed tensors shown in each step (default 10)"},
        {"--html", NULL, ARGUMENT_TEXT, &options.html, "FILE",
         "write the comparison as one HTML page, too"},
        {"--json", NULL, ARGUMENT_FLAG, &options.json, NULL, "print the comparison as JSON"},
    };
    struct status status = STATUS_NONE;
    int code = EXIT_DONE;
    enum arguments_result parsed = arguments_parse(
        argc, argv, &usage, arguments, ARRAY_LENGTH(arguments), &options.traces, &status);
    if (parsed == ARGUMENTS_WRONG)
        code = app_complain(EXIT_USAGE, "%s", status.text);
    else if (parsed == ARGUMENTS_OK && options.traces.count != 2)
        code = app_complain(EXIT_USAGE, "usage: %s %s", usage.name, usage.synopsis);
    else if (parsed == ARGUMENTS_OK)
        code = compare(app, &options);
    word_list_free(&options.traces);
    return code;
}
