/* The terminal: the only file that includes curses. It has state of its own, because curses has:
 * there is one screen per process. Signals and captured output are in ui/term_guard.h.
 *
 * While the screen is on, standard output and standard error lead into memory files, so that
 * nothing a library prints can tear the screen; what arrived can be read at any time and is printed
 * after the screen is off.
 *
 * All functions belong to the UI thread. Text handed in is untrusted and goes through
 * ui/text_width.h. Coordinates: row, column, from 0; drawing outside the screen is clipped. */
#ifndef UI_TERM_H
#define UI_TERM_H

#include "engine/base/status.h"
#include "engine/base/text.h"
#include "ui/keys.h"
#include "ui/layout.h"
#include "ui/term_capture.h"
#include "ui/theme.h"

#include <stdbool.h>
#include <stddef.h>

struct term_options {
    int rows, cols;     /* both not 0: no terminal at all, a screen of this size in memory, for
                         * scripts and tests; term_dump() reads it */
    bool ascii;         /* no characters beyond ASCII (also the case in a locale without UTF-8) */
    bool mouse;         /* report clicks and the wheel */
    int colors;         /* at most so many; 0: what the terminal has. Take 1 for none. A NO_COLOR
                         * variable that is not empty gives none */
    int escape_ms;      /* how long an ESC waits for the rest of a sequence; 0: 25 */
    struct theme theme; /* copied */
};

/* Turns the screen on: alternate screen, raw mode (Ctrl-C, Ctrl-Z and Ctrl-\ arrive as keys),
 * captured output. Uses standard input and output if they are terminals, else the controlling
 * terminal. Fails without one, with an unknown TERM, or if it is on already. setlocale(LC_ALL, "")
 * must have been called. */
bool term_open(const struct term_options *options, struct status *status);

/* Turns the screen off, restores signal handlers and output, prints what was captured (at most its
 * last 64 KiB) to standard error. Legal when the screen is off. */
void term_close(void);

/* ---- size, features ---- */
int term_rows(void);
int term_cols(void);
int term_colors(void); /* 0, 8, 16 or 256; with 0, give term_set_theme() the theme "mono" */
bool term_ascii(void); /* draw with plain characters only */
/* Whether half blocks can be drawn in any two of 256 colours: UTF-8, and curses has enough pairs.
 */
bool term_half_blocks(void);
void term_set_mouse(bool on);
bool term_mouse(void);
void term_set_theme(const struct theme *theme);

/* ---- events: poll() term_input_fd() and term_signal_fd() for input ---- */
int term_input_fd(void); /* -1 without a terminal */
int term_signal_fd(void);

enum term_event {
    TERM_RESIZED = 1,   /* term_rows() and term_cols() are new; lay out and draw everything */
    TERM_REDRAW = 2,    /* back from the background: draw everything */
    TERM_INTERRUPT = 4, /* SIGINT from outside */
};

/* Deals with the signals that came (a burst of resizes counts once; SIGTSTP suspends here and
 * returns after SIGCONT) and returns what follows for the caller, enum term_event or-ed. */
unsigned term_take_events(void);

/* The next key, without waiting; false if there is none now. A closed terminal gives KEYS_HANGUP
 * once and nothing more. Call until false. */
bool term_read_key(struct key *key);

/* Milliseconds until a pending ESC counts as a key (use as time-out of poll), or -1 for none. */
int term_key_timeout(void);

/* Puts the terminal back and stops the process as Ctrl-Z does; returns when it is continued. */
void term_suspend(void);

/* Gives the terminal to a command of the shell (ui/shell.h) and takes it back when that has ended
 * and, unless it was a shell, the user has seen it: Enter. Without a terminal the command has no
 * input. */
bool term_shell(const char *command, struct status *status);

/* Makes the next flush send every cell (Ctrl-L). */
void term_redraw(void);

/* ---- drawing: into memory, shown by term_flush() ---- */
void term_clear(void);

/* Draws `text` into exactly `width` columns, filled up with blanks; text that does not fit ends in
 * THEME_MARK_MORE. A width below 0: as wide as the text. Returns the columns drawn on the screen.
 */
int term_put(int row, int col, int width, enum theme_role role, const char *text);

/* The same for `length` bytes from column `skip` of the text on, without a mark at the edges: for
 * text that scrolls sideways. */
int term_put_part(int row, int col, int width, enum theme_role role, const char *text,
                  size_t length, int skip);

/* The same as term_put_part() from column 0, in colours of the caller's own (heat maps). */
int term_put_style(int row, int col, int width, struct theme_style style, const char *text);

/* Blanks in a role. */
void term_fill(struct layout_rectangle box, enum theme_role role);

/* A frame along the edge of the box, at least 2x2, with an optional title in its upper line. */
void term_box(struct layout_rectangle box, enum theme_role role, const char *title);

/* All frames of a layout, the one of `focus` in THEME_FOCUS; titles are the caller's to draw. */
void term_frames(const struct screen_layout *layout, enum layout_view focus);

/* The text cursor; hidden when row or col is below 0. */
void term_cursor(int row, int col);

/* Shows what was drawn: one update of the terminal. */
void term_flush(void);

/* Appends the screen as drawn, one line per row, blanks at line ends cut. */
void term_dump(struct text *out);

/* ---- the clipboard ---- */

/* Hands text to the terminal for its clipboard (OSC 52). False when nobody can take it: a screen in
 * memory, a terminal that knows no such sequences, a text beyond TERM_COPY_MOST bytes. Whether the
 * terminal obeys cannot be known. */
enum { TERM_COPY_MOST = 48000 }; /* what xterm takes at most, in base64 */
bool term_copy(const char *text);

/* ---- captured output ---- */

/* The next bytes that came on standard output or error, in the order of arrival, appended to `out`;
 * false when there are no more (ui/term_capture.h). Cheap when nothing came. */
bool term_captured(struct term_piece *piece, struct text *out);
int term_captured_fd(void); /* readable while there is something to take; -1 without */

#endif
