/* The tensor view on a tensor of three dimensions that is made up: every element tells its place.
 */
#include "helper_made_up.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PLANES = 3, ROWS = 40, COLUMNS = 50 };

/* Its flat index, four digits at most; the reference is one more. */
static double element(int64_t plane, int64_t row, int64_t column)
{
    return (double)((plane * ROWS + row) * COLUMNS + column);
}

static int64_t limited(int64_t number, int64_t high)
{
    return number < 0 ? 0 : number > high ? high : number;
}

static void fill_window(struct tensor_picture *tensor, const struct picture_request *request)
{
    tensor->planes = PLANES;
    tensor->all_rows = ROWS;
    tensor->all_columns = COLUMNS;
    tensor->rows = (int)limited(request->rows, ROWS);
    tensor->columns = (int)limited(request->columns, COLUMNS);
    tensor->plane = limited(request->plane, PLANES - 1);
    tensor->row = limited(request->row, ROWS - tensor->rows);
    tensor->column = limited(request->column, COLUMNS - tensor->columns);
    size_t count = (size_t)(tensor->rows * tensor->columns);
    tensor->test = memory_zeroed(count, sizeof(double));
    tensor->reference = memory_zeroed(count, sizeof(double));
    for (int r = 0; r < tensor->rows; r++)
        for (int c = 0; c < tensor->columns; c++) {
            int at = r * tensor->columns + c;
            tensor->test[at] = element(tensor->plane, tensor->row + r, tensor->column + c);
            tensor->reference[at] = tensor->test[at] + 1;
        }
}

static void fill_map(struct tensor_picture *tensor, const struct picture_request *request)
{
    tensor->heat_rows = (int)limited(request->heat_rows, ROWS);
    tensor->heat_columns = (int)limited(request->heat_columns, COLUMNS);
    size_t cells = (size_t)(tensor->heat_rows * tensor->heat_columns);
    tensor->heat_side = request->heat_side;
    tensor->heat_most = 8;
    if (cells == 0)
        return;
    tensor->heat = memory_zeroed(cells, sizeof(float));
    tensor->heat_sign = memory_zeroed(cells, 1);
    tensor->heat[0] = NAN;
    tensor->heat[cells - 1] = 8;
}

static void fill_follow(struct tensor_picture *tensor)
{
    enum { TIMES = 100 };
    tensor->follow_count = 2;
    tensor->follows = memory_zeroed(2, sizeof(*tensor->follows));
    for (int i = 0; i < 2; i++) {
        struct picture_follow *follow = &tensor->follows[i];
        follow->number = 7 + i;
        follow->name = memory_format("fw somewhere[%d]", i);
        follow->row_count = TIMES;
        follow->rows = memory_zeroed(TIMES, sizeof(*follow->rows));
        for (int k = 0; k < TIMES; k++)
            follow->rows[k] = (struct picture_follow_row){
                .step = k, .instruction = 1000 + k, .batch = "mb=0/4", .test = k, .reference = NAN};
    }
}

static void fill(struct made_up *made, struct picture *picture)
{
    (void)made;
    if (picture->request.kind == PICTURE_PROGRAM) {
        picture->program = memory_zeroed(1, sizeof(*picture->program));
        picture->program->value_count = 1;
        picture->program->values = memory_zeroed(1, sizeof(*picture->program->values));
        picture->program->values[0] =
            (struct picture_value){.name = memory_string("fw cube"), .producer = -1};
    }
    if (picture->request.kind != PICTURE_TENSOR)
        return;
    struct tensor_picture *tensor = picture->tensor = memory_zeroed(1, sizeof(*tensor));
    tensor->name = memory_string("fw cube");
    tensor->producer = memory_string("");
    tensor->shape = tensor->whole = (struct shape){.rank = 3, .dims = {PLANES, ROWS, COLUMNS}};
    tensor->stride = 1;
    tensor->scale = 1;
    tensor->compared = true;
    tensor->metrics.different = tensor->metrics.count = PLANES * ROWS * COLUMNS;
    fill_window(tensor, &picture->request);
    fill_map(tensor, &picture->request);
    fill_follow(tensor);
    tensor->worst_count = 2;
    tensor->worst[0] = (struct worst_element){(2 * ROWS + 30) * COLUMNS + 45, 8, 0};
    tensor->worst[1] = (struct worst_element){(1 * ROWS + 2) * COLUMNS + 3, 4, 0};
}

static char *posted; /* by the last screen */

static char *screen_after(const char *keys, int rows, int cols, bool ascii)
{
    struct made_up made = {.fill = fill, .ascii = ascii};
    char *script = memory_format("4\nz\n%s", keys);
    char *screen = made_up_screen(&made, script, rows, cols);
    free(posted);
    posted = made.posted;
    free(script);
    return screen;
}

static void check(const char *keys, int rows, int cols, const char *part)
{
    char *screen = screen_after(keys, rows, cols, false);
    assert_has(screen, part);
    free(screen);
}

/* The sizes of the smallest usual terminal and of a large one. */
static const int sizes[2][2] = {{24, 80}, {60, 200}};

static void test_slices(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int rows = sizes[i][0], cols = sizes[i][1];
        check("", rows, cols, "slice 1/3");
        check("]", rows, cols, "slice 2/3");
        check("] ] ]", rows, cols, "slice 3/3");
        check("] ] [", rows, cols, "slice 2/3");
        check("] ]", rows, cols, " 4002 ");
        check(":tensor slice 3", rows, cols, " 4002 ");
        check(":tensor slice 4", rows, cols, "slices are 1 to 3");
        check("2\n:tensor slice 2", rows, cols, "slice 2/3"); /* from another view */
    }
}

static void test_places(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int rows = sizes[i][0], cols = sizes[i][1];
        check("e", rows, cols, "worst element 1 of 2: [2,30,45]");
        check("e", rows, cols, " 5545 ");
        check("e e", rows, cols, "worst element 2 of 2: [1,2,3]");
        check("e e e", rows, cols, "worst element 1 of 2");
        check(":tensor worst 2", rows, cols, " 2103 ");
        check(":tensor go [2,39,49]", rows, cols, " 5999 ");
        check(":tensor go 1,20,30", rows, cols, " 3030 ");
        check(":tensor go [3,0,0]", rows, cols, "no element of [3,40,50]");
        check(":tensor go [0,0]", rows, cols, "no element of");
        check(":tensor go [0,0,0] x", rows, cols, "no element of");
        check(">", rows, cols, " 1999 ");
        check("> g", rows, cols, "      1 ");
        check("$", rows, cols, " 49 ");
    }
}

/* The cursor is what is followed. */
static void test_follow(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int rows = sizes[i][0], cols = sizes[i][1];
        check("] j j j l l F", rows, cols, "fw somewhere[1]");
        assert_string_equal(posted, "follow fw cube[1,3,2]");
        check("> k F", rows, cols, "number 8, 2 of 2");
        assert_string_equal(posted, "follow fw cube[0,38,49]");
        check("F [", rows, cols, "fw somewhere[0]");
        check("F [ ]", rows, cols, "fw somewhere[1]");
        check(":tensor show followed", rows, cols, " 1099"); /* the newest row */
        check("F k k k", rows, cols, " 1096");
        check("F g", rows, cols, " 1000");
        char *screen = screen_after("F k k k", rows, cols, false);
        assert_has_not(screen, " 1097");
        free(screen);
    }
}

static void test_map(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int rows = sizes[i][0], cols = sizes[i][1];
        char *screen = screen_after(":tensor show map", rows, cols, false);
        assert_has(screen, "\u2502!"); /* not finite */
        assert_has(screen, "\u2588");  /* the largest */
        assert_has(screen, "-8.0e+00");
        assert_has(screen, "! NaN, inf");
        assert_has(screen, " difference ");
        free(screen);
        screen = screen_after(":tensor show map\n:tensor side test", rows, cols, false);
        assert_has(screen, " |test| ");
        assert_has_not(screen, "-8.0e+00");
        free(screen);
        screen = screen_after(":tensor show map", rows, cols, true);
        assert_has(screen, "|!");
        assert_has(screen, "@"); /* the largest */
        for (const char *c = screen; *c; c++)
            assert_true(*c == '\n' || (*c >= ' ' && *c < 127));
        free(screen);
    }
    check(":tensor show map", 24, 80, "worst of 4x1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_map),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(posted);
    return failed;
}
