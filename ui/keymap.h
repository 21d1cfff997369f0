/* The key map: which command a key runs in which view. Bindings are data (ui/keys.conf, compiled
 * in, and the user's own file on top), so the help is printed from the same table that is in force.
 * Not thread safe. Zero-initialise. */
#ifndef UI_KEYMAP_H
#define UI_KEYMAP_H

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "ui/keys.h"

#include <stdbool.h>

struct keymap_binding {
    char *view; /* "global" or the name of a view; owned */
    struct key key;
    char *command; /* as typed at the prompt; owned */
};

struct keymap {
    struct keymap_binding *bindings; /* [count], owned, in order of definition */
    int count;
    int capacity;
};

/* Adds the bindings of `text` (format: ui/keys.conf). `origin` names the text in messages. A line
 * that is wrong fails the whole text, with file, line and what was expected, and changes nothing.
 */
bool keymap_add(struct keymap *map, const char *text, const char *origin, struct status *status);

/* The default map, then the file at `path` on top if it is not NULL and exists. If the user's file
 * is wrong, returns false with the defaults loaded: the program stays usable, the caller tells. */
bool keymap_load(struct keymap *map, const char *path, struct status *status);

/* The binding in force for `key` in `view`: the view's own, else the global one, else NULL. The
 * pointer is good until the map changes. */
const struct keymap_binding *keymap_find(const struct keymap *map, const char *view,
                                         const struct key *key);

/* The first key bound to exactly `command` in `view` or globally, as a name, for key bars and
 * menus: "" if there is none. Returns `name`. */
const char *keymap_key_of(const struct keymap *map, const char *view, const char *command,
                          char name[48]);

/* Appends the view's own bindings, or the global ones, to read: a line for each command with all of
 * its keys, in the order of the first. */
void keymap_describe(const struct keymap *map, const char *view, struct text *out);

void keymap_free(struct keymap *map);

#endif
