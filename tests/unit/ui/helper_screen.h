/* A real pseudo-terminal with a terminal emulator (libvterm) at its other end, for tests: run a
 * function as the program in it, type, and wait for what must appear. Waits are for states; the
 * deadline only ends a failing test. */
#ifndef TESTS_UNIT_UI_HELPER_SCREEN_H
#define TESTS_UNIT_UI_HELPER_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct screen {
    int master, slave; /* the slave is kept open, to look at the modes after the program's end */
    int reports;       /* wait statuses of the program, from its parent */
    pid_t leader;      /* session leader: the program's parent, as a shell would be */
    pid_t program;
    int rows, cols;
    void *terminal, *cells; /* VTerm, VTermScreen */
    bool alternate, cursor_visible, mouse;
    int bells;
    char copied[4096]; /* what was handed over for the clipboard (OSC 52), in base64 */
    size_t copied_length;
    int copying;        /* how much of the sequence's beginning has been seen; -1: inside of it */
    int marks, marking; /* marks that have come; how much of the next one has */
};

/* Runs program(context) on a terminal of that size, in a process group of its own, in the
 * foreground; what it returns is its exit status. */
void screen_start(struct screen *screen, int rows, int cols, int (*program)(void *), void *context);
void screen_type(struct screen *screen, const char *bytes);
void screen_resize(struct screen *screen, int rows, int cols);

/* Feeds the emulator until the condition holds; fails the test, showing the screen, if it never
 * does. */
void screen_wait(struct screen *screen, bool (*condition)(struct screen *, const void *),
                 const void *context, const char *what);
/* Row `row` equals `text`, blanks at its end apart. */
void screen_wait_row(struct screen *screen, int row, const char *text);
/* `text` is in some row. */
void screen_wait_text(struct screen *screen, const char *text);
/* Something was handed over for the clipboard. */
void screen_wait_copied(struct screen *screen);
void screen_wait_cursor(struct screen *screen, int row, int col);
/* The program stopped or ended: its wait status. All that it wrote has come then. */
int screen_wait_status(struct screen *screen);

/* The row as UTF-8, blanks at its end cut. */
void screen_row(struct screen *screen, int row, char *text, size_t size);
/* One cell: its character, and its colours as 0xRRGGBB. */
struct screen_cell {
    uint32_t character; /* 0: none */
    unsigned foreground, background;
};
struct screen_cell screen_cell_at(struct screen *screen, int row, int col);
/* The terminal is as a shell expects it: main screen, cursor, line mode with echo, no mouse. */
bool screen_is_restored(struct screen *screen);
void screen_end(struct screen *screen);

#endif
