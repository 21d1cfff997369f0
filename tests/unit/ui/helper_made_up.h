/* Screens on a session that is made up by a test: what it shows comes from one function. */
#ifndef HELPER_MADE_UP_H
#define HELPER_MADE_UP_H

#include "engine/session/output.h"
#include "engine/session/pictures.h"

struct made_up {
    /* Fills a picture of a run that stands still; its request and identity are set. */
    void (*fill)(struct made_up *made, struct picture *picture);
    void (*begin)(struct rank_output *output); /* what ranks have printed; NULL: nothing */
    struct rank_output *output;                /* of the session */
    char *posted;                              /* the last command that came to it */
    bool ascii;
};

/* Types a script of keys and commands into screens of rows x cols; the screen as text, to be freed.
 * Frees made->posted of an earlier call. */
char *made_up_screen(struct made_up *made, const char *keys, int rows, int cols);

void assert_has(const char *screen, const char *part);
void assert_has_not(const char *screen, const char *part);
int count_of(const char *screen, const char *part);

#endif
