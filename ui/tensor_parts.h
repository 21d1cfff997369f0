/* The parts of the tensor view and where they go. Internal to the view. */
#ifndef UI_TENSOR_PARTS_H
#define UI_TENSOR_PARTS_H

#include "engine/session/pictures.h"
#include "ui/heat.h"
#include "ui/layout.h"

enum tensor_mode {
    TENSOR_ALL = 0,
    TENSOR_NUMBERS,
    TENSOR_HEAT,
    TENSOR_HISTOGRAMS,
    TENSOR_WORST,
    TENSOR_FOLLOWED,
    TENSOR_MODE_COUNT
};
enum tensor_side {
    TENSOR_SIDES = 0,
    TENSOR_TEST,
    TENSOR_REFERENCE,
    TENSOR_DIFFERENCE,
    TENSOR_SIDE_COUNT
};

enum { TENSOR_FOLLOW_HEADING = 4 }; /* rows above the table of a followed element */

/* Boxes without rows are not drawn. */
struct tensor_layout {
    struct layout_rectangle heat, histogram, numbers, worst, followed;
    int window_rows, window_columns, heat_rows, heat_columns, bins; /* what to ask for */
};

struct tensor_view {
    enum tensor_mode mode;
    enum tensor_side side;
    int value, drawn;                  /* asked for; of the newest picture */
    int64_t plane, row, column;        /* the window */
    int64_t cursor_row, cursor_column; /* the element that keys act on, in the plane */
    int window_rows, window_columns, heat_rows, heat_columns, bins; /* what the screen shows */
    int worst;                                                      /* the one that was jumped to */
    bool worst_shown;
    bool copy_waits; /* the number at the cursor is to be copied when its picture is there */
    int follow;      /* which of the followed elements; beyond the last: that one */
    int follow_back; /* rows that the table is moved back from the newest */
    int follow_page; /* rows of the table on the screen */
    struct tensor_layout layout; /* as drawn last, for the mouse */
};

/* Pure. `heat_lines`: rows of the map in one row of the screen. */
struct tensor_layout tensor_layout_of(struct layout_rectangle box, enum tensor_mode mode,
                                      enum tensor_side side, int heat_lines);
/* The part of the map's box that its cells fill. Pure. */
struct layout_rectangle tensor_heat_inside(struct layout_rectangle box);
/* What the terminal can draw. */
enum heat_drawing tensor_heat_drawing(void);

/* Name, verdict, cause; returns the rows taken. */
int tensor_draw_verdict(struct layout_rectangle box, const struct tensor_picture *tensor);
void tensor_draw_heat(struct layout_rectangle box, const struct tensor_picture *tensor);
void tensor_draw_histograms(struct layout_rectangle box, const struct tensor_picture *tensor);
/* The element at the cursor stands out when `focus`. */
void tensor_draw_numbers(struct layout_rectangle box, const struct tensor_picture *tensor,
                         const struct tensor_view *view, bool focus);
void tensor_draw_worst(struct layout_rectangle box, const struct tensor_picture *tensor,
                       int selected);

/* The element whose number, or whose cell of the map, was drawn in such a box at a place of the
 * screen: its row and column in the plane. Of a cell that stands for several elements the first.
 * False: none. */
bool tensor_number_at(struct layout_rectangle box, const struct tensor_picture *tensor,
                      enum tensor_side side, int screen_row, int screen_col, int64_t *row,
                      int64_t *column);
bool tensor_heat_at(struct layout_rectangle box, const struct tensor_picture *tensor,
                    int screen_row, int screen_col, int64_t *row, int64_t *column);

/* The followed elements: one of them, its course and a table. */
void tensor_draw_follow(struct layout_rectangle box, const struct tensor_picture *tensor,
                        const struct tensor_view *view);
int tensor_follow_shown(const struct tensor_picture *tensor,
                        const struct tensor_view *view); /* -1 */
/* "up", "page-down", ... by rows of the table. False: no such word. */
bool tensor_follow_move(const struct tensor_picture *tensor, struct tensor_view *view,
                        const char *where, int page);

/* The flat index of the element at the cursor (of what the picture shows); -1: none. */
int64_t tensor_cursor(const struct tensor_picture *tensor, const struct tensor_view *view);

/* "[17,203]" of a flat index. Returns `buffer`. */
const char *tensor_place(const struct tensor_picture *tensor, int64_t index, char buffer[100]);

struct ui;

/* The command "copy value" (also "") or "copy numpy": into the terminal's clipboard; the log has it
 * too, where it can be selected. `tensor` may be NULL. While a newer picture is on its way the
 * number waits for it: copy_waits. */
void tensor_copy(struct ui *ui, const struct tensor_picture *tensor, struct tensor_view *view,
                 const char *what);

#endif
