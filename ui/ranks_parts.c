#include "ui/ranks_parts.h"

#include "ui/pen.h"
#include "ui/state.h"
#include "ui/text_width.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MEMORY_FROM = 14, DEPARTURE_FROM = 8, DEPARTURE_ROWS = 2, WIDE = 130, TIME_COLUMNS = 11 };

struct ranks_layout ranks_layout_of(struct layout_rectangle box, int rows, bool departed,
                                    enum ranks_mode mode)
{
    struct ranks_layout layout = {.columns = 1};
    int most = box.rows * 2 / 5 < 2 ? 2 : box.rows * 2 / 5;
    int table = rows + 1 < most ? rows + 1 : most;
    int departure = departed && box.rows >= DEPARTURE_FROM ? DEPARTURE_ROWS : 0;
    int memory = box.rows >= MEMORY_FROM;
    int at = box.row;
    layout.table = (struct layout_rectangle){at, box.col, table, box.cols};
    at += table;
    layout.departure = (struct layout_rectangle){at, box.col, departure, box.cols};
    at += departure;
    layout.memory = (struct layout_rectangle){at, box.col, memory, box.cols};
    at += memory;
    layout.heading = (struct layout_rectangle){at, box.col, 1, box.cols};
    layout.output =
        (struct layout_rectangle){at + 1, box.col, box.row + box.rows - at - 1, box.cols};
    if (layout.output.rows < 0)
        layout.output.rows = 0;
    if (mode == RANKS_SPLIT)
        layout.columns = box.cols / RANKS_COLUMN > 1 ? box.cols / RANKS_COLUMN : 1;
    return layout;
}

/* ---- the table ---- */

static enum theme_role role_of(const struct rank_picture *rank)
{
    static const enum theme_role roles[SITUATION_COUNT] = {
        THEME_DIM,     THEME_NORMAL, THEME_RUNNING, THEME_DIM,   THEME_WARNING,
        THEME_WARNING, THEME_FAILED, THEME_FAILED,  THEME_FAILED};
    if (rank->situation == SITUATION_EXITED && rank->exit_status != 0)
        return THEME_FAILED;
    return roles[rank->situation];
}

/* A departure is shown before where the rank stands, but not before how it ended. */
static void put_state(struct pen *pen, const struct rank_picture *rank)
{
    struct text text = {0};
    rank_departure_describe(&rank->departure, &text);
    if (text.data && rank->situation < SITUATION_FAILED) {
        pen_put(pen, THEME_FAILED, text.data);
        pen_skip(pen, 2);
    }
    text_clear(&text);
    rank_picture_describe(rank, &text);
    if (pen_room(pen) > 0)
        pen_cell(pen, pen_room(pen), role_of(rank), text.data);
    text_free(&text);
}

static void put_group(struct pen *pen, const struct rank_group *group,
                      const struct rank_picture *rank)
{
    char memory[32] = "-", pid[32] = "-";
    if (group->memory >= 0)
        text_bytes((uint64_t)group->memory, memory);
    pen_skip(pen, 1);
    pen_right(pen, 8, THEME_NAME, group->ranks);
    pen_right(pen, 10, THEME_NUMBER, memory);
    if (pen->box.cols >= WIDE) {
        if (rank->pid >= 0 && group->count == 1)
            snprintf(pid, sizeof(pid), "%" PRId64, rank->pid);
        pen_right(pen, 9, THEME_DIM, pid);
        pen_skip(pen, 1);
        pen_cell(pen, 14, THEME_DIM, rank->host ? rank->host : "-");
    }
    pen_skip(pen, 2);
    put_state(pen, rank);
}

void ranks_draw_table(struct layout_rectangle box, const struct ranks_picture *ranks,
                      const struct rank_group *groups, int count, struct ranks_view *view,
                      bool focus)
{
    struct pen pen = pen_at(box, 0);
    list_resize(&view->list, count);
    for (int i = 0; i < count; i++)
        if (groups[i].first == view->selected)
            list_select(&view->list, i);
    list_show(&view->list, box.rows - 1);
    pen_format(&pen, THEME_DIM, " %8s%10s", ranks->rank_count > RANKS_ROWS ? "ranks" : "rank",
               "memory");
    if (box.cols >= WIDE)
        pen_format(&pen, THEME_DIM, "%9s %-14s", "pid", "host");
    pen_put(&pen, THEME_DIM, "  state");
    for (int i = 0; i + 1 < box.rows && view->list.top + i < count; i++) {
        int row = view->list.top + i;
        bool selected = row == view->list.selected;
        bool strong = focus && !view->in_output;
        pen_line(&pen, i + 1, !selected ? -1 : strong ? (int)THEME_SELECTION : (int)THEME_CURRENT);
        put_group(&pen, &groups[row], &ranks->ranks[groups[row].first]);
    }
}

static void draw_departure(struct layout_rectangle box, const struct rank_picture *rank, int number)
{
    struct pen pen = pen_at(box, 0);
    struct text text = {0};
    pen_format(&pen, THEME_DIM, " rank %d:  ", number);
    rank_departure_describe(&rank->departure, &text);
    pen_put(&pen, THEME_FAILED, text.data);
    text_clear(&text);
    rank_departure_details(&rank->departure, &text);
    pen_line(&pen, 1, -1);
    pen_skip(&pen, 4);
    pen_put(&pen, THEME_NORMAL, text.data);
    text_free(&text);
}

static void draw_memory(struct layout_rectangle box, const struct rank_picture *rank, int number)
{
    struct pen pen = pen_at(box, 0);
    char bytes[32];
    pen_format(&pen, THEME_DIM, " rank %d:", number);
    for (int i = 0; i < MEMORY_CLASS_COUNT; i++)
        if (rank->memory[i] > 0)
            pen_format(&pen, THEME_NORMAL, "  %s %s", memory_class_name((enum memory_class)i),
                       text_bytes((uint64_t)rank->memory[i], bytes));
}

void ranks_draw_details(const struct ranks_layout *layout, const struct rank_picture *rank,
                        int number)
{
    if (layout->departure.rows > 0 && rank->departure.tensor)
        draw_departure(layout->departure, rank, number);
    if (layout->memory.rows > 0 && rank->memory_total >= 0)
        draw_memory(layout->memory, rank, number);
}

/* ---- what they print ---- */

void ranks_draw_heading(struct layout_rectangle box, const struct ranks_view *view,
                        const struct output_page *page)
{
    static const char *const modes[] = {"merged", "split", "rank"};
    struct pen pen = pen_at(box, 0);
    char filter[300], number[32];
    if (box.rows < 1)
        return;
    pen_format(&pen, THEME_TITLE, " output, %s", modes[view->mode]);
    if (view->mode == RANKS_ONE)
        pen_format(&pen, THEME_TITLE, " %d", view->selected);
    if (page) {
        pen_format(&pen, THEME_DIM, "  %s lines",
                   text_thousands(page->counts.kept + page->counts.dropped, number));
        if (page->counts.dropped > 0)
            pen_format(&pen, THEME_WARNING, ", the oldest %s not kept",
                       text_thousands(page->counts.dropped, number));
    }
    pen_put(&pen, THEME_DIM, view->stay ? "" : "  following");
    output_filter_text(&view->filter, filter, sizeof(filter));
    if (filter[0])
        pen_format(&pen, THEME_MATCH, "  only %s", filter);
    if (page && page->unfinished)
        pen_put(&pen, THEME_WARNING, "  (not all was looked through)");
}

int ranks_line_at(const struct output_page *page, int64_t sequence)
{
    int i = 0;
    while (i < page->count && page->lines[i].sequence < sequence)
        i++;
    return i;
}

int ranks_lines_shown(const struct ranks_view *view, const struct output_page *page, int rows,
                      int *first)
{
    *first = view->stay ? ranks_line_at(page, view->top) : page->count - rows;
    if (*first > page->count - rows)
        *first = page->count - rows;
    if (*first < 0)
        *first = 0;
    return page->count - *first < rows ? page->count - *first : rows;
}

static void put_line(struct pen *pen, const struct ranks_view *view, const struct output_page *page,
                     const struct output_line *line, bool number)
{
    bool bad = line->stream == RANK_STDERR;
    enum theme_role role = bad ? THEME_STDERR : THEME_NORMAL;
    struct text part = {0};
    if (view->times)
        pen_format(pen, THEME_DIM, "%10.3f ",
                   (double)(line->nanoseconds - page->counts.began) / 1e9);
    if (number)
        pen_format(pen, THEME_NAME, "%4d", line->rank);
    pen_put(pen, role, bad ? "! " : "| ");
    int room = pen_room(pen) - line->cut;
    if (view->skip == 0 && !line->cut) {
        pen_cell(pen, room, role, line->text);
    } else {
        text_clip(&part, line->text, strlen(line->text), view->skip, room);
        pen_put(pen, role, part.data ? part.data : "");
        text_free(&part);
    }
    if (line->cut)
        pen_mark(pen, THEME_WARNING, THEME_MARK_MORE);
}

/* The newest lines of each rank, beside each other. */
static void draw_split(struct layout_rectangle box, const struct ranks_view *view,
                       const struct output_page *page)
{
    int columns = view->columns, width = box.cols / columns, at = 0;
    for (int column = 0; column < columns && at < page->count; column++) {
        struct layout_rectangle part = {box.row, box.col + column * width, box.rows, width - 1};
        int end = at, rank = page->lines[at].rank;
        while (end < page->count && page->lines[end].rank == rank)
            end++;
        struct pen pen = pen_at(part, 0);
        pen_format(&pen, THEME_NAME, "rank %d", rank);
        int from = end - at > box.rows - 1 ? end - (box.rows - 1) : at;
        for (int i = from; i < end; i++) {
            pen_line(&pen, i - from + 1, -1);
            put_line(&pen, view, page, &page->lines[i], false);
        }
        at = end;
    }
}

/* Whose lines there are none of: others may have printed a lot. */
static void draw_none(struct pen *pen, const struct ranks_view *view,
                      const struct output_page *page)
{
    if (page->counts.kept == 0)
        pen_put(pen, THEME_DIM, " nothing was printed yet");
    else if (view->mode == RANKS_MERGED ||
             (view->mode == RANKS_SPLIT && view->filter.range_count > 0))
        pen_put(pen, THEME_DIM, " no line passes");
    else if (view->mode == RANKS_ONE || view->columns < 2)
        pen_format(pen, THEME_DIM, " no line of rank %d", view->selected);
    else
        pen_format(pen, THEME_DIM, " no line of ranks %d to %d", view->selected,
                   view->selected + view->columns - 1);
}

void ranks_draw_output(struct layout_rectangle box, const struct ranks_view *view,
                       const struct output_page *page, bool focus)
{
    struct pen pen = pen_at(box, 0);
    int first;
    if (box.rows < 1)
        return;
    if (page->count == 0) {
        draw_none(&pen, view, page);
        return;
    }
    if (view->mode == RANKS_SPLIT) {
        draw_split(box, view, page);
        return;
    }
    int count = ranks_lines_shown(view, page, box.rows, &first);
    for (int i = 0; i < count; i++) {
        const struct output_line *line = &page->lines[first + i];
        bool selected = focus && view->in_output && view->stay && line->sequence == view->line;
        pen_line(&pen, i, selected ? (int)THEME_CURRENT : -1);
        put_line(&pen, view, page, line, view->mode == RANKS_MERGED && page->counts.ranks > 1);
    }
}
