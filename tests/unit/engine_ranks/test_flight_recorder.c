/* Ranks that come for different things say so, with the place of both, before any data move:
 * another kind, size, dtype, group, the same collective of another place, or one rank that never
 * comes. In processes as in one process, word for word. This executable is also the rank. */
#include "helper_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/comm/comm.h"
#include "engine/program/faults.h"
#include "engine/ranks/rank.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 4, TEXT = 600 };

struct mistake {
    const char *what, *run, *set; /* `set`: one more setting, or NULL */
    const char *fault;
    int rank; /* that tells of it */
    bool mismatch;
    const char *says[2]; /* parts of what it says */
};

static const struct mistake mistakes[] = {
    {"kind",
     "llama/stp2",
     NULL,
     "drop:op=all_gather,rank=1,layer=decoder.0,part=norm_1",
     0,
     true,
     {"rank 0 is in all_gather(tensor, 1024 x f32) at decoder.0.norm_1, ",
      "but rank 1 in reduce_scatter(tensor, 2048 x f32) at decoder.0.mixer.dense"}},
    {"size",
     "llama/tp2",
     NULL,
     "drop:op=all_reduce,rank=1,layer=head,part=loss",
     0,
     true,
     {"rank 0 is in all_reduce(tensor, 64 x f32) at head.loss, ",
      "but rank 1 in all_reduce(tensor, 2048 x f32) at head.final_norm"}},
    {"dtype",
     "llama/tp2",
     "distributed.compute_dtype=bf16",
     "drop:op=all_reduce,rank=0,layer=head,part=loss",
     1,
     true,
     {"rank 1 is in all_reduce(tensor, 64 x f32) at head.loss, ",
      "but rank 0 in all_reduce(tensor, 2048 x bf16) at head.final_norm"}},
    {"order",
     "llama/tp2",
     NULL,
     "drop:op=all_reduce,rank=1,layer=decoder.0,part=mixer.dense",
     0,
     true,
     {"rank 0 is in all_reduce(tensor, 2048 x f32) at decoder.0.mixer.dense, ",
      "but rank 1 in all_reduce(tensor, 2048 x f32) at decoder.0.mlp.layer_2"}},
    {"order of micro-batches",
     "llama/tp2_df4",
     NULL,
     "drop:op=all_gather,rank=1,layer=head,part=loss,mb=2+drop:op=all_reduce,rank=1,layer=head,"
     "part=loss,mb=2+drop:op=all_reduce,rank=1,phase=forward,mb=2+"
     "drop:op=all_reduce,rank=1,phase=backward,mb=2",
     0,
     true,
     {"rank 0 is in all_reduce(tensor, 2048 x f32) at embeddings.word (forward, "
      "micro-batch 3/4), ",
      "but rank 1 in all_reduce(tensor, 2048 x f32) at embeddings.word (forward, "
      "micro-batch 4/4)"}},
    {"average",
     "llama/tp2",
     NULL,
     "set:op=all_reduce,rank=1,layer=decoder.0,part=mlp.layer_2,phase=forward,param=average,value="
     "1",
     0,
     true,
     {"rank 0 is in all_reduce(tensor, 2048 x f32) at decoder.0.mlp.layer_2, ",
      "but rank 1 in all_reduce(tensor, average, 2048 x f32) at decoder.0.mlp.layer_2"}},
    {"group",
     "llama/tp2",
     NULL,
     "set:op=all_reduce,rank=1,layer=decoder.0,part=mlp.layer_2,phase=forward,param=group,value="
     "world",
     0,
     false,
     {"rank 0 waits in all_reduce(tensor, 2048 x f32) at decoder.0.mlp.layer_2 for rank 1, ",
      "which is in all_reduce(world, 2048 x f32) at decoder.0.mlp.layer_2"}},
    {"missing",
     "llama/dp2_stp2",
     NULL,
     "drop:op=all_reduce,rank=2,layer=optimizer,part=norm",
     3,
     false,
     {"rank 3 waits in all_reduce(world, 1 x f64) at optimizer.norm for rank 2, ",
      "which stands before the end of the step"}},
};

/* Until nothing moves: what the rank says then. */
static void run_into(const struct mistake *mistake, struct world *world, char text[TEXT])
{
    struct world_event event;
    bool *told = memory_zeroed((size_t)world->size, sizeof(bool));
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    allow_all(world);
    for (;;) {
        bool got = world_next(world, 0.2, &event);
        if (!got && world_is_quiet(world))
            break;
        if (clock_seconds() > deadline)
            fail_msg("%s: nothing comes to an end", mistake->what);
        if (got && event.kind != WORLD_DONE && event.kind != WORLD_MISMATCH)
            fail_msg("%s: rank %d: %s", mistake->what, event.rank, world->ranks[event.rank].reason);
        if (got && event.kind == WORLD_MISMATCH) {
            assert_false(told[event.rank]); /* once */
            told[event.rank] = true;
        }
    }
    if (told[mistake->rank] != mistake->mismatch)
        fail_msg("%s: %s", mistake->what, mistake->mismatch ? "not seen" : "seen as another thing");
    assert_int_equal(world->ranks[mistake->rank].state, RANK_WAITING);
    world_waiting_text(world, mistake->rank, text, TEXT);
    free(told);
}

static void load(struct pool_test *it, const struct mistake *mistake)
{
    struct status status = STATUS_NONE;
    pool_test_load(it, mistake->run, 64);
    if (!mistake->set)
        return;
    it->overrides[it->search.override_count++] = mistake->set;
    config_free(it->config);
    it->config = config_load(&it->search, mistake->run, &status);
    assert_non_null(it->config);
}

static void check_mistake(struct pool_test *it, const struct mistake *mistake)
{
    struct run_options options = {.plan = PLAN_KEEP,
                                  .change = faults_change,
                                  .change_context = (void *)(uintptr_t)mistake->fault};
    struct status status = STATUS_NONE;
    char here[TEXT], there[TEXT];
    load(it, mistake);
    struct world *world = world_create(it->config, it->device, &options, &status);
    if (!world)
        fail_msg("%s: %s", mistake->what, status.text);
    run_into(mistake, world, here);
    world_free(world);
    print_message("%s: %s\n", mistake->what, here);
    if (!strstr(here, mistake->says[0]) || !strstr(here, mistake->says[1]))
        fail_msg("\"%s\" does not say \"%s%s\"", here, mistake->says[0], mistake->says[1]);
    if (!it->pool)
        return;
    world = pool_test_world(it, &options);
    run_into(mistake, world, there);
    world_free(world);
    assert_string_equal(here, there);
    assert_true(rank_pool_is_sound(it->pool)); /* nothing had moved */
}

static void test_in_this_process(void **state)
{
    struct pool_test it = {0};
    struct status status = STATUS_NONE;
    (void)state;
    it.device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    assert_non_null(it.device);
    for (int i = 0; i < ARRAY_LENGTH(mistakes); i++)
        check_mistake(&it, &mistakes[i]);
    pool_test_end(&it);
}

static void test_in_processes(void **state)
{
    struct pool_test it;
    struct run_options options = {.plan = PLAN_KEEP};
    (void)state;
    pool_test_begin(&it, RANKS, 0);
    for (int i = 0; i < ARRAY_LENGTH(mistakes); i++)
        check_mistake(&it, &mistakes[i]);
    /* the same processes go on without a mistake */
    pool_test_load(&it, "llama/dp2_stp2", 64);
    struct world *world = pool_test_world(&it, &options);
    run_step_of(world);
    world_free(world);
    pool_test_end(&it);
}

static int be_rank(void)
{
    struct status status = STATUS_NONE;
    if (!rank_serve(&status))
        fprintf(stderr, "%s\n", status.text);
    return 1;
}

int main(int argc, char **argv)
{
    int code;
    if (keeper_serve(argc, argv, &code))
        return code;
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return be_rank();
    pool_test_environment();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_this_process),
        cmocka_unit_test(test_in_processes),
    };
    return pool_test_finish(cmocka_run_group_tests(tests, NULL, NULL));
}
