/* What users of gdb type without thinking: counts, conditions afterwards, ranges, display, help. */
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

static int lines_with(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        count++;
    return count;
}

static void must_not_contain(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("says '%s':\n%s", part, text);
}

/* Numbers that a text shows beside its headings: those behind "]". */
static int numbers_in(const char *text)
{
    int count = 0;
    for (const char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n')) {
        const char *at = strchr(line, ']');
        double number;
        int length;
        for (at = at ? at + 1 : ""; sscanf(at, "%lf%n", &number, &length) == 1; at += length)
            count++;
    }
    return count;
}

static void test_counts(void **state)
{
    (void)state;
    struct random random = random_start("counts");
    struct bench bench;
    char line[80];
    bench_open_run(&bench, "file llama/df2");
    bench_do(&bench, "until backward");
    int all = lines_with(bench_do(&bench, "backtrace"), "#");
    assert_in_range(all, 3, 16);
    for (int i = 0; i < 10; i++) {
        int count = (int)random_integer(&random, 1, 90);
        snprintf(line, sizeof(line), "x/%d fw decoder.0.output[3:]", count);
        assert_int_equal(numbers_in(bench_do(&bench, line)), count);
        must_contain(bench.output.data, "[3,0]");
        int frames = count % all + 1;
        snprintf(line, sizeof(line), "bt %d", frames);
        assert_int_equal(lines_with(bench_do(&bench, line), "#"), frames);
    }
    assert_int_equal(numbers_in(bench_do(&bench, "x fw decoder.0.output")), 1);
    must_contain(bench_do(&bench, "bt 1 fw decoder.0.output"), "fw decoder.0.output");
    int most = (int)random_integer(&random, 1, 90); /* only print has a setting */
    snprintf(line, sizeof(line), "set elements %d", most);
    bench_do(&bench, line);
    assert_int_equal(numbers_in(bench_do(&bench, "print fw decoder.0.output[3:]")), most);
    must_contain(bench.output.data, "elements shown ('set elements N')");
    snprintf(line, sizeof(line), "x/%d fw decoder.0.output[3:]", most);
    assert_int_equal(numbers_in(bench_do(&bench, line)), most);
    must_not_contain(bench.output.data, "elements shown");
    must_contain(bench_fail(&bench, "x/0 fw head.loss"), "x/COUNT");
    must_contain(bench_fail(&bench, "bt 0"), "from 1");
    int64_t before = bench_position(&bench);
    bench_do(&bench, "ni 3");
    assert_int_equal(bench_position(&bench), before + 3);
    must_contain(bench_fail(&bench, "until 1:2"), "1:2 lies behind: 'goto 1:2'");
    must_contain(bench_fail(&bench, "until backward decoder.1 mb=9"),
                 "no instruction writes or matches 'backward decoder.1 mb=9'");
    must_contain(bench_fail(&bench, "until input tokens mb=1/2"), "no instruction writes");
    assert_int_equal(bench_position(&bench), before + 3);
    bench_close(&bench);
}

static void test_conditions_and_ranges(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    for (int i = 0; i < 5; i++)
        bench_do(&bench, "break decoder.1");
    bench_do(&bench, "delete breakpoints 2-3 5");
    must_contain(bench_do(&bench, "info breakpoints"), "breakpoint 1,");
    must_contain(bench.output.data, "breakpoint 4,");
    assert_int_equal(lines_with(bench.output.data, "breakpoint"), 2);
    must_contain(bench_fail(&bench, "delete 1x"), "'1x' is no number");
    must_contain(bench_fail(&bench, "delete 4-1"), "'4-1' is no number");
    must_contain(bench_fail(&bench, "delete breakpointsfoo"), "'breakpointsfoo' is no number");
    must_contain(bench_fail(&bench, "delete breakpoints2"), "'breakpoints2' is no number");
    must_contain(bench_fail(&bench, "disable 4 7"), "no breakpoint '7'");
    must_not_contain(bench_do(&bench, "info breakpoints"), "disabled");
    must_contain(bench_do(&bench, "condition 4 mb == 2 and step == 2"),
                 "breakpoint 4, decoder.1 if mb == 2 and step == 2");
    must_contain(bench_fail(&bench, "condition 4 mb =="), "column");
    must_contain(bench_fail(&bench, "condition 2 nan"), "no breakpoint '2'");
    bench_do(&bench, "disable 1-3");
    must_contain(bench_do(&bench, "run"), "Breakpoint 4");
    assert_int_equal(bench.debugger->target->pair->test->step, 1);
    assert_int_equal(bench_origin(&bench, bench_position(&bench))->micro_batch, 2);
    must_contain(bench_do(&bench, "condition 4"), "breakpoint 4, decoder.1\n");
    bench_do(&bench, "run");
    assert_int_equal(bench_origin(&bench, bench_position(&bench))->micro_batch, 0);
    bench_do(&bench, "delete breakpoints");
    must_contain(bench_do(&bench, "info breakpoints"), "No breakpoints");
    bench_close(&bench);
}

/* At every stop, also those of going back; what is not there yet is a line and no failure. */
static void test_display(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    must_contain(bench_do(&bench, "display"), "Nothing is displayed");
    must_contain(bench_do(&bench, "display fw decoder.1.output[0,:2]"), "1: ");
    must_contain(bench.output.data, "not written yet");
    must_contain(bench_do(&bench, "display/ref fw embeddings.output[1:3,:4]"), "2: ");
    must_contain(bench_do(&bench, "until backward"), "\n1: fw decoder.1.output mb=3/4");
    must_contain(bench.output.data, "\n2: fw embeddings.output");
    must_contain(bench.output.data, "of the reference");
    must_contain(bench_do(&bench, "reverse-stepi"), "\n1: fw decoder.1.output");
    must_contain(bench_do(&bench, "goto 1:2"), "\n1: fw decoder.1.output mb=0/4 was not written");
    must_contain(bench_do(&bench, "info display"), "1: fw decoder.1.output[0,:2]\n2: /ref fw emb");
    must_contain(bench_do(&bench, "info disp"), "1: fw decoder.1.output[0,:2]\n");
    must_contain(bench_do(&bench, "info d"), "compared tensors diverged");
    must_contain(bench_fail(&bench, "info di"), "divergences, display");
    must_contain(bench_fail(&bench, "display nosuch"), "called 'nosuch'");
    must_contain(bench_fail(&bench, "undisplay 3"), "nothing is displayed as 3");
    bench_do(&bench, "undisplay 1");
    must_contain(bench_do(&bench, "stepi"), "\n2: fw embeddings.output");
    must_not_contain(bench.output.data, "\n1: ");
    bench_do(&bench, "file gpt_2/simple"); /* they stay, for what is called so there, too */
    must_contain(bench_do(&bench, "until decoder.0"), "\n2: fw embeddings.output");
    bench_do(&bench, "undisplay");
    must_not_contain(bench_do(&bench, "stepi"), "fw embeddings.output  f32");
    bench_close(&bench);
}

static void test_help(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    must_contain(bench_do(&bench, "help going back"), "reverse-continue");
    must_not_contain(bench.output.data, "tbreak");
    must_contain(bench_do(&bench, "help all"), "session\n");
    must_contain(bench_do(&bench, "help file"), "\ninit FILE: ");
    must_contain(bench.output.data, "\ndata FILE: ");
    must_contain(bench_do(&bench, "help info"), "display");
    must_contain(bench_do(&bench, "help condition"), "NUMBER [CONDITION]");
    must_contain(bench_do(&bench, "help conditions"), "rel_rms");
    must_contain(bench_do(&bench, "apropos HISTOGRAM"), "hist ");
    must_not_contain(bench.output.data, "tbreak");
    must_contain(bench_fail(&bench, "apropos zzz"), "'zzz'");
    must_contain(bench_fail(&bench, "info locals"), "here: info tensors WORD");
    must_contain(bench_fail(&bench, "checkpoint"), "here: goto");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_conditions_and_ranges),
        cmocka_unit_test(test_display),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
