/* Commands that run when a breakpoint stops the run, and those of the shell. */
#include "engine/base/memory.h"
#include "helper_debugger.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void must_not_contain(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("says '%s':\n%s", part, text);
}

/* Types a list, lines separated by '\n'. */
static void type_list(struct bench *bench, const char *numbers, const char *lines)
{
    char *copy = memory_format("commands %s\n%s\nend", numbers, lines), *rest = copy, *line;
    while ((line = strsep(&rest, "\n")))
        bench_do(bench, line);
    free(copy);
}

/* The places of `text` in the output, in this order. */
static void must_be_in_order(const char *output, const char *const *parts, int count)
{
    const char *at = output;
    for (int i = 0; i < count; i++) {
        const char *found = strstr(at, parts[i]);
        if (!found)
            fail_msg("'%s' is not where it should be:\n%s", parts[i], output);
        at = found + strlen(parts[i]);
    }
}

/* At each stop, after it was told; those of the newest breakpoint unless others are named. */
static void test_each_stop(void **state)
{
    static const char *const told[] = {"Breakpoint 2", "=> ", "decoder.1 norm_1", "here I am",
                                       "fw decoder.0.output mb="};
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    must_contain(bench_fail(&bench, "commands"), "no breakpoint");
    bench_do(&bench, "break backward");
    bench_do(&bench, "break decoder.1.norm_1 forward");
    must_contain(bench_do(&bench, "commands"), "'end' ends them");
    must_not_contain(bench_do(&bench, "echo here I am  "), "here"); /* typed, not done */
    bench_do(&bench, "  # a remark");
    bench_do(&bench, "p fw decoder.0.output[0,0]");
    bench_do(&bench, "");
    bench_do(&bench, "  end ");
    must_contain(bench_do(&bench, "info breakpoints"),
                 "hit 0 times\n        echo here I am\n        # a remark\n        p fw decoder");
    must_contain(bench_do(&bench, "info breakpoints 2"), "breakpoint 2, decoder.1.norm_1");
    must_not_contain(bench.output.data, "breakpoint 1");
    must_contain(bench_do(&bench, "i b 20"), "No breakpoint has the number '20'");
    must_contain(bench_fail(&bench, "display/foo fw embeddings.output"), "display takes one of");
    must_contain(bench_do(&bench, "info display"), "Nothing");
    must_be_in_order(bench_do(&bench, "run"), told, ARRAY_LENGTH(told));
    must_be_in_order(bench_do(&bench, "continue"), told, ARRAY_LENGTH(told));
    /* an empty line does again what the user typed, not what that set off */
    must_be_in_order(bench_do(&bench, ""), told, ARRAY_LENGTH(told));
    must_be_in_order(bench_do(&bench, "reverse-continue"), told + 3, 1);
    must_be_in_order(bench_do(&bench, "rc"), told + 3, 1);
    bench_do(&bench, "continue 2"); /* over one stop to the next: those of the last alone */
    must_not_contain(strstr(bench.output.data, "here I am") + 1, "here I am");
    type_list(&bench, "", ""); /* none any more */
    must_not_contain(bench_do(&bench, "continue"), "here I am");
    must_not_contain(bench_do(&bench, "info breakpoints"), "here I am");
    must_contain(bench_fail(&bench, "end"), "none is being typed");
    must_contain(bench_fail(&bench, "silent"), "first of a breakpoint's 'commands'");
    must_contain(bench_fail(&bench, "commands 1 7"), "there is no breakpoint '7'");
    must_contain(bench_fail(&bench, "commands 8-9"), "no breakpoint in '8-9'");
    bench_do(&bench, "info breakpoints"); /* and neither began a list */
    must_contain(bench.output.data, "breakpoint 1");
    bench_close(&bench);
}

/* Nothing is said of a stop that is silent; of one with another reason, all. */
static void test_silent(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "display fw embeddings.output mb=0/4[0,0]");
    bench_do(&bench, "break decoder.1.norm_1 forward");
    bench_do(&bench, "watch fw decoder.0.output mb=1/4");
    type_list(&bench, "1-2", "silent\necho alone");
    int stops = bench.stops;
    assert_string_equal(bench_do(&bench, "run"), "alone\n");
    assert_int_equal(bench.stops, stops + 1); /* screens are told */
    must_contain(bench.reason, "Watchpoint 2");
    must_contain(bench_do(&bench, "info breakpoints"), "watchpoint 2, fw decoder.0.output mb=1/4: "
                                                       "hit 1 time\n");
    assert_string_equal(bench_do(&bench, "continue"), "alone\n");
    must_contain(bench.reason, "Breakpoint 1");
    assert_string_equal(bench_do(&bench, "reverse-continue"), "alone\n");
    assert_string_equal(bench_do(&bench, "continue"), "alone\n");
    must_contain(bench.reason, "Breakpoint 1");
    bench_do(&bench, "break decoder.1.norm_1 forward"); /* there as well, and it is not silent */
    must_contain(bench_do(&bench, "continue"), "Breakpoint 3");
    must_contain(bench.output.data, "alone\n");
    bench_close(&bench);
}

/* A command that moves the run is the last of its list; the next stop has its own. */
static void test_moving_commands(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "tbreak decoder.0 forward mb=1");
    type_list(&bench, "", "silent\necho one\ncontinue\necho never");
    bench_do(&bench, "break decoder.1 forward mb=1");
    type_list(&bench, "", "silent\necho two\nnext\necho never");
    bench_do(&bench, "run");
    static const char *const told[] = {"one\n", "two\n", "=> "};
    must_be_in_order(bench.output.data, told, ARRAY_LENGTH(told));
    must_not_contain(bench.output.data, "never");
    must_not_contain(bench.output.data, "reakpoint"); /* both were silent */
    must_not_contain(bench_do(&bench, "info breakpoints"), "breakpoint 1,");
    /* round and round, until the user has enough: in the run, or between two commands */
    bench_do(&bench, "delete");
    bench_do(&bench, "break 1:3");
    type_list(&bench, "", "silent\nrun");
    bench.cancel_after = 5000;
    struct status status = STATUS_NONE;
    if (!debugger_execute(bench.debugger, "run", &status))
        assert_int_equal(status.code, STATUS_CANCELLED);
    bench.cancel_after = -1;
    bench_do(&bench, "delete");
    must_contain(bench_do(&bench, "continue"), "Run finished");
    bench_close(&bench);
}

/* A stop that was found, and on the way to which the user had enough, was not reached. */
static void test_interrupted_on_the_way(void **state)
{
    const int plenty = 1000000;
    (void)state;
    struct bench bench;
    int interrupted = 0;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break decoder.1.norm_1 forward mb=1");
    type_list(&bench, "", "echo here I am");
    bench_do(&bench, "goto end");
    bench.cancel_after = plenty;
    must_contain(bench_do(&bench, "reverse-continue"), "here I am");
    int questions = plenty - bench.cancel_after;
    for (int i = 1; i < questions; i += 1 + i / 4) { /* the last ones are asked on that way */
        bench.cancel_after = -1;
        bench_do(&bench, "goto end");
        bench.cancel_after = questions - i;
        bench_do(&bench, "reverse-continue");
        if (!strstr(bench.output.data, "Interrupted"))
            continue;
        must_not_contain(bench.output.data, "here I am");
        must_not_contain(bench.output.data, "Breakpoint");
        interrupted++;
    }
    bench.cancel_after = -1;
    assert_true(interrupted > 5);
    bench_close(&bench);
}

/* A list may set commands of others, or its own, as it is done. */
static void test_nested(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break decoder.0.norm_1 forward");
    type_list(&bench, "",
              "echo first\nbreak decoder.1.norm_1 forward\ncommands\n  echo inner\n  commands 1\n"
              "    silent\n    echo second\n  end\nend\necho between");
    must_contain(bench_do(&bench, "run"), "first\n");
    must_contain(bench.output.data, "between\n");
    must_not_contain(bench.output.data, "inner");
    must_contain(bench_do(&bench, "info breakpoints"),
                 "        commands 1\n        silent\n        echo second\n        end\n");
    bench_do(&bench, "disable 1");
    must_contain(bench_do(&bench, "continue"), "inner\n");
    bench_do(&bench, "disable");
    bench_do(&bench, "enable 1");
    assert_string_equal(bench_do(&bench, "run"), "second\n");
    bench_close(&bench);
}

/* One that fails ends the list and the script, and says whose it is. */
static void test_failures(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break decoder.0");
    type_list(&bench, "", "echo before\nprint nothing of that name\necho after");
    must_contain(bench_fail(&bench, "run"), "the commands of breakpoint 1: ");
    must_contain(bench.output.data, "before\n");
    must_not_contain(bench.output.data, "after\n");
    must_contain(bench_do(&bench, "echo as ever"), "as ever");
    /* what is typed can be dropped; of breakpoints that are gone meanwhile it is none's */
    bench_do(&bench, "commands");
    bench_do(&bench, "echo dropped");
    bench_do(&bench, SESSION_ABANDON);
    bench_do(&bench, SESSION_ABANDON);
    must_contain(bench_do(&bench, "info breakpoints"), "print nothing of that name");
    must_not_contain(bench.output.data, "dropped");
    bench_do(&bench, "delete");
    must_contain(bench_fail(&bench, "shell true"), "no shell");
    must_contain(bench_fail(&bench, "!true"), "no shell");
    bench_close(&bench);
}

/* Lines of a file belong to the list as typed ones do; its end does not leave one open. */
static void test_scripts(void **state)
{
    (void)state;
    struct bench bench;
    char path[] = "/tmp/lockstep_commands_XXXXXX", *line = NULL;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs("break decoder.1 forward\ncommands\nsilent\necho from a file\nend\nrun\necho then\n"
          "commands 1\necho open\n",
          file);
    assert_int_equal(fclose(file), 0);
    bench_open_run(&bench, "file llama/bf4");
    line = memory_format("source %s", path);
    must_contain(bench_fail(&bench, line), "the commands of breakpoint 1 have no 'end'");
    must_contain(bench.output.data, "from a file\nthen\n");
    must_not_contain(bench.output.data, "one in a line"); /* nobody types */
    must_contain(bench_do(&bench, "echo as ever"), "as ever");
    assert_string_equal(bench_do(&bench, "continue"), "from a file\n");
    free(line);
    unlink(path);
    bench_close(&bench);
}

/* They stay with the breakpoint when another run is loaded, and come with it from what screens
 * keep. */
static void test_kept(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/bf4");
    bench_do(&bench, "break decoder.1 forward if mb == 2\nsilent\necho brought back");
    must_contain(bench.output.data, "Breakpoint 1, decoder.1 forward if mb == 2: before");
    assert_string_equal(bench_do(&bench, "run"), "brought back\n");
    bench_do(&bench, "file llama/df4");
    assert_string_equal(bench_do(&bench, "run"), "brought back\n");
    must_contain(bench_fail(&bench, "break nowhere.at.all\necho x"), "no layer, phase or tensor");
    must_contain(bench_do(&bench, "echo as ever"), "as ever");
    bench_close(&bench);
}

/* Of another rank, which is selected when it stops. */
static void test_ranks(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench);
    bench.debugger->launch.in_process = true; /* this executable cannot be a rank */
    bench_do(&bench, "file llama/tp2");
    bench_do(&bench, "break decoder.1.mixer forward if rank == 1");
    type_list(&bench, "", "silent\nrank");
    must_contain(bench_do(&bench, "run"), "1");
    assert_int_equal(bench.debugger->rank, 1);
    must_not_contain(bench.output.data, "Breakpoint");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_stop),       cmocka_unit_test(test_silent),
        cmocka_unit_test(test_moving_commands), cmocka_unit_test(test_interrupted_on_the_way),
        cmocka_unit_test(test_nested),          cmocka_unit_test(test_failures),
        cmocka_unit_test(test_scripts),         cmocka_unit_test(test_kept),
        cmocka_unit_test(test_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
