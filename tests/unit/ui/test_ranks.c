/* The view of ranks on a session that is made up: eight ranks of which some wait, one was killed,
 * and what they print; by scripts of keys on a screen in memory. */
#include "helper_made_up.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 8, LINES = 30 };

static void print_lines(struct rank_output *output)
{
    char line[64];
    for (int i = 0; i < LINES; i++)
        for (int rank = 0; rank < RANKS; rank++) {
            bool odd = rank == 2 && i % 10 == 9;
            snprintf(line, sizeof(line), odd ? "\033[2Jnan in step %d\n" : "step %d\n", i);
            rank_output_append(output, rank, odd ? RANK_STDERR : RANK_STDOUT, line, strlen(line),
                               1000000000ll + i * 250000000ll);
        }
    rank_output_append(output, 5, RANK_STDOUT, "50%", 3, 9000000000ll);
}

static struct rank_picture rank_at(int rank)
{
    struct rank_picture picture = {.situation = SITUATION_WAITING,
                                   .step = 0,
                                   .next = 44,
                                   .instructions = 100,
                                   .place = memory_string("decoder.1.mlp"),
                                   .wait = {.operation = "all_reduce",
                                            .group = "data",
                                            .elements = 65536,
                                            .dtype = DTYPE_F32,
                                            .seconds = 4.5},
                                   .exit_status = -1,
                                   .signal = -1,
                                   .pid = 4000 + rank,
                                   .memory_total = (rank + 1) << 20};
    picture.memory[MEMORY_PARAMETERS] = (rank + 1) << 20;
    bool missing[RANKS] = {[2] = true, [6] = true};
    rank_wait_set_missing(&picture.wait, missing, RANKS);
    if (rank == 2) {
        picture.situation = SITUATION_KILLED;
        picture.signal = 11;
    } else if (rank == 6) {
        picture.situation = SITUATION_RUNNING;
        picture.text = memory_string("matmul  fw a = b, c");
    } else if (rank == 4) {
        picture.departure = (struct rank_departure){.tensor = memory_string("state a.updated"),
                                                    .step = 2,
                                                    .against = 3,
                                                    .further = 7,
                                                    .different = 5,
                                                    .elements = 4096,
                                                    .index = "[12,31]",
                                                    .own = 0.125,
                                                    .other = 1.0 / 3};
    }
    return picture;
}

static void fill(struct made_up *made, struct picture *picture)
{
    struct status status = STATUS_NONE;
    if (picture->request.kind == PICTURE_PROGRAM) {
        picture->program = memory_zeroed(1, sizeof(*picture->program));
    } else if (picture->request.kind == PICTURE_OUTPUT) {
        picture->output = memory_zeroed(1, sizeof(*picture->output));
        if (!rank_output_fetch(made->output, &picture->request.output, picture->output, &status))
            picture->output_problem = memory_string(status.text);
    } else if (picture->request.kind == PICTURE_RANKS) {
        picture->ranks = memory_zeroed(1, sizeof(*picture->ranks));
        picture->ranks->rank_count = RANKS;
        picture->ranks->ranks = memory_zeroed(RANKS, sizeof(*picture->ranks->ranks));
        for (int rank = 0; rank < RANKS; rank++)
            picture->ranks->ranks[rank] = rank_at(rank);
    }
}

static char *screen_after(const char *keys, int rows, int cols)
{
    struct made_up made = {.fill = fill, .begin = print_lines};
    char *script = memory_format("6\nz\n%s", keys);
    char *screen = made_up_screen(&made, script, rows, cols);
    free(made.posted);
    free(script);
    return screen;
}

static void test_table(void **state)
{
    (void)state;
    char *screen = screen_after("", 40, 150);
    assert_has(screen, "waiting in all_reduce(data, 65,536 x f32) at decoder.1.mlp for 4.5 s, for "
                       "ranks 2,6");
    assert_has(screen, "running step 1, 44 matmul  fw a = b, c  decoder.1.mlp");
    assert_has(screen, "killed by signal 11, SIGSEGV");
    assert_has(screen, "4006");
    assert_has(screen, "7.0 MiB");
    /* what is worst is first */
    assert_true(strstr(screen, "killed") < strstr(screen, "waiting"));
    assert_has(screen, "rank 0:  parameters 1.0 MiB");
    free(screen);
}

/* A rank that is unlike others: among those in its situation first, with the elements when it is
 * the selected one, at the smallest usual size, too. */
static void test_departure(void **state)
{
    static const int sizes[][2] = {{24, 80}, {60, 200}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char *screen = screen_after("", sizes[i][0], sizes[i][1]);
        assert_has(screen, "unlike rank 3: state a.updated  waiting in");
        assert_true(strstr(screen, "killed") < strstr(screen, "unlike"));
        assert_true(strstr(screen, "unlike") < strstr(screen, "     0   1.0 MiB"));
        assert_has_not(screen, "[12,31]");
        free(screen);
        screen = screen_after("k", sizes[i][0], sizes[i][1]);
        assert_has(screen, " rank 4:  unlike rank 3: state a.updated");
        assert_has(screen, " [12,31] is 0.125, on rank 3 0.333333333; step 3, 5 of 4,096 elements");
        free(screen);
    }
    char *screen = screen_after("k", 60, 200);
    assert_has(screen, "4,096 elements; 7 more tensors since");
    assert_has(screen, " rank 4:  parameters 5.0 MiB");
    free(screen);
}

static void test_merged(void **state)
{
    (void)state;
    char *screen = screen_after("", 40, 100);
    assert_has(screen, "output, merged  240 lines  following");
    assert_has(screen, "   2! ^[[2Jnan in step 29"); /* visible, and not acting */
    assert_has(screen, "   7| step 29");
    assert_has(screen, "   5| 50%"); /* not ended yet */
    assert_has(screen, "7.250 ");    /* seconds since the first */
    free(screen);
    screen = screen_after("T", 40, 100);
    assert_has_not(screen, "7.250 ");
    free(screen);
    /* Only standard error: three lines. */
    screen = screen_after("o o", 40, 100);
    assert_has(screen, "only stderr");
    assert_int_equal(count_of(screen, "nan in step"), 3);
    assert_has_not(screen, "| step");
    free(screen);
    screen = screen_after(":ranks only 0-1,7\n:ranks filter /step 2.$/", 40, 100);
    assert_has(screen, "only rank 0-1,7 /step 2.$/");
    assert_has(screen, "   7| step 29");
    assert_has(screen, "   0| step 26");
    assert_has_not(screen, "   3| ");
    assert_has_not(screen, "step 19");
    free(screen);
    screen = screen_after(":ranks filter /(/", 40, 100);
    assert_has(screen, "/(/: ");
    assert_has(screen, "   7| step 29"); /* the wrong filter is gone */
    free(screen);
}

static void test_one_and_split(void **state)
{
    (void)state;
    char *screen = screen_after("j enter", 40, 100); /* rank 1 */
    assert_has(screen, "output, rank 1 ");
    assert_has(screen, "Ranks  8  rank 1 ");
    assert_int_equal(count_of(screen, "| step 29"), 1);
    assert_int_equal(count_of(screen, "| step 20"), 1);
    assert_has_not(screen, "nan in step");
    free(screen);
    screen = screen_after("i", 40, 130); /* three columns, from the selected rank on */
    assert_has(screen, "rank 0 ");
    assert_has(screen, "rank 2 ");
    assert_has_not(screen, "rank 3 ");
    assert_int_equal(count_of(screen, "step 28"), 3);
    free(screen);
    /* whose lines there are none of: others have printed enough */
    screen = screen_after(":ranks filter /no such line/\nj enter", 40, 100);
    assert_has(screen, "no line of rank 1 ");
    free(screen);
    screen = screen_after(":ranks filter /no such line/\ni", 40, 130);
    assert_has(screen, "no line of ranks 0 to 2 ");
    free(screen);
    screen = screen_after(":ranks filter /no such line/\ni", 24, 80);
    assert_has(screen, "no line of rank 0 ");
    free(screen);
}

static void test_moving(void **state)
{
    (void)state;
    char *screen = screen_after("space g", 40, 100); /* the first line */
    assert_has(screen, "| step 0");
    assert_has_not(screen, "step 29");
    assert_has_not(screen, "following");
    free(screen);
    screen = screen_after("space g page-down page-down page-down F", 40, 100);
    assert_has(screen, "step 29");
    assert_has(screen, "following");
    free(screen);
    /* Finds go forward and around. */
    screen = screen_after("space g\n:filter nan in\n", 40, 100);
    assert_has(screen, "nan in step 9");
    assert_has_not(screen, "nan in step 19");
    free(screen);
    screen = screen_after("space g\n:filter nan in\n' '", 40, 100);
    assert_has(screen, "nan in step 29");
    assert_has_not(screen, "step 9 ");
    free(screen);
    screen = screen_after("space g\n:filter nan in\nN", 40, 100);
    assert_has(screen, "nan in step 29");
    free(screen);
    screen = screen_after(":filter nowhere", 40, 100);
    assert_has(screen, "no \"nowhere\" here");
    free(screen);
}

/* Nothing breaks where there is no room. */
static void test_sizes(void **state)
{
    (void)state;
    for (int rows = 5; rows < 30; rows += 3)
        for (int cols = 28; cols < 140; cols += 37) {
            char *screen = screen_after("j enter page-up k right left i i i space z", rows, cols);
            int lines = count_of(screen, "\n");
            assert_int_equal(lines, rows);
            free(screen);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),  cmocka_unit_test(test_departure),
        cmocka_unit_test(test_merged), cmocka_unit_test(test_one_and_split),
        cmocka_unit_test(test_moving), cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
