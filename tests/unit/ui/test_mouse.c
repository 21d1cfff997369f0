/* What the mouse does on the screens, and what a paste does on the command line: by the bytes that
 * a terminal sends, on a made-up session. */
#include "helper_made_up.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "ui/text_width.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 30, COLS = 120 };

static void fill(struct made_up *made, struct picture *picture)
{
    (void)made;
    (void)picture;
}

static char *screen_after(struct made_up *made, const char *keys)
{
    made->fill = fill;
    return made_up_screen(made, keys, ROWS, COLS);
}

/* One report of the mouse: button 0 is the left one, 32 a drag, 64 and 65 the wheel. */
static void add_report(struct text *keys, int button, int row, int col, char final)
{
    text_format(keys, "type \033[<%d;%d;%d%c\n", button, col + 1, row + 1, final);
}

static void add_click(struct text *keys, int row, int col)
{
    add_report(keys, 0, row, col, 'M');
    add_report(keys, 0, row, col, 'm');
}

/* Where a text stands on a screen, from 0. */
static void find(const char *screen, const char *part, int *row, int *col)
{
    const char *at = strstr(screen, part), *line = screen;
    assert_non_null(at);
    *row = 0;
    for (const char *end; (end = strchr(line, '\n')) && end < at; line = end + 1)
        ++*row;
    *col = text_width(line, (size_t)(at - line));
}

/* The column at which the upper frame of two panes meets, in row 1. */
static int column_of_joint(const char *screen)
{
    int row, col;
    find(screen, "┬", &row, &col);
    assert_int_equal(row, 1);
    return col;
}

static void test_key_bar(void **state)
{
    struct made_up made = {0};
    struct text keys = {0};
    int row, col;
    (void)state;
    char *before = screen_after(&made, "");
    assert_has_not(before, "─ Help ");
    find(before, "? help", &row, &col);
    assert_int_equal(row, ROWS - 1);
    add_click(&keys, row, col + 3); /* anywhere on it */
    char *help = screen_after(&made, keys.data);
    assert_has(help, "─ Help ");
    text_clear(&keys);
    add_click(&keys, ROWS - 1, COLS - 1); /* between the last hint and the edge */
    char *same = screen_after(&made, keys.data);
    assert_string_equal(same, before);
    free(before);
    free(help);
    free(same);
    free(made.posted);
    text_free(&keys);
}

/* Pressed and pulled, an edge follows; a release leaves it; another cell moves nothing. */
static void test_edges(void **state)
{
    struct made_up made = {0};
    struct text keys = {0};
    (void)state;
    char *before = screen_after(&made, "?");
    int col = column_of_joint(before);
    text_add(&keys, "?\n");
    add_report(&keys, 0, 5, col, 'M');
    add_report(&keys, 32, 6, col + 9, 'M');
    add_report(&keys, 32, 7, col + 20, 'M');
    add_report(&keys, 0, 7, col + 20, 'm');
    char *after = screen_after(&made, keys.data);
    assert_in_range(column_of_joint(after), col + 19, col + 21);
    text_clear(&keys);
    text_add(&keys, "?\n");
    add_report(&keys, 0, 5, col - 7, 'M');
    add_report(&keys, 32, 7, col + 20, 'M');
    char *same = screen_after(&made, keys.data);
    assert_int_equal(column_of_joint(same), col);
    free(same);
    text_clear(&keys);
    text_add(&keys, "?\n");
    add_report(&keys, 0, 5, col, 'M');
    add_report(&keys, 0, 5, col, 'm'); /* let go: what comes without a press pulls nothing */
    add_report(&keys, 32, 7, col + 20, 'M');
    same = screen_after(&made, keys.data);
    assert_int_equal(column_of_joint(same), col);
    text_clear(&keys);
    text_add(&keys, "?\n");
    add_report(&keys, 0, 5, col, 'M');
    text_add(&keys, "type :\n");
    add_report(&keys, 0, 5, col - 7, 'M'); /* does nothing while a line is typed; pulls nothing */
    add_report(&keys, 32, 7, col + 20, 'M');
    char *typing = screen_after(&made, keys.data);
    assert_int_equal(column_of_joint(typing), col);
    free(before);
    free(after);
    free(same);
    free(typing);
    free(made.posted);
    text_free(&keys);
}

static void test_titles_and_command_line(void **state)
{
    struct made_up made = {0};
    struct text keys = {0};
    int row, col;
    (void)state;
    char *open = screen_after(&made, "?");
    find(open, " Help ", &row, &col);
    text_add(&keys, "?\n");
    add_click(&keys, row, col + 2);
    add_click(&keys, row, col + 2); /* all the room */
    char *zoomed = screen_after(&made, keys.data);
    assert_has(zoomed, "─ Help ");
    assert_has_not(zoomed, "─ Tests ");
    text_clear(&keys);
    add_click(&keys, ROWS - 2, 30);
    text_add(&keys, "type no-such-command\nenter\n");
    free(screen_after(&made, keys.data));
    assert_string_equal(made.posted, "no-such-command");
    free(open);
    free(zoomed);
    free(made.posted);
    text_free(&keys);
}

/* While a line is being typed the wheel looks around, and a click takes nothing away; a question is
 * not answered by the mouse. */
static void test_while_typing(void **state)
{
    struct made_up made = {0};
    struct text keys = {0};
    (void)state;
    text_add(&keys, "?\ntype :no-such\n");
    add_click(&keys, 4, 10);
    for (int i = 0; i < 4; i++)
        add_report(&keys, 65, 6, COLS - 10, 'M');
    char *scrolled = screen_after(&made, keys.data);
    assert_has(scrolled, ":no-such");
    assert_has_not(scrolled, "The letters of gdb move the run"); /* Help's first line */
    text_clear(&keys);
    text_add(&keys, "ctrl-c ctrl-c\n"); /* the second one asks whether to leave */
    add_click(&keys, 4, 10);
    char *asked = screen_after(&made, keys.data);
    assert_has(asked, "Leave? (y or n)");
    free(scrolled);
    free(asked);
    free(made.posted);
    text_free(&keys);
}

/* While the lines of a breakpoint's list are typed, Ctrl-D is 'end', also of a list in the list,
 * and Backspace where nothing is left does nothing; only behind the last 'end' are keys commands.
 */
static void test_list_of_commands(void **state)
{
    struct made_up made = {0};
    (void)state;
    char *screen = screen_after(&made, "type :commands\recho one\r\177echo two\rx");
    assert_string_equal(made.posted, "echo two");
    free(screen);
    screen = screen_after(&made, "type :commands\recho one\r\004");
    assert_string_equal(made.posted, "end");
    free(screen);
    screen = screen_after(&made, "type :commands\rcommands 1\recho one\r\004echo two\rx");
    assert_string_equal(made.posted, "echo two");
    free(screen);
    screen = screen_after(&made, "type :commands\rcommands 1\recho one\r\004\004?");
    assert_string_equal(made.posted, "end");
    assert_has(screen, "─ Help ");
    free(screen);
    free(made.posted);
}

/* Several lines are several commands; elsewhere pasted text never acts as keys. */
static void test_paste(void **state)
{
    struct made_up made = {0};
    (void)state;
    char *screen = screen_after(&made, "type :\n"
                                       "type \033[200~first-one\rsecond-one\rthird\033[201~-one\n"
                                       "enter\n8");
    assert_has(screen, "(lockstep) first-one ");
    assert_has(screen, "(lockstep) second-one ");
    assert_has(screen, "(lockstep) third-one ");
    assert_string_equal(made.posted, "third-one");
    free(screen);
    screen = screen_after(&made, "type \033[200~q:first\r\033[201~");
    assert_has(screen, "type : first");
    assert_true(!made.posted || !strstr(made.posted, "first"));
    free(screen);
    free(made.posted);
}

/* A long line is on the screen to its end, unless it is to be cut; in every width the newest row is
 * in sight, and the wheel goes to the first. */
static void test_log_wraps(void **state)
{
    struct made_up made = {0};
    struct text keys = {0};
    (void)state;
    text_add(&keys, ":begin");
    for (int i = 0; i < 60; i++)
        text_format(&keys, " %c%d.", 'a' + i % 26, i);
    text_add(&keys, " end-of-it\n8\n");
    char *wrapped = screen_after(&made, keys.data);
    assert_has(wrapped, "(lockstep) begin a0. b1.");
    assert_has(wrapped, "end-of-it");
    text_add(&keys, "space\n");
    char *cut = screen_after(&made, keys.data);
    assert_has(cut, "(lockstep) begin a0. b1.");
    assert_has_not(cut, "end-of-it");
    text_add(&keys, "right right right right right right right right right right right right\n");
    char *moved = screen_after(&made, keys.data);
    assert_has(moved, "end-of-it");
    free(wrapped);
    free(cut);
    free(moved);
    free(made.posted);
    text_free(&keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_bar),          cmocka_unit_test(test_edges),
        cmocka_unit_test(test_while_typing),     cmocka_unit_test(test_titles_and_command_line),
        cmocka_unit_test(test_list_of_commands), cmocka_unit_test(test_paste),
        cmocka_unit_test(test_log_wraps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
