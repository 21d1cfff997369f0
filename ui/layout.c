/* The body is cut into boxes whose outlines overlap by one line: a box of n rows at row r and its
 * neighbour at row r + n - 1 share that line. */
#include "ui/layout.h"

#include <stddef.h>
#include <string.h>

struct view_info {
    const char *name;
    enum layout_slot slot;
};

/* Order of enum layout_view. */
static const struct view_info views[LAYOUT_VIEW_COUNT] = {
    {"tests", LAYOUT_LEFT},    {"program", LAYOUT_LEFT}, {"divergences", LAYOUT_BOTTOM},
    {"tensor", LAYOUT_RIGHT},  {"memory", LAYOUT_RIGHT}, {"ranks", LAYOUT_BOTTOM},
    {"metrics", LAYOUT_RIGHT}, {"log", LAYOUT_BOTTOM},   {"help", LAYOUT_RIGHT}};

/* The views that share one slot, in order. */
struct group {
    enum layout_view views[LAYOUT_VIEW_COUNT];
    int count;
};

const char *layout_view_name(enum layout_view view)
{
    return views[view].name;
}

int layout_view_find(const char *name)
{
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++)
        if (strcmp(views[view].name, name) == 0)
            return view;
    return -1;
}

enum layout_slot layout_view_slot(enum layout_view view)
{
    return views[view].slot;
}

static bool is_open(const struct layout_request *request, enum layout_view view)
{
    return request->open[view] || request->focus == view;
}

static struct group group_of_slot(const struct layout_request *request, enum layout_slot slot)
{
    struct group group = {0};
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++)
        if (views[view].slot == slot && is_open(request, (enum layout_view)view))
            group.views[group.count++] = (enum layout_view)view;
    return group;
}

/* All open views in the order on the screen: left, right, bottom. */
static struct group group_of_all(const struct layout_request *request)
{
    struct group all = {0};
    for (int slot = 0; slot < LAYOUT_SLOT_COUNT; slot++) {
        struct group group = group_of_slot(request, (enum layout_slot)slot);
        for (int i = 0; i < group.count; i++)
            all.views[all.count++] = group.views[i];
    }
    return all;
}

static void group_remove_at(struct group *group, int index)
{
    group->count--;
    for (int i = index; i < group->count; i++)
        group->views[i] = group->views[i + 1];
}

/* Takes views from the end, but not the focus, until `limit` are left (at least 1). */
static void group_limit(struct group *group, int limit, enum layout_view focus)
{
    for (int i = group->count - 1; i >= 0 && group->count > limit && group->count > 1; i--)
        if (group->views[i] != focus)
            group_remove_at(group, i);
}

static int clamp(int value, int low, int high)
{
    if (value > high)
        value = high;
    return value < low ? low : value;
}

static void add_pane(struct screen_layout *layout, enum layout_view view,
                     struct layout_rectangle frame, bool collapsed)
{
    struct layout_pane *pane = &layout->panes[layout->pane_count++];
    pane->view = view;
    pane->frame = frame;
    pane->collapsed = collapsed;
    pane->inside =
        (struct layout_rectangle){frame.row + 1, frame.col + 1, frame.rows - 2, frame.cols - 2};
    if (collapsed)
        pane->inside = (struct layout_rectangle){0};
}

/* Divides `box` among the views of a group, one below the other. */
static void share_rows(struct screen_layout *layout, struct group group,
                       struct layout_rectangle box, enum layout_view focus)
{
    /* n panes of k inner rows need n * (k + 1) + 1 rows. */
    group_limit(&group, (box.rows - 1) / (LAYOUT_PANE_ROWS + 1), focus);
    int inner = box.rows - 1 - group.count; /* rows inside all of them */
    int row = box.row;
    for (int i = 0; i < group.count; i++) {
        int rows = inner * (i + 1) / group.count - inner * i / group.count;
        add_pane(layout, group.views[i],
                 (struct layout_rectangle){row, box.col, rows + 2, box.cols}, false);
        row += rows + 1;
    }
}

/* The focus large, every other view a title line, before or after it as in the order. The lower
 * line of the focus is the title line of the view after it. */
static void stack(struct screen_layout *layout, const struct layout_request *request)
{
    struct layout_rectangle body = layout->body;
    struct group all = group_of_all(request);
    int room = body.rows - 2 - LAYOUT_PANE_ROWS * 2; /* rows that titles may take */
    group_limit(&all, request->zoomed || room < 0 ? 1 : 1 + room, request->focus);
    int before = 0;
    while (all.views[before] != request->focus)
        before++;
    int after = all.count - 1 - before;
    int row = body.row;
    for (int i = 0; i < all.count; i++) {
        bool collapsed = i != before;
        int rows = collapsed ? 1 : body.rows - before - (after > 0 ? after - 1 : 0);
        add_pane(layout, all.views[i], (struct layout_rectangle){row, body.col, rows, body.cols},
                 collapsed);
        row += collapsed ? 1 : rows - 1;
    }
}

static void side_by_side(struct screen_layout *layout, const struct layout_request *request)
{
    struct layout_rectangle body = layout->body, top = body, bottom = body;
    struct group groups[LAYOUT_SLOT_COUNT];
    for (int slot = 0; slot < LAYOUT_SLOT_COUNT; slot++)
        groups[slot] = group_of_slot(request, (enum layout_slot)slot);
    bool above = groups[LAYOUT_LEFT].count + groups[LAYOUT_RIGHT].count > 0;
    bool below = groups[LAYOUT_BOTTOM].count > 0;
    int least = LAYOUT_PANE_ROWS + 2;
    if (above && below && body.rows < 2 * least - 1) { /* no room for two rows of panes */
        below = views[request->focus].slot == LAYOUT_BOTTOM;
        above = !below;
    }
    if (above && below) {
        int percent = request->bottom_percent ? clamp(request->bottom_percent, 10, 80) : 30;
        bottom.rows = clamp(body.rows * percent / 100, least, body.rows + 1 - least);
        top.rows = body.rows - bottom.rows + 1;
        bottom.row = top.row + top.rows - 1;
        layout->bottom_row = bottom.row;
    }
    if (above && groups[LAYOUT_LEFT].count && groups[LAYOUT_RIGHT].count) {
        int percent = request->left_percent ? clamp(request->left_percent, 10, 90) : 50;
        struct layout_rectangle left = top, right = top;
        left.cols = clamp(body.cols * percent / 100, 20, body.cols - 20);
        right.col = left.col + left.cols - 1;
        right.cols = body.cols - left.cols + 1;
        layout->sides_col = right.col;
        share_rows(layout, groups[LAYOUT_LEFT], left, request->focus);
        share_rows(layout, groups[LAYOUT_RIGHT], right, request->focus);
    } else if (above) {
        bool left = groups[LAYOUT_LEFT].count > 0;
        share_rows(layout, groups[left ? LAYOUT_LEFT : LAYOUT_RIGHT], top, request->focus);
    }
    if (below)
        share_rows(layout, groups[LAYOUT_BOTTOM], bottom, request->focus);
}

struct screen_layout layout_compute(const struct layout_request *request)
{
    struct screen_layout layout = {0};
    int rows = request->rows, cols = request->cols;
    if (rows < LAYOUT_MIN_ROWS || cols < LAYOUT_MIN_COLS) {
        layout.too_small = true;
        return layout;
    }
    int key_rows = rows >= LAYOUT_KEY_BAR_ROWS ? 1 : 0;
    layout.header = (struct layout_rectangle){0, 0, 1, cols};
    layout.body = (struct layout_rectangle){1, 0, rows - 2 - key_rows, cols};
    layout.prompt = (struct layout_rectangle){rows - 1 - key_rows, 0, 1, cols};
    layout.keys = (struct layout_rectangle){rows - 1, 0, key_rows, key_rows ? cols : 0};
    if (cols < LAYOUT_WIDE_COLS || request->zoomed)
        stack(&layout, request);
    else
        side_by_side(&layout, request);
    return layout;
}

/* The strokes of one outline at a cell. A frame of one row is a plain line. */
static unsigned outline_lines(struct layout_rectangle frame, int row, int col)
{
    int last_row = frame.row + frame.rows - 1, last_col = frame.col + frame.cols - 1;
    if (row < frame.row || row > last_row || col < frame.col || col > last_col)
        return 0;
    unsigned lines = 0;
    if (row == frame.row || row == last_row)
        lines |= (col > frame.col ? LAYOUT_BEFORE : 0u) | (col < last_col ? LAYOUT_AFTER : 0u);
    if (col == frame.col || col == last_col)
        lines |= (row > frame.row ? LAYOUT_UP : 0u) | (row < last_row ? LAYOUT_DOWN : 0u);
    return lines;
}

unsigned layout_lines(const struct screen_layout *layout, int row, int col)
{
    if (layout->too_small)
        return 0;
    unsigned lines = outline_lines(layout->body, row, col);
    for (int i = 0; i < layout->pane_count; i++)
        lines |= outline_lines(layout->panes[i].frame, row, col);
    return lines;
}

const struct layout_pane *layout_pane_of(const struct screen_layout *layout, enum layout_view view)
{
    for (int i = 0; i < layout->pane_count; i++)
        if (layout->panes[i].view == view)
            return &layout->panes[i];
    return NULL;
}

bool layout_on_frame(const struct screen_layout *layout, enum layout_view view, int row, int col)
{
    const struct layout_pane *pane = layout_pane_of(layout, view);
    return pane && outline_lines(pane->frame, row, col) != 0;
}

static bool contains(struct layout_rectangle box, int row, int col)
{
    return row >= box.row && row < box.row + box.rows && col >= box.col && col < box.col + box.cols;
}

const struct layout_pane *layout_pane_at(const struct screen_layout *layout, int row, int col)
{
    for (int i = 0; i < layout->pane_count; i++) {
        const struct layout_pane *pane = &layout->panes[i];
        struct layout_rectangle title = {pane->frame.row, pane->frame.col, 1, pane->frame.cols};
        if (contains(pane->inside, row, col) || contains(title, row, col))
            return pane;
    }
    return NULL;
}

enum layout_edge layout_edge_at(const struct screen_layout *layout, int row, int col)
{
    int last = layout->bottom_row ? layout->bottom_row : layout->body.row + layout->body.rows;
    if (layout->bottom_row && row == layout->bottom_row)
        return LAYOUT_EDGE_BOTTOM;
    bool beside = row >= layout->body.row && row < last;
    return layout->sides_col && col == layout->sides_col && beside ? LAYOUT_EDGE_SIDES
                                                                   : LAYOUT_EDGE_NONE;
}

/* The smallest percentage of which `whole`, rounded down, has that many. */
static int percent_of(int part, int whole, int least, int most)
{
    return clamp((part * 100 + whole - 1) / whole, least, most);
}

int layout_edge_percent(const struct screen_layout *layout, enum layout_edge edge, int row, int col)
{
    struct layout_rectangle body = layout->body;
    if (edge == LAYOUT_EDGE_SIDES)
        return percent_of(col - body.col + 1, body.cols, 10, 90);
    if (edge == LAYOUT_EDGE_BOTTOM)
        return percent_of(body.row + body.rows - row, body.rows, 10, 80);
    return 0;
}

enum layout_view layout_next_view(const struct layout_request *request, int direction)
{
    struct group all = group_of_all(request);
    int at = 0;
    while (all.views[at] != request->focus)
        at++;
    return all.views[(at + direction + all.count) % all.count];
}
