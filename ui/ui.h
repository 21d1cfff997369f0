/* The screens: a debugging session seen and driven through views, keys and a command line. */
#ifndef UI_UI_H
#define UI_UI_H

#include "engine/base/status.h"
#include "engine/config/config.h"
#include "engine/ranks/pool.h"
#include "engine/session/session.h"

#include <stdbool.h>
#include <stdint.h>

struct session_engine; /* engine/session/engine.h */

struct ui_options {
    struct config_search search; /* borrowed until ui_run returns */
    const char *device;          /* as in session_options */
    int threads;
    struct rank_launch launch;
    struct session_file file; /* to open; no run: the list of tests */
    const char *theme;        /* name, NULL: "dark", or "mono" without colours */
    bool no_colors, ascii, no_mouse;
    /* A file with keys and commands (docs/screens.md) and a screen of rows x cols in memory
     * instead of a terminal; all times are 0. NULL: the terminal. */
    const char *script;
    int rows, cols;
    const char *state; /* folder of what is remembered of each run; NULL: nothing is kept */
    const char *record, *replay;         /* as in session_options */
    const struct session_engine *engine; /* as in session_options */
    const char *program_path; /* of this program, to run tests with; NULL: they cannot be run */
    int *exit_code;           /* gets what 'quit CODE' asks for; stays as it is without; NULL */
};

/* Runs until the user leaves. False with the reason in `status` when the screen could not be
 * opened or a line of the script failed. One at a time per process: readline and curses have
 * state of their own. UI thread. */
bool ui_run(const struct ui_options *options, struct status *status);

#endif
