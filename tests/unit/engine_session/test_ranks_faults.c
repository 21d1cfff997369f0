/* Faults of several ranks at the prompt: what a fault that does not fit lacks is said of the rank
 * that it is about, and blame shows the reference's instruction that makes the same. */
#include "helper_debugger.h"

#include "engine/compare/team.h"
#include "engine/program/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void open_bench(struct bench *bench)
{
    bench_open(bench);
    bench->debugger->launch.in_process = true;
}

static void test_what_a_fault_lacks(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    /* rank 1 of the pipeline has not got layer 1, rank 0 has not got layer 0 */
    must_contain(bench_fail(&bench, "file llama/pp2s1_bf4 fault scale:op=rms_norm,rank=1,"
                                    "layer=decoder.1"),
                 "rank 1: fault \"scale:op=rms_norm,rank=1,layer=decoder.1\": no instruction with "
                 "layer=decoder.1; layers there: decoder.0, head");
    must_contain(bench_fail(&bench, "file llama/pp2s1_bf4 fault scale:op=rms_norm,rank=0,"
                                    "layer=decoder.0"),
                 "layers there: decoder.1");
    must_contain(bench_fail(&bench, "file llama/tp2 fault drop:op=matmul,rank=2"),
                 "no instruction with rank=2; ranks: 2");
    must_contain(bench_fail(&bench, "file llama/tp2 fault kernel-of-one-rank+drop:op=nothing"),
                 "op=nothing");
    bench_close(&bench);
}

/* Each part of a fault finds its rank, also where another part has nothing on it. */
static void test_parts_for_different_ranks(void **state)
{
    static const char *const parts[] = {"scale:op=rms_norm,rank=0,layer=decoder.1,phase=forward",
                                        "scale:op=rms_norm,rank=1,layer=decoder.0,phase=forward"};
    (void)state;
    for (int first = 0; first <= 1; first++) {
        struct bench bench;
        char line[256];
        open_bench(&bench);
        snprintf(line, sizeof(line), "file llama/pp2s1_bf4 fault %s+%s", parts[first],
                 parts[1 - first]);
        bench_do(&bench, line);
        const struct world *world = bench.debugger->target->team->world;
        for (int rank = 0; rank <= 1; rank++)
            assert_true(faults_changed(world->ranks[rank].run->program, NULL, 0) > 0);
        bench_close(&bench);
    }
}

/* A rank of tensor parallel does not count all gradients in the norm, which is no fault. */
static void test_blame_shows_what_makes_the_same(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    bench_do(&bench, "file llama/tp2 fault update-on-fewer-ranks");
    bench_do(&bench, "stop on divergence");
    bench_do(&bench, "run");
    must_contain(bench_do(&bench, "blame"), "the reference has `adamw` here, the test `copy`");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_fault_lacks),
        cmocka_unit_test(test_parts_for_different_ranks),
        cmocka_unit_test(test_blame_shows_what_makes_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
