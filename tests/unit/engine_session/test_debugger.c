/* Commands on a small run: stepping, stops, going back bit for bit, causes, grafts. */
#include "engine/base/memory.h"
#include "engine/session/motion.h"
#include "engine/train/states.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One accumulation of a gradient is left out: the error is introduced by one known
 * instruction. */
static const char *const faulty =
    "file llama/bf4 fault "
    "drop:op=accumulate,layer=decoder.1,part=mlp.layer_2,phase=backward,mb=2,nth=0";
static const char *const broken = "gradient decoder.1.mlp.layer_2.weight mb=2/4";

static void test_stepping(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/df2");
    bench_do(&bench, "stepi");
    assert_int_equal(bench_position(&bench), 1);
    bench_do(&bench, "stepi 5");
    assert_int_equal(bench_position(&bench), 6);
    bench_do(&bench, "restart");
    assert_int_equal(bench_position(&bench), 0);
    for (int level = LEVEL_PART; level <= LEVEL_PHASE; level++) {
        static const char *const commands[] = {"step", "next", "finish"};
        bench_do(&bench, "start");
        int64_t last = -1;
        while (bench_position(&bench) < debugger_end(bench.debugger)) {
            last = bench_position(&bench);
            bench_do(&bench, commands[level]);
            assert_int_equal(bench_position(&bench), motion_group_end(bench.debugger, last, level));
            assert_int_equal(motion_group_start(bench.debugger, bench_position(&bench), level),
                             motion_group_start(bench.debugger, last + 1, level));
        }
        must_contain(bench.output.data, "Run finished: no divergence");
    }
    must_contain(bench_fail(&bench, "step"), "the run has ended");
    must_contain(bench_fail(&bench, ""), "the run has ended"); /* the same again */
    bench_close(&bench);
}

static void test_until(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "until backward");
    assert_int_equal(bench_origin(&bench, bench_position(&bench))->phase, PHASE_BACKWARD);
    assert_int_equal(bench_origin(&bench, bench_position(&bench) - 1)->phase, PHASE_FORWARD);
    bench_do(&bench, "until decoder.0 mb=3");
    assert_int_equal(bench_origin(&bench, bench_position(&bench))->micro_batch, 3);
    assert_string_equal(bench_origin(&bench, bench_position(&bench))->layer, "decoder.0");
    must_contain(bench_do(&bench, "until gradient embeddings.word_embeddings_weight"),
                 "gradient embeddings.word_embeddings_weight");
    bench_close(&bench);
}

static void check_reverse(struct bench *bench, struct random *random)
{
    static const char *const backs[] = {"reverse-step", "reverse-stepi", "reverse-next",
                                        "reverse-stepi 7"};
    int64_t end = debugger_end(bench->debugger);
    int64_t there = random_integer(random, 1, end - 1);
    char line[64];
    int count = debugger_program(bench->debugger)->instruction_count;
    snprintf(line, sizeof(line), "goto %d:%d", (int)(there / count) + 1, (int)(there % count));
    bench_do(bench, "start");
    bench_do(bench, line);
    assert_int_equal(bench_position(bench), there);
    bench_do(bench, backs[random_integer(random, 0, 3)]);
    int64_t back = bench_position(bench);
    assert_true(back < there);
    int held, again;
    uint64_t hash = bench_hash(bench, &held);
    int64_t further = random_integer(random, there, end);
    while (bench_position(bench) < further) /* over the end of the step, too */
        bench_do(bench, "stepi");
    snprintf(line, sizeof(line), "goto %d:%d", (int)(back / count) + 1, (int)(back % count));
    bench_do(bench, line);
    assert_int_equal(bench_position(bench), back);
    uint64_t second = bench_hash(bench, &again);
    if (hash != second || held != again)
        fail_msg("position %d: %d values hash to %llx, then %d to %llx", (int)back, held,
                 (unsigned long long)hash, again, (unsigned long long)second);
}

/* With all values kept, and with memory that is used again. */
static void test_reverse_is_bit_identical(void **state)
{
    (void)state;
    struct random random = random_start("reverse");
    for (int keep = 0; keep < 2; keep++) {
        struct bench bench;
        bench_open(&bench);
        bench.debugger->keep_limit = keep ? -1 : 0;
        bench_do(&bench, "file llama/df2");
        assert_int_equal(bench.debugger->target->pair->keep, keep);
        for (int round = 0; round < 6; round++)
            check_reverse(&bench, &random);
        bench_close(&bench);
    }
}

/* Where a step ends and the next one begins there is always the same, whatever the way there was.
 */
static void test_border_of_steps(void **state)
{
    static const char *const ways[][3] = {
        {"start", "goto 2:0", NULL},
        {"start", "tbreak 2:0", "continue"},
        {"goto 2:1", "reverse-stepi", NULL},
        {"goto 2:9", "goto 2:0", NULL},
        {"goto end", "goto 2:0", NULL},
        {"goto 2:0", "check 1:4", NULL},
        {"tbreak 2:0", "goto 2:20", "reverse-continue"},
    };
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct bench bench;
        uint64_t first = 0;
        int held, at_first = 0;
        bench_open(&bench);
        bench.debugger->keep_limit = keep ? -1 : 0;
        bench_do(&bench, "file llama/df2");
        for (int way = 0; way < ARRAY_LENGTH(ways); way++) {
            for (int i = 0; i < 3 && ways[way][i]; i++)
                bench_do(&bench, ways[way][i]);
            assert_int_equal(bench_position(&bench),
                             debugger_program(bench.debugger)->instruction_count);
            uint64_t hash = bench_hash(&bench, &held);
            if (way > 0 && (hash != first || held != at_first))
                fail_msg("%s, %s: %d values, not %d", ways[way][0], ways[way][1], held, at_first);
            first = hash;
            at_first = held;
            bench_do(&bench, "delete");
        }
        if (keep)
            must_contain(bench_do(&bench, "diff gradient decoder.0.norm_1.weight"), "bit-equal");
        bench_close(&bench);
    }
}

static void test_reverse_continue(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break decoder.1 mb=2");
    bench_do(&bench, "run");
    int64_t first = bench_position(&bench);
    bench_do(&bench, "continue");
    int64_t second = bench_position(&bench);
    assert_true(second > first);
    bench_do(&bench, "stepi 3");
    bench_do(&bench, "reverse-continue");
    assert_int_equal(bench_position(&bench), second);
    bench_do(&bench, "reverse-continue");
    assert_int_equal(bench_position(&bench), first);
    must_contain(bench_do(&bench, "reverse-continue"), "beginning");
    assert_int_equal(bench_position(&bench), 0);
    must_contain(bench_fail(&bench, "reverse-stepi"), "beginning");
    /* across steps */
    bench_do(&bench, "goto end");
    bench_do(&bench, "reverse-continue");
    assert_int_equal(bench.debugger->target->pair->test->step, 1);
    bench_close(&bench);
}

static void test_divergence(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, faulty);
    bench_do(&bench, "stop on divergence");
    must_contain(bench_do(&bench, "run"), "DIVERGED");
    assert_string_equal(bench.reason, "divergence");
    must_contain(bench.output.data, broken);
    must_contain(bench.output.data, "next: blame");
    must_contain(bench_do(&bench, "check"), "The kernel computed what the instruction says");
    must_contain(bench_do(&bench, "backtrace"), "introduced");
    must_contain(bench_do(&bench, "diff"), "worst at");
    must_contain(bench_do(&bench, "stats"), "reference");
    must_contain(bench_do(&bench, "hist"), "##");
    must_contain(bench_do(&bench, "print/diff [0:2,0:4]"), "test - reference");
    must_contain(bench_do(&bench, "list"), "x ");
    int64_t here = bench_position(&bench);
    must_contain(bench_do(&bench, "blame"), "the kernel is right, so the program is wrong");
    must_contain(bench.output.data, "the reference has `accumulate`, the test has `copy`");
    assert_int_equal(bench_position(&bench), here);
    /* what was inherited leads back to the same instruction */
    bench_do(&bench, "stop off");
    must_contain(bench_do(&bench, "continue"), "diverged, first gradient decoder.1.mlp.layer_2");
    must_contain(bench_do(&bench, "info divergences"), broken);
    must_contain(bench_do(&bench, "blame"), "The first divergence is in step 1");
    must_contain(bench.output.data, "(copy, step 1) introduced it");
    assert_int_equal(bench_position(&bench), debugger_end(bench.debugger));
    bench_close(&bench);
}

/* With the right tensor grafted in, nothing else diverges. */
static void test_graft(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, faulty);
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    assert_int_equal(bench.debugger->record.failed, 1);
    bench_do(&bench, "stepi 3"); /* grafted where it was written, not here */
    must_contain(bench_do(&bench, "graft gradient decoder.1.mlp.layer_2.weight mb=2/4"),
                 "computed again");
    assert_int_equal(bench.debugger->record.failed, 0); /* it was judged again */
    bench_do(&bench, "stop off");
    bench_do(&bench, "until gradient decoder.1.mlp.layer_2.weight if mb == 3");
    must_contain(bench.output.data, "bit-equal");
    must_contain(bench_do(&bench, "info run"), "graft: step 1");
    bench_do(&bench, "until update");
    assert_int_equal(bench.debugger->record.failed, 0);
    /* it is put in again on the way, and does not stop the run */
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "goto 1:0");
    bench_do(&bench, "until update");
    assert_string_equal(bench.reason, "place reached");
    must_contain(bench_fail(&bench, "graft"), "nothing has diverged");
    bench_close(&bench);
}

/* Without a name: what diverged, also after values without a name were written. */
static void test_graft_without_a_name(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, faulty);
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    bench_do(&bench, "tbreak /^ *[0-9]+ +[a-z_]+ +%/");
    bench_do(&bench, "stop off");
    bench_do(&bench, "continue");
    bench_do(&bench, "stepi");
    must_contain(bench_do(&bench, "graft"), broken);
    assert_int_equal(bench.debugger->record.failed, 0);
    bench_close(&bench);
}

/* An input of the next instruction that the last one wrote and the reference has otherwise, or -1.
 */
static int just_written(const struct bench *bench)
{
    const struct pair *pair = bench->debugger->target->pair;
    const struct program *program = pair->test->program;
    int next = run_next(pair->test);
    const struct instruction *in = &program->instructions[next];
    for (int i = 0; next < program->instruction_count && i < in->input_count; i++) {
        int value = in->inputs[i], other = pair->reference_value[value];
        if (program->values[value].producer != next - 1 || other < 0 ||
            !executor_holds(pair->reference->executor, other))
            continue;
        struct tensor here = executor_tensor(pair->test->executor, value);
        struct tensor there = executor_tensor(pair->reference->executor, other);
        if (memcmp(here.data, there.data, value_bytes(&program->values[value])) != 0)
            return value;
    }
    return -1;
}

/* Goes on, interrupted everywhere, until the next instruction has run, was taken back, and reads
 * what the one before it wrote; returns that. */
static int find_taken_back(struct bench *bench)
{
    int64_t end = debugger_end(bench->debugger);
    while (bench_position(bench) < end) {
        int64_t before = bench_position(bench);
        for (int after = 1; bench_position(bench) == before; after++) {
            bench->cancel_after = after;
            bench_do(bench, "stepi");
            bench->cancel_after = -1;
            int value = just_written(bench);
            if (bench->debugger->target->pair->test->executor->ran && value >= 0)
                return value;
        }
    }
    fail_msg("no instruction was taken back");
    return -1;
}

/* An instruction whose comparison was interrupted is not computed again, unless what it reads is
 * grafted: then it computes from that. */
static void test_graft_after_interrupt(void **state)
{
    (void)state;
    struct random random = random_start("graft after an interrupt");
    struct bench bench, quiet;
    int held, again;
    char command[600], place[40];
    const char *file = "file llama/df2 fault repeated-data";
    bench_open_run(&bench, file);
    bench_open_run(&quiet, file);
    bench_do(&bench, "stop on nan"); /* every output is looked at */
    for (int step = 1; step <= 2; step++) {
        snprintf(place, sizeof(place), "goto %d:%d", step, (int)random_integer(&random, 1, 70));
        bench_do(&bench, place);
        int value = find_taken_back(&bench);
        int64_t here = bench_position(&bench);
        int count = debugger_program(bench.debugger)->instruction_count;
        snprintf(command, sizeof(command), "graft %s",
                 debugger_program(bench.debugger)->values[value].name);
        snprintf(place, sizeof(place), "goto %d:%d", (int)(here / count) + 1, (int)(here % count));
        bench_do(&quiet, place);
        bench_do(&quiet, command);
        bench_do(&bench, command);
        assert_int_equal(bench_position(&bench), here);
        bench_do(&quiet, "stepi");
        bench_do(&bench, "stepi");
        uint64_t hash = bench_hash(&quiet, &held);
        if (bench_hash(&bench, &again) != hash || again != held)
            fail_msg("%s at %s: %d values, not %d", command, place, again, held);
    }
    bench_close(&bench);
    bench_close(&quiet);
}

/* A gradient that is not complete shows its running total; what cannot be seen says where it can.
 */
static void test_totals(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/df4");
    must_contain(bench_fail(&bench, "print gradient decoder.1.mlp.layer_2.weight"),
                 "until gradient decoder.1.mlp.layer_2.weight");
    bench_do(&bench, "until gradient decoder.1.mlp.layer_2.weight");
    bench_do(&bench, "until gradient decoder.1.mlp.layer_2.weight");
    must_contain(bench_do(&bench, "print gradient decoder.1.mlp.layer_2.weight[0]"), "mb=1/4");
    must_contain(bench_fail(&bench, "stats gradient decoder.1.mlp.layer_2.weight mb=2/4"),
                 "at hand:\n    gradient decoder.1.mlp.layer_2.weight mb=0/4");
    bench_do(&bench, "until update");
    must_contain(bench_do(&bench, "stats gradient decoder.1.mlp.layer_2.weight"),
                 "gradient decoder.1.mlp.layer_2.weight  f32");
    bench_close(&bench);
}

/* Going back to a later step starts at its saved point; where there is no room for all points, some
 * are kept. Either way the bits are the same. */
static void test_saved_points(void **state)
{
    (void)state;
    for (int room = 0; room < 2; room++) {
        struct bench bench;
        bench_open(&bench);
        bench_do(&bench, "set config training.train_iters=7");
        bench_do(&bench, "file llama/simple");
        if (room) {
            int64_t point = (int64_t)states_bytes(debugger_program(bench.debugger)) + 1;
            bench.debugger->keep_limit = 4 * 3 * point;
            bench_do(&bench, "file llama/simple");
        }
        struct run *run = bench.debugger->target->pair->test;
        int held, again;
        bench_do(&bench, "goto 6:20");
        uint64_t hash = bench_hash(&bench, &held);
        bench_do(&bench, "goto end");
        const char *const kept = room ? "x...x.." : "xxxxxxx";
        for (int step = 0; step < run->steps; step++)
            assert_int_equal(run->points[step] != NULL, kept[step] == 'x');
        for (int step = 0; step < run->steps; step++)
            run->reports[step].loss = -1;
        bench_do(&bench, "goto 6:20");
        assert_int_equal(bench_hash(&bench, &again), hash);
        assert_int_equal(again, held);
        for (int step = 0; step < 5; step++) /* which ones ran again: those behind the point */
            assert_int_equal(run->reports[step].loss > 0, room && step == 4);
        bench_close(&bench);
    }
}

/* The instruction that is guilty writes what only the test has: what came of it can be grafted. */
static void test_blame_suggests_what_works(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/ms4 fault lost-keys");
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    const char *text = bench_do(&bench, "blame");
    must_contain(text, "introduced it: fw decoder.0.mixer.key_value_history ms=1/4");
    char *suggested = memory_string(strstr(text, "graft fw"));
    must_contain(suggested, "graft fw decoder.0.mixer.context ms=1/4");
    suggested[strcspn(suggested, "\n")] = '\0';
    must_contain(bench_do(&bench, suggested), "is now the reference's");
    free(suggested);
    bench_close(&bench);
}

static void test_other_references(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/simple");
    must_contain(bench.output.data, "the same run");
    bench_do(&bench, "break decoder.1");
    must_contain(bench_do(&bench, "file llama/basic/bf16"), "reference llama/simple");
    must_contain(bench_do(&bench, "info breakpoints"), "* breakpoint 1, decoder.1");
    must_contain(bench_do(&bench, "file llama/df2 against df4"), "reference llama/df4");
    must_contain(bench_do(&bench, "file llama against gpt_2/simple"),
                 "2 of 17 initial parameters are not those of the reference, first param "
                 "decoder.0.mlp.layer_1.weight: shapes differ");
    must_contain(bench_do(&bench, "file llama/df2 against df4"), "reference llama/df4");
    assert_null(strstr(bench.output.data, "initial"));
    must_contain(bench_fail(&bench, "file llama/bf5"), "did you mean");
    must_contain(bench_do(&bench, "info run"), "llama/df2"); /* the old one stays */
    must_contain(bench_fail(&bench, "file llama/bf4 fault nonsense"), "nonsense");
    must_contain(bench_fail(&bench, "file llama/bf4 agianst x"), "agianst");
    bench_close(&bench);
}

/* Everything that cannot be done says so, and changes nothing. */
static void test_errors(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    must_contain(bench_fail(&bench, "run"), "needs a run");
    must_contain(bench_fail(&bench, "contniue"), "did you mean 'continue'");
    must_contain(bench_fail(&bench, "st"), "could be: start, step, stepi");
    must_contain(bench_fail(&bench, "123"), "is no command");
    must_contain(bench_fail(&bench, "info"), "takes one of");
    must_contain(bench_fail(&bench, "info tesnors"), "did you mean 'tensors'");
    must_contain(bench_fail(&bench, "set digits 99"), "from 1 to 17");
    must_contain(bench_fail(&bench, "source /nonexistent/file"), "No such file");
    must_contain(bench_fail(&bench, "source /"), "directory");
    must_contain(bench_fail(&bench, "file llama against"), "the reference is missing");
    bench_do(&bench, "file llama/simple");
    must_contain(bench_fail(&bench, "list 5,2"), "FIRST before LAST");
    bench_do(&bench, "file llama/simple");
    must_contain(bench_fail(&bench, "step 0"), "is no count");
    must_contain(bench_fail(&bench, "goto 3:1"), "there is no step 3");
    must_contain(bench_fail(&bench, "goto nowhere"), "no layer, phase or tensor");
    must_contain(bench_fail(&bench, "print fw decoder.1.output"), "not written yet");
    must_contain(bench_fail(&bench, "check"), "no instruction has run");
    must_contain(bench_fail(&bench, "graft fw decoder.1.output"), "not written");
    assert_int_equal(bench_position(&bench), 0);
    bench_do(&bench, "until fw decoder.1.output");
    must_contain(bench_fail(&bench, "print fw decoder.1.output[1000000]"), "no index");
    must_contain(bench_do(&bench, "print fw decoder.1.output[0,:3]"), "[0,0]");
    must_contain(bench_do(&bench, "help break"), "PLACE");
    must_contain(bench_do(&bench, "help conditions"), "rel_rms");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stepping),
                                       cmocka_unit_test(test_until),
                                       cmocka_unit_test(test_reverse_is_bit_identical),
                                       cmocka_unit_test(test_border_of_steps),
                                       cmocka_unit_test(test_reverse_continue),
                                       cmocka_unit_test(test_divergence),
                                       cmocka_unit_test(test_graft),
                                       cmocka_unit_test(test_graft_without_a_name),
                                       cmocka_unit_test(test_graft_after_interrupt),
                                       cmocka_unit_test(test_totals),
                                       cmocka_unit_test(test_saved_points),
                                       cmocka_unit_test(test_blame_suggests_what_works),
                                       cmocka_unit_test(test_other_references),
                                       cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
