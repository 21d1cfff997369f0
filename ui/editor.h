/* A small line editor for builds without readline: bytes of a terminal go in, a line and a cursor
 * come out. Moving, deleting, killing and yanking as in emacs mode, history by arrows and Ctrl-P,
 * Ctrl-N, completion by Tab, UTF-8, bracketed paste. Draws nothing; no terminal. Zero-initialise;
 * not thread safe. */
#ifndef UI_EDITOR_H
#define UI_EDITOR_H

#include "engine/base/text.h"
#include "ui/history.h"
#include "ui/keys.h"
#include "ui/lineedit.h"

enum editor_result { EDITOR_CONTINUE, EDITOR_LINE, EDITOR_END };

struct editor {
    struct text line;
    size_t cursor;        /* byte offset, at the start of a character */
    struct text killed;   /* what Ctrl-Y brings back */
    char *set_aside;      /* the line typed before going back in the history; owned */
    int history_position; /* index into history->lines; count: the line being typed */
    struct keys_decoder decoder;

    const struct history *history; /* borrowed, may be NULL; may change between lines only */
    lineedit_complete_function complete;
    void (*matches)(void *context, char *const *matches, int count);
    void *context;
};

/* Starts an empty line. */
void editor_start(struct editor *editor);
/* Takes one byte. EDITOR_LINE: the line is complete (editor->line.data, never NULL then);
 * EDITOR_END: Ctrl-D on an empty line. */
enum editor_result editor_push(struct editor *editor, unsigned char byte);
void editor_set_line(struct editor *editor, const char *line);
void editor_free(struct editor *editor);

#endif
