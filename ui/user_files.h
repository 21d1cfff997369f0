/* Where the user's own files live: https://specifications.freedesktop.org/basedir-spec/ */
#ifndef UI_USER_FILES_H
#define UI_USER_FILES_H

#include "engine/base/status.h"

#include <stdbool.h>

/* $XDG_CONFIG_HOME/lockstep/NAME, by default ~/.config/lockstep/NAME. The caller frees. NULL if
 * neither XDG_CONFIG_HOME nor HOME holds an absolute path. */
char *user_config_path(const char *name);

/* $XDG_STATE_HOME/lockstep/NAME, by default ~/.local/state/lockstep/NAME. As above. */
char *user_state_path(const char *name);

/* $XDG_CACHE_HOME/lockstep/NAME, by default ~/.cache/lockstep/NAME. As above. */
char *user_cache_path(const char *name);

/* Makes the folders above the file `path`, private to the user as the specification asks. */
bool user_make_folders(const char *path, struct status *status);

/* The whole file as a string that the caller frees. A file that does not exist gives false with
 * STATUS_NOT_FOUND; one of more than 16 MiB is refused. */
bool user_read_file(const char *path, char **text, struct status *status);

/* The next line of configuration in *cursor, without comment (# at the start of the line or after
 * a blank), blanks at both ends and line end; empty lines are passed over. The line is cut out
 * of the text in place. *number counts all lines, from 1. Returns NULL at the end. */
char *user_next_line(char **cursor, int *number);

/* Cuts the next word off *line (blank-separated) and leaves *line at the first character of what
 * follows. Returns "" at the end. */
char *user_next_word(char **line);

#endif
