/* Between ui/lineedit_lines.c and what edits: readline (ui/lineedit.c, the only file that may
 * include it) or, in a build without it, ui/lineedit_fallback.c. Nobody else includes this. */
#ifndef UI_LINEEDIT_INTERNAL_H
#define UI_LINEEDIT_INTERNAL_H

#include "engine/base/text.h"
#include "ui/editor.h"
#include "ui/history.h"
#include "ui/lineedit.h"

#include <termios.h>

struct lineedit {
    struct lineedit_options options;
    char *program, *history_path, *prompt; /* owned */
    struct history history;
    bool terminal;     /* plain prompt on a terminal */
    bool open;         /* a prompt is open */
    bool ended;        /* no more input will come */
    bool end_told;     /* ... and the caller knows */
    bool asking;       /* the prompt is a question */
    int hidden;        /* depth of lineedit_hide() */
    struct text input; /* bytes not taken yet: from the pipe, or pushed */
    size_t readable;   /* embedded: bytes of input that the backend may take now */
    char **queue;      /* [queue_count] complete lines behind the one delivered; owned */
    int queue_count, queue_capacity;
    char *done; /* what the backend has completed: owned, NULL none */

    /* The fallback's own. */
    struct editor editor;
    struct termios modes;
    bool modes_saved;
};

/* The backend. It sets edit->done or edit->ended when a line or the input is complete, having
 * closed its prompt by itself. */
bool backend_start(struct lineedit *edit, struct status *status); /* false: there is one already */
void backend_end(struct lineedit *edit);
void backend_open_prompt(struct lineedit *edit);
void backend_close_prompt(struct lineedit *edit);
/* Plain: takes what the terminal has sent. Embedded: takes at least one, at most edit->readable
 * bytes off edit->input. */
void backend_take(struct lineedit *edit);
void backend_insert(struct lineedit *edit, const char *text); /* at the cursor */
void backend_set_line(struct lineedit *edit, const char *line);
void backend_state(const struct lineedit *edit, struct lineedit_state *state);
void backend_interrupt(struct lineedit *edit); /* the prompt is open before and after */
void backend_hide(struct lineedit *edit);
void backend_show(struct lineedit *edit);
void backend_resume(struct lineedit *edit);
void backend_resize(struct lineedit *edit, int rows, int cols);
void backend_history_changed(struct lineedit *edit);

#endif
