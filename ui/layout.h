/* Where things are on the screen: a pure function from the size, the open views and the user's
 * preferences to rectangles. No terminal; any thread.
 *
 * Wide (at least LAYOUT_WIDE_COLS columns):     Narrow:
 *    header                                        header
 *    +-- left ----+-- right --+                    +-- title of an open view ---
 *    |            |           |                    +-- title of the focus ------
 *    +------------+-----------+                    |   the view with the focus
 *    |        bottom          |                    +-- title of an open view ---
 *    +------------------------+                    +----------------------------
 *    prompt, key bar                               prompt, key bar
 *
 * Each view has a home: left, right or bottom. Several open views of one home share it, one below
 * the other, each with at least LAYOUT_PANE_ROWS rows; when there is no room for all, the view with
 * the focus stays, then those first in enum layout_view. On a narrow screen the view with the focus
 * gets all the rows, and the others are title lines (focus-next leads to them) as long as at least
 * LAYOUT_PANE_ROWS * 2 rows are left to the one.
 *
 * Frames are shared: a pane's inside excludes its frame, neighbours have one line between them.
 * layout_lines() says which strokes meet in a cell, so that corners and joints come out right. */
#ifndef UI_LAYOUT_H
#define UI_LAYOUT_H

#include <stdbool.h>

enum layout_view {
    LAYOUT_TESTS,
    LAYOUT_PROGRAM,
    LAYOUT_DIVERGENCES,
    LAYOUT_TENSOR,
    LAYOUT_MEMORY,
    LAYOUT_RANKS,
    LAYOUT_METRICS,
    LAYOUT_LOG,
    LAYOUT_HELP,
    LAYOUT_VIEW_COUNT,
};

enum layout_slot { LAYOUT_LEFT, LAYOUT_RIGHT, LAYOUT_BOTTOM, LAYOUT_SLOT_COUNT };

enum {
    LAYOUT_MIN_ROWS = 8,
    LAYOUT_MIN_COLS = 30,
    LAYOUT_WIDE_COLS = 100,
    LAYOUT_PANE_ROWS = 4,     /* inside of a pane, at least */
    LAYOUT_KEY_BAR_ROWS = 12, /* screens lower than this have no key bar */
};

struct layout_rectangle {
    int row, col;   /* of the upper left cell */
    int rows, cols; /* 0: not there */
};

struct layout_request {
    int rows, cols;               /* of the screen */
    bool open[LAYOUT_VIEW_COUNT]; /* nothing open: one empty body */
    enum layout_view focus;       /* taken as open */
    bool zoomed;                  /* the focus alone */
    int left_percent;             /* width of left, 10 to 90; 0 = 50 */
    int bottom_percent;           /* height of bottom, 10 to 80; 0 = 30 */
};

struct layout_pane {
    enum layout_view view;
    struct layout_rectangle frame;  /* the outline: its edge cells are lines */
    struct layout_rectangle inside; /* the view's own cells; no rows when collapsed */
    bool collapsed;                 /* only the title line is shown */
}; /* The title goes into frame.row, from frame.col + 1, at most frame.cols - 2 columns. */

struct screen_layout {
    bool too_small; /* then everything else is empty: say what is needed instead */
    struct layout_rectangle header;
    struct layout_rectangle body; /* all that the panes and their frames cover */
    struct layout_rectangle prompt;
    struct layout_rectangle keys;                /* no rows on a low screen */
    struct layout_pane panes[LAYOUT_VIEW_COUNT]; /* [pane_count], in the order of focus-next */
    int pane_count;
    int sides_col;  /* of the line between left and right; 0: there is none */
    int bottom_row; /* of the line above bottom; 0: there is none */
};

/* Where everything is on a screen of that size. Pure. */
struct screen_layout layout_compute(const struct layout_request *request);

/* Name of a view as commands and the key map call it: "tests", "program", ... Static storage. */
const char *layout_view_name(enum layout_view view);
/* The view of that name, or -1. */
int layout_view_find(const char *name);
enum layout_slot layout_view_slot(enum layout_view view);

enum layout_line { LAYOUT_UP = 1, LAYOUT_DOWN = 2, LAYOUT_BEFORE = 4, LAYOUT_AFTER = 8 };

/* The strokes (enum layout_line, or-ed) of all frames that leave the middle of this cell; 0 if no
 * frame passes. */
unsigned layout_lines(const struct screen_layout *layout, int row, int col);

/* Whether the frame of the pane of `view` passes this cell: such cells are drawn in the role of the
 * focus. */
bool layout_on_frame(const struct screen_layout *layout, enum layout_view view, int row, int col);

/* The pane under a cell (inside or title line), or NULL: for the mouse. */
const struct layout_pane *layout_pane_at(const struct screen_layout *layout, int row, int col);

/* The lines that the user can move. */
enum layout_edge { LAYOUT_EDGE_NONE, LAYOUT_EDGE_SIDES, LAYOUT_EDGE_BOTTOM };

/* The one that passes a cell. */
enum layout_edge layout_edge_at(const struct screen_layout *layout, int row, int col);

/* The left_percent or bottom_percent of a request that brings that edge to a cell, or as near as it
 * may come. 0 for LAYOUT_EDGE_NONE. */
int layout_edge_percent(const struct screen_layout *layout, enum layout_edge edge, int row,
                        int col);

/* The pane of a view, or NULL if it is not on the screen. */
const struct layout_pane *layout_pane_of(const struct screen_layout *layout, enum layout_view view);

/* The open view that follows (direction 1) or precedes (-1) `focus` in the order on the screen,
 * hidden ones included. */
enum layout_view layout_next_view(const struct layout_request *request, int direction);

#endif
