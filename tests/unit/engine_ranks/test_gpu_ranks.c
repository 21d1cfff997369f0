/* Rank processes on the emulated GPU: the engine reads and writes their memory by frames, also
 * while they wait for each other; they give the bits of the same ranks in one process where MPI
 * carries their collectives, and record the same collectives where NCCL (a stand-in) does. This
 * executable is also the rank: "test_gpu_ranks rank". */
#include "helper_pool.h"
#include "helper_world.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/rank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int be_rank(void)
{
    struct status status = STATUS_NONE;
    if (!rank_serve(&status))
        fprintf(stderr, "%s\n", status.text);
    return 1;
}

/* One folder with the modules for MPI and for the emulated GPU. */
static bool gather_modules(char *folder)
{
    static const char *const modules[][2] = {
        {"lockstep_mpi.so", "lockstep_mpi.so"},
        {"tests/cuda_emulator/module/lockstep_cuda.so", "lockstep_cuda.so"}};
    const char *built = getenv("LOCKSTEP_MODULE_PATH");
    char from[700], to[700];
    if (!mkdtemp(folder))
        return false;
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof(from), "%s/%s", built, modules[i][0]);
        snprintf(to, sizeof(to), "%s/%s", folder, modules[i][1]);
        if (access(from, R_OK) != 0 || symlink(from, to) != 0)
            return false;
    }
    snprintf(from, sizeof(from), "%s/tests/nccl_double/libnccl.so.2", built);
    setenv("LOCKSTEP_NCCL_LIBRARY", from, 1);
    setenv("LOCKSTEP_MODULE_PATH", folder, 1);
    return true;
}

static void remove_modules(const char *folder)
{
    char command[700];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    if (system(command) != 0)
        print_message("%s is left\n", folder);
}

struct gpu_test {
    struct pool_test it;
    char folder[32];
};

static void begin_as(struct gpu_test *test, int worker, int ranks, int gpus,
                     enum rank_collectives collectives)
{
    struct status status = STATUS_NONE;
    char number[16];
    *test = (struct gpu_test){.folder = "/tmp/lockstep-gpu-XXXXXX"};
    pool_test_environment();
    pool_test_need_mpirun();
    if (!gather_modules(test->folder)) {
        print_message("no emulated device: ranks on GPUs are not tested\n");
        remove_modules(test->folder);
        skip();
    }
    snprintf(number, sizeof(number), "%d", gpus);
    setenv("LOCKSTEP_EMULATED_GPUS", number, 1);
    struct rank_pool_options options = {.size = ranks,
                                        .threads = 1,
                                        .worker = worker,
                                        .launch.timeout = 2 * PATIENCE_SECONDS,
                                        .launch.collectives = collectives};
    test->it.pool = rank_pool_create(&options, &status);
    if (!test->it.pool)
        fail_msg("%s", status.text);
    test->it.device = device_open("cuda", &(struct device_options){.threads = 1}, &status);
    if (!test->it.device)
        fail_msg("%s", status.text);
}

static void begin(struct gpu_test *test, int ranks, int gpus, enum rank_collectives collectives)
{
    begin_as(test, 0, ranks, gpus, collectives);
}

static void end(struct gpu_test *test)
{
    pool_test_end(&test->it);
    remove_modules(test->folder);
}

/* Smaller still: each thread of the emulated GPU is run by itself. */
static void load(struct pool_test *it, const char *name)
{
    struct status status = STATUS_NONE;
    pool_test_load(it, name, 16);
    it->overrides[6] = "base_model.embeddings.vocab_size=64";
    it->search.override_count = 7;
    config_free(it->config);
    it->config = config_load(&it->search, name, &status);
    if (!it->config)
        fail_msg("%s", status.text);
}

static void check_same_bits(struct pool_test *it, const char *name)
{
    struct status status = STATUS_NONE;
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = true};
    char text[600];
    load(it, name);
    struct world *here = world_create(it->config, it->device, &options, &status);
    struct world *there = pool_test_world(it, &options);
    assert_non_null(here);
    if (!world_finish_step(here, text))
        fail_msg("%s", text);
    run_step_of(there);
    if (bits_of(here) != bits_of(there))
        fail_msg("%s: other bits in processes", name);
    /* the saved states are written back, and lead to the same bits */
    if (!world_go_to_step(there, 0, &status))
        fail_msg("%s", status.text);
    run_step_of(there);
    if (bits_of(here) != bits_of(there))
        fail_msg("%s: other bits after going back", name);
    world_free(here);
    world_free(there);
}

static void test_bits(void **state)
{
    struct gpu_test test;
    (void)state;
    begin(&test, 2, 1, COLLECTIVES_AUTO);
    check_same_bits(&test.it, "llama/dp2_z3");
    assert_string_equal(rank_pool_carrier(test.it.pool),
                        "MPI through host memory (ranks 0 and 1 share GPU 0000:00:00.0)");
    check_same_bits(&test.it, "llama/pp2s2_bf4");
    end(&test);
}

/* Which GPUs the ranks of a worker take: seen where two of them share one. */
static void test_worker(void **state)
{
    struct gpu_test test;
    struct run_options options = {.plan = PLAN_KEEP};
    (void)state;
    begin_as(&test, 1, 4, 3, COLLECTIVES_AUTO); /* GPUs 1, 2, 0, 1: worker 0 has 0, 1, 2, 0 */
    load(&test.it, "llama/dp2_stp2");
    world_free(pool_test_world(&test.it, &options));
    assert_string_equal(rank_pool_carrier(test.it.pool),
                        "MPI through host memory (ranks 0 and 3 share GPU 0000:00:01.0)");
    load(&test.it, "llama/dp2"); /* 2, 0 */
    world_free(pool_test_world(&test.it, &options));
    assert_string_equal(rank_pool_carrier(test.it.pool), "NCCL 2.28.9");
    end(&test);
}

/* Lets rank 0 alone go on until it waits, and reads what it has then. */
static void check_waiting(struct pool_test *it, const char *name)
{
    struct run_options options = {.plan = PLAN_KEEP};
    struct status status = STATUS_NONE;
    struct world_event event;
    load(it, name);
    struct world *world = pool_test_world(it, &options);
    double deadline = clock_seconds() + PATIENCE_SECONDS;
    int next = 0;
    assert_true(world_allow(world, 0, world->ranks[0].run->program->instruction_count, &status));
    while (world->ranks[0].state != RANK_WAITING && clock_seconds() < deadline)
        if (world_next(world, 0.1, &event))
            assert_int_equal(event.kind, WORLD_DONE);
    assert_int_equal(world->ranks[0].state, RANK_WAITING);
    struct run *run = world->ranks[0].run;
    next = run_next(run);
    for (int i = 0; i < next; i++) {
        const struct instruction *instruction = &run->program->instructions[i];
        for (int o = 0; o < instruction->output_count; o++) {
            const struct value *value = &run->program->values[instruction->outputs[o]];
            char *data = memory_zeroed((size_t)shape_elements(value->shape), 8);
            assert_true(executor_read(run->executor, instruction->outputs[o], data, &status));
            for (int64_t e = 0; dtype_is_float(value->dtype) && e < shape_elements(value->shape);
                 e++)
                assert_true(isfinite(dtype_load(value->dtype, data, (size_t)e)));
            free(data);
        }
    }
    run_step_of(world);
    world_free(world);
}

static void test_waiting(void **state)
{
    struct gpu_test test;
    (void)state;
    begin(&test, 2, 2, COLLECTIVES_NCCL);
    check_waiting(&test.it, "llama/tp2");
    check_waiting(&test.it, "llama/pp2s1_bf4");
    end(&test);
}

/* The collectives that each rank remembers. */
static void record(const char *name, int gpus, enum rank_collectives collectives,
                   struct comm_record *records, int *counts)
{
    struct gpu_test test;
    struct run_options options = {.plan = PLAN_KEEP};
    begin(&test, 2, gpus, collectives);
    load(&test.it, name);
    struct world *world = pool_test_world(&test.it, &options);
    run_step_of(world);
    for (int rank = 0; rank < 2; rank++)
        counts[rank] = rank_pool_collectives(test.it.pool, rank, records + rank * BOARD_RECORDS,
                                             BOARD_RECORDS);
    assert_true((strncmp(rank_pool_carrier(test.it.pool), "NCCL", 4) == 0) ==
                (collectives == COLLECTIVES_NCCL));
    world_free(world);
    end(&test);
}

static void check_records(const char *name)
{
    struct comm_record *mpi = memory_zeroed(2 * BOARD_RECORDS, sizeof(*mpi));
    struct comm_record *nccl = memory_zeroed(2 * BOARD_RECORDS, sizeof(*nccl));
    int counts[2], again[2];
    record(name, 1, COLLECTIVES_MPI, mpi, counts);
    record(name, 2, COLLECTIVES_NCCL, nccl, again);
    for (int rank = 0; rank < 2; rank++) {
        assert_int_equal(counts[rank], again[rank]);
        assert_true(counts[rank] > 4);
        for (int i = 0; i < counts[rank]; i++) {
            const struct comm_record *a = &mpi[rank * BOARD_RECORDS + i];
            const struct comm_record *b = &nccl[rank * BOARD_RECORDS + i];
            assert_true(comm_descriptor_equal(&a->what, &b->what));
            assert_int_equal(a->instruction, b->instruction);
            assert_true(b->left >= b->entered && b->entered > 0);
        }
    }
    free(mpi);
    free(nccl);
}

static void test_records(void **state)
{
    (void)state;
    check_records("llama/pp2s2_bf4");
}

int main(int argc, char **argv)
{
    int code;
    if (keeper_serve(argc, argv, &code))
        return code;
    if (argc > 1 && strcmp(argv[1], "rank") == 0)
        return be_rank();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
