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
    int layout; /* of them, those about a model that cannot be spread over ranks in this way */
};

void problem_add(struct problems *problems, struct source source, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fails with all problems if there are any, and releases them: STATUS_INVALID, or
 * STATUS_UNSUPPORTED when all of them are about the layout. */
bool problems_end(struct problems *problems, struct status *status);

#endif
