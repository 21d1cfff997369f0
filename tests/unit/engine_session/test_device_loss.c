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

static void test_interrupted_second_run(void **state)
{
    struct bench bench;
    (void)state;
    struct status status = open_and_fail(&bench);
    bench.cancel_after = 20;
    assert_false(device_loss_recover(bench.debugger, &status));
    assert_int_equal(bench.cancel_after, 0);
    must_contain(status.text, "an operation died\nthe run is loaded again");
    must_contain(status.text, "was broken off before");
    assert_null(strstr(status.text, again));
    bench.cancel_after = -1;
    must_contain(bench_do(&bench, "run"), "Run finished: no divergence");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_second_run),
                                       cmocka_unit_test(test_interrupted_second_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
