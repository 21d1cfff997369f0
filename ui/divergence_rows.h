/* The table of compared tensors: its heading and its rows, in columns that belong together. UI
 * thread. */
#ifndef UI_DIVERGENCE_ROWS_H
#define UI_DIVERGENCE_ROWS_H

#include "engine/session/pictures.h"
#include "ui/pen.h"
#include "ui/result_order.h"

/* Columns of a table: `wide` has three more numbers. */
struct divergence_columns {
    int name;
    bool wide;
};
struct divergence_columns divergence_columns_of(int columns);

void divergence_heading_draw(struct pen *pen, const struct divergence_columns *columns);
/* What a column of the heading sorts by; -1: nothing is there. */
int divergence_heading_at(const struct divergence_columns *columns, int col);
void divergence_row_draw(struct pen *pen, const struct divergence_columns *columns,
                         const struct program_picture *program, const struct state_picture *state,
                         const struct picture_result *result);

#endif
