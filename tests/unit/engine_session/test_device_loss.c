/* What is said of the second run after a device was lost, which on a CPU goes well: whether it came
 * to where the loss was noticed. */
#include "helper_debugger.h"

#include "engine/session/device_loss.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char again[] = "it did not happen again with a wait after each operation";

/* A run that has come to its end, and a failure that it is said to have met there. */
static struct status open_and_fail(struct bench *bench)
{
    struct status status = STATUS_NONE;
    bench_open(bench);
    bench_do(bench, "file llama/df2");
    bench_do(bench, "run");
    status_fail(&status, STATUS_INTERNAL, "an operation died");
    return status;
}

static void test_second_run(void **state)
{
    struct bench bench;
    (void)state;
    struct status status = open_and_fail(&bench);
    assert_false(device_loss_recover(bench.debugger, &status));
    must_contain(status.text, "an operation died\nthe run is loaded again");
    must_contain(status.text, again);
    assert_int_equal(debugger_position(bench.debugger), 0);
    bench_close(&bench);
}

/* How often it is asked for an interrupt while a run is loaded. */
static int questions_of_loading(struct bench *bench)
{
    bench->cancel_after = 1000000;
    bench_do(bench, "file llama/df2");
    int questions = 1000000 - bench->cancel_after;
    bench->cancel_after = -1;
    return questions;
}

/* An interrupt stays: after it, nothing is loaded in place of what is gone. */
static void check_interrupted(bool while_loading)
{
    struct bench bench;
    struct status status = open_and_fail(&bench);
    int questions = questions_of_loading(&bench);
    bench_do(&bench, "run");
    assert_true(questions > 2);
    bench.cancel_after = while_loading ? questions / 2 : questions + 100;
    assert_false(device_loss_recover(bench.debugger, &status));
    assert_int_equal(bench.cancel_after, 0);
    must_contain(status.text, "an operation died\nthe run is not loaded again: interrupted");
    assert_true(!strstr(status.text, "was broken off before") == while_loading);
    assert_null(strstr(status.text, again));
    assert_null(bench.debugger->device); /* it would wait after each operation */
    bench.cancel_after = -1;
    bench_do(&bench, "file llama/df2");
    must_contain(bench_do(&bench, "run"), "Run finished: no divergence");
    bench_close(&bench);
}

static void test_interrupts(void **state)
{
    (void)state;
    check_interrupted(true);
    check_interrupted(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_second_run),
                                       cmocka_unit_test(test_interrupts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
