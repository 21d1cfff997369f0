/* lockstep run: trains, prints a line for each step, and records a trace if asked to. */
#include "app/command_run.h"
#include "app/record.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/compare/pair.h"
#include "engine/program/faults.h"
#include "engine/tensor/safetensors.h"
#include "engine/train/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum arguments_result parse(int argc, char **argv, struct command_options *options,
                                   struct status *status)
{
    static const struct usage usage = {
        "lockstep run", "MODEL[/VARIANT] [options]",
        "Trains a model and prints loss, gradient norm, learning rate and time of each step."};
    const struct argument arguments[] = {
        {"--steps", NULL, ARGUMENT_INTEGER, &options->steps, "N",
         "how many (default: train_iters)"},
        {"--trace", NULL, ARGUMENT_TEXT, &options->trace, "DIR",
         "record parameters and named values there"},
        {"--full-tensors", NULL, ARGUMENT_FLAG, &options->full_tensors, NULL,
         "record whole tensors, not samples"},
        {"--log-points", NULL, ARGUMENT_FLAG, &options->log_points, NULL,
         "record only what the model tests' logs have"},
        {"--init-from", NULL, ARGUMENT_TEXT, &options->init_from, "FILE",
         "initial parameters (safetensors, or a recipe in JSON)"},
        {"--allow-extra", NULL, ARGUMENT_FLAG, &options->allow_extra, NULL,
         "leave out what that file has and the model has not"},
        {"--data", NULL, ARGUMENT_TEXT, &options->data, "WHAT",
         "random, a .txt, .npy, .bin, .idx or .safetensors file, or text:PATH, tokens:PATH"},
        {"--save-parameters", NULL, ARGUMENT_TEXT, &options->save_parameters, "FILE",
         "write the trained parameters (safetensors)"},
        {"--fault", NULL, ARGUMENT_TEXT, &options->fault, "SPEC",
         "put a fault into the run (see lockstep faults)"},
        {"--repeat", NULL, ARGUMENT_INTEGER, &options->repeat, "N",
         "for timing: run N times, print the median"},
    };
    return arguments_parse(argc, argv, &usage, arguments, ARRAY_LENGTH(arguments), &options->names,
                           status);
}

/* --steps and --data as overrides of the configuration, after those of --set. */
struct overrides {
    struct config_search search;
    const char **words;
    char *owned[3];
    int count;
};

static void add_override(struct overrides *overrides, char *word)
{
    overrides->owned[overrides->count++] = word;
    overrides->words[overrides->search.override_count++] = word;
}

/* text:PATH or tokens:PATH. The path is quoted: what YAML would make of it is not meant. */
static void add_data(struct overrides *overrides, const char *type, const char *path)
{
    struct text word = {0};
    add_override(overrides, memory_format("data.type=%s", type));
    if (!path)
        return;
    text_add(&word, "data.path='");
    for (; *path; path++)
        text_format(&word, "%s%c", *path == '\'' ? "'" : "", *path);
    text_add(&word, "'");
    add_override(overrides, text_take(&word));
}

/* What a path without `text:` or `tokens:` before it can only be. */
static const char *type_of_file(const char *path)
{
    static const char *const endings[][2] = {
        {".txt", "text"}, {".npy", "tokens"}, {".bin", "tokens"}, {".idx", "tokens"}};
    const char *ending = strrchr(path, '.');
    for (int i = 0; ending && i < ARRAY_LENGTH(endings); i++)
        if (!strcmp(ending, endings[i][0]))
            return endings[i][1];
    return NULL;
}

static bool is_safetensors(const char *data)
{
    return data && text_ends_with(data, ".safetensors") && strncmp(data, "text:", 5) != 0 &&
           strncmp(data, "tokens:", 7) != 0;
}

static bool build_overrides(struct overrides *overrides, const struct app_options *app,
                            const struct command_options *options, struct status *status)
{
    const char *data = options->data;
    int before = app->search.override_count;
    overrides->search = app->search;
    overrides->words = memory_zeroed((size_t)before + 3, sizeof(*overrides->words));
    for (int i = 0; i < before; i++)
        overrides->words[i] = app->search.overrides[i];
    overrides->search.overrides = overrides->words;
    if (options->steps > 0)
        add_override(overrides, memory_format("training.train_iters=%d", options->steps));
    if (!data || is_safetensors(data))
        return true;
    if (strncmp(data, "text:", 5) == 0)
        add_data(overrides, "text", data + 5);
    else if (strncmp(data, "tokens:", 7) == 0)
        add_data(overrides, "tokens", data + 7);
    else if (strcmp(data, "random") == 0)
        add_data(overrides, "random", NULL);
    else if (type_of_file(data))
        add_data(overrides, type_of_file(data), data);
    else
        return status_fail(status, STATUS_INVALID,
                           "--data takes text:PATH, tokens:PATH, random or a .safetensors file, "
                           "not \"%s\"",
                           data);
    return true;
}

static void overrides_free(struct overrides *overrides)
{
    for (int i = 0; i < overrides->count; i++)
        free(overrides->owned[i]);
    free(overrides->words);
}

/* The sign of a NaN says nothing; printf shows it. */
static double unsigned_nan(double value)
{
    return isnan(value) ? (double)NAN : value;
}

void command_run_print_step(const struct step_report *step, int steps)
{
    printf("step %*d/%d  loss %.6f  gradient norm %.6f  learning rate %.3g", steps > 9 ? 3 : 1,
           step->step, steps, unsigned_nan(step->loss), unsigned_nan(step->gradient_norm),
           step->learning_rate);
    if (step->loss_scale != 1)
        printf("  loss scale %g", step->loss_scale);
    printf("  %.3f s  %.0f tokens/s%s\n", step->seconds,
           step->seconds > 0 ? (double)step->tokens / step->seconds : 0,
           step->skipped ? "  (skipped: overflow)" : "");
    fflush(stdout);
}

/* One step, recorded value by value if there is a recorder. */
static bool run_one_step(struct run *run, struct recorder *recorder, struct status *status)
{
    if (!recorder)
        return run_step(run, status);
    do {
        if (!run_one(run, status) || !recorder_take(recorder, run, status))
            return false;
    } while (run_next(run) < run->program->instruction_count);
    return recorder_finish_step(recorder, run, status);
}

bool command_run_is_finite(const struct step_report *step)
{
    return isfinite(step->loss) && (isfinite(step->gradient_norm) || step->skipped);
}

/* Runs to the end, or to the first step that has no finite loss. */
static bool run_all(struct run *run, struct recorder *recorder, struct status *status)
{
    if (recorder && !recorder_take_parameters(recorder, run, status))
        return false;
    while (!run_ended(run)) {
        int step = run->reported;
        if (!run_one_step(run, recorder, status))
            return false;
        command_run_print_step(&run->reports[step], run->steps);
        if (!command_run_is_finite(&run->reports[step]))
            break;
    }
    return true;
}

struct run_options command_run_options(const struct command_options *options)
{
    struct run_options run_options = {.init_from = options->init_from,
                                      .allow_extra = options->allow_extra};
    if (is_safetensors(options->data))
        run_options.data_from = options->data;
    if (options->fault) {
        run_options.change = faults_change;
        run_options.change_context = (void *)(uintptr_t)options->fault;
    }
    return run_options;
}

/* The same run again as far as the first tensor with NaN or infinity; -1 if none has. */
static int find_not_finite(struct pair *pair, int step, struct pair_event *event,
                           struct status *status)
{
    *event = (struct pair_event){.not_finite = -1};
    if (!pair_go_to(pair, step, 0, status))
        return -1;
    pair->watch_not_finite = true;
    while (event->not_finite < 0 && !pair_ended(pair) && pair->test->step == step)
        if (!pair_run_one(pair, event, status))
            return -1;
    return event->not_finite;
}

/* The failure of a step, with the place where it began. */
static bool fail_step(const struct config *config, struct device *device, struct comm *comm,
                      const struct command_options *options, const struct step_report *step,
                      struct status *status)
{
    struct pair_options pair_options = {.test = config,
                                        .device = device,
                                        .comm = comm,
                                        .test_options = command_run_options(options)};
    struct pair *pair = pair_create(&pair_options, status);
    struct pair_event event;
    char instruction[300];
    int value = pair ? find_not_finite(pair, step->step - 1, &event, status) : -1;
    const char *what = isfinite(step->loss) ? "gradient norm" : "loss";
    if (value < 0)
        status_fail(status, STATUS_INTERNAL, "step %d: the %s is not finite", step->step, what);
    else
        status_fail(status, STATUS_INTERNAL,
                    "step %d: the %s is not finite; NaN or infinity appear first in %s, "
                    "instruction %s",
                    step->step, what, pair->test->program->values[value].name,
                    program_instruction_text(pair->test->program, event.instruction, instruction,
                                             sizeof(instruction)));
    pair_free(pair);
    return false;
}

static bool train(const struct config *config, struct device *device, struct comm *comm,
                  const struct command_options *options, bool record, double *seconds,
                  struct status *status)
{
    struct run_options run_options = command_run_options(options);
    struct run *run = run_create(config, device, comm, &run_options, status);
    struct recorder *recorder = NULL;
    struct recorder_options what = {options->trace, options->full_tensors, options->log_points,
                                    options->fault, NULL};
    bool ok = run != NULL;
    if (ok && record && options->trace)
        ok = (recorder = recorder_create(run, &what, status)) != NULL;
    ok = ok && run_all(run, recorder, status);
    for (int i = 0; ok && i < run->reported; i++)
        seconds[i] = run->reports[i].seconds;
    ok = recorder_finish(recorder, ok, status);
    struct step_report last = ok ? run->reports[run->reported - 1] : (struct step_report){0};
    ok = ok &&
         (command_run_is_finite(&last) || fail_step(config, device, comm, options, &last, status));
    if (ok && record && options->save_parameters)
        ok = run_save_parameters(run, options->save_parameters, status);
    run_free(run);
    return ok;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first step of a run also warms up caches and libraries; all steps count all the same. */
static void print_median(double *seconds, int count)
{
    qsort(seconds, (size_t)count, sizeof(*seconds), compare_numbers);
    double median =
        count % 2 ? seconds[count / 2] : 0.5 * (seconds[count / 2 - 1] + seconds[count / 2]);
    printf("median %.4f s per step (%d steps, fastest %.4f s, slowest %.4f s)\n", median, count,
           seconds[0], seconds[count - 1]);
}

/* `ranks` is NULL for a run in one process. */
static bool repeat(const struct config *config, struct device *device, struct ranks_of_run *ranks,
                   const struct command_options *options, struct status *status)
{
    int times = options->repeat > 0 ? options->repeat : 1, steps = config->train_iterations;
    double *seconds = memory_zeroed((size_t)times * (size_t)steps, sizeof(*seconds));
    struct comm *comm = comm_self();
    bool ok = true;
    for (int i = 0; ok && i < times; i++) {
        double *own = seconds + (size_t)i * (size_t)steps;
        ok = ranks ? ranks_of_run_train(ranks, i == 0, own, status)
                   : train(config, device, comm, options, i == 0, own, status);
    }
    comm_close(comm);
    if (ok && options->repeat > 0)
        print_median(seconds, times * steps);
    free(seconds);
    return ok;
}

static bool start_and_run(const struct config *config, const struct config_search *search,
                          struct device *device, const struct app_options *app,
                          const struct command_options *options, struct status *status)
{
    struct ranks_of_run *ranks = NULL;
    const char *save = options->save_parameters;
    bool several = config->distributed.world_size > 1;
    if (save && !safetensors_can_write(save, status))
        return false;
    if (several && !(ranks = ranks_of_run_start(config, search, device, app, options, status)))
        return false;
    bool ok = repeat(config, device, ranks, options, status);
    ranks_of_run_free(ranks);
    return ok;
}

static int run_config(const struct config *config, const struct config_search *search,
                      const struct app_options *app, const struct command_options *options)
{
    struct device_options device_options = {.threads = app->threads};
    struct status status = STATUS_NONE;
    struct device *device = device_open(app->device, &device_options, &status);
    if (!device)
        return app_complain(EXIT_USAGE, "%s", status.text);
    if (device_passed_over(device))
        fprintf(stderr, "lockstep: running on the CPU: %s\n", device_passed_over(device));
    bool ok = start_and_run(config, search, device, app, options, &status);
    device_close(device);
    if (ok)
        return EXIT_DONE;
    bool usage = status.code == STATUS_INVALID || status.code == STATUS_NOT_FOUND;
    return app_complain(usage ? EXIT_USAGE : EXIT_FAILED, "%s", status.text);
}

static int run_options(const struct app_options *app, const struct command_options *options)
{
    struct status status = STATUS_NONE;
    struct overrides overrides = {0};
    struct config *config = NULL;
    if (build_overrides(&overrides, app, options, &status))
        config = config_load(&overrides.search, options->names.words[0], &status);
    int code = config ? run_config(config, &overrides.search, app, options)
                      : app_complain(EXIT_USAGE, "%s", status.text);
    config_free(config);
    overrides_free(&overrides);
    return code;
}

int app_run(int argc, char **argv, const struct app_options *app)
{
    struct command_options options = {.steps = -1, .repeat = -1};
    struct status status = STATUS_NONE;
    int code = EXIT_DONE;
    enum arguments_result parsed = parse(argc, argv, &options, &status);
    if (parsed == ARGUMENTS_WRONG)
        code = app_complain(EXIT_USAGE, "%s", status.text);
    else if (parsed == ARGUMENTS_OK && (options.steps == 0 || options.repeat == 0))
        code = app_complain(EXIT_USAGE, "%s takes at least 1",
                            options.steps == 0 ? "--steps" : "--repeat");
    else if (parsed == ARGUMENTS_OK && options.names.count != 1)
        code = app_complain(EXIT_USAGE, "run what? One MODEL[/VARIANT] (see lockstep run --help)");
    else if (parsed == ARGUMENTS_OK)
        code = run_options(app, &options);
    word_list_free(&options.names);
    return code;
}
