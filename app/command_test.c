/* lockstep test: runs model tests and reports. */
#include "app/app.h"
#include "app/arguments.h"
#include "app/last_failed.h"
#include "app/probe.h"
#include "app/report.h"
#include "app/workers.h"

#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/memory.h"
#include "engine/program/faults.h"
#include "engine/report/page.h"
#include "engine/suite/runner.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The options of the command, parsed. */
struct test_options {
    struct word_list patterns, models, groups;
    bool skip_slow, run_extra_slow, show_skipped, show_dependencies, no_distributed_capture;
    bool first_failure, collect_only, last_failed, failed_first;
    int maximum_failures, memory_rows, duration_rows, workers, verbose, time_limit;
    const char *junit, *json, *html, *fault, *results, *keyword;
    const char *command; /* the whole command line, for whoever reads a report */
};

/* Set by the first Ctrl-C; the second one ends the program as usual. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    interrupted = 1;
    signal(signal_number, SIG_DFL);
}

/* pytest's options, of which `lockstep test` has some under its own names. */
static const struct advice pytest_options[] = {
    {"-m", "--skip-slow, --run-extra-slow and --groups select by kind"},
    {"-q", "progress is one line a test; --json, --junit and --html write reports"},
    {"--quiet", "progress is one line a test; --json, --junit and --html write reports"},
    {"-s", "--no-distributed-capture shows what ranks print as it comes"},
    {"--capture", "--no-distributed-capture shows what ranks print as it comes"},
    {"-r", "reasons of failed and skipped tests are always listed; --show-skipped adds the rest"},
    {"-ra", "reasons of failed and skipped tests are always listed; --show-skipped adds the rest"},
    {"-rA", "reasons of failed and skipped tests are always listed; --show-skipped adds the rest"},
    {"-rs", "reasons of failed and skipped tests are always listed; --show-skipped adds the rest"},
    {"--cache-clear", "--last-failed runs all tests once none is known to fail"},
    {"--pdb", "a failure's report ends with the `lockstep debug` command that opens it"},
    {"--trace", "`lockstep debug MODEL/VARIANT` steps through a run"},
    {"--tb", "-v and -vv show more of each failure"},
    {"--durations", "--show-durations N"},
    {"--junitxml", "--junit FILE"},
    {"--junit-xml", "--junit FILE"},
    {"--deselect", "name what is to run: patterns, --models, --groups"},
    {"--ignore", "name what is to run: patterns, --models, --groups"},
};

static enum arguments_result parse(int argc, char **argv, struct test_options *options,
                                   struct status *status)
{
    static const struct usage usage = {
        "lockstep test", "[PATTERN...] [options]",
        "Runs model tests. A PATTERN is a test's id or its first parts (llama/basic/ce4, "
        "llama/basic,\n"
        "llama), MODEL/NAME (llama/ce4), or a glob of ids ('*/basic/bf*'). Exit codes: 0 all "
        "passed,\n"
        "1 some failed, 2 bad usage or configuration, 5 no tests selected."};
    const struct argument arguments[] = {
        {"--models", NULL, ARGUMENT_WORDS, &options->models, "MODEL", "only these models"},
        {"--groups", NULL, ARGUMENT_WORDS, &options->groups, "GROUP", "only these groups"},
        {"--keyword", "-k", ARGUMENT_TEXT, &options->keyword, "EXPRESSION",
         "only tests whose ids contain a word: 'ce4', 'bf16 or fp16', 'not (ms or df)'"},
        {"--collect-only", "--co", ARGUMENT_FLAG, &options->collect_only, NULL,
         "list the tests that would run, in that order, and run none"},
        {"--last-failed", "--lf", ARGUMENT_FLAG, &options->last_failed, NULL,
         "of these, only tests that failed when they ran last (all, if none did)"},
        {"--failed-first", "--ff", ARGUMENT_FLAG, &options->failed_first, NULL,
         "run tests that failed when they ran last before the others"},
        {"--skip-slow", NULL, ARGUMENT_FLAG, &options->skip_slow, NULL,
         "only groups whose action is main"},
        {"--run-extra-slow", "--test-extra-slow", ARGUMENT_FLAG, &options->run_extra_slow, NULL,
         "also groups that are unimportant or broken"},
        {"--show-skipped", NULL, ARGUMENT_FLAG, &options->show_skipped, NULL,
         "list deselected tests as skipped, with their reasons"},
        {"--show-gpu-memory", NULL, ARGUMENT_INTEGER, &options->memory_rows, "N",
         "rows of the memory table (default: 10 on a GPU)"},
        {"--show-durations", NULL, ARGUMENT_INTEGER, &options->duration_rows, "N",
         "rows of the table of durations"},
        {"--show-dependencies", NULL, ARGUMENT_FLAG, &options->show_dependencies, NULL,
         "list what tests depend on (-vv: all tests)"},
        {"--no-distributed-capture", NULL, ARGUMENT_FLAG, &options->no_distributed_capture, NULL,
         "what ranks print is shown at once, with [rank 3] before each line"},
        {"--results", NULL, ARGUMENT_TEXT, &options->results, "DIR",
         "folder for what ranks print (default: $LOCKSTEP_TEST_RESULTS)"},
        {"--workers", "-n", ARGUMENT_INTEGER, &options->workers, "N", "worker processes"},
        {"--exitfirst", "-x", ARGUMENT_FLAG, &options->first_failure, NULL,
         "stop after the first failure"},
        {"--maxfail", NULL, ARGUMENT_INTEGER, &options->maximum_failures, "N",
         "stop after N failures"},
        {"--timeout", NULL, ARGUMENT_INTEGER, &options->time_limit, "SECONDS",
         "limit for one test in a worker (default 600, 0 = none)"},
        {"--fault", NULL, ARGUMENT_TEXT, &options->fault, "SPEC",
         "put a fault into the tests' runs (see lockstep faults)"},
        {"--junit", NULL, ARGUMENT_TEXT, &options->junit, "FILE", "write JUnit XML"},
        {"--json", NULL, ARGUMENT_TEXT, &options->json, "FILE", "write all results as JSON"},
        {"--html", NULL, ARGUMENT_TEXT, &options->html, "FILE",
         "write one HTML page, with what is known of each failure"},
        {"--verbose", "-v", ARGUMENT_COUNT, &options->verbose, NULL, "tell more (-vv: all)"},
    };
    int count = ARRAY_LENGTH(arguments);
    *options = (struct test_options){
        .memory_rows = -1, .time_limit = 600, .results = getenv("LOCKSTEP_TEST_RESULTS")};
    if (!arguments_advise(argc, argv, pytest_options, ARRAY_LENGTH(pytest_options), status))
        return ARGUMENTS_WRONG;
    return arguments_parse(argc, argv, &usage, arguments, count, &options->patterns, status);
}

/* Each of two reports in one file would replace the other, and one that cannot be written is not to
 * be told of when all tests have run. */
static bool check_reports(const struct test_options *options, struct status *status)
{
    const char *const files[] = {options->json, options->junit, options->html};
    static const char *const names[] = {"--json", "--junit", "--html"};
    for (int i = 0; i < ARRAY_LENGTH(files); i++)
        for (int k = 0; k < i; k++)
            if (files[i] && files[k] && strcmp(files[i], files[k]) == 0)
                return status_fail(status, STATUS_INVALID,
                                   "%s and %s are both to be written to %s; expected two files",
                                   names[k], names[i], files[i]);
    for (int i = 0; i < ARRAY_LENGTH(files); i++)
        if (files[i] && !file_can_write(files[i], status))
            return status_context(status, "%s", names[i]);
    return true;
}

static void options_free(struct test_options *options)
{
    word_list_free(&options->patterns);
    word_list_free(&options->models);
    word_list_free(&options->groups);
}

static void on_report(void *context, int test, const struct outcome *outcome, int done)
{
    struct report *report = context;
    report_progress(report, test, outcome, done);
    if (outcome->passed_over && !report->told_cpu)
        app_complain(0, "running on the CPU: %s", outcome->passed_over);
    report->told_cpu = report->told_cpu || outcome->passed_over;
    if (outcome->remark && !report->remarked) /* every worker process has the same to say */
        app_complain(0, "%s", outcome->remark);
    report->remarked = report->remarked || outcome->remark;
}

/* The most that a distributed test among those that run needs. */
static int most_ranks(const struct report *report)
{
    int most = 0;
    for (int i = 0; i < report->count; i++) {
        const struct test_case *test = &report->list->tests[report->order[i]];
        if (test->kind == TEST_DISTRIBUTED && !test->unsupported && test->ranks > most)
            most = test->ranks;
    }
    return most;
}

static bool run_tests(const struct app_options *app, const struct test_options *options,
                      struct report *report, struct outcome *outcomes, struct status *status)
{
    struct environment environment = {.search = &app->search,
                                      .device_name = app->device,
                                      .threads = app->threads,
                                      .fault = options->fault,
                                      .choices = report->choices,
                                      .launch = app->launch,
                                      .ranks = most_ranks(report),
                                      .results = options->results,
                                      .no_capture = options->no_distributed_capture,
                                      .interrupted = &interrupted};
    int workers = options->workers < report->count ? options->workers : report->count;
    struct worker_context context = {&environment, report->list, workers};
    struct runner_options runner = {
        .list = report->list,
        .order = report->order,
        .count = report->count,
        .environment = &environment,
        .workers = workers,
        .start_worker = worker_start,
        .worker_context = &context,
        .maximum_failures = options->first_failure ? 1 : options->maximum_failures,
        .time_limit = options->time_limit,
        .report = on_report,
        .report_context = report,
        .interrupted = &interrupted,
    };
    struct sigaction action = {.sa_handler = on_interrupt};
    double start = clock_seconds();
    sigaction(SIGINT, &action, NULL);
    bool ok = runner_run(&runner, outcomes, status);
    report->seconds = clock_seconds() - start;
    report->interrupted = interrupted;
    environment_close(&environment);
    return ok;
}

static bool write_files(const struct test_options *options, const struct report *report,
                        struct status *status)
{
    return (!options->json || report_write_json(report, options->json, status)) &&
           (!options->junit || report_write_junit(report, options->junit, status)) &&
           (!options->html || report_write_html(report, options->html, status));
}

/* A user's first model may name no group: its tests are there, and none runs. */
static void explain_nothing(const struct test_options *options, const struct report *report,
                            const struct report_counts *counts)
{
    if (counts->dropped == 0 || report->show_skipped)
        return;
    fprintf(stderr,
            "lockstep: nothing to run: the actions of their models' groups leave out %d test%s "
            "(--show-skipped lists reasons%s%s)\n",
            counts->dropped, counts->dropped > 1 ? "s" : "",
            options->skip_slow ? ", without --skip-slow normal groups run" : "",
            options->run_extra_slow ? "" : ", --run-extra-slow runs unimportant and broken groups");
}

static int conclude(const struct test_options *options, const struct report *report)
{
    struct status status = STATUS_NONE;
    struct report_counts counts = report_count(report);
    report_summary(report);
    if (!write_files(options, report, &status))
        return app_complain(EXIT_FAILED, "%s", status.text);
    if (report->count == 0) {
        explain_nothing(options, report, &counts);
        return EXIT_NO_TESTS;
    }
    return counts.failed + counts.not_run > 0 || report->interrupted ? EXIT_FAILED : EXIT_DONE;
}

/* A cache that cannot be written is only told about to who relies on it. What fails for a fault
 * that was put in says nothing about the tests. */
static void keep_failures(const struct app_options *app, const struct test_options *options,
                          const struct report *report)
{
    struct status status = STATUS_NONE;
    if (!options->fault &&
        !last_failed_write(&app->search, report->list, report->outcomes, &status) &&
        (options->last_failed || options->failed_first))
        app_complain(0, "which tests failed is not kept: %s", status.text);
}

static int run_report(const struct app_options *app, const struct test_options *options,
                      struct report *report)
{
    struct status status = STATUS_NONE;
    struct outcome *outcomes =
        memory_zeroed((size_t)report->list->test_count, sizeof(struct outcome));
    report->outcomes = outcomes;
    report->id_width = report_id_width(report->list, report->order, report->count);
    if (options->show_dependencies)
        report_dependencies(report, options->verbose > 1);
    int code;
    if (run_tests(app, options, report, outcomes, &status)) {
        keep_failures(app, options, report);
        code = conclude(options, report);
    } else {
        code = app_complain(EXIT_FAILED, "%s", status.text);
    }
    for (int i = 0; i < report->list->test_count; i++)
        outcome_free(&outcomes[i]);
    free(outcomes);
    return code;
}

/* Ids alone, one a line, for other programs, too. What runs because others depend on it comes where
 * it runs. */
static int print_selection(const struct report *report)
{
    for (int i = 0; i < report->count; i++)
        printf("%s\n", report->list->tests[report->order[i]].id);
    fprintf(stderr, "%d test%s\n", report->count, report->count == 1 ? "" : "s");
    return report->count > 0 ? EXIT_DONE : EXIT_NO_TESTS;
}

static void tell_last_failed(const struct test_options *options, const struct test_choice *choices,
                             int count)
{
    int failed = 0;
    for (int i = 0; i < count; i++)
        failed += choices[i].first;
    if (failed == 0)
        app_complain(0, "none of these tests is known to have failed when it ran last: all run");
    else
        app_complain(0, "%d of these tests failed when %s ran last: %s", failed,
                     failed > 1 ? "they" : "it",
                     options->last_failed ? "nothing else runs" : "first");
}

static int select_and_run(const struct app_options *app, const struct test_options *options,
                          const struct test_list *list)
{
    struct status status = STATUS_NONE;
    bool wants_failed = options->last_failed || options->failed_first;
    struct names failed = {0};
    struct selection selection = {.patterns = options->patterns.words,
                                  .pattern_count = options->patterns.count,
                                  .models = options->models.words,
                                  .model_count = options->models.count,
                                  .groups = options->groups.words,
                                  .group_count = options->groups.count,
                                  .skip_slow = options->skip_slow,
                                  .run_extra_slow = options->run_extra_slow,
                                  .keyword = options->keyword,
                                  .failed = wants_failed ? &failed : NULL,
                                  .failed_first = !options->last_failed};
    if (wants_failed)
        failed = last_failed_read(&app->search, true);
    size_t tests = (size_t)list->test_count;
    struct test_choice *choices = memory_zeroed(tests, sizeof(*choices));
    int *order = memory_zeroed(tests, sizeof(*order));
    int code;
    if (selection_apply(&selection, list, choices, &status)) {
        struct report report = {.list = list,
                                .choices = choices,
                                .order = order,
                                .count = selection_order(list, choices, order),
                                .command = options->command,
                                .fault = options->fault,
                                .stream = stdout,
                                .color = app_wants_color(app, stdout),
                                .verbose = options->verbose > 0,
                                .replay = options->verbose > 1,
                                .show_skipped = options->show_skipped,
                                .memory_rows = options->memory_rows,
                                .duration_rows = options->duration_rows};
        if (wants_failed)
            tell_last_failed(options, choices, list->test_count);
        code = options->collect_only ? print_selection(&report) : run_report(app, options, &report);
    } else {
        code = app_complain(EXIT_USAGE, "%s", status.text);
    }
    free(choices);
    free(order);
    names_free(&failed);
    return code;
}

/* A device that does not work would fail every test, as if the tests were at fault. Where it is
 * chosen by itself, and for the CPU, there is nothing to find out. */
static bool device_works(const struct app_options *app, struct status *status)
{
    struct device_options options = {.threads = 1};
    return strcmp(app->device, "cuda") != 0 || probe_device(app->device, &options, status);
}

/* The command line, put together again from the options of all commands and its own words. */
static char *command_of(int argc, char **argv, const struct app_options *app)
{
    struct rank_launch_words launch;
    struct status ignored = STATUS_NONE;
    int64_t limit;
    struct text command = {0};
    text_add(&command, "lockstep test");
    for (int i = 1; i < argc; i++)
        page_shell_option(&command, "", argv[i]);
    for (int i = 0; i < app->search.directory_count; i++)
        page_shell_option(&command, "--config-dir", app->search.directories[i]);
    for (int i = 0; i < app->search.override_count; i++)
        page_shell_option(&command, "--set", app->search.overrides[i]);
    page_shell_option(&command, "--device", app->device);
    if (app->threads > 0)
        text_format(&command, " --threads %d", app->threads);
    if (device_memory_limit(&limit, &ignored) && limit > 0)
        text_format(&command, " --gpu-memory-limit %" PRId64, limit);
    rank_launch_words(&app->launch, &launch);
    for (int i = 0; i < launch.count; i++)
        page_shell_option(&command, "", launch.words[i]);
    return text_take(&command);
}

int app_test(int argc, char **argv, const struct app_options *app)
{
    struct test_options options;
    char *command = command_of(argc, argv, app);
    struct status status = STATUS_NONE;
    struct test_list *list = NULL;
    enum arguments_result parsed = parse(argc, argv, &options, &status);
    int code = EXIT_DONE;
    options.command = command;
    if (parsed == ARGUMENTS_OK && check_reports(&options, &status) &&
        (!options.fault || faults_check(options.fault, &status)) && device_works(app, &status))
        list = test_list_create(&app->search, options.show_skipped ? NULL : options.models.words,
                                options.show_skipped ? 0 : options.models.count, &status);
    if (list)
        code = select_and_run(app, &options, list);
    else if (parsed != ARGUMENTS_HELP)
        code = app_complain(EXIT_USAGE, "%s", status.text);
    test_list_free(list);
    options_free(&options);
    free(command);
    return code;
}
