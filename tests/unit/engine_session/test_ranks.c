/* Pictures of ranks: what is said of each, how they are merged, and the prompt's commands on them.
 */
#include "engine/session/ranks.h"

#include "engine/base/memory.h"
#include "helper_debugger.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct rank_picture stopped(void)
{
    return (struct rank_picture){.situation = SITUATION_STOPPED,
                                 .step = 1,
                                 .next = 30,
                                 .instructions = 90,
                                 .text = memory_string("matmul  fw a = b, c"),
                                 .place = memory_string("decoder.0.mlp"),
                                 .wait.seconds = NAN,
                                 .exit_status = -1,
                                 .signal = -1,
                                 .pid = -1,
                                 .memory_total = 1 << 20};
}

static void assert_described(const struct rank_picture *rank, const char *expected)
{
    struct text text = {0};
    rank_picture_describe(rank, &text);
    assert_string_equal(text.data, expected);
    text_free(&text);
}

static void test_describe(void **state)
{
    struct ranks_picture *picture = memory_zeroed(1, sizeof(*picture));
    (void)state;
    picture->rank_count = 1;
    picture->ranks = memory_zeroed(1, sizeof(*picture->ranks));
    struct rank_picture *rank = &picture->ranks[0];
    *rank = stopped();
    assert_described(rank, "stopped step 2, 30 matmul  fw a = b, c  decoder.0.mlp");
    rank->situation = SITUATION_WAITING;
    rank->wait = (struct rank_wait){
        .operation = "all_reduce", .group = "data", .elements = 65536, .seconds = 12.34};
    bool missing[9] = {[2] = true, [5] = true, [6] = true, [7] = true};
    rank_wait_set_missing(&rank->wait, missing, 9);
    assert_described(rank, "waiting in all_reduce(data, 65,536 x f32) at decoder.0.mlp for 12.3 s, "
                           "for ranks 2,5-7");
    memset(missing, 0, sizeof(missing));
    missing[8] = true;
    rank_wait_set_missing(&rank->wait, missing, 9);
    rank->wait.seconds = NAN;
    assert_described(rank, "waiting in all_reduce(data, 65,536 x f32) at decoder.0.mlp, for rank "
                           "8");
    bool every_other[100];
    for (int i = 0; i < 100; i++)
        every_other[i] = i % 2;
    rank_wait_set_missing(&rank->wait, every_other, 100);
    assert_int_equal(rank->wait.missing_count, OUTPUT_RANGES);
    assert_int_equal(rank->wait.missing_more, 50 - OUTPUT_RANGES);
    rank->situation = SITUATION_HALTED;
    rank->signal = SIGSTOP;
    assert_described(rank, "stopped by signal 19, SIGSTOP, step 2, 30 matmul  fw a = b, c  "
                           "decoder.0.mlp");
    rank->situation = SITUATION_KILLED;
    rank->signal = SIGKILL;
    rank->reason = memory_string("out of memory\nmore of it");
    assert_described(rank, "killed by signal 9, SIGKILL, step 2, 30 matmul  fw a = b, c  "
                           "decoder.0.mlp: out of memory");
    rank->situation = SITUATION_EXITED;
    rank->exit_status = 3;
    assert_described(rank, "exited with status 3: out of memory");
    ranks_picture_free(picture);
}

/* A thousand ranks of which three are elsewhere. */
static void test_groups(void **state)
{
    enum { RANKS = 1000 };
    struct ranks_picture *picture = memory_zeroed(1, sizeof(*picture));
    struct rank_group *groups;
    (void)state;
    picture->rank_count = RANKS;
    picture->ranks = memory_zeroed(RANKS, sizeof(*picture->ranks));
    for (int i = 0; i < RANKS; i++)
        picture->ranks[i] = stopped();
    picture->ranks[17].memory_total = 5 << 20;
    picture->ranks[3].situation = SITUATION_KILLED;
    picture->ranks[3].signal = 11;
    picture->ranks[500].situation = picture->ranks[501].situation = SITUATION_WAITING;
    picture->ranks[500].wait.operation = picture->ranks[501].wait.operation = "all_gather";
    picture->ranks[700].departure = (struct rank_departure){.tensor = memory_string("param a")};
    assert_int_equal(rank_groups(picture, true, &groups), 4);
    assert_string_equal(groups[2].ranks, "700"); /* before those that are like the others */
    assert_string_equal(groups[3].ranks, "0-2,4-499,502-699,701-999");
    rank_groups_free(groups, 4);
    free(picture->ranks[700].departure.tensor);
    picture->ranks[700].departure = (struct rank_departure){0};
    assert_int_equal(rank_groups(picture, true, &groups), 3);
    assert_string_equal(groups[0].ranks, "3"); /* the worst is first */
    assert_string_equal(groups[1].ranks, "500-501");
    assert_string_equal(groups[2].ranks, "0-2,4-499,502-999");
    assert_int_equal(groups[2].count, RANKS - 3);
    assert_int_equal(groups[2].memory, 5 << 20);
    rank_groups_free(groups, 3);
    struct text table = {0};
    ranks_picture_table(picture, 32, &table);
    must_contain(table.data, "killed by signal 11, SIGSEGV");
    int lines = 0;
    for (const char *c = table.data; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 1 + 3);
    text_free(&table);
    assert_int_equal(rank_groups(picture, false, &groups), RANKS);
    assert_string_equal(groups[0].ranks, "3");
    assert_string_equal(groups[3].ranks, "0");
    rank_groups_free(groups, RANKS);
    ranks_picture_free(picture);
}

static void print_line(struct bench *bench, int rank, enum rank_stream stream, const char *line)
{
    rank_output_append(bench->printed, rank, stream, line, strlen(line), 1);
}

static void test_commands(void **state)
{
    struct bench bench;
    (void)state;
    bench_open(&bench);
    must_contain(bench_do(&bench, "output"), "Nothing was printed");
    bench_do(&bench, "file llama/df2");
    bench_do(&bench, "stepi 5");
    must_contain(bench_do(&bench, "info ranks"), "stopped step 1, 5 ");
    print_line(&bench, 0, RANK_STDOUT, "loss 1\n");
    print_line(&bench, 0, RANK_STDERR, "\033[31mloss is nan\n");
    assert_string_equal(bench_do(&bench, "output"), "| loss 1\n! ^[[31mloss is nan\n");
    print_line(&bench, 3, RANK_STDOUT, "loss 2\n");
    assert_string_equal(bench_do(&bench, "output"),
                        "   0 | loss 1\n   0 ! ^[[31mloss is nan\n   3 | loss 2\n");
    assert_string_equal(bench_do(&bench, "output rank 1-3"), "   3 | loss 2\n");
    assert_string_equal(bench_do(&bench, "output stderr /l.*nan/"), "   0 ! ^[[31mloss is nan\n");
    assert_string_equal(bench_do(&bench, "output 1"), "   3 | loss 2\n");
    assert_string_equal(bench_do(&bench, "output rank 0 stdout all"), "   0 | loss 1\n");
    must_contain(bench_do(&bench, "output /no such/"), "No line passes");
    must_contain(bench_fail(&bench, "output rank x"), "0-3,7");
    must_contain(bench_fail(&bench, "output loud"), "loud");
    must_contain(bench_fail(&bench, "output /(/"), "/(/");
    must_contain(bench_do(&bench, "info ranks"), "         1          1  stopped");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
