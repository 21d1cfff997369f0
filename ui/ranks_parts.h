/* The parts of the view of ranks: the table of ranks, and what they print. Internal to the view. */
#ifndef UI_RANKS_PARTS_H
#define UI_RANKS_PARTS_H

#include "engine/session/pictures.h"
#include "ui/layout.h"
#include "ui/list.h"

enum ranks_mode { RANKS_MERGED = 0, RANKS_SPLIT, RANKS_ONE, RANKS_MODE_COUNT };

struct ranks_view {
    enum ranks_mode mode;
    bool in_output;    /* keys move in the output, else in the table */
    struct list list;  /* rows of the table: groups of ranks */
    bool departed;     /* the rank of the selected row has: as it was drawn */
    int selected;      /* the first rank of the selected row: stays when rows change */
    bool stay;         /* does not follow the newest line */
    int64_t top, line; /* sequence numbers of the first line shown and the selected one */
    int skip;          /* columns of the lines that are left of the edge */
    bool times;
    struct output_filter filter; /* as the user said; the mode narrows its ranks */
    char search[OUTPUT_PATTERN]; /* on its way when search_direction is not 0 */
    int search_direction;
    int rows, columns; /* of the output on the screen: lines, and ranks beside each other */
};

/* Where the parts go. */
struct ranks_layout {
    struct layout_rectangle table, departure, memory, heading, output;
    int columns; /* ranks beside each other in split mode */
};

/* Pure. `rows`: of the table; `departed`: the selected rank is unlike others that hold the same,
 * and the details say how. */
struct ranks_layout ranks_layout_of(struct layout_rectangle box, int rows, bool departed,
                                    enum ranks_mode mode);

/* More ranks than this are merged into groups. */
enum { RANKS_ROWS = 32, RANKS_COLUMN = 40 };

void ranks_draw_table(struct layout_rectangle box, const struct ranks_picture *ranks,
                      const struct rank_group *groups, int count, struct ranks_view *view,
                      bool focus);
/* Of one rank: what departed, if anything did, and its memory by class. Each where it has room. */
void ranks_draw_details(const struct ranks_layout *layout, const struct rank_picture *rank,
                        int number);
void ranks_draw_heading(struct layout_rectangle box, const struct ranks_view *view,
                        const struct output_page *page);
void ranks_draw_output(struct layout_rectangle box, const struct ranks_view *view,
                       const struct output_page *page, bool focus);

/* The lines of a page that are on the screen: [first, first + count). */
int ranks_lines_shown(const struct ranks_view *view, const struct output_page *page, int rows,
                      int *first);
/* The line of the page with that sequence number or the next; `count` if there is none. */
int ranks_line_at(const struct output_page *page, int64_t sequence);

#endif
