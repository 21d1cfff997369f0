/* What was compared and did not pass (or all that was compared): a table that sorts, filters and
 * groups, and a map of layers and passes. */
#include "ui/divergence_map.h"
#include "ui/divergence_rows.h"
#include "ui/filter.h"
#include "ui/result_order.h"
#include "ui/state.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum grouping { GROUP_NOTHING, GROUP_LAYER, GROUP_WHAT, GROUP_MAP, GROUPING_COUNT };

static const char *const sorting_names[] = {"program order", "worst of limit", "rms/scale",
                                            "max/scale",     "cosine",         "name"};

static const char *const grouping_names[] = {"nothing", "layer", "what", "map"};

struct group {
    char *name;
    int results, failed;
};

/* Of a result what every row asks for: a million results do not fit into a cache, these do. */
struct brief {
    int value;
    bool failed;
};

struct divergences {
    bool all; /* also what is within limits */
    struct result_order order;
    enum grouping grouping;
    struct filter filter;
    struct list list;
    struct result_row *rows; /* result -1: the heading of a group */
    int row_count, row_capacity;
    struct group *groups;
    int group_count, group_capacity;
    struct brief *briefs; /* [state->result_count] of the newest state */
    int brief_capacity;
    const struct state_picture *briefed;
    int shown, failed; /* results */
    int selected;      /* value of the selected row as drawn last, -1 */
    int focus;         /* the last stop's value that the selection went to */
    int wanted;        /* remembered: selected as soon as it has a row; -1: none */
};

static void *create(struct ui *ui)
{
    struct divergences *view = memory_zeroed(1, sizeof(*view));
    (void)ui;
    view->selected = view->focus = view->wanted = -1;
    return view;
}

static void clear_groups(struct divergences *view)
{
    for (int g = 0; g < view->group_count; g++)
        free(view->groups[g].name);
    view->group_count = 0;
}

static void destroy(void *state)
{
    struct divergences *view = state;
    clear_groups(view);
    filter_free(&view->filter);
    free(view->groups);
    result_order_free(&view->order);
    free(view->briefs);
    free(view->rows);
    free(view);
}

/* ---- rows ---- */

static const char *layer_of(const struct program_picture *program, int value)
{
    int producer = program->values[value].producer;
    const char *layer = producer >= 0 ? program->instructions[producer].layer : "";
    return layer[0] ? layer : "(step)";
}

static bool is_headed(const struct divergences *view)
{
    return view->grouping == GROUP_LAYER || view->grouping == GROUP_WHAT;
}

static int find_group(struct divergences *view, const struct program_picture *program, int value)
{
    if (!is_headed(view) && view->group_count > 0)
        return 0;
    const char *name = view->grouping == GROUP_LAYER  ? layer_of(program, value)
                       : view->grouping == GROUP_WHAT ? what_name(program->values[value].what)
                                                      : "";
    /* most often the group of the row before */
    int last = view->row_count > 0 ? view->rows[view->row_count - 1].group : 0;
    if (last < view->group_count && strcmp(view->groups[last].name, name) == 0)
        return last;
    for (int g = 0; g < view->group_count; g++)
        if (strcmp(view->groups[g].name, name) == 0)
            return g;
    struct group group = {.name = memory_string(name)};
    ARRAY_PUSH(view->groups, view->group_count, view->group_capacity, group);
    return view->group_count - 1;
}

static void take_briefs(struct divergences *view, const struct state_picture *state)
{
    if (state->result_count > view->brief_capacity) {
        view->brief_capacity = state->result_count;
        view->briefs =
            memory_resize(view->briefs, (size_t)view->brief_capacity, sizeof(*view->briefs));
    }
    view->failed = 0;
    for (int r = 0; r < state->result_count; r++) {
        bool failed = state->results[r].status >= MARK_DIVERGED;
        view->briefs[r] = (struct brief){state->results[r].value, failed};
        view->failed += failed;
    }
    view->briefed = state;
}

static void add_row(struct divergences *view, const struct program_picture *program,
                    const struct picture_result *result, int number, const struct brief *brief)
{
    struct result_row row = {.result = number, .group = find_group(view, program, brief->value)};
    result_order_add(&view->order, result, brief->value, view->row_count);
    ARRAY_PUSH(view->rows, view->row_count, view->row_capacity, row);
    view->groups[row.group].results++;
    view->groups[row.group].failed += brief->failed;
}

/* Gives the result of the value `keep`, -1 if there is none. */
static int collect(struct divergences *view, const struct program_picture *program,
                   const struct state_picture *state, int keep)
{
    bool filtered = view->filter.text != NULL;
    int kept = -1;
    if (view->briefed != state)
        take_briefs(view, state);
    result_order_begin(&view->order, program, state);
    for (int r = 0; r < state->result_count; r++) {
        const struct brief *brief = &view->briefs[r];
        if (brief->value == keep)
            kept = r;
        if ((brief->failed || view->all) &&
            (!filtered || filter_passes(&view->filter, program, &state->results[r], state->step)))
            add_row(view, program, &state->results[r], r, brief);
    }
    view->shown = view->row_count;
    return kept;
}

/* Puts a heading before each group. */
static void add_headings(struct divergences *view)
{
    int total = view->row_count + view->group_count;
    struct result_row *rows = memory_zeroed((size_t)total, sizeof(*rows));
    int count = 0;
    for (int i = 0; i < view->row_count; i++) {
        if (i == 0 || view->rows[i].group != view->rows[i - 1].group)
            rows[count++] = (struct result_row){.result = -1, .group = view->rows[i].group};
        rows[count++] = view->rows[i];
    }
    free(view->rows);
    view->rows = rows;
    view->row_count = count;
    view->row_capacity = total;
}

static int selected_result(const struct divergences *view)
{
    return view->list.selected < view->row_count ? view->rows[view->list.selected].result : -1;
}

static int selected_value(const struct ui *ui, const struct divergences *view)
{
    const struct state_picture *state = ui_state(ui);
    int result = selected_result(view);
    return state && result >= 0 && result < state->result_count ? state->results[result].value : -1;
}

static void rebuild_around(struct ui *ui, struct divergences *view, int keep)
{
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    int kept = -1;
    clear_groups(view);
    view->row_count = view->shown = 0;
    if (program && state) {
        kept = collect(view, program, state, keep >= 0 ? keep : view->wanted);
        result_order_sort(&view->order, view->rows, view->row_count);
        if (is_headed(view))
            add_headings(view);
    }
    list_resize(&view->list, view->row_count);
    for (int i = 0; i < view->row_count && kept >= 0; i++)
        if (view->rows[i].result == kept) {
            list_reveal(&view->list, i);
            view->wanted = kept = -1;
        }
}

static void rebuild(struct ui *ui, struct divergences *view)
{
    rebuild_around(ui, view, selected_value(ui, view));
}

static void picture(struct ui *ui, void *context, const struct picture *picture)
{
    struct divergences *view = context;
    if (picture->request.kind > PICTURE_STATE)
        return;
    if (picture->program)
        result_order_program(&view->order, picture->program);
    view->briefed = NULL; /* an address may come again */
    /* The rows are of the picture before: the value that was selected is to be found again. */
    bool stopped = ui->focus_value >= 0 && ui->focus_value != view->focus;
    view->focus = ui->focus_value;
    rebuild_around(ui, view, stopped ? ui->focus_value : view->selected);
}

/* ---- the table ---- */

static void draw_empty(struct ui *ui, const struct divergences *view, struct pen *pen)
{
    const struct state_picture *state = ui_state(ui);
    char all[32];
    if (view->filter.text)
        pen_format(pen, THEME_DIM, " nothing passes the filter %s (/ and Enter removes it)",
                   view->filter.text);
    else if (!state->has_reference)
        pen_put(pen, THEME_DIM, " this run has no reference: nothing is compared");
    else if (state->result_count == 0)
        pen_put(pen, THEME_DIM, " nothing was compared yet in this step");
    else
        pen_format(pen, THEME_SAME, " %s tensor%s compared in this step, %s within limits",
                   text_thousands(state->result_count, all), state->result_count == 1 ? "" : "s",
                   state->result_count == 1 ? "" : "all");
}

static void draw_table(struct ui *ui, struct divergences *view, struct layout_rectangle box,
                       bool focus)
{
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    struct pen pen = pen_at(box, 0);
    struct divergence_columns columns = divergence_columns_of(box.cols);
    divergence_heading_draw(&pen, &columns);
    list_resize(&view->list, view->row_count);
    list_show(&view->list, box.rows - 1);
    if (view->row_count == 0) {
        pen_line(&pen, 1, -1);
        draw_empty(ui, view, &pen);
    }
    view->selected = selected_value(ui, view);
    for (int i = 1; i < box.rows && view->list.top + i - 1 < view->row_count; i++) {
        const struct result_row *row = &view->rows[view->list.top + i - 1];
        bool selected = view->list.top + i - 1 == view->list.selected;
        pen_line(&pen, i, !selected ? -1 : focus ? THEME_SELECTION : THEME_CURRENT);
        if (row->result < 0)
            pen_format(&pen, THEME_TITLE, "%s  %d diverged, %d shown",
                       view->groups[row->group].name, view->groups[row->group].failed,
                       view->groups[row->group].results);
        else if (row->result < state->result_count)
            divergence_row_draw(&pen, &columns, program, state, &state->results[row->result]);
    }
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct divergences *view = context;
    struct pen pen = pen_at(box, 0);
    if (!ui_program(ui) || !ui_state(ui))
        pen_put(&pen, THEME_DIM, ui_why_empty(ui));
    else if (view->grouping == GROUP_MAP)
        divergence_map_draw(box, &view->list, ui_program(ui), ui_state(ui));
    else
        draw_table(ui, view, box, focus);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct divergences *view = context;
    const struct state_picture *state = ui_state(ui);
    if (!state)
        return;
    text_format(out, "  %d of %d compared", view->failed, state->result_count);
    if (view->all)
        text_add(out, ", all shown");
    if (view->grouping == GROUP_MAP)
        text_add(out, ", layers x passes");
    else if (view->order.sorting != SORT_PROGRAM || view->order.reversed)
        text_format(out, ", by %s%s", sorting_names[view->order.sorting],
                    view->order.reversed ? " reversed" : "");
    if (view->filter.text)
        text_format(out, ", /%s", view->filter.text);
}

/* ---- acting ---- */

static void open_row(struct ui *ui, struct divergences *view)
{
    int value = selected_value(ui, view);
    if (value < 0)
        return;
    ui_open_value(ui, value);
}

static void set_filter(struct ui *ui, struct divergences *view, const char *text)
{
    struct status status = STATUS_NONE;
    if (!filter_set(&view->filter, text, &status))
        ui_say(ui, THEME_ERROR, "%s", status.text);
    rebuild(ui, view);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct divergences *view = context;
    const char *rest;
    if (list_act(&view->list, command))
        return true;
    if (command_is(command, "open", NULL)) {
        open_row(ui, view);
    } else if (command_is(command, "filter", &rest)) {
        set_filter(ui, view, rest);
    } else if (command_is(command, "toggle", NULL)) {
        view->all = !view->all;
        rebuild(ui, view);
    } else if (command_is(command, "sort", &rest)) {
        if (strcmp(rest, "reverse") == 0)
            view->order.reversed = !view->order.reversed;
        else
            view->order.sorting = (view->order.sorting + 1) % SORT_COUNT;
        rebuild(ui, view);
    } else if (command_is(command, "group", NULL)) {
        view->grouping = (view->grouping + 1) % GROUPING_COUNT;
        rebuild(ui, view);
    } else {
        return key && view->grouping != GROUP_MAP &&
               ui_act_on_value(ui, selected_value(ui, view), command);
    }
    return true;
}

/* By the column whose heading was clicked; once more: the other way round. */
static void sort_by(struct ui *ui, struct divergences *view, int sorting)
{
    if (sorting < 0)
        return;
    view->order.reversed = (int)view->order.sorting == sorting && !view->order.reversed;
    view->order.sorting = (enum sorting)sorting;
    rebuild(ui, view);
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct divergences *view = context;
    struct divergence_columns columns = divergence_columns_of(click->box.cols);
    if (click->row == 0 && view->grouping != GROUP_MAP)
        sort_by(ui, view, divergence_heading_at(&columns, click->col));
    else if (list_click(&view->list, 1, click->row) && click->twice)
        open_row(ui, view);
}

static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct divergences *view = context;
    const struct program_picture *program = ui_program(ui);
    const struct state_picture *state = ui_state(ui);
    if (!program || !state)
        return;
    sheet_fact_integer(out, "step", state->step + 1);
    sheet_fact(out, "filter", view->filter.text);
    struct sheet_table *table =
        sheet_add_table(out, "tensors",
                        "tensor instruction status rms_relative max_relative cosine rms_reference "
                        "rms_test different nan_test of_limit sampled");
    for (int i = 0; i < view->row_count; i++) {
        if (view->rows[i].result < 0)
            continue;
        const struct picture_result *result = &state->results[view->rows[i].result];
        const struct metrics *metrics = result->measured ? &result->metrics : NULL;
        table_text(table, program->values[result->value].name);
        table_integer(table, program->values[result->value].producer);
        table_text(table, status_saved(result->status));
        table_measure(table, (double)result->error);
        table_measure(table, metrics ? result->verdict.max_relative : NAN);
        table_measure(table, metrics ? metrics->cosine : NAN);
        table_measure(table, metrics ? metrics->rms_reference : NAN);
        table_measure(table, metrics ? metrics->rms_test : NAN);
        table_measure(table, metrics ? (double)metrics->different : NAN);
        table_measure(table, metrics ? (double)metrics->nan_test : NAN);
        table_measure(table, (double)result->worst);
        table_flag(table, result->sampled);
    }
}

/* ---- remembering ---- */

static json_t *remember(struct ui *ui, void *context)
{
    const struct divergences *view = context;
    const struct program_picture *program = ui_program(ui);
    int selected = selected_value(ui, view);
    selected = selected >= 0 ? selected : view->wanted;
    json_t *json = json_pack("{s:b, s:s, s:b, s:s}", "all", view->all, "sort",
                             sorting_names[view->order.sorting], "reversed", view->order.reversed,
                             "group", grouping_names[view->grouping]);
    if (view->filter.text)
        json_object_set_new(json, "filter", json_string(view->filter.text));
    if (selected >= 0 && selected < program->value_count)
        json_object_set_new(json, "selected", json_string(program->values[selected].name));
    return json;
}

static void restore(struct ui *ui, void *context, const json_t *json)
{
    struct divergences *view = context;
    const char *filter = json_string_value(json_object_get(json, "filter"));
    const char *selected = json_string_value(json_object_get(json, "selected"));
    struct status ignored = STATUS_NONE;
    view->all = json_is_true(json_object_get(json, "all"));
    view->order.reversed = json_is_true(json_object_get(json, "reversed"));
    view->order.sorting = (enum sorting)remember_choice(json, "sort", sorting_names, SORT_COUNT, 0);
    view->grouping =
        (enum grouping)remember_choice(json, "group", grouping_names, GROUPING_COUNT, 0);
    filter_set(&view->filter, filter ? filter : "", &ignored);
    view->wanted = ui_find_value(ui, selected);
    rebuild_around(ui, view, view->wanted);
}

static const struct view_hint hints[] = {{"open", "tensor"},       {"blame", "blame"},
                                         {"toggle", "all/failed"}, {"sort next", "sort"},
                                         {"group next", "group"},  {NULL, NULL}};

const struct view_operations view_divergences = {
    .view = LAYOUT_DIVERGENCES,
    .title = "Divergences",
    .help = "The compared tensors of the step that passed over a limit; Space shows all that were "
            "compared. o sorts by another column, O turns the order round, i groups by layer, by "
            "what tensors are, or shows the map of layers and passes. / filters: a part of the "
            "name, or conditions such as rel_rms > 1e-3 && name ~ mlp.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .picture = picture,
    .remember = remember,
    .restore = restore,
    .save = save,
};
