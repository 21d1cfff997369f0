/* What the screens remember of each run: breakpoints, folds, selection, sorting, the tensor that
 * was looked at. It is taken when another run is opened and when the user leaves, and comes back
 * with the run: within a session from memory, later from a small JSON file per run (named by the
 * run and its reference) in ui_options.state. A file that is broken, of another version or of
 * another run is ignored with a line in the log. UI thread. */
#ifndef UI_REMEMBER_H
#define UI_REMEMBER_H

#include "engine/session/pictures.h"

#include <stdbool.h>

struct ui;
struct json_t;

struct remembered {
    char *key;           /* of the run that is shown: the name of its file; NULL: none */
    bool returning;      /* breakpoints are on their way back: there is nothing to take yet */
    struct json_t *runs; /* by key, what was taken or read in this session; NULL: nothing yet */
};

/* Before a picture of the state replaces the last one: whether it is of another run. */
bool remember_is_other_run(const struct ui *ui, const struct picture *state);
/* Takes what is to be remembered of the run that is shown, if one is. */
void remember_leave(struct ui *ui);
/* A picture of the state arrived: whether it is the one after all that was posted to come back. */
void remember_look(struct ui *ui);
/* Once the pictures of a run's program and state are there: brings back what is known of it. */
void remember_arrive(struct ui *ui);
void remember_free(struct remembered *remembered);

/* For views: the index in `words` of the text `key` of an object, or `otherwise`. */
int remember_choice(const struct json_t *object, const char *key, const char *const *words,
                    int count, int otherwise);

#endif
