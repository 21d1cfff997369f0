/* The run as a listing: where it stands, what was compared, operands of the selected row. */
#include "ui/program_rows.h"
#include "ui/program_tree.h"
#include "ui/state.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct program_view {
    struct program_tree tree;
    uint64_t identity; /* of the program that the tree is of */
    struct list list;  /* of tree.visible */
    bool no_details;
    int64_t place; /* where the run stood at the last picture */
    int opened[2]; /* nodes that following the run unfolded, -1 */
    int followed;  /* instruction that following the run selected, -1 */
};

static void *create(struct ui *ui)
{
    struct program_view *view = memory_zeroed(1, sizeof(*view));
    (void)ui;
    view->place = -1;
    view->opened[0] = view->opened[1] = view->followed = -1;
    return view;
}

static void destroy(void *state)
{
    struct program_view *view = state;
    program_tree_free(&view->tree);
    free(view);
}

/* ---- the selection ---- */

static struct tree_node *selected_node(struct program_view *view)
{
    if (view->tree.visible_count == 0)
        return NULL;
    return &view->tree.nodes[view->tree.visible[view->list.selected]];
}

static int selected_instruction(struct program_view *view)
{
    const struct tree_node *node = selected_node(view);
    return node ? node->first : -1;
}

static void select_node(struct program_view *view, int node)
{
    list_resize(&view->list, view->tree.visible_count);
    list_reveal(&view->list, program_tree_row(&view->tree, node));
}

static void go_to(struct program_view *view, int instruction)
{
    int row = program_tree_reveal(&view->tree, instruction);
    list_resize(&view->list, view->tree.visible_count);
    list_reveal(&view->list, row);
}

/* The output of the selected instruction that commands are about: the worst compared, else the
 * first that has a name. */
static int selected_value(struct ui *ui, struct program_view *view)
{
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    const struct tree_node *node = selected_node(view);
    if (!program || !node || node->level != TREE_INSTRUCTION)
        return -1;
    const struct picture_instruction *in = &program->instructions[node->first];
    int found = in->output_count > 0 ? in->outputs[0] : -1;
    const struct picture_result *worst = NULL;
    for (int r = 0; state && r < state->result_count; r++)
        for (int k = 0; k < in->output_count; k++)
            if (state->results[r].value == in->outputs[k] &&
                (!worst || state->results[r].status > worst->status))
                worst = &state->results[r];
    return worst ? worst->value : found;
}

/* ---- following the run ---- */

static void fold_opened(struct program_view *view)
{
    for (int i = 0; i < 2; i++)
        if (view->opened[i] >= 0 && view->opened[i] < view->tree.count)
            program_tree_fold(&view->tree, view->opened[i], true);
    view->opened[0] = view->opened[1] = -1;
}

static void follow(struct program_view *view, int instruction)
{
    fold_opened(view);
    int layer = view->tree.nodes[view->tree.leaves[instruction]].parent;
    int pass = view->tree.nodes[layer].parent;
    view->opened[0] = view->tree.nodes[layer].folded ? layer : -1;
    view->opened[1] = view->tree.nodes[pass].folded ? pass : -1;
    go_to(view, instruction);
    view->followed = instruction;
}

/* The instruction to look at: the one that wrote what the run stopped for, else the next. */
static int place_of_interest(const struct ui *ui, const struct state_picture *state)
{
    const struct program_picture *program = ui_program(ui);
    int next = state->next;
    if (state->focus >= 0 && program) {
        int producer = program->values[state->focus].producer;
        bool just_ran = producer >= 0 && producer == next - 1;
        if (just_ran && state->instructions[producer].status >= MARK_DIVERGED)
            return producer;
    }
    return next < state->instruction_count ? next : state->instruction_count - 1;
}

static void picture(struct ui *ui, void *context, const struct picture *picture)
{
    struct program_view *view = context;
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    if (program && view->identity != ui->pictures[PICTURE_PROGRAM]->identity) {
        program_tree_build(&view->tree, program);
        view->identity = ui->pictures[PICTURE_PROGRAM]->identity;
        view->opened[0] = view->opened[1] = -1;
        view->place = -1;
        view->list = (struct list){.page = view->list.page};
        list_resize(&view->list, view->tree.visible_count);
    }
    if (!state || !program || picture->request.kind > PICTURE_STATE)
        return;
    program_tree_mark(&view->tree, state);
    int64_t place = (int64_t)state->now * state->instruction_count + state->next;
    if (place == view->place || view->tree.instruction_count == 0)
        return;
    view->place = place;
    follow(view, place_of_interest(ui, state));
}

/* ---- drawing ---- */

static void draw_row(struct ui *ui, struct program_view *view, struct pen *pen, int row)
{
    const struct state_picture *state = ui_state(ui);
    const struct tree_node *node = &view->tree.nodes[view->tree.visible[row]];
    bool inside = state && state->step == state->now && node->first <= state->next &&
                  state->next <= node->last;
    bool here = inside && (node->level == TREE_INSTRUCTION || node->folded);
    program_row_draw(pen, node, ui_program(ui), here);
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct program_view *view = context;
    const struct program_picture *program = ui_program(ui);
    struct pen pen = pen_at(box, 0);
    if (!program || view->tree.count == 0) {
        pen_put(&pen, THEME_DIM, ui_why_empty(ui));
        return;
    }
    const struct tree_node *node = selected_node(view);
    struct layout_rectangle below = box;
    const struct picture_instruction *in = &program->instructions[node->first];
    below.rows = 1 + in->input_count + in->output_count;
    below.rows = below.rows > box.rows / 3 ? box.rows / 3 : below.rows;
    if (view->no_details || node->level != TREE_INSTRUCTION || box.rows < 12)
        below.rows = 0;
    box.rows -= below.rows;
    below.row += box.rows;
    pen.box = box;
    list_resize(&view->list, view->tree.visible_count);
    list_show(&view->list, box.rows);
    for (int i = 0; i < box.rows && view->list.top + i < view->list.count; i++) {
        bool selected = view->list.top + i == view->list.selected;
        pen_line(&pen, i, !selected ? -1 : focus ? THEME_SELECTION : THEME_CURRENT);
        draw_row(ui, view, &pen, view->list.top + i);
    }
    if (below.rows > 0)
        program_operands_draw(below, program, node->first);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct state_picture *state = ui_state(ui);
    (void)context;
    if (state)
        text_format(out, "  step %d/%d%s  %d instructions", state->step + 1, state->steps,
                    state->step != state->now ? " (done)" : "", state->instruction_count);
}

/* ---- acting ---- */

static void fold(struct program_view *view, const char *how)
{
    const struct tree_node *node = selected_node(view);
    if (!node)
        return;
    int index = (int)(node - view->tree.nodes);
    if (strcmp(how, "all") == 0) {
        while (view->tree.nodes[index].parent >= 0)
            index = view->tree.nodes[index].parent;
        program_tree_fold_all(&view->tree);
    } else if (strcmp(how, "open") == 0) {
        program_tree_fold(&view->tree, index, false);
    } else {
        bool leaf = node->level == TREE_INSTRUCTION;
        bool close = strcmp(how, "close") == 0;
        if (node->parent >= 0 && (leaf || (close && node->folded)))
            index = node->parent;
        program_tree_fold(&view->tree, index, close || !view->tree.nodes[index].folded);
    }
    select_node(view, index);
}

static void toggle_breakpoint(struct ui *ui, struct program_view *view)
{
    const struct tree_node *node = selected_node(view);
    if (!node)
        return;
    if (node->level == TREE_INSTRUCTION && node->mark.breakpoint)
        ui_post(ui, "delete %d", ui_state(ui)->instructions[node->first].number);
    else
        ui_post(ui, "break %d", node->first);
}

static void show_divergence(struct ui *ui, struct program_view *view, bool first)
{
    int from = first ? -1 : selected_instruction(view);
    const struct tree_node *node = selected_node(view);
    if (!first && node && node->level != TREE_INSTRUCTION)
        from--; /* the first below a folded pass counts */
    int found = program_tree_divergence(&view->tree, from, 1);
    if (found < 0)
        ui_say(ui, THEME_NORMAL,
               first ? "nothing has diverged in this step" : "no divergence below in this step");
    else
        go_to(view, found);
}

static void open_row(struct ui *ui, struct program_view *view)
{
    int value = selected_value(ui, view);
    if (value < 0) {
        fold(view, "toggle");
        return;
    }
    ui_open_value(ui, value);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct program_view *view = context;
    const char *rest;
    if (list_act(&view->list, command))
        return true;
    if (command_is(command, "move left", NULL)) {
        fold(view, "close");
    } else if (command_is(command, "move right", NULL)) {
        fold(view, "open");
    } else if (command_is(command, "fold", &rest)) {
        fold(view, rest);
    } else if (command_is(command, "open", NULL)) {
        open_row(ui, view);
    } else if (command_is(command, "break here", NULL)) {
        toggle_breakpoint(ui, view);
    } else if (command_is(command, "next-divergence", NULL)) {
        show_divergence(ui, view, false);
    } else if (command_is(command, "first-divergence", NULL)) {
        show_divergence(ui, view, true);
    } else if (command_is(command, "info instruction", NULL)) {
        view->no_details = !view->no_details;
    } else {
        return key && ui_act_on_value(ui, selected_value(ui, view), command);
    }
    return true;
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct program_view *view = context;
    if (!list_click(&view->list, 0, click->row))
        return;
    const struct tree_node *node = selected_node(view);
    if (click->twice)
        open_row(ui, view);
    else if (node && node->level != TREE_INSTRUCTION &&
             click->col < program_row_sign(node) + LIST_SIGN)
        fold(view, "toggle");
}

static bool search(struct ui *ui, void *context, const char *text, int direction)
{
    struct program_view *view = context;
    const struct program_picture *program = ui_program(ui);
    int count = program ? program->instruction_count : 0;
    int from = selected_instruction(view);
    for (int k = 1; k <= count; k++) {
        int i = ((from + direction * k) % count + count) % count;
        const struct picture_instruction *in = &program->instructions[i];
        if (strstr(in->text, text) || strstr(in->layer, text) || strstr(in->part, text)) {
            go_to(view, i);
            return true;
        }
    }
    return false;
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    (void)context;
    if (!program || !state)
        return;
    sheet_fact_integer(out, "step", state->step + 1);
    struct sheet_table *table =
        sheet_add_table(out, "instructions",
                        "instruction phase micro_batch layer part source status rms_relative "
                        "of_limit breakpoint next text");
    for (int i = 0; i < program->instruction_count; i++) {
        const struct picture_instruction *in = &program->instructions[i];
        const struct picture_mark *mark = &state->instructions[i];
        table_integer(table, i);
        table_text(table, phase_name(in->phase));
        table_measure(table, in->micro_batch >= 0 ? in->micro_batch : NAN);
        table_text(table, in->layer);
        table_text(table, in->part);
        table_text(table, in->source);
        table_text(table, status_saved(mark->status));
        table_measure(table, (double)mark->error);
        table_measure(table, (double)mark->worst);
        table_measure(table, mark->breakpoint ? mark->number : NAN);
        table_flag(table, state->step == state->now && state->next == i);
        table_text(table, in->text);
    }
}

/* ---- remembering ---- */

static json_t *remember(struct ui *ui, void *context)
{
    struct program_view *view = context;
    const struct tree_node *selected = selected_node(view);
    json_t *unfolded = json_array();
    (void)ui;
    for (int n = 0; n < view->tree.count; n++) {
        const struct tree_node *node = &view->tree.nodes[n];
        bool followed = n == view->opened[0] || n == view->opened[1]; /* not by the user */
        if (node->level != TREE_INSTRUCTION && !node->folded && !followed)
            json_array_append_new(unfolded, program_tree_json(&view->tree, n));
    }
    json_t *json = json_pack("{s:o, s:b}", "unfolded", unfolded, "operands", !view->no_details);
    bool led = selected && selected->level == TREE_INSTRUCTION && /* there by the run itself */
               selected->first == view->followed;
    if (selected && !led)
        json_object_set_new(json, "selected",
                            program_tree_json(&view->tree, (int)(selected - view->tree.nodes)));
    return json;
}

static void restore(struct ui *ui, void *context, const json_t *json)
{
    struct program_view *view = context;
    const json_t *unfolded = json_object_get(json, "unfolded");
    int selected = program_tree_find(&view->tree, json_object_get(json, "selected"));
    (void)ui;
    view->no_details = json_is_false(json_object_get(json, "operands"));
    fold_opened(view);
    for (size_t i = 0; i < json_array_size(unfolded); i++) {
        int node = program_tree_find(&view->tree, json_array_get(unfolded, i));
        if (node >= 0)
            program_tree_fold(&view->tree, node, false);
    }
    if (selected >= 0 && view->tree.nodes[selected].level == TREE_INSTRUCTION)
        go_to(view, view->tree.nodes[selected].first);
    else if (selected >= 0)
        select_node(view, selected);
}

static const struct view_hint hints[] = {{"break here", "break"}, {"check", "check"},
                                         {"blame", "blame"},      {"next-divergence", "divergence"},
                                         {"fold toggle", "fold"}, {NULL, NULL}};

const struct view_operations view_program = {
    .view = LAYOUT_PROGRAM,
    .title = "Program",
    .help = "The step as a listing: passes, layers, instructions. Each row tells how its outputs "
            "compare with the reference: the sign, rms of the difference over the scale of the "
            "reference, and a bar: how much of the limit that is. Enter shows the tensor that the "
            "instruction wrote.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .picture = picture,
    .search = search,
    .remember = remember,
    .restore = restore,
    .save = save,
};
