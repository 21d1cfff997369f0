/* How the listing of a program looks: a row of it, and the operands of an instruction. UI thread.
 */
#ifndef UI_PROGRAM_ROWS_H
#define UI_PROGRAM_ROWS_H

#include "ui/pen.h"
#include "ui/program_tree.h"

/* A node in the pen's line; `here`: the run stands there. */
void program_row_draw(struct pen *pen, const struct tree_node *node,
                      const struct program_picture *program, bool here);
/* The column of a node's sign, "folded" or "unfolded"; an instruction has none. */
int program_row_sign(const struct tree_node *node);
/* An instruction: where it comes from, and a line for each operand, as many as the box has. */
void program_operands_draw(struct layout_rectangle box, const struct program_picture *program,
                           int instruction);

#endif
