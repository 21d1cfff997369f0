/* What must happen to the terminal whatever becomes of the program: modes and screen are put back
 * on exit and on fatal signals, signals are turned into bytes of a pipe, stray output is kept. Used
 * by the screen (ui/term.c), and alone by the plain prompt, which needs the fatal part only.
 * One guard at a time per process, since signal handlers reach it through one pointer. UI thread.
 *
 * TERM, HUP, QUIT, SEGV, ABRT, BUS, FPE and ILL: put the terminal back by calls that are allowed in
 * a handler, print the tail of the captured output, then let the signal do what it did before (a
 * fault runs into the handler that was there, such as a sanitizer's). Signals that were ignored
 * stay ignored. With `events`, WINCH, TSTP, CONT and INT only write their number into a pipe. */
#ifndef UI_TERM_GUARD_H
#define UI_TERM_GUARD_H

#include "ui/term_capture.h"

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <stdbool.h>
#include <stddef.h>

struct term_guard;

/* Remembers the modes of the terminal on `tty` (-1 or no terminal: none) and installs the
 * handlers. NULL if a guard is on already. End with term_guard_end. */
struct term_guard *term_guard_begin(int tty, bool events, struct status *status);

/* The bytes that put the screen back, copied; at most 512. Sent on a fatal signal, while `armed`.
 */
void term_guard_set_restore(struct term_guard *guard, const char *bytes, size_t length);

/* Leads standard output and error, those that are terminals, away from the screen: see
 * ui/term_capture.h, whose pieces and descriptor these are. */
bool term_guard_capture(struct term_guard *guard, struct status *status);
bool term_guard_captured(struct term_guard *guard, struct term_piece *piece, struct text *out);
int term_guard_capture_fd(const struct term_guard *guard);

/* Read end of the pipe of signals (poll for input); -1 without `events` or without a guard. */
int term_guard_fd(const struct term_guard *guard);

/* The next signal that came, or 0. Never waits. NULL is fine. */
int term_guard_take(struct term_guard *guard);

/* Whether the terminal is in our modes: not while it is another program's. */
void term_guard_arm(struct term_guard *guard, bool armed);

/* Stops the process as the default action of SIGTSTP does; returns when it is continued. */
void term_guard_stop(struct term_guard *guard);

/* Puts modes, handlers and output back and prints the last 64 KiB of what was captured to standard
 * error. Sends no screen bytes: curses has done so. NULL is fine. */
void term_guard_end(struct term_guard *guard);

#endif
