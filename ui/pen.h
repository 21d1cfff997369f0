/* Writing lines into a box of the screen, piece by piece, each in its own role. Everything is cut
 * at the edges of the box. UI thread. */
#ifndef UI_PEN_H
#define UI_PEN_H

#include "ui/term.h"

struct pen {
    struct layout_rectangle box;
    int row, col; /* inside the box, from 0 */
    int role;     /* of the whole line (selection), or -1: as each piece says */
};

struct pen pen_at(struct layout_rectangle box, int row);
/* The next line in a role of its own: fills it with blanks of that role. -1: none. */
void pen_line(struct pen *pen, int row, int role);
void pen_put(struct pen *pen, enum theme_role role, const char *text);
void pen_format(struct pen *pen, enum theme_role role, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Exactly `width` columns, cut with a mark or filled up with blanks. */
void pen_cell(struct pen *pen, int width, enum theme_role role, const char *text);
/* The same for names, whose ends tell them apart as their beginnings do: cut in the middle. */
void pen_name(struct pen *pen, int width, enum theme_role role, const char *name);
/* The same as pen_cell, at the right of the cell. */
void pen_right(struct pen *pen, int width, enum theme_role role, const char *text);
void pen_mark(struct pen *pen, enum theme_role role, enum theme_mark mark);
void pen_skip(struct pen *pen, int columns);
/* Columns that are left in the line. */
int pen_room(const struct pen *pen);

#endif
