/* What an instruction is accused of, where the error came in with a state of the step before. */
#include "helper_debugger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void must_not_contain(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("says '%s':\n%s", part, text);
}

static void test_states(void **state)
{
    (void)state;
    struct bench bench;
    bench_open_run(&bench, "file llama/simple fault set:op=adamw,part=embeddings.word_embeddings_"
                           "weight,param=factor,value=1000");
    bench_do(&bench, "until 2:3");
    must_contain(bench_do(&bench, "backtrace fw embeddings.output"), "inherited");
    must_not_contain(bench.output.data, "introduced");
    must_contain(bench.output.data,
                 "param embeddings.word_embeddings_weight was wrong already when "
                 "step 1 ended (");
    must_contain(bench_do(&bench, "check 1"), "1 embedding: inputs diverged (");
    must_contain(bench_do(&bench, "check 1:1"), "1 embedding of step 1:\n");
    must_contain(bench_do(&bench, "blame fw embeddings.output"), "introduced");
    must_contain(bench.output.data, "(adamw, step 1) introduced it");
    /* as where it happened, and where nothing is wrong */
    bench_do(&bench, "goto 2:0");
    must_contain(bench_do(&bench, "backtrace state embeddings.word_embeddings_weight.updated"),
                 " diverged ");
    must_not_contain(bench.output.data, "wrong already");
    bench_do(&bench, "file llama/simple");
    bench_do(&bench, "until 2:3");
    must_contain(bench_do(&bench, "backtrace fw embeddings.output"), "within");
    must_not_contain(bench.output.data, "wrong already");
    must_contain(bench_do(&bench, "check 1"), "1 embedding: inputs within limits (");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_states)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
