/* The run that debug and tui open: words of their command lines. */
#ifndef APP_RUN_WORDS_H
#define APP_RUN_WORDS_H

#include "app/arguments.h"

#include "engine/session/session.h"

/* Makes the first of `positional`, if there is one, the run of `file`, whose options have been
 * parsed. False with `status` after a second word, or when there is an option that needs a run but
 * none. */
bool run_words_take(const struct usage *usage, const struct word_list *positional,
                    struct session_file *file, struct status *status);

#endif
