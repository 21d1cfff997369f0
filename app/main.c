/* lockstep: finds the subcommand and runs it. */
#include "app/app.h"
#include "app/arguments.h"

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/base/text.h"
#include "engine/base/unicode.h"
#include "engine/device/device.h"
#include "engine/ranks/rank.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Left out of builds without its source. */
#pragma weak command_debug

enum { COMMANDS = 10 };

struct command {
    const char *name;
    app_command *run; /* NULL: not in this build */
    bool computes;
    const char *help; /* NULL: not for users, and not listed */
};

/* Fills the table of subcommands; returns how many there are. */
static int list_commands(struct command commands[COMMANDS])
{
    const struct command all[] = {
        {"list", app_list, false, "models, groups, variants, tests"},
        {"test", app_test, true, "run model tests"},
        {"run", app_run, true, "train a model and record a trace"},
        {"diff", app_diff, false, "compare two traces"},
        {"debug", command_debug, true, "debug a run, instruction by instruction"},
        {"tui", app_tui, true, "the screens: the same, with keys and panes"},
        {"config", app_config, false, "show or check configurations"},
        {"faults", app_faults, false, "faults that can be put into a run, for practice"},
        {"rank", app_rank, true, NULL},
    };
    int count = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].run)
            commands[count++] = all[i];
    return count;
}

bool app_wants_color(const struct app_options *options, void *stream)
{
    const char *no_color = getenv("NO_COLOR");
    if (options->color != COLOR_AUTO)
        return options->color == COLOR_ALWAYS;
    return !(no_color && no_color[0]) && isatty(fileno(stream));
}

/* Whether it begins with file:line:column, which editors jump to when nothing stands before it. */
static bool has_place(const char *message)
{
    int length = 0;
    sscanf(message, "%*[^:\n]:%*[0-9]:%*[0-9]: %n", &length);
    return length > 0;
}

char *app_printable(const char *text)
{
    struct text out = {0};
    for (const char *line = text; line;) {
        const char *end = strchr(line, '\n');
        unicode_add_printable(&out, line, end ? (size_t)(end - line) : strlen(line));
        text_add(&out, end ? "\n" : "");
        line = end ? end + 1 : NULL;
    }
    return text_take(&out);
}

int app_complain(int code, const char *format, ...)
{
    char message[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fflush(stdout);
    char *shown = app_printable(message);
    fprintf(stderr, "%s%s\n", has_place(message) ? "" : "lockstep: ", shown);
    free(shown);
    return code;
}

/* OpenMP's threads spin for many milliseconds at the end of each parallel loop, hoping for the next
 * one: on cores that others use, too, that makes short loops ten times slower. About one
 * millisecond is longer than what lies between the instructions of a step, and waking a thread for
 * each would cost a tenth of it. The library reads its settings when it is loaded, before main:
 * hence the program starts itself once more. */
static void limit_spinning(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", "20000", 1) == 0)
        execv("/proc/self/exe", argv); /* where there is no /proc: slower, but not wrong */
}

static void print_help(const struct argument *shared, int count)
{
    struct command commands[COMMANDS];
    int command_count = list_commands(commands);
    printf("lockstep %s, a debugger for model test runs\n\n"
           "Usage: lockstep COMMAND [arguments]\n\nCommands (lockstep COMMAND --help):\n",
           LOCKSTEP_VERSION);
    for (int i = 0; i < command_count; i++)
        if (commands[i].help)
            printf("  %-12s %s\n", commands[i].name, commands[i].help);
    printf("\nOptions of every command:\n");
    arguments_print(stdout, shared, count);
    printf("  %-27s %s\n", "--version", "print the version");
}

/* `original`: argv before the shared options were taken out. */
static int run_command(int argc, char **argv, char **original, const struct app_options *options)
{
    struct command commands[COMMANDS];
    const char *names[COMMANDS];
    int count = list_commands(commands);
    for (int i = 0; i < count; i++) {
        names[i] = commands[i].name;
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (commands[i].computes)
            limit_spinning(original);
        return commands[i].run(argc - 1, argv + 1, options);
    }
    const char *closest = names_closest(argv[1], names, count);
    return app_complain(EXIT_USAGE, "no command \"%s\"%s%s%s (see lockstep --help)", argv[1],
                        closest ? "; did you mean " : "", closest ? closest : "",
                        closest ? "?" : "");
}

static bool parse_color(const char *word, enum color_choice *color)
{
    if (strcmp(word, "auto") == 0)
        *color = COLOR_AUTO;
    else if (strcmp(word, "always") == 0)
        *color = COLOR_ALWAYS;
    else if (strcmp(word, "never") == 0)
        *color = COLOR_NEVER;
    else
        return false;
    return true;
}

/* Without a subcommand: on a terminal, or with a script of keys, the screens. */
static bool means_screens(int argc, char **argv)
{
    if (argc > 1)
        return strcmp(argv[1], "--script") == 0 || strcmp(argv[1], "--size") == 0;
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* A misspelt device would fail the first test, as if the test were at fault. */
static bool is_device(const char *name)
{
    static const char *const names[] = {"auto", "cpu", "cuda", "reference"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* By the environment, so that workers and ranks have it, too. */
static bool set_memory_limit(const char *size, struct status *status)
{
    int64_t bytes;
    if (size)
        setenv("LOCKSTEP_GPU_MEMORY_LIMIT", size, 1);
    return !size || device_memory_limit(&bytes, status);
}

/* A pipe that nobody reads any more must end the program quietly, but not kill what it runs; what
 * else keeps it from printing is told. */
static int finish(int code)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed)
        return code;
    int error = errno;
    bool nobody_reads = poll(&out, 1, 0) > 0 && out.revents & POLLERR;
    if (!nobody_reads)
        app_complain(EXIT_FAILED, "standard output: %s",
                     failed ? "not all of it could be written" : strerror(error));
    return code == EXIT_DONE ? EXIT_FAILED : code;
}

int main(int argc, char **argv)
{
    int code;
    if (keeper_serve(argc, argv, &code)) /* its arguments are others' */
        return code;
    struct app_options options = {.device = "auto", .program_path = argv[0]};
    struct word_list directories = {0}, overrides = {0};
    const char *color = "auto", *memory_limit = NULL, *collectives = "auto";
    const struct argument shared[] = {
        {"--config-dir", NULL, ARGUMENT_TEXTS, &directories, "DIR",
         "a folder of configurations that come before the built-in ones"},
        {"--set", NULL, ARGUMENT_TEXTS, &overrides, "KEY=VALUE",
         "change the configuration, e.g. data.seed=7"},
        {"--device", NULL, ARGUMENT_TEXT, &options.device, "NAME", "auto (default), cpu or cuda"},
        {"--threads", NULL, ARGUMENT_INTEGER, &options.threads, "N",
         "threads of the CPU device (default: all cores)"},
        {"--gpu-memory-limit", NULL, ARGUMENT_TEXT, &memory_limit, "SIZE",
         "most memory that a process takes on the GPU, e.g. 8G"},
        {"--color", NULL, ARGUMENT_TEXT, &color, "WHEN", "auto (default), always or never"},
        {"--in-process", NULL, ARGUMENT_FLAG, &options.launch.in_process, NULL,
         "ranks of a distributed run inside of this process, without MPI"},
        {"--launcher", NULL, ARGUMENT_TEXT, &options.launch.launcher, "COMMAND",
         "starts rank processes, e.g. \"srun -N 2\" (default: mpirun)"},
        {"--hostfile", NULL, ARGUMENT_TEXT, &options.launch.hostfile, "FILE", "hosts for mpirun"},
        {"--engine-address", NULL, ARGUMENT_TEXT, &options.launch.address, "ADDRESS",
         "of this host, to which ranks on others connect"},
        {"--rank-timeout", NULL, ARGUMENT_INTEGER, &options.launch.timeout, "SECONDS",
         "that a rank may take to start, or for one instruction (default 30)"},
        {"--collectives", NULL, ARGUMENT_TEXT, &collectives, "NAME",
         "between GPUs: auto (default; NCCL where each rank has a GPU), nccl, or mpi"},
    };
    int shared_count = (int)(sizeof(shared) / sizeof(shared[0]));
    struct status status = STATUS_NONE;
    char **original = memory_zeroed((size_t)argc + 1, sizeof(*original));
    memcpy(original, argv, (size_t)argc * sizeof(*original));
    if (!arguments_take(&argc, argv, shared, shared_count, &status)) {
        code = app_complain(EXIT_USAGE, "%s", status.text);
    } else if (!parse_color(color, &options.color)) {
        code = app_complain(EXIT_USAGE, "--color takes auto, always or never, not \"%s\"", color);
    } else if (!is_device(options.device)) {
        code = app_complain(EXIT_USAGE, "no device \"%s\" (there are auto, cpu and cuda)",
                            options.device);
    } else if (!rank_collectives_find(collectives, &options.launch.collectives)) {
        code = app_complain(EXIT_USAGE, "--collectives takes auto, mpi or nccl, not \"%s\"",
                            collectives);
    } else if (!set_memory_limit(memory_limit, &status)) {
        code = app_complain(EXIT_USAGE, "--gpu-memory-limit: %s", status.text);
    } else if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("lockstep %s\n", LOCKSTEP_VERSION);
        code = EXIT_DONE;
    } else if (means_screens(argc, argv)) {
        options.search = (struct config_search){directories.words, directories.count,
                                                overrides.words, overrides.count};
        limit_spinning(original);
        code = app_tui(argc, argv, &options);
    } else if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
               strcmp(argv[1], "help") == 0) {
        print_help(shared, shared_count);
        code = EXIT_DONE;
    } else {
        options.search = (struct config_search){directories.words, directories.count,
                                                overrides.words, overrides.count};
        code = run_command(argc, argv, original, &options);
    }
    word_list_free(&directories);
    word_list_free(&overrides);
    free(original);
    return finish(code);
}
