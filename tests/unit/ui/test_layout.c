#include "tests/unit/random.h"
#include "ui/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_ROWS = 200, MAX_COLS = 500 };

/* Who uses a cell: 0 nobody, else a mark per rectangle. */
struct map {
    unsigned char cells[MAX_ROWS][MAX_COLS];
    int rows, cols;
};

static void map_fill(struct map *map, struct layout_rectangle box, unsigned char mark)
{
    if (box.rows == 0)
        return;
    assert_true(box.rows > 0 && box.cols > 0 && box.row >= 0 && box.col >= 0);
    assert_true(box.row + box.rows <= map->rows && box.col + box.cols <= map->cols);
    for (int row = box.row; row < box.row + box.rows; row++) {
        for (int col = box.col; col < box.col + box.cols; col++) {
            assert_int_equal(map->cells[row][col], 0); /* no overlap */
            map->cells[row][col] = mark;
        }
    }
}

static unsigned lines_or_none(const struct screen_layout *layout, int rows, int cols, int row,
                              int col)
{
    return row < 0 || col < 0 || row >= rows || col >= cols ? 0 : layout_lines(layout, row, col);
}

/* A stroke that leaves a cell must be met by its neighbour: no loose ends, no open corners. */
static void check_joint(const struct screen_layout *layout, int rows, int cols, int row, int col)
{
    unsigned lines = layout_lines(layout, row, col);
    unsigned right = lines_or_none(layout, rows, cols, row, col + 1);
    unsigned below = lines_or_none(layout, rows, cols, row + 1, col);
    assert_int_equal(!!(lines & LAYOUT_AFTER), !!(right & LAYOUT_BEFORE));
    assert_int_equal(!!(lines & LAYOUT_DOWN), !!(below & LAYOUT_UP));
}

static void check(struct layout_request request)
{
    static struct map map;
    struct screen_layout layout = layout_compute(&request);
    bool small = request.rows < LAYOUT_MIN_ROWS || request.cols < LAYOUT_MIN_COLS;
    assert_int_equal(layout.too_small, small);
    if (small) {
        assert_int_equal(layout.pane_count, 0);
        return;
    }
    memset(&map, 0, sizeof(map));
    map.rows = request.rows;
    map.cols = request.cols;
    map_fill(&map, layout.header, 1);
    map_fill(&map, layout.prompt, 1);
    map_fill(&map, layout.keys, 1);
    for (int i = 0; i < layout.pane_count; i++) {
        const struct layout_pane *pane = &layout.panes[i];
        map_fill(&map, pane->inside, 1);
        if (!pane->collapsed) {
            assert_true(pane->inside.rows >= (pane->view == request.focus ? 1 : LAYOUT_PANE_ROWS));
            assert_true(pane->inside.cols >= 18);
        }
        assert_true(layout_pane_at(&layout, pane->frame.row, pane->frame.col + 2) == pane);
    }
    const struct layout_pane *focus = layout_pane_of(&layout, request.focus);
    assert_non_null(focus);
    assert_false(focus->collapsed);
    for (int row = 0; row < request.rows; row++) {
        for (int col = 0; col < request.cols; col++) {
            bool line = layout_lines(&layout, row, col) != 0;
            assert_int_equal(line, map.cells[row][col] == 0); /* every cell is used exactly once */
            if (line)
                check_joint(&layout, request.rows, request.cols, row, col);
        }
    }
}

/* An edge is found where its line is, and goes where it is pulled, to the width of a percent. */
static void check_edges(struct layout_request request)
{
    struct screen_layout layout = layout_compute(&request);
    if (layout.sides_col > 0) {
        int row = layout.body.row + 1, col = layout.sides_col;
        assert_int_equal(layout_edge_at(&layout, row, col), LAYOUT_EDGE_SIDES);
        assert_int_equal(layout_edge_at(&layout, row, col + 1), LAYOUT_EDGE_NONE);
        assert_true(layout_lines(&layout, row, col) != 0);
        int target = 20 + rand() % (request.cols - 40);
        request.left_percent = layout_edge_percent(&layout, LAYOUT_EDGE_SIDES, row, target);
        struct screen_layout pulled = layout_compute(&request);
        int least = request.cols * 10 / 100, most = request.cols * 90 / 100;
        int nearest = target < least ? least : target > most ? most : target;
        assert_true(abs(pulled.sides_col - nearest) <= request.cols / 100 + 1);
    }
    if (layout.bottom_row > 0) {
        int row = layout.bottom_row;
        assert_int_equal(layout_edge_at(&layout, row, 3), LAYOUT_EDGE_BOTTOM);
        assert_int_equal(layout_edge_at(&layout, row + 1, 3), LAYOUT_EDGE_NONE);
        assert_true(layout_lines(&layout, row, 3) != 0);
        int height = layout.body.rows, least = LAYOUT_PANE_ROWS + 1;
        int target = layout.body.row + least + rand() % (height - 2 * least);
        request.bottom_percent = layout_edge_percent(&layout, LAYOUT_EDGE_BOTTOM, target, 3);
        struct screen_layout pulled = layout_compute(&request);
        int low = layout.body.row + height - height * 80 / 100;
        int high = layout.body.row + height - height * 10 / 100;
        int nearest = target < low ? low : target > high ? high : target;
        assert_true(abs(pulled.bottom_row - nearest) <= height / 100 + 1);
    }
}

static struct layout_request random_request(int rows, int cols)
{
    struct layout_request request = {.rows = rows, .cols = cols};
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++)
        request.open[view] = rand() % 2;
    request.focus = (enum layout_view)(rand() % LAYOUT_VIEW_COUNT);
    request.zoomed = rand() % 8 == 0;
    request.left_percent = rand() % 120 - 10;
    request.bottom_percent = rand() % 120 - 10;
    return request;
}

/* 20x5 to 500x200: every small size, random larger ones, with random views and preferences. */
static void test_sweep(void **state)
{
    (void)state;
    struct random random = random_start("layout sweep");
    srand((unsigned)random_bits(&random));
    for (int rows = 5; rows <= 40; rows++)
        for (int cols = 20; cols <= 130; cols++)
            check(random_request(rows, cols));
    for (int round = 0; round < 300; round++) {
        struct layout_request request =
            random_request(5 + rand() % (MAX_ROWS - 4), 20 + rand() % (MAX_COLS - 19));
        check(request);
        check_edges(request);
    }
    check(random_request(MAX_ROWS, MAX_COLS));
    check(random_request(5, 20));
}

static struct layout_request usual(int rows, int cols, enum layout_view focus)
{
    struct layout_request request = {.rows = rows, .cols = cols, .focus = focus};
    request.open[LAYOUT_PROGRAM] = true;
    request.open[LAYOUT_TENSOR] = true;
    request.open[LAYOUT_DIVERGENCES] = true;
    return request;
}

static void expect_box(struct layout_rectangle box, int row, int col, int rows, int cols)
{
    assert_int_equal(box.row, row);
    assert_int_equal(box.col, col);
    assert_int_equal(box.rows, rows);
    assert_int_equal(box.cols, cols);
}

static void test_wide_screen(void **state)
{
    (void)state;
    struct layout_request request = usual(24, 120, LAYOUT_PROGRAM);
    struct screen_layout layout = layout_compute(&request);
    assert_int_equal(layout.pane_count, 3);
    expect_box(layout.header, 0, 0, 1, 120);
    expect_box(layout.panes[0].frame, 1, 0, 16, 60);
    expect_box(layout.panes[1].frame, 1, 59, 16, 61);
    expect_box(layout.panes[2].frame, 16, 0, 6, 120);
    expect_box(layout.panes[2].inside, 17, 1, 4, 118);
    expect_box(layout.prompt, 22, 0, 1, 120);
    expect_box(layout.keys, 23, 0, 1, 120);
    assert_int_equal(layout_lines(&layout, 1, 59), LAYOUT_BEFORE | LAYOUT_AFTER | LAYOUT_DOWN);
    assert_int_equal(layout_lines(&layout, 16, 59), LAYOUT_BEFORE | LAYOUT_AFTER | LAYOUT_UP);
    assert_int_equal(layout_lines(&layout, 16, 0), LAYOUT_UP | LAYOUT_DOWN | LAYOUT_AFTER);
    assert_true(layout_pane_at(&layout, 5, 80) == &layout.panes[1]);
    assert_true(layout_pane_at(&layout, 5, 59) == NULL); /* on the line between */
    assert_true(layout_on_frame(&layout, LAYOUT_PROGRAM, 5, 59));
    assert_false(layout_on_frame(&layout, LAYOUT_PROGRAM, 5, 60));
    request.zoomed = true;
    layout = layout_compute(&request);
    assert_int_equal(layout.pane_count, 1);
    expect_box(layout.panes[0].frame, 1, 0, 21, 120);
}

/* At 80 columns the focus takes the screen; the others are title lines around it. */
static void test_narrow_screen(void **state)
{
    (void)state;
    struct layout_request request = usual(24, 80, LAYOUT_TENSOR);
    struct screen_layout layout = layout_compute(&request);
    assert_int_equal(layout.pane_count, 3);
    expect_box(layout.panes[0].frame, 1, 0, 1, 80);
    assert_true(layout.panes[0].collapsed && layout.panes[2].collapsed);
    expect_box(layout.panes[1].frame, 2, 0, 20, 80);
    expect_box(layout.panes[1].inside, 3, 1, 18, 78);
    expect_box(layout.panes[2].frame, 21, 0, 1, 80);
    request.rows = 10; /* no room for titles, nor for the key bar */
    layout = layout_compute(&request);
    assert_int_equal(layout.pane_count, 1);
    expect_box(layout.panes[0].inside, 2, 1, 6, 78);
    assert_int_equal(layout.keys.rows, 0);
}

static void test_focus_goes_round(void **state)
{
    (void)state;
    struct layout_request request = usual(24, 80, LAYOUT_PROGRAM);
    static const enum layout_view order[] = {LAYOUT_TENSOR, LAYOUT_DIVERGENCES, LAYOUT_PROGRAM};
    for (int i = 0; i < 3; i++)
        assert_int_equal(request.focus = layout_next_view(&request, 1), order[i]);
    assert_int_equal(layout_next_view(&request, -1), LAYOUT_DIVERGENCES);
    for (int view = 0; view < LAYOUT_VIEW_COUNT; view++)
        assert_int_equal(layout_view_find(layout_view_name((enum layout_view)view)), view);
    assert_int_equal(layout_view_find("nothing"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_wide_screen),
        cmocka_unit_test(test_narrow_screen),
        cmocka_unit_test(test_focus_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
