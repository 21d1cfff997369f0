#include "ui/program_rows.h"

#include "ui/state.h"
#include "ui/text_width.h"

#include <string.h>

enum { ERROR_COLUMNS = 9, BAR_COLUMNS = 8 };

static void put_status(struct pen *pen, const struct picture_mark *mark, bool bar)
{
    char number[32];
    struct text line = {0};
    enum theme_role role = status_role(mark->status);
    pen_mark(pen, role, status_mark(mark->status));
    if (mark->status == MARK_NAN)
        pen_right(pen, ERROR_COLUMNS - 1, role, "NaN");
    else if (mark->status >= MARK_SAME)
        pen_right(pen, ERROR_COLUMNS - 1, role, number_text(mark->error, number));
    else
        pen_cell(pen, ERROR_COLUMNS - 1, role, mark->status == MARK_DONE ? "    done" : "");
    if (!bar)
        return;
    pen_skip(pen, 1);
    theme_bar(&line, mark->status >= MARK_SAME ? mark->worst : 0, BAR_COLUMNS, term_ascii());
    pen_put(pen, role, line.data);
    text_free(&line);
}

enum { MARKS = 2 }; /* columns of put_marks */

int program_row_sign(const struct tree_node *node)
{
    return MARKS + 1 + (int)node->level;
}

static void put_marks(struct pen *pen, const struct tree_node *node, bool here)
{
    if (here)
        pen_mark(pen, THEME_COUNTER, THEME_MARK_COUNTER);
    else
        pen_skip(pen, 1);
    if (node->mark.breakpoint)
        pen_cell(pen, 1, THEME_BREAKPOINT,
                 node->mark.breakpoint > 1 ? theme_mark(THEME_MARK_BREAKPOINT, term_ascii()) : "o");
    else
        pen_skip(pen, 1);
}

static void put_name(struct pen *pen, const struct tree_node *node,
                     const struct program_picture *program, int width)
{
    int end = pen->col + width;
    pen_skip(pen, program_row_sign(node) - MARKS);
    if (node->level != TREE_INSTRUCTION) {
        pen_mark(pen, THEME_NORMAL, node->folded ? THEME_MARK_FOLDED : THEME_MARK_UNFOLDED);
        pen_skip(pen, 1);
        pen_cell(pen, end - pen->col, node->level == TREE_PASS ? THEME_TITLE : THEME_NAME,
                 node->label);
        return;
    }
    const struct picture_instruction *in = &program->instructions[node->first];
    pen_format(pen, THEME_NUMBER, "%4d ", node->first);
    bool short_form = width < 62 && in->part[0]; /* operands are below, or in the tensor view */
    if (in->part[0])
        pen_cell(pen, 15, THEME_NAME, in->part);
    pen_skip(pen, 1);
    enum theme_role role = in->fault ? THEME_WARNING : THEME_NORMAL;
    if (short_form) {
        pen_cell(pen, end - pen->col, role, in->op);
        return;
    }
    const char *rest = in->text; /* the kind has a column of its own, wide enough for most */
    if (strncmp(rest, in->op, strlen(in->op)) == 0)
        rest += strlen(in->op);
    pen_cell(pen, width < 90 ? 12 : 17, role, in->op);
    pen_skip(pen, 1);
    pen_cell(pen, end - pen->col, role, rest + strspn(rest, " "));
}

void program_row_draw(struct pen *pen, const struct tree_node *node,
                      const struct program_picture *program, bool here)
{
    bool bar = pen->box.cols >= 56;
    int status = 1 + ERROR_COLUMNS + (bar ? BAR_COLUMNS + 1 : 0);
    put_marks(pen, node, here);
    put_name(pen, node, program, pen->box.cols - MARKS - status);
    pen->col = pen->box.cols - status + 1;
    put_status(pen, &node->mark, bar);
}

/* The shape stays readable, if need be at the cost of the name. */
static void put_operand(struct pen *pen, const struct program_picture *program, const char *what,
                        int value)
{
    const struct picture_value *operand = &program->values[value];
    char shape[80], whole[80];
    struct text type = {0}, more = {0};
    text_format(&type, "  %s %s", dtype_name(operand->dtype), shape_text(operand->shape, shape));
    if (operand->shard.global.rank > 0)
        text_format(&more, " of %s", shape_text(operand->shard.global, whole));
    if (operand->producer >= 0 && what[0] == 'i')
        text_format(&more, "  by %d", operand->producer);
    pen_format(pen, THEME_DIM, " %-4s", what);
    int wide = text_width(operand->name, strlen(operand->name));
    enum { ENOUGH = 32 }; /* of a name */
    int room = pen_room(pen) - (int)type.length;
    if (room - (int)more.length < wide && room - (int)more.length < ENOUGH)
        text_clear(&more);
    room -= (int)more.length;
    pen_name(pen, wide < room ? wide : room, THEME_NAME, operand->name);
    pen_put(pen, THEME_NORMAL, type.data);
    pen_put(pen, THEME_DIM, more.data ? more.data : "");
    text_free(&type);
    text_free(&more);
}

void program_operands_draw(struct layout_rectangle box, const struct program_picture *program,
                           int instruction)
{
    const struct picture_instruction *in = &program->instructions[instruction];
    struct pen pen = pen_at(box, 0);
    int row = 0;
    pen_format(&pen, THEME_TITLE, "%d %s", instruction, in->op);
    pen_format(&pen, THEME_DIM, "  %s %s %s", in->layer, in->part, in->source);
    if (in->fault)
        pen_format(&pen, THEME_WARNING, "  fault: %s", in->fault);
    if (in->key)
        pen_format(&pen, THEME_DIM, "  %s", in->key);
    for (int k = 0; k < in->output_count; k++) {
        pen_line(&pen, ++row, -1);
        put_operand(&pen, program, "out", in->outputs[k]);
    }
    for (int k = 0; k < in->input_count; k++) {
        pen_line(&pen, ++row, -1);
        put_operand(&pen, program, "in", in->inputs[k]);
    }
}
