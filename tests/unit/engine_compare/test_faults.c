/* Every ready fault, on a small model: the comparison with the clean program finds it, and blame
 * names an instruction that was changed. And the other way round: what is not faulty is not found.
 *
 * The data and the initial weights are other ones in each run (the seed is printed). */
#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "engine/program/faults.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_CHANGED = 4096 };

static struct config *load(const char *name, uint64_t seed, const char *precision)
{
    char data_seed[64], seed_text[64];
    snprintf(data_seed, sizeof(data_seed), "data.seed=%d", (int)(seed % 1000000));
    snprintf(seed_text, sizeof(seed_text), "distributed.seed=%d", (int)(seed / 1000000 % 1000000));
    const char *overrides[16] = {
        "base_model.hidden_size=64",
        "base_model.embeddings.vocab_size=256",
        "base_model.decoder.block.mixer.heads=4",
        "base_model.decoder.block.mixer.head_groups=2",
        "base_model.decoder.block.mixer.head_size=16",
        "base_model.decoder.block.mlp.intermediate_size=128",
        "data.micro_batch_size=64",
        "data.maximum_document_length=24",
        data_seed,
        seed_text,
    };
    int count = 10;
    if (strncmp(name, "mistral", 7) == 0)
        overrides[count++] = "base_model.decoder.block.mixer.window_size=8";
    if (precision)
        overrides[count++] = precision;
    return load_config(name, overrides, count);
}

/* A test and its clean reference, and what belongs to them. */
struct bench {
    struct config *config, *reference;
    struct tolerances *tolerances;
    struct device *device;
    struct comm *comm;
    struct pair *pair;
};

struct way {
    int64_t keep_limit;
    bool log_points;        /* compare these only */
    const char *may_miss;   /* a fault that stays within the limits that way */
    const char *reference;  /* MODEL/VARIANT of the reference, NULL: that of the test */
    const char *test;       /* MODEL/VARIANT of the test, when there is a reference */
    const char *not_for;    /* a fault that needs another run */
    const char *faults;     /* then also those that are tried on this run; NULL: as `test` */
    const char *tolerances; /* NULL: layer_match */
    const char *precision;  /* a setting for both, NULL: as their variants have it */
    bool rounds; /* in another precision than the reference: what stays within the limits is no
                    miss, and where rounding leaves them first, the fault must be found elsewhere */
};

static void bench_open(struct bench *bench, const char *name, const char *fault, uint64_t seed,
                       struct way way)
{
    struct status status = STATUS_NONE;
    bench->config = load(name, seed, way.precision);
    bench->reference = load(way.reference ? way.reference : name, seed, way.precision);
    bench->tolerances =
        tolerances_load(NULL, way.tolerances ? way.tolerances : "layer_match", "cpu", &status);
    bench->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    bench->comm = comm_self();
    struct pair_options options = {.test = bench->config,
                                   .reference = bench->reference,
                                   .tolerances = bench->tolerances,
                                   .device = bench->device,
                                   .comm = bench->comm,
                                   .inner_values = !way.log_points,
                                   .keep_limit = way.keep_limit,
                                   .threads = 1};
    if (fault)
        options.test_options = (struct run_options){.change = faults_change,
                                                    .change_context = (void *)(uintptr_t)fault};
    bench->pair = pair_create(&options, &status);
    if (!bench->pair)
        fail_msg("%s: %s", name, status.text);
}

static void bench_close(struct bench *bench)
{
    pair_free(bench->pair);
    tolerances_free(bench->tolerances);
    comm_close(bench->comm);
    device_close(bench->device);
    config_free(bench->config);
    config_free(bench->reference);
}

/* Runs until a value fails; -1 if none does. */
static int run_to_failure(struct pair *pair)
{
    struct status status = STATUS_NONE;
    struct pair_event event = {.failed = -1};
    while (event.failed < 0 && !pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    return event.failed;
}

static bool carries_fault(const struct program *program, int instruction)
{
    static int changed[MAX_CHANGED];
    int count = faults_changed(program, changed, MAX_CHANGED);
    assert_in_range(count, 1, program->instruction_count / 3); /* blame has to choose */
    for (int i = 0; i < count; i++)
        if (changed[i] == instruction)
            return true;
    return false;
}

static void report(const struct fault_ready *fault, struct pair *pair, int value,
                   const struct blame *blame)
{
    const struct program *program = pair->test->program;
    char text[300] = "nothing";
    if (value < 0) {
        print_message("%-30s NOT FOUND\n", fault->name);
        return;
    }
    if (blame->guilty >= 0)
        program_instruction_text(program, blame->links[blame->guilty].instruction, text,
                                 sizeof(text));
    print_message("%-30s step %d, %s\n%32s%s\n", fault->name, pair->test->step + 1,
                  program->values[value].name, "", text);
}

/* 1 when the fault was not found, or another instruction was blamed. */
static int try_fault(const struct fault_ready *fault, uint64_t seed, struct way way)
{
    struct bench bench;
    struct status status = STATUS_NONE;
    bench_open(&bench, way.reference ? way.test : fault->run, fault->name, seed, way);
    struct blame blame = {.guilty = -1, .rounding = -1};
    int value = run_to_failure(bench.pair);
    int step = bench.pair->test->step, next = run_next(bench.pair->test);
    if (value >= 0 && !blame_walk(bench.pair, value, &blame, &status))
        fail_msg("%s: %s", fault->name, status.text);
    bool right = blame.guilty >= 0 &&
                 carries_fault(bench.pair->test->program, blame.links[blame.guilty].instruction);
    right |= value < 0 && way.may_miss && strcmp(fault->name, way.may_miss) == 0;
    right |= value < 0 && way.rounds;
    if (way.rounds && blame.rounding >= 0 && blame.elsewhere >= 0)
        right = blame.guilty < 0 && carries_fault(bench.pair->test->program, blame.elsewhere);
    if (!right)
        report(fault, bench.pair, value, &blame);
    assert_int_equal(bench.pair->test->step, step);
    assert_int_equal(run_next(bench.pair->test), next);
    blame_free(&blame);
    bench_close(&bench);
    return !right;
}

static void try_all(const char *title, struct way way)
{
    struct random random = random_start(title);
    int count, missed = 0;
    const struct fault_ready *faults = faults_ready(&count);
    assert_true(count >= 20);
    for (int i = 0; i < count; i++)
        if (!fault_has_ranks(&faults[i]) &&
            !(way.not_for && strcmp(way.not_for, faults[i].name) == 0) &&
            (!way.reference || strcmp(faults[i].run, "llama") == 0 ||
             strcmp(faults[i].run, way.faults ? way.faults : way.test) == 0))
            /* Data may hide a fault, such as a micro-batch all of whose labels are masked: then it
             * must show with other data. */
            missed += try_fault(&faults[i], random_bits(&random) >> 1, way) &&
                      try_fault(&faults[i], random_bits(&random) >> 1, way);
    assert_int_equal(missed, 0);
}

static void test_every_fault_is_found(void **state)
{
    (void)state;
    try_all("faults, every value kept", (struct way){.keep_limit = INT64_C(1) << 30});
}

/* With memory used again blame has to go back and run again. */
static void test_every_fault_is_found_when_memory_is_reused(void **state)
{
    (void)state;
    try_all("faults, memory reused", (struct way){0});
}

/* Most values are then unknown: blame finds the instruction by its place in the program. */
static void test_every_fault_is_found_from_log_points(void **state)
{
    (void)state;
    try_all("faults, log points only",
            (struct way){.log_points = true, .may_miss = "activation-rounded"});
}

/* Gradients of the two layouts are summed in another order, by other instructions. */
static void test_faults_are_found_against_another_layout(void **state)
{
    (void)state;
    try_all("faults, breadth first against depth first",
            (struct way){.reference = "llama/df4", .test = "llama/bf4"});
}

/* Micro-sequences are compared with their rows of the whole. */
static void test_faults_are_found_in_micro_sequences(void **state)
{
    (void)state;
    struct way way = {.reference = "llama/simple", .test = "llama/ms4"};
    try_all("faults, micro-sequences against the whole, memory reused", way);
    way.keep_limit = (int64_t)1 << 30;
    try_all("faults, micro-sequences against the whole", way);
}

/* Of micro-sequences the reference has no loss, only of all: a wrong loss changes nothing else. */
static void test_losses_are_compared_in_micro_sequences(void **state)
{
    static const char *const tests[] = {"llama/ms4", "mtp_llama/ms4"};
    static const char *const references[] = {"llama/simple", "mtp_llama/simple"};
    struct random random = random_start("losses of micro-sequences");
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(tests); i++) {
        struct way way = {.reference = references[i], .test = tests[i], .log_points = i > 0};
        char spec[64];
        snprintf(spec, sizeof(spec), "scale:op=cross_entropy,ms=%d,factor=%g",
                 (int)random_integer(&random, 0, 3), random_uniform(&random, 1.1, 3));
        const struct fault_ready fault = {.name = spec};
        /* all labels of the micro-sequence may be masked: then it must show with other data */
        assert_false(try_fault(&fault, random_bits(&random) >> 1, way) &&
                     try_fault(&fault, random_bits(&random) >> 1, way));
    }
}

/* Sums of gradients in another order of micro-batches: not the order is to blame. */
static void test_faults_are_found_in_another_order(void **state)
{
    (void)state;
    try_all("faults, depth and breadth first against depth first",
            (struct way){.reference = "llama/df4", .test = "llama/bf2_df2", .faults = "llama/bf4"});
}

/* Nor is it that the loss is computed in chunks, of which nothing has a name in the reference. */
static void test_faults_are_found_in_chunks(void **state)
{
    (void)state;
    try_all("faults, chunks of the loss against the whole",
            (struct way){.reference = "llama/simple", .test = "llama/ce4"});
}

/* Layers share casts of weights with nobody, but have them all. */
static void test_faults_are_found_in_16_bits(void **state)
{
    (void)state;
    try_all("faults, bf16 against itself", (struct way){.reference = "llama/bf16",
                                                        .test = "llama/bf16",
                                                        .may_miss = "norm-weight-decay",
                                                        .not_for = "activation-rounded"});
}

/* With the limits of the precision, which rounding may leave before the fault does. */
static void test_faults_are_told_from_rounding(void **state)
{
    (void)state;
    try_all("faults, bf16 against fp32", (struct way){.keep_limit = INT64_C(1) << 30,
                                                      .reference = "llama/simple",
                                                      .test = "llama/bf16",
                                                      .tolerances = "bf16",
                                                      .not_for = "activation-rounded",
                                                      .rounds = true});
}

/* What 16 bits against 32 must not hide: norms whose gradients the tables ignore, and that are not
 * updated; and a norm of all gradients that lacks one. `where` is what must fail in the first step.
 */
static void find_in_16_bits(const char *fault, const char *precision, bool log_points,
                            const char *where, struct random *random)
{
    char test[32];
    struct bench bench;
    snprintf(test, sizeof(test), "llama/%s", precision);
    struct way way = {
        .reference = "llama/simple", .log_points = log_points, .tolerances = precision};
    bench_open(&bench, test, fault, random_bits(random) >> 1, way);
    bool found = false;
    for (int value = 0; value >= 0 && !found && bench.pair->test->step == 0;) {
        value = run_to_failure(bench.pair); /* rounding fails small models here and there, too */
        found = value >= 0 && !strcmp(bench.pair->test->program->values[value].name, where);
    }
    if (!found)
        fail_msg("%s of %s: %s does not fail", fault, test, where);
    bench_close(&bench);
}

static void test_16_bits_hide_no_missing_update(void **state)
{
    (void)state;
    struct random random = random_start("16 bits");
    for (int i = 0; i < 6; i++) {
        find_in_16_bits("norm-weight-gradient-missing", i % 2 ? "bf16" : "fp16", true,
                        "state decoder.1.norm_2.weight.updated", &random);
        find_in_16_bits("norm-of-fewer-gradients", i % 2 ? "bf16" : "fp16", false,
                        "state gradient_norm", &random);
    }
}

/* Orders, chunks and precisions are no faults of a program: whatever numbers say. */
static void test_clean_programs_are_not_blamed(void **state)
{
    static const char *const runs[][2] = {
        {"llama/bf2_df2", "llama/df4"}, {"llama/ce4", "llama/simple"},
        {"llama/bf16", "llama/simple"}, {"mixtral/fp16", "mixtral/simple"},
        {"gpt_2/bf16", "gpt_2/simple"}, {"mtp_llama/ce4", "mtp_llama/simple"},
        {"qwen_2/df4", "qwen_2/bf4"},   {"llama/ms4", "llama/simple"},
        {"gpt_2/ms4", "gpt_2/simple"},  {"mixtral/ms4", "mixtral/simple"},
    };
    struct random random = random_start("clean programs");
    (void)state;
    for (int r = 0; r < ARRAY_LENGTH(runs); r++) {
        struct bench bench;
        struct status status = STATUS_NONE;
        struct way way = {.reference = runs[r][1], .keep_limit = INT64_C(1) << 30};
        bench_open(&bench, runs[r][0], NULL, random_bits(&random) >> 1, way);
        const struct program *program = bench.pair->test->program;
        assert_true(pair_go_to(bench.pair, 1, program->instruction_count, &status));
        for (int i = 0; i < 40; i++) {
            struct blame blame;
            int instruction = (int)random_integer(&random, 0, program->instruction_count - 1);
            int value = program->instructions[instruction].outputs[0];
            if (!blame_walk(bench.pair, value, &blame, &status))
                fail_msg("%s", status.text);
            assert_int_equal(blame.elsewhere, -1);
            if (blame.different) {
                char text[300];
                program_instruction_text(program, blame.links[blame.guilty].instruction, text,
                                         sizeof(text));
                fail_msg("%s: %s: blamed: %s", runs[r][0], program->values[value].name, text);
            }
            blame_free(&blame);
        }
        bench_close(&bench);
    }
}

/* Gradients of keys are summed over micro-sequences: in 16 bits each sum is rounded, and where
 * limits are narrow, that is beyond them. The programs are right all the same. */
static void test_micro_sequences_in_16_bits_are_not_blamed(void **state)
{
    static const char *const precisions[] = {"distributed.compute_dtype=bf16",
                                             "distributed.compute_dtype=fp16"};
    struct random random = random_start("micro-sequences in 16 bits");
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct bench bench;
        struct status status = STATUS_NONE;
        struct way way = {.reference = "llama/simple", .precision = precisions[i % 2]};
        struct blame blame;
        bench_open(&bench, "llama/ms4", NULL, random_bits(&random) >> 1, way);
        tolerances_rescale(bench.tolerances, 1e-12);
        int value = run_to_failure(bench.pair);
        assert_true(value >= 0);
        assert_true(blame_walk(bench.pair, value, &blame, &status));
        if (blame.guilty >= 0 || blame.rounding < 0)
            fail_msg("%s: %s is not told as rounding", way.precision,
                     bench.pair->test->program->values[value].name);
        blame_free(&blame);
        bench_close(&bench);
    }
}

/* The models of the faults without a fault: not one bit differs. */
static void test_clean_runs_do_not_differ(void **state)
{
    static const char *const names[] = {"llama/bf4", "llama/ms4", "gpt_2", "mixtral_top2",
                                        "mistral"};
    struct random random = random_start("clean runs");
    (void)state;
    for (int n = 0; n < ARRAY_LENGTH(names); n++) {
        struct bench bench;
        struct status status = STATUS_NONE;
        struct pair_event event;
        int compared = 0;
        bench_open(&bench, names[n], NULL, random_bits(&random) >> 1, (struct way){0});
        while (!pair_ended(bench.pair)) {
            assert_true(pair_run_one(bench.pair, &event, &status));
            assert_int_equal(event.failed, -1);
            compared += event.compared_count;
            for (int i = 0; i < event.compared_count; i++)
                assert_int_equal(bench.pair->results[event.compared[i]].metrics.different, 0);
        }
        assert_true(compared > 100);
        bench_close(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean_runs_do_not_differ),
        cmocka_unit_test(test_every_fault_is_found),
        cmocka_unit_test(test_every_fault_is_found_when_memory_is_reused),
        cmocka_unit_test(test_every_fault_is_found_from_log_points),
        cmocka_unit_test(test_faults_are_found_against_another_layout),
        cmocka_unit_test(test_faults_are_found_in_micro_sequences),
        cmocka_unit_test(test_losses_are_compared_in_micro_sequences),
        cmocka_unit_test(test_faults_are_found_in_another_order),
        cmocka_unit_test(test_faults_are_found_in_chunks),
        cmocka_unit_test(test_faults_are_found_in_16_bits),
        cmocka_unit_test(test_16_bits_hide_no_missing_update),
        cmocka_unit_test(test_faults_are_told_from_rounding),
        cmocka_unit_test(test_clean_programs_are_not_blamed),
        cmocka_unit_test(test_micro_sequences_in_16_bits_are_not_blamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
