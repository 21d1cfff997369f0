/* The lines that were typed, oldest first, without duplicates, kept in a file between sessions.
 * Plain data; not thread safe; zero-initialise and set `limit`. */
#ifndef UI_HISTORY_H
#define UI_HISTORY_H

#include "engine/base/status.h"

#include <stdbool.h>

struct history {
    char **lines; /* [count], owned */
    int count;
    int capacity;
    int limit; /* oldest lines beyond it are dropped; 0: 1000 */
};

/* Adds a line as the newest; an older equal one is removed. Blank lines and lines that hold control
 * characters (they would break the file apart) are not kept. Returns whether it was added. */
bool history_add(struct history *history, const char *line);

/* Adds the lines of the file, if there is one. */
bool history_load(struct history *history, const char *path, struct status *status);

/* Writes the file, private to the user: what it holds now (another session may have written), then
 * the lines of this history, within the limit. Makes missing folders. By a temporary file and
 * rename: never half a file. */
bool history_save(const struct history *history, const char *path, struct status *status);

void history_free(struct history *history);

#endif
