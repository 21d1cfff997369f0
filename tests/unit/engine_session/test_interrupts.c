/* Interrupts at random places: of runs, of journeys, of looking, of loading. */
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

static void test_interrupt(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/df2");
    int64_t end = debugger_end(bench.debugger);
    bench.cancel_after = 3000;
    must_contain(bench_do(&bench, "run"), "Interrupted");
    int64_t first = bench_position(&bench);
    assert_in_range(first, 1, end - 1);
    bench.cancel_after = 3000;
    must_contain(bench_do(&bench, "goto end"), "Interrupted on the way");
    must_contain(bench.output.data, "\nnext: goto end\n");
    int64_t second = bench_position(&bench);
    assert_in_range(second, first + 1, end - 1);
    bench.cancel_after = 3;
    char next[64];
    int count = debugger_program(bench.debugger)->instruction_count;
    snprintf(next, sizeof(next), "\nnext: goto %d:%d\n", (int)((second - 3) / count) + 1,
             (int)((second - 3) % count));
    must_contain(bench_do(&bench, "reverse-stepi 3"), "Interrupted on the way");
    must_contain(bench.output.data, next);
    assert_in_range(bench_position(&bench), 0, 2);
    bench.cancel_after = -1;
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    bench_close(&bench);
}

/* Commands that go elsewhere and come back, interrupted at random places: they say where the run
 * stands and how to return; there everything is as before. */
static void test_interrupt_of_journeys(void **state)
{
    static const char *const commands[] = {"blame", "check 30", "reverse-next 3",
                                           "reverse-continue", "goto 1:5"};
    (void)state;
    struct random random = random_start("journeys");
    struct bench bench;
    int interrupted = 0, held, again;
    bench_open_run(&bench, "file llama/df2 fault repeated-data");
    bench_do(&bench, "goto 2:100");
    uint64_t hash = bench_hash(&bench, &held);
    char *blame = memory_string(bench_do(&bench, "blame fw decoder.0.output"));
    int compared = bench.debugger->record.compared;
    for (int i = 0; i < 30; i++) {
        const char *command = commands[i % ARRAY_LENGTH(commands)];
        int64_t before = bench_position(&bench);
        struct status status = STATUS_NONE;
        text_clear(&bench.output);
        bench.cancel_after = (int)random_integer(&random, 1, 800);
        bool ok = debugger_execute(bench.debugger, command, &status);
        bool came = bench.cancel_after == 0;
        bench.cancel_after = -1;
        if (!ok && !came)
            fail_msg("%s: %s", command, status.text);
        if (!ok) {
            must_contain(status.text, "interrupted");
            if (bench_position(&bench) != before)
                must_contain(status.text, "goto 2:100");
        }
        if (ok && strcmp(bench.reason, "interrupted") == 0) {
            bool home = strcmp(command, "reverse-continue") == 0;
            must_contain(bench.output.data, "Interrupted on the way");
            must_contain(bench.output.data, home ? "\nnext: goto 2:100\n" : "\nnext: goto ");
        }
        interrupted += came;
        bench_do(&bench, "goto 2:100");
        assert_int_equal(bench_hash(&bench, &again), hash);
        assert_int_equal(again, held);
        assert_int_equal(bench.debugger->record.compared, compared);
        assert_string_equal(bench_do(&bench, "blame fw decoder.0.output"), blame);
    }
    assert_true(interrupted > 4);
    free(blame);
    bench_close(&bench);
}

/* Whatever looks at all elements of a tensor looks whether it is to stop, too, and so does loading:
 * the run that was there stays. */
static void test_interrupt_of_looking(void **state)
{
    static const char *const commands[] = {
        "stats gradient head.output_weights", "hist gradient head.output_weights",
        "diff gradient head.output_weights", "check fw decoder.0.output", "file llama/bf4"};
    (void)state;
    struct random random = random_start("looking");
    struct bench bench;
    int held, again;
    bench_open_run(&bench, "file llama/df2");
    bench_do(&bench, "goto update");
    uint64_t hash = bench_hash(&bench, &held);
    for (int i = 0; i < 3 * ARRAY_LENGTH(commands); i++) {
        const char *command = commands[i % ARRAY_LENGTH(commands)];
        bool loads = strncmp(command, "file", 4) == 0;
        bench.cancel_after = loads ? (int)random_integer(&random, 1, 60) : 1;
        must_contain(bench_fail(&bench, command), "interrupted");
        bench.cancel_after = -1;
        if (bench_hash(&bench, &again) != hash || again != held)
            fail_msg("%s: %d values, not %d", command, again, held);
        if (!loads)
            bench_do(&bench, command);
    }
    bench_do(&bench, "file llama/bf4");
    must_contain(bench_do(&bench, "run"), "Run finished: no divergence");
    /* nor is the way back waited for, and what is not there is not shown */
    bench.cancel_after = (int)random_integer(&random, 1, 20);
    must_contain(bench_do(&bench, "start"), "Interrupted.");
    bench.cancel_after = -1;
    assert_string_equal(bench.reason, "interrupted");
    must_contain(bench_fail(&bench, "print param head.output_weights"), "'goto 1:0' does");
    bench_do(&bench, "goto 1:0");
    must_contain(bench_do(&bench, "diff param head.output_weights"), "bit-equal");
    must_contain(bench_do(&bench, "continue"), "Run finished: no divergence");
    bench_close(&bench);
}

/* The reference has another order of micro-batches: it may have to run most of its step before the
 * test's next instruction can be compared. That can be interrupted anywhere, and goes on. */
static void test_interrupt_of_the_reference(void **state)
{
    (void)state;
    struct random random = random_start("interrupt");
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "run");
    int compared = bench.debugger->record.compared;
    int stuck = 0, waited = 0;
    bench_do(&bench, "start");
    for (bool ended = false; !ended;) {
        int64_t before = bench_position(&bench);
        bench.cancel_after = (int)random_integer(&random, 2, 30 + 30 * waited);
        ended = strstr(bench_do(&bench, "continue"), "Run finished: no divergence") != NULL;
        bool moved = bench_position(&bench) != before;
        waited = moved ? 0 : waited + 1; /* the next instruction may ask more often than that */
        stuck += !moved;                 /* only the reference moved, or nothing */
    }
    assert_true(stuck > 0);
    assert_int_equal(bench.debugger->record.compared, compared);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_interrupt_of_journeys),
        cmocka_unit_test(test_interrupt_of_looking),
        cmocka_unit_test(test_interrupt_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
