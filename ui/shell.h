/* Commands of the shell, for 'shell COMMAND' and '!COMMAND'. */
#ifndef UI_SHELL_H
#define UI_SHELL_H

#include "engine/base/status.h"

#include <stdbool.h>

/* Runs `command` by $SHELL or /bin/sh, or for "" a shell, and waits for its end; its exit status is
 * its own business. Standard input of the command is `input`, -1: nothing (/dev/null); its output
 * and errors go to `output`, -1: where this process's go. As in system(3), Ctrl-C and Ctrl-\ are
 * for the command alone meanwhile; Ctrl-Z stops both. The caller has put the terminal's modes
 * back. False if it could not be run. UI thread. */
bool shell_run(const char *command, int input, int output, struct status *status);

#endif
