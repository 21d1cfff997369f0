#include "ui/pen.h"

#include "ui/text_width.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct pen pen_at(struct layout_rectangle box, int row)
{
    return (struct pen){.box = box, .row = row, .role = -1};
}

void pen_line(struct pen *pen, int row, int role)
{
    pen->row = row;
    pen->col = 0;
    pen->role = role;
    if (role >= 0 && row >= 0 && row < pen->box.rows)
        term_fill((struct layout_rectangle){pen->box.row + row, pen->box.col, 1, pen->box.cols},
                  (enum theme_role)role);
}

int pen_room(const struct pen *pen)
{
    return pen->col < pen->box.cols ? pen->box.cols - pen->col : 0;
}

static enum theme_role role_of(const struct pen *pen, enum theme_role role)
{
    return pen->role >= 0 ? (enum theme_role)pen->role : role;
}

void pen_cell(struct pen *pen, int width, enum theme_role role, const char *text)
{
    int room = pen_room(pen);
    if (width > room)
        width = room;
    if (width > 0 && pen->row >= 0 && pen->row < pen->box.rows)
        term_put(pen->box.row + pen->row, pen->box.col + pen->col, width, role_of(pen, role), text);
    pen->col += width > 0 ? width : 0;
}

void pen_name(struct pen *pen, int width, enum theme_role role, const char *name)
{
    int columns = text_width(name, strlen(name)), room = pen_room(pen);
    width = width < room ? width : room;
    int tail = (width - 1) / 2;
    if (columns <= width || tail < 1) {
        pen_cell(pen, width, role, name);
        return;
    }
    struct text part = {0};
    text_clip(&part, name, strlen(name), 0, width - 1 - tail);
    text_add(&part, theme_mark(THEME_MARK_MORE, term_ascii()));
    text_clip(&part, name, strlen(name), columns - tail, tail);
    pen_cell(pen, width, role, part.data);
    text_free(&part);
}

void pen_put(struct pen *pen, enum theme_role role, const char *text)
{
    pen_cell(pen, text_width(text, strlen(text)), role, text);
}

void pen_format(struct pen *pen, enum theme_role role, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    pen_put(pen, role, text);
}

void pen_right(struct pen *pen, int width, enum theme_role role, const char *text)
{
    int used = text_width(text, strlen(text));
    if (used < width)
        pen_skip(pen, width - used);
    pen_cell(pen, used < width ? used : width, role, text);
}

void pen_mark(struct pen *pen, enum theme_role role, enum theme_mark mark)
{
    pen_cell(pen, 1, role, theme_mark(mark, term_ascii()));
}

void pen_skip(struct pen *pen, int columns)
{
    pen->col += columns;
}
