/* Problems found in the user's files: as many as there are, each "file:line:column: text".
 * Internal to engine/config. */
#ifndef ENGINE_CONFIG_PROBLEMS_H
#define ENGINE_CONFIG_PROBLEMS_H

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "engine/config/config.h"

/* Zero-initialise; free `text` with text_free. */
struct problems {
    struct text text; /* one per line, no newline at the end */
    int count;
};

void problem_add(struct problems *problems, struct source source, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fails with all problems (STATUS_INVALID) if there are any, and releases them. */
bool problems_end(struct problems *problems, struct status *status);

#endif
