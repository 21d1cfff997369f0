/* Folders of configuration files that live as long as a test. */
#ifndef HELPER_CONFIG_H
#define HELPER_CONFIG_H

#include "engine/config/loader.h"

/* Makes a new empty folder; the path is owned by the caller. */
char *folder_make(void);
/* Writes FOLDER/NAME (with its folder), contents as given. */
void folder_write(const char *folder, const char *name, const char *text);
/* Removes the folder with all that is in it, and frees the path. */
void folder_remove(char *folder);

/* Loads `name` with the user's `folder` first (NULL: none); it must succeed. */
struct config *load_fine(const char *folder, const char *name);
/* Loads the text of a model file called my.yaml; it must fail with `code`, and the message must be
 * `expected` exactly. */
void load_fails(const char *text, size_t length, enum status_code code, const char *expected);

#endif
