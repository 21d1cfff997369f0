/* The line that commands are typed into, with readline (ui/lineedit.c). That is optional: it is
 * GPL-3+, so a build with it must be given on under those terms. Without it (LOCKSTEP_READLINE off)
 * a small editor of our own (ui/editor.h) does the same with fewer keys.
 *
 * Never waits: the caller polls. Two modes:
 *  - plain prompt: on a terminal, below whatever was printed before; from a pipe or a file, lines
 * are read without echo and without prompts. poll(lineedit_fd()) for input, then lineedit_feed().
 *  - embedded: inside the screen. Bytes of keys are pushed in, the state to draw is read out.
 *
 * One line at a time: lineedit_prompt() opens the prompt, a complete line closes it and goes to the
 * `line` callback; nothing more is delivered until the next lineedit_prompt(), so that lines that
 * were typed ahead, pasted or piped in run one after the other. lineedit_ready() tells whether one
 * of those is waiting; lineedit_feed() then delivers it without input.
 *
 * readline has one state per process: one lineedit at a time, UI thread only. setlocale() must have
 * been called. Handles no signals: the caller does, and calls lineedit_interrupt() for SIGINT,
 * lineedit_resize() for SIGWINCH, lineedit_resume() for SIGCONT. */
#ifndef UI_LINEEDIT_H
#define UI_LINEEDIT_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct lineedit;

/* Sets *matches to a new array of new strings, each a full replacement of the word
 * line[start, end) (bytes), and returns their number; 0: none, *matches untouched. */
typedef int (*lineedit_complete_function)(void *context, const char *line, size_t start, size_t end,
                                          char ***matches);

struct lineedit_options {
    const char *program; /* name for `$if` in inputrc; NULL: "lockstep" */
    bool embedded;
    FILE *input, *output;     /* plain prompt; NULL: stdin, stdout */
    const char *history_path; /* NULL: history in the user's state folder; "": none */
    int history_limit;        /* 0: 1000 */

    void *context; /* handed to the callbacks */
    /* A complete line, without its end; NULL: end of input (Ctrl-D on an empty line, end of the
     * file), said once. Good until the callback returns; it may call any function here but
     * lineedit_close(). */
    void (*line)(void *context, const char *line);
    lineedit_complete_function complete; /* may be NULL */
    /* Embedded: the matches of an ambiguous word, to be shown by the caller. May be NULL. */
    void (*matches)(void *context, char *const *matches, int count);
};

/* What to draw when embedded. Pointers are good until the next call of a lineedit function. */
struct lineedit_state {
    bool open;          /* a prompt is open */
    const char *prompt; /* changes while searching the history */
    const char *line;
    size_t cursor; /* byte offset into line */
};

/* Fails if one is open already. A history that cannot be read is no failure. */
struct lineedit *lineedit_open(const struct lineedit_options *options, struct status *status);

/* Saves the history and frees; puts the terminal's modes back. NULL is legal. */
void lineedit_close(struct lineedit *edit);

/* Opens the prompt (replaces the text of one that is open). Delivers nothing. Not between hide and
 * show. */
void lineedit_prompt(struct lineedit *edit, const char *prompt);

/* Descriptor to poll while a prompt is open; -1 when embedded or at the end of the input. */
int lineedit_fd(const struct lineedit *edit);
/* A line is waiting: call lineedit_feed() without polling. False while no prompt is open. */
bool lineedit_ready(const struct lineedit *edit);
/* Takes input that poll() announced; delivers at most one line. Returns false after the end of the
 * input has been told. */
bool lineedit_feed(struct lineedit *edit);

/* Embedded: bytes of one or more keys (struct key has them), while a prompt is open. Bytes after a
 * complete line wait for the next prompt. */
void lineedit_push(struct lineedit *edit, const void *bytes, size_t count);
void lineedit_state(const struct lineedit *edit, struct lineedit_state *state);

/* Replaces the line that is being typed; the cursor goes to its end. */
void lineedit_set_line(struct lineedit *edit, const char *line);

/* Drops the line being typed and whatever waits behind it, as Ctrl-C does, and opens the prompt
 * anew if it was open. */
void lineedit_interrupt(struct lineedit *edit);

/* As lineedit_prompt, for a question: the answer does not go into the history. */
void lineedit_ask(struct lineedit *edit, const char *question);

/* Plain prompt on a terminal, while no prompt is open: the descriptor on which lines can be typed
 * ahead; -1 when there is none, or it is another program's at the moment. */
int lineedit_ahead_fd(const struct lineedit *edit);
/* Takes what has been typed there, if anything. Each complete line is shown to `urgent` (may be
 * NULL), and so is the end of the input (NULL as line): what it returns false for waits for the
 * next prompt, as pasted lines do. `urgent` may call lineedit_interrupt only. */
void lineedit_read_ahead(struct lineedit *edit, bool (*urgent)(void *context, const char *line));
/* On a terminal, or embedded, the end of the input (Ctrl-D) is a word like others: goes on after
 * it.
 */
void lineedit_reopen(struct lineedit *edit);

/* Plain prompt: takes prompt and line off the terminal, so that the program can print whole lines,
 * and puts them back below. Pairs nest. Without an open prompt, or from a pipe: nothing. */
void lineedit_hide(struct lineedit *edit);
void lineedit_show(struct lineedit *edit);

/* Plain prompt: back in the foreground; takes the terminal again and draws the prompt. */
void lineedit_resume(struct lineedit *edit);

/* The terminal has a new size. Embedded: rows and columns; else both 0 to ask the terminal. */
void lineedit_resize(struct lineedit *edit, int rows, int cols);

#endif
