/* Cells of heat maps: what stands out, what is told apart, and what poorer terminals get. */
#include "ui/heat.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct heat_cell both(struct heat_scale scale, float magnitude, int sign)
{
    struct heat_number number = {magnitude, sign};
    return heat_cell(&scale, number, number);
}

/* Growing magnitudes go through the ramp in order and never back; the ends are where they belong.
 */
static void test_ramps(void **state)
{
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        struct heat_scale scale = {HEAT_HALF_BLOCKS, 2.5, is_signed, 256};
        int changes = 0, seen[256] = {0};
        int before = both(scale, 1e-30f, 1).style.foreground;
        assert_int_not_equal(before, both(scale, 0, 0).style.foreground); /* not lost in zero */
        seen[before] = 1;
        for (int i = 1; i <= 1000; i++) {
            int color = both(scale, 2.5f * (float)i / 1000, 1).style.foreground;
            assert_true(color == before || !seen[color]);
            changes += color != before;
            seen[color] = 1;
            before = color;
        }
        assert_int_equal(changes, is_signed ? 6 : 11);
        assert_int_equal(before, is_signed ? 160 : 226);
        assert_int_equal(both(scale, 1e9f, 1).style.foreground, before); /* beyond the scale */
    }
}

/* Which of red, green and blue is most in a colour of xterm's cube. */
static int strongest(int color)
{
    int cube = color - 16, parts[] = {cube / 36, cube / 6 % 6, cube % 6};
    return parts[0] > parts[2] ? 0 : parts[2] > parts[0] ? 2 : 1;
}

static void test_signs(void **state)
{
    (void)state;
    struct heat_scale scale = {HEAT_HALF_BLOCKS, 1, true, 256};
    for (int i = 1; i <= 100; i++) {
        assert_int_equal(strongest(both(scale, (float)i / 100, 1).style.foreground), 0);
        assert_int_equal(strongest(both(scale, (float)i / 100, -1).style.foreground), 2);
    }
    scale.is_signed = false;
    assert_int_equal(both(scale, 0.5f, 1).style.foreground, both(scale, 0.5f, -1).style.foreground);
}

static void test_half_blocks(void **state)
{
    (void)state;
    struct heat_scale scale = {HEAT_HALF_BLOCKS, 1, true, 256};
    struct heat_number none = {-1, 0}, low = {0.01f, -1}, high = {1, 1}, bad = {NAN, 0};
    struct heat_cell cell = heat_cell(&scale, high, low);
    assert_string_equal(cell.glyph, "\u2580");
    assert_int_equal(cell.style.foreground, both(scale, 1, 1).style.foreground);
    assert_int_equal(cell.style.background, both(scale, 0.01f, -1).style.foreground);
    cell = heat_cell(&scale, high, none);
    assert_string_equal(cell.glyph, "\u2580");
    assert_int_equal(cell.style.background, THEME_COLOR_DEFAULT);
    cell = heat_cell(&scale, none, high);
    assert_string_equal(cell.glyph, "\u2584");
    assert_int_equal(cell.style.foreground, both(scale, 1, 1).style.foreground);
    assert_int_equal(cell.style.background, THEME_COLOR_DEFAULT);
    assert_string_equal(heat_cell(&scale, none, none).glyph, " ");
    assert_true(heat_cell(&scale, bad, high).bad); /* either half */
    assert_true(heat_cell(&scale, high, bad).bad);
    assert_false(heat_cell(&scale, high, low).bad);
}

static void test_poorer_terminals(void **state)
{
    (void)state;
    struct heat_scale scale = {HEAT_SHADES, 1, true, 8};
    assert_string_equal(both(scale, 0, 0).glyph, "\u00b7");
    assert_string_equal(both(scale, 1e-9f, 1).glyph, "\u2591");
    assert_string_equal(both(scale, 1, 1).glyph, "\u2588");
    assert_int_equal(both(scale, 1, 1).style.foreground, 1);  /* red */
    assert_int_equal(both(scale, 1, -1).style.foreground, 4); /* blue */
    assert_true(both(scale, NAN, 0).bad);
    /* the lower half of a cell does not exist here */
    assert_false(heat_cell(&scale, (struct heat_number){1, 1}, (struct heat_number){NAN, 0}).bad);
    scale = (struct heat_scale){HEAT_ASCII, 1, false, 0};
    char before = both(scale, 0, 0).glyph[0];
    assert_int_equal(before, '.');
    for (int i = 1, changes = 0; i <= 1000; i++) {
        struct heat_cell cell = both(scale, (float)i / 1000, 1);
        assert_int_equal(strlen(cell.glyph), 1);
        assert_int_equal(cell.style.foreground, THEME_COLOR_DEFAULT);
        changes += cell.glyph[0] != before;
        before = cell.glyph[0];
        assert_true(i < 1000 || (changes == 8 && before == '@'));
    }
    assert_string_equal(both(scale, -1, 0).glyph, " ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ramps),
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_half_blocks),
        cmocka_unit_test(test_poorer_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
