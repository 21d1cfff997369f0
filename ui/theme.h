/* How things look: each thing on the screen has a role, a theme gives each role colours and
 * attributes, and marks say the same as the colours for those who do not see them. Themes are data
 * (ui/theme.conf, compiled in, and the user's own file on top). No terminal here: pure functions
 * and plain values; any thread. */
#ifndef UI_THEME_H
#define UI_THEME_H

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <stdbool.h>

/* The order is that of the names in theme.c. */
enum theme_role {
    THEME_NORMAL,
    THEME_DIM,
    THEME_TITLE,
    THEME_FRAME,
    THEME_FOCUS, /* frame and title of the pane with the focus */
    THEME_SELECTION,
    THEME_CURRENT, /* the line of the selection in a pane without the focus */
    THEME_BAR,
    THEME_BAR_STOPPED,
    THEME_BAR_RUNNING,
    THEME_KEY,
    THEME_PROMPT,
    THEME_SAME,
    THEME_WITHIN,
    THEME_DIVERGED,
    THEME_NAN,
    THEME_PENDING,
    THEME_BREAKPOINT,
    THEME_COUNTER, /* the program counter */
    THEME_NUMBER,
    THEME_NAME,
    THEME_REFERENCE,
    THEME_TEST,
    THEME_ERROR,
    THEME_WARNING,
    THEME_STDERR,
    THEME_MATCH,
    THEME_PASSED,
    THEME_FAILED,
    THEME_SKIPPED,
    THEME_RUNNING,
    THEME_ROLE_COUNT,
};

enum theme_attribute {
    THEME_BOLD = 1,
    THEME_FAINT = 2,
    THEME_UNDERLINE = 4,
    THEME_REVERSE = 8,
    THEME_ITALIC = 16,
};

enum { THEME_COLOR_DEFAULT = -1 };

/* Colours are THEME_COLOR_DEFAULT or 0 to 255 of xterm's palette. */
struct theme_style {
    int foreground;
    int background;
    unsigned attributes; /* enum theme_attribute, or-ed */
};

struct theme {
    struct theme_style styles[THEME_ROLE_COUNT];
};

/* Sets *theme to the one called `name`: built-in lines, then those of the file at `path` if it is
 * not NULL and exists. Fails, naming the themes there are, if none has that name; with file and
 * line if the file is wrong (then *theme is the built-in one, if there is one of that name). */
bool theme_load(struct theme *theme, const char *name, const char *path, struct status *status);

/* The colour nearest to `color` among the first `available` (8, 16 or 256) of xterm's palette; for
 * fewer than 8, THEME_COLOR_DEFAULT. */
int theme_nearest_color(int color, int available);

/* Signs that carry a meaning of their own. The order is that of the table in theme.c. */
enum theme_mark {
    THEME_MARK_SAME,       /* = */
    THEME_MARK_WITHIN,     /* within the limits, not the same bits */
    THEME_MARK_DIVERGED,   /* beyond the limits */
    THEME_MARK_NAN,        /* ! */
    THEME_MARK_PENDING,    /* not computed yet */
    THEME_MARK_BREAKPOINT, /* */
    THEME_MARK_COUNTER,    /* the program counter */
    THEME_MARK_FOLDED,
    THEME_MARK_UNFOLDED,
    THEME_MARK_MORE, /* text goes on beyond the edge */
    THEME_MARK_COUNT,
};

/* The sign as UTF-8, one column wide; with `ascii`, a plain character that no other mark uses. */
const char *theme_mark(enum theme_mark mark, bool ascii);

/* A horizontal bar of `columns` cells filled by `fraction` (0 to 1; NaN and less give none, more
 * gives all), in eighths of a cell, or in # with `ascii`, filled up with blanks. Appends to *out.
 */
void theme_bar(struct text *out, double fraction, int columns, bool ascii);

#endif
