/* The ranks: where each stands and what it waits for, and what they print: all merged, beside each
 * other, or one rank's. */
#include "ui/ranks_parts.h"
#include "ui/state.h"

#include "engine/base/memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *create(struct ui *ui)
{
    struct ranks_view *view = memory_zeroed(1, sizeof(*view));
    (void)ui;
    view->times = true;
    return view;
}

static void destroy(void *state)
{
    free(state);
}

static const struct ranks_picture *ranks_of_ui(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_RANKS);
    return picture ? picture->ranks : NULL;
}

static const struct output_page *page_of_ui(const struct ui *ui)
{
    const struct picture *picture = ui_picture(ui, PICTURE_OUTPUT);
    return picture ? picture->output : NULL;
}

/* ---- what to ask for ---- */

/* One rank, or those from the selected one on that stand beside each other. */
static void narrow(const struct ranks_view *view, struct output_query *query)
{
    struct output_filter *filter = &query->filter;
    *filter = view->filter;
    if (view->mode == RANKS_ONE) {
        filter->ranges[0] = (struct rank_range){view->selected, view->selected};
        filter->range_count = 1;
    } else if (view->mode == RANKS_SPLIT) {
        query->split = view->columns;
        if (filter->range_count == 0) {
            filter->ranges[0] = (struct rank_range){view->selected, INT32_MAX};
            filter->range_count = 1;
        }
    }
}

static bool wish(struct ui *ui, void *context, struct picture_request *request)
{
    struct ranks_view *view = context;
    struct output_query *query = &request->output;
    (void)ui;
    if (request->kind != PICTURE_OUTPUT) {
        request->kind = PICTURE_RANKS;
        return true;
    }
    int rows = view->rows > 0 ? view->rows : 1;
    *query = (struct output_query){
        .anchor = view->stay ? view->top : OUTPUT_NEWEST, .before = rows, .after = 2 * rows};
    narrow(view, query);
    if (view->search_direction) {
        query->anchor = view->stay ? view->line : OUTPUT_NEWEST;
        query->search_direction = view->search_direction;
        memcpy(query->search, view->search, sizeof(query->search));
    }
    return true;
}

/* What a search has found comes into the middle. */
static void go_to_found(struct ui *ui, struct ranks_view *view, const struct output_page *page)
{
    if (page->anchor < 0 || page->anchor == OUTPUT_NEWEST) {
        ui_say(ui, THEME_WARNING, "no \"%s\" here", view->search);
        return;
    }
    int found = ranks_line_at(page, page->anchor), top = found - view->rows / 2;
    view->stay = view->in_output = true;
    view->line = page->anchor;
    view->top = page->lines[top < 0 ? 0 : top].sequence;
    ui_want(ui, PICTURE_OUTPUT);
}

static void picture(struct ui *ui, void *context, const struct picture *picture)
{
    struct ranks_view *view = context;
    if (!picture->output)
        return;
    if (picture->output_problem) {
        ui_say(ui, THEME_ERROR, "%s", picture->output_problem);
        view->filter.pattern[0] = '\0';
        view->search_direction = 0;
        ui_want(ui, PICTURE_OUTPUT);
    }
    if (picture->request.output.search_direction && view->search_direction &&
        view->mode != RANKS_SPLIT)
        go_to_found(ui, view, picture->output);
    if (picture->request.output.search_direction)
        view->search_direction = 0;
}

/* ---- drawing ---- */

static void measure(struct ui *ui, struct ranks_view *view, const struct ranks_layout *layout)
{
    if (view->rows != layout->output.rows || view->columns != layout->columns)
        ui->stale[PICTURE_OUTPUT] = true; /* while drawing: no new frame, but a wish */
    view->rows = layout->output.rows;
    view->columns = layout->columns;
}

static void draw(struct ui *ui, void *context, struct layout_rectangle box, bool focus)
{
    struct ranks_view *view = context;
    const struct ranks_picture *ranks = ranks_of_ui(ui);
    const struct output_page *page = page_of_ui(ui);
    struct rank_group *groups = NULL;
    if (!ranks || ranks->rank_count == 0) {
        struct pen pen = pen_at(box, 0);
        bool none = !ui->snapshot || ui->snapshot->state == RUN_NONE;
        pen_put(&pen, THEME_DIM, none ? " no run is open" : ""); /* else the picture is coming */
        return;
    }
    if (view->selected >= ranks->rank_count)
        view->selected = 0;
    int count = rank_groups(ranks, ranks->rank_count > RANKS_ROWS, &groups);
    view->departed = ranks->ranks[view->selected].departure.tensor != NULL;
    struct ranks_layout layout = ranks_layout_of(box, count, view->departed, view->mode);
    measure(ui, view, &layout);
    ranks_draw_table(layout.table, ranks, groups, count, view, focus);
    if (count > 0)
        view->selected = groups[view->list.selected].first;
    ranks_draw_details(&layout, &ranks->ranks[view->selected], view->selected);
    ranks_draw_heading(layout.heading, view, page);
    if (page)
        ranks_draw_output(layout.output, view, page, focus);
    rank_groups_free(groups, count);
}

static void subtitle(struct ui *ui, void *context, struct text *out)
{
    const struct ranks_view *view = context;
    const struct ranks_picture *ranks = ranks_of_ui(ui);
    if (!ranks)
        return;
    text_format(out, "  %d", ranks->rank_count);
    if (view->mode == RANKS_ONE)
        text_format(out, "  rank %d", view->selected);
}

/* ---- moving ---- */

/* The row of the table that the list says now is the selected one. */
static void select_row(struct ui *ui, struct ranks_view *view)
{
    const struct ranks_picture *ranks = ranks_of_ui(ui);
    struct rank_group *groups;
    if (!ranks)
        return;
    int count = rank_groups(ranks, ranks->rank_count > RANKS_ROWS, &groups);
    if (view->list.selected < count)
        view->selected = groups[view->list.selected].first;
    rank_groups_free(groups, count);
    if (view->mode != RANKS_MERGED)
        ui_want(ui, PICTURE_OUTPUT);
}

/* By so many lines of what passes. The page reaches a screen further on each side. */
static void move_lines(struct ui *ui, struct ranks_view *view, int by)
{
    const struct output_page *page = page_of_ui(ui);
    int first, whole = page ? page->count : 0;
    while (whole > 0 && page->lines[whole - 1].partial)
        whole--; /* these have no place yet */
    if (whole == 0)
        return;
    int shown = ranks_lines_shown(view, page, view->rows, &first);
    int at = view->stay ? ranks_line_at(page, view->line) : first + shown - 1;
    int to = at + by < 0 ? 0 : at + by > whole - 1 ? whole - 1 : at + by;
    if (to < first)
        first = to;
    if (to >= first + view->rows)
        first = to - view->rows + 1;
    view->stay = true;
    view->line = page->lines[to].sequence;
    view->top = page->lines[first].sequence;
    ui_want(ui, PICTURE_OUTPUT);
}

static bool move(struct ui *ui, struct ranks_view *view, const char *command)
{
    const struct {
        const char *command;
        int by;
    } moves[] = {{"move down", 1},
                 {"move up", -1},
                 {"move page-down", view->rows},
                 {"move page-up", -view->rows},
                 {"move half-page-down", view->rows / 2},
                 {"move half-page-up", -view->rows / 2},
                 {"scroll down", 3},
                 {"scroll up", -3}};
    if (command_is(command, "move left", NULL) || command_is(command, "move right", NULL)) {
        view->skip += command_is(command, "move right", NULL) ? 20 : -20;
        view->skip = view->skip < 0 ? 0 : view->skip;
        return true;
    }
    if (!view->in_output) {
        if (!list_act(&view->list, command))
            return false;
        select_row(ui, view);
        return true;
    }
    for (int i = 0; i < ARRAY_LENGTH(moves); i++)
        if (command_is(command, moves[i].command, NULL)) {
            move_lines(ui, view, moves[i].by);
            return true;
        }
    if (command_is(command, "move first", NULL)) {
        view->stay = true;
        view->top = view->line = 0;
    } else if (command_is(command, "move last", NULL)) {
        view->stay = false;
    } else {
        return false;
    }
    ui_want(ui, PICTURE_OUTPUT);
    return true;
}

/* Follows the newest line, or stays where it is. */
static void toggle_tail(struct ui *ui, struct ranks_view *view)
{
    if (view->stay)
        view->stay = false;
    else
        move_lines(ui, view, 0);
    ui_want(ui, PICTURE_OUTPUT);
}

/* ---- commands ---- */

static void set_filter(struct ui *ui, struct output_filter *filter, const char *word,
                       const char *rest)
{
    struct status status = STATUS_NONE;
    static const char *const streams[] = {"both", "stdout", "stderr"};
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(word, streams[i]) == 0) {
            filter->streams = i;
            return;
        }
    bool ok = strcmp(word, "filter") == 0 ? output_filter_pattern(filter, rest, &status)
                                          : output_filter_ranks(filter, rest, &status);
    if (!ok)
        ui_say(ui, THEME_ERROR, "%s", status.text);
}

/* "ranks merged", "ranks only 0-3", "ranks filter /nan/"; false: no such word. */
static bool act_on_ranks(struct ui *ui, struct ranks_view *view, const char *command)
{
    static const char *const modes[] = {"merged", "split", "one"};
    static const char *const filters[] = {"both", "stdout", "stderr", "filter", "only"};
    const char *rest;
    for (int i = 0; i < RANKS_MODE_COUNT; i++)
        if (strcmp(command, modes[i]) == 0) {
            view->mode = (enum ranks_mode)i;
            return true;
        }
    for (int i = 0; i < ARRAY_LENGTH(filters); i++)
        if (command_is(command, filters[i], &rest)) {
            set_filter(ui, &view->filter, filters[i], rest);
            return true;
        }
    if (strcmp(command, "next-mode") == 0)
        view->mode = (view->mode + 1) % RANKS_MODE_COUNT;
    else if (strcmp(command, "next-stream") == 0)
        view->filter.streams = (view->filter.streams + 1) % 3;
    else if (strcmp(command, "times") == 0)
        view->times = !view->times;
    else
        return false;
    return true;
}

/* Its output is shown, and it becomes the one that commands are about. */
static void open_rank(struct ui *ui, struct ranks_view *view)
{
    if (ui->snapshot && ui->snapshot->ranks > 1 && ui->snapshot->rank != view->selected)
        ui_post(ui, "rank %d", view->selected);
    view->mode = RANKS_ONE;
    view->in_output = true;
    view->stay = false;
    ui_want(ui, PICTURE_OUTPUT);
}

static bool act(struct ui *ui, void *context, const char *command, bool key)
{
    struct ranks_view *view = context;
    const char *rest;
    (void)key;
    if (move(ui, view, command))
        return true;
    if (command_is(command, "ranks", &rest)) {
        if (rest[0] && !act_on_ranks(ui, view, rest)) /* alone it opens the view */
            ui_say(ui, THEME_ERROR,
                   "no ranks \"%s\": there are merged, split, one, both, stdout, stderr, times, "
                   "only RANKS, filter TEXT",
                   rest);
        ui_want(ui, PICTURE_OUTPUT);
    } else if (command_is(command, "toggle", NULL)) {
        view->in_output = !view->in_output;
    } else if (command_is(command, "tail", NULL)) {
        toggle_tail(ui, view);
    } else if (command_is(command, "open", NULL) && !view->in_output) {
        open_rank(ui, view);
    } else {
        return false;
    }
    return true;
}

static void click(struct ui *ui, void *context, const struct view_click *click)
{
    struct ranks_view *view = context;
    struct ranks_layout layout =
        ranks_layout_of(click->box, view->list.count, view->departed, view->mode);
    view->in_output = click->row >= layout.heading.row - click->box.row;
    if (view->in_output || !list_click(&view->list, 1, click->row))
        return;
    select_row(ui, view);
    if (click->twice)
        open_rank(ui, view);
}

/* The answer comes with a picture. */
static bool search(struct ui *ui, void *context, const char *text, int direction)
{
    struct ranks_view *view = context;
    if (strlen(text) >= sizeof(view->search))
        return false;
    memset(view->search, 0, sizeof(view->search));
    memcpy(view->search, text, strlen(text));
    view->search_direction = direction;
    if (!view->stay && direction > 0) { /* from the end there is nothing behind: around */
        view->search_direction = -1;
    }
    ui_want(ui, PICTURE_OUTPUT);
    return true;
}

static void save_ranks(const struct ranks_picture *ranks, struct sheet *out)
{
    struct sheet_table *table =
        sheet_add_table(out, "ranks", "rank state memory pid host does unlike");
    for (int i = 0; ranks && i < ranks->rank_count; i++) {
        const struct rank_picture *rank = &ranks->ranks[i];
        struct text text = {0};
        rank_picture_describe(rank, &text);
        table_integer(table, i);
        table_text(table, rank_situation_name(rank->situation));
        if (rank->memory_total >= 0)
            table_integer(table, rank->memory_total);
        else
            table_unknown(table);
        if (rank->pid >= 0)
            table_integer(table, rank->pid);
        else
            table_unknown(table);
        table_text(table, rank->host);
        table_text(table, text.data);
        text_clear(&text);
        if (rank->departure.tensor) {
            text_format(&text, "%s, ", rank->departure.tensor);
            rank_departure_details(&rank->departure, &text);
        }
        table_text(table, text.data);
        text_free(&text);
    }
}

/* All lines that pass, straight from where they are kept: more than a page. */
static void save(struct ui *ui, void *context, struct sheet *out)
{
    const struct ranks_view *view = context;
    struct output_query query = {.anchor = OUTPUT_NEWEST, .before = INT32_MAX, .after = 10000};
    struct output_page page;
    struct status status = STATUS_NONE;
    save_ranks(ranks_of_ui(ui), out);
    narrow(view, &query);
    query.split = 0;
    struct sheet_table *table = sheet_add_table(out, "output", "rank stream seconds text");
    if (!rank_output_fetch(session_output(ui->session), &query, &page, &status))
        return;
    for (int i = 0; i < page.count; i++) {
        const struct output_line *line = &page.lines[i];
        table_integer(table, line->rank);
        table_text(table, rank_stream_name(line->stream));
        table_number(table, (double)(line->nanoseconds - page.counts.began) / 1e9);
        table_text(table, line->text);
    }
    output_page_free(&page);
}

static json_t *remember(struct ui *ui, void *context)
{
    const struct ranks_view *view = context;
    (void)ui;
    return json_pack("{s:i,s:b}", "mode", (int)view->mode, "times", view->times);
}

static void restore(struct ui *ui, void *context, const json_t *json)
{
    struct ranks_view *view = context;
    json_int_t mode = json_integer_value(json_object_get(json, "mode"));
    (void)ui;
    if (mode >= 0 && mode < RANKS_MODE_COUNT)
        view->mode = (enum ranks_mode)mode;
    view->times = !json_is_false(json_object_get(json, "times"));
}

static const struct view_hint hints[] = {{"toggle", "table/output"},
                                         {"ranks next-mode", "merged/split/one"},
                                         {"ranks next-stream", "streams"},
                                         {"tail", "follow"},
                                         {NULL, NULL}};

const struct view_operations view_ranks = {
    .view = LAYOUT_RANKS,
    .title = "Ranks",
    .help =
        "Every rank: where it stands, what it waits for and for whom, its memory, and whom it is "
        "unlike, where ranks that should hold the same do not; below it what they print (| "
        "standard output, ! standard error). Space goes between the two, Enter "
        "selects a rank, for all views (as { and } do), and shows its output; i shows all merged, "
        "beside each other, or one; o chooses streams, T shows times, F follows the newest line. "
        "/ finds, & shows only lines with a text or /expression/; :ranks only 0-3,7 shows some "
        "ranks.",
    .hints = hints,
    .create = create,
    .destroy = destroy,
    .draw = draw,
    .subtitle = subtitle,
    .act = act,
    .click = click,
    .picture = picture,
    .wish = wish,
    .search = search,
    .save = save,
    .remember = remember,
    .restore = restore,
};
