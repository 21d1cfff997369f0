/* Where a run stops: breakpoints, watchpoints, and places that are none. */
#include "engine/base/memory.h"
#include "engine/session/motion.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_breakpoints(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    must_contain(bench_do(&bench, "break decoder.1 if step == 2 and mb == 1"), "Breakpoint 1");
    must_contain(bench_do(&bench, "tbreak fw decoder.0.output if rel_rms >= 0"), "after");
    must_contain(bench_do(&bench, "watch gradient decoder.1.mlp.layer_2.weight"), "Watchpoint 3");
    must_contain(bench_do(&bench, "run"), "Temporary breakpoint 2");
    must_contain(bench_do(&bench, "info breakpoints"), "watchpoint 3");
    assert_null(strstr(bench.output.data, "breakpoint 2"));
    for (int i = 0; i < 4; i++)
        must_contain(bench_do(&bench, "continue"), "Watchpoint 3");
    must_contain(bench.output.data, "old ");
    bench_do(&bench, "disable 3");
    must_contain(bench_do(&bench, "c"), "Breakpoint 1");
    assert_int_equal(bench_origin(&bench, bench_position(&bench))->micro_batch, 1);
    assert_int_equal(bench.debugger->target->pair->test->step, 1);
    must_contain(bench_do(&bench, "info breakpoints"), "breakpoint 1, decoder.1 if step == 2");
    must_contain(bench.output.data, "hit 1 time");
    must_contain(bench_fail(&bench, "delete 7"), "no breakpoint '7'");
    must_contain(bench_fail(&bench, "break decoder.1 if rms >"), "column");
    must_contain(bench_fail(&bench, "watch decoder.1"), "no tensor");
    bench_do(&bench, "enable");
    bench_do(&bench, "delete");
    must_contain(bench_do(&bench, "info breakpoints"), "No breakpoints");
    must_contain(bench_do(&bench, "continue"), "Run finished");
    bench_close(&bench);
}

/* A stop after a tensor was written, and one before the next instruction, are both told. */
static void test_two_stops(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/simple");
    struct status status = STATUS_NONE;
    int value = tensor_find(debugger_program(bench.debugger), "fw decoder.0.output", 0, &status);
    int producer = debugger_program(bench.debugger)->values[value].producer;
    char line[64];
    snprintf(line, sizeof(line), "break %d", producer + 1);
    bench_do(&bench, line);
    bench_do(&bench, "break fw decoder.0.output");
    must_contain(bench_do(&bench, "run"), "Breakpoint 1");
    must_contain(bench.output.data, "Breakpoint 2");
    bench_do(&bench, "continue");
    assert_int_equal(bench.debugger->target->pair->test->step, 1);
    bench_close(&bench);
}

/* A condition that did not hold has nothing to say about a later stop. */
static void test_stop_of_another_breakpoint(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break fw decoder.0.output if nan");
    bench_do(&bench, "break decoder.1 mb=1");
    must_contain(bench_do(&bench, "run"), "Breakpoint 2");
    if (strstr(bench.output.data, "fw decoder.0.output mb=3/4  "))
        fail_msg("%s", bench.output.data);
    bench_close(&bench);
}

/* What a run cannot come to is refused, moves nothing, and takes no number. */
static void test_places_that_never_come(void **state)
{
    static const char *const bad[][2] = {
        {"break 3:1", "there is no step 3: the run has 2"},
        {"tbreak 99:1 if mb == 1", "there is no step 99: the run has 2"},
        {"until 3:1", "there is no step 3: the run has 2"},
        {"goto 3:1", "there is no step 3: the run has 2"},
        {"list 3:1", "there is no step 3: the run has 2"},
        {"check 3:1", "there is no step 3: the run has 2"},
        {"watch 3:1", "there is no step 3: the run has 2"},
        {"watch 2:1", "'2:1' is no tensor"},
        {"watch decoder.1", "'decoder.1' is no tensor"},
        {"break 2:99999", "there is no instruction 99999"},
        {"break decoder.1 if rms >", "column"},
    };
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/df2");
    bench_do(&bench, "stepi");
    for (int i = 0; i < ARRAY_LENGTH(bad); i++) {
        must_contain(bench_fail(&bench, bad[i][0]), bad[i][1]);
        assert_int_equal(bench_position(&bench), 1);
    }
    must_contain(bench_do(&bench, "info breakpoints"), "No breakpoints");
    must_contain(bench_do(&bench, "break 2:1"), "Breakpoint 1, 2:1");
    must_contain(bench_do(&bench, "watch fw decoder.0.output"), "Watchpoint 2");
    bench_do(&bench, "delete 2");
    must_contain(bench_do(&bench, "continue"), "Breakpoint 1");
    assert_int_equal(bench_position(&bench),
                     debugger_program(bench.debugger)->instruction_count + 1);
    /* of another run, which has fewer steps, it waits to be found again */
    bench_do(&bench, "set config training.train_iters=1");
    bench_do(&bench, "file llama/df2");
    must_contain(bench_do(&bench, "info breakpoints"), "not in this program");
    must_contain(bench_do(&bench, "run"), "Run finished");
    bench_do(&bench, "set config");
    bench_do(&bench, "file llama/df2");
    must_contain(bench_do(&bench, "run"), "Breakpoint 1");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breakpoints),
        cmocka_unit_test(test_two_stops),
        cmocka_unit_test(test_stop_of_another_breakpoint),
        cmocka_unit_test(test_places_that_never_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
