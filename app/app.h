/* The subcommands of the program, and what they share. */
#ifndef APP_APP_H
#define APP_APP_H

#include "engine/config/config.h"
#include "engine/ranks/pool.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,   /* a test failed, a comparison found a difference, a run broke off */
    EXIT_USAGE = 2,    /* bad arguments or configuration */
    EXIT_NO_TESTS = 5, /* no test was selected */
};

enum color_choice { COLOR_AUTO = 0, COLOR_ALWAYS, COLOR_NEVER };

/* Options that every subcommand takes, wherever they stand on the command line: --config-dir,
 * --set, --device, --threads, --color, and how ranks are started. */
struct app_options {
    struct config_search search; /* of --config-dir and --set */
    const char *device;          /* "auto" unless --device */
    int threads;                 /* 0 = all cores */
    enum color_choice color;
    struct rank_launch launch; /* --in-process, --launcher, --hostfile, --rank-timeout */
    const char *program_path;  /* argv[0] */
};

/* A subcommand: argv[0] is its name, the shared options are already taken out. Returns the exit
 * code; messages went to stderr. */
typedef int app_command(int argc, char **argv, const struct app_options *options);

app_command app_list;
app_command app_test;
app_command app_run;
app_command app_diff;
app_command app_config;
app_command app_faults;
app_command app_tui;
app_command app_rank;
app_command command_debug; /* may be missing from a build */

/* Whether `stream` (a FILE) gets ANSI colours: --color, then NO_COLOR, then a terminal. */
bool app_wants_color(const struct app_options *options, void *stream);

/* "lockstep: MESSAGE" to stderr; returns `code`. */
int app_complain(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A message's lines with what is no text shown as escapes: words that it quotes may come from a
 * file that is no script, and would act on the terminal. To be freed. */
char *app_printable(const char *text);

#endif
