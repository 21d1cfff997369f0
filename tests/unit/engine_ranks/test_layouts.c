/* Every layout of the model tests computes what one rank computes: each rank's every named value
 * is its part of the single process's, replicas have the same bits, and so have runs again. */
#include "helper_world.h"

#include "engine/base/memory.h"
#include "engine/train/schedule.h"
#include "tests/unit/distributed_variants.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void compare_reports(const struct two_runs *it, int step)
{
    struct step_report report;
    const struct step_report *reference = &it->baseline->reports[step];
    double limit = 1e-5 * it->looseness, norm = reference->gradient_norm;
    assert_true(world_report(it->world, step, &report));
    if (!(fabs(report.loss - reference->loss) <= limit * fabs(reference->loss)) ||
        !(fabs(report.gradient_norm - norm) <= limit * norm))
        fail_msg("step %d: loss %.9g and norm %.9g, but %.9g and %.9g on one rank", step + 1,
                 report.loss, report.gradient_norm, reference->loss, reference->gradient_norm);
    assert_int_equal(report.tokens, reference->tokens);
}

/* Parameters begin as on one rank, to the bit. */
static void compare_beginning(struct two_runs *it)
{
    for (int rank = 0; rank < it->world->size; rank++) {
        const struct run *run = it->world->ranks[rank].run;
        for (int p = 0; p < run->program->parameter_count; p++) {
            const struct value *value = &run->program->values[run->program->parameters[p].value];
            int there = program_find(it->baseline->program, value->name);
            struct tensor mine = executor_tensor(run->executor, value->id);
            struct tensor whole = executor_tensor(it->baseline->executor, there);
            struct tensor part =
                tensor_of(memory_zeroed(value_bytes(value), 1), value->dtype, value->shape);
            if (value->shard.cut_count)
                shard_copy_out(&value->shard, &whole, &part);
            else
                memcpy(part.data, whole.data, value_bytes(value));
            if (memcmp(part.data, mine.data, value_bytes(value)))
                fail_msg("rank %d begins with another %s", rank, value->name);
            free(part.data);
        }
    }
}

static void check_step(struct two_runs *it, int step)
{
    const char *name = it->config->name;
    char text[600] = "";
    int pairs;
    if (!two_runs_step(it, text))
        fail_msg("%s, step %d: %s", name, step + 1, text);
    two_runs_compare(it);
    compare_reports(it, step);
    int unequal = count_unequal_replicas(it->world, &pairs);
    if (unequal)
        fail_msg("%s: %d of %d replicas differ", name, unequal, pairs);
}

/* Where each rank goes on with its own tokens, no sum of [tokens, hidden] is given to all of them.
 */
static void check_sums_are_scattered(const struct two_runs *it)
{
    for (int rank = 0; rank < it->world->size; rank++) {
        const struct program *program = it->world->ranks[rank].run->program;
        for (int i = 0; i < program->instruction_count; i++) {
            const struct instruction *in = &program->instructions[i];
            bool activations =
                in->origin.phase == PHASE_FORWARD || in->origin.phase == PHASE_BACKWARD;
            if (in->op != OP_ALL_REDUCE || !activations || in->parameters.group != COMM_TENSOR)
                continue;
            const struct value *sum = &program->values[in->outputs[0]];
            if (sum->shape.rank == 2 && sum->shape.dims[1] == it->config->base_model.hidden_size)
                fail_msg("%s: rank %d sums %s%s for all of its group", it->config->name, rank,
                         sum->name, sum->name[0] ? "" : in->origin.part);
        }
    }
}

/* Both steps, and the second one again from its saved point. */
static void check_runs(struct two_runs *it)
{
    struct status status = STATUS_NONE;
    const char *name = it->config->name;
    char text[600] = "";
    compare_beginning(it);
    if (it->config->distributed.sequence_tensor_parallel)
        check_sums_are_scattered(it);
    for (int step = 0; step < it->config->train_iterations; step++)
        check_step(it, step);
    printf("%s: %d values, worst %.3f of the limit; %d have no counterpart\n", name, it->compared,
           it->worst, it->unmatched);
    if (it->wrong || it->uncovered || it->compared < 100)
        fail_msg("%s: %d of %d values are wrong, %d log points are missing; first: %s", name,
                 it->wrong, it->compared, it->uncovered, it->first_wrong);
    uint64_t bits = world_bits(it->world);
    if (!world_go_to_step(it->world, it->config->train_iterations - 1, &status) ||
        !world_finish_step(it->world, text))
        fail_msg("%s: %s%s", name, status.text, text);
    assert_true(world_bits(it->world) == bits);
}

static void check_layout(const char *model, const char *variant, const char *const *more,
                         double looseness)
{
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = true};
    struct two_runs it;
    two_runs_start(&it, model, variant, more, &options);
    it.looseness = looseness;
    check_runs(&it);
    two_runs_end(&it);
}

/* The text has masked labels, but only tokens of the first half of the vocabulary. */
static const char *const random_data[] = {"data.type=random", NULL};

/* Under a sanitizer, which is slow, every third variant, others for each model. */
static bool is_for_sanitizers(const char *model, int variant)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return (variant + model[0] + model[strlen(model) - 1]) % 3 == 0;
#else
    (void)model, (void)variant;
    return true;
#endif
}

static void test_model(void **state)
{
    bool text = strcmp(*state, "gpt_2") == 0 || strcmp(*state, "mixtral") == 0;
    const char *only = getenv("LOCKSTEP_TEST_VARIANT");
    for (int i = 0; i < ARRAY_LENGTH(distributed_variants); i++)
        if (only ? strcmp(only, distributed_variants[i]) == 0 : is_for_sanitizers(*state, i))
            check_layout(*state, distributed_variants[i], text ? NULL : random_data, 1);
}

/* Two of four experts: which ones is the same on all ranks. With parts of sequences only without
 * the load-balancing loss, which would be another one. */
static void test_routing(void **state)
{
    static const char *const routed[] = {"dp2_z2_df4", "stp2", "tp2_df4", "stp2_pp2s1_bf4"};
    static const char *const parted[] = {"sdp2", "sdp2_stp2", "sdp2_stp2_bf4"};
    static const char *const unbalanced[] = {
        "data.type=random", "base_model.decoder.block.mlp.auxiliary_loss_coefficient=0", NULL};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(routed); i++)
        check_layout("mixtral_top2", routed[i], random_data, 1);
    for (int i = 0; i < ARRAY_LENGTH(parted); i++)
        check_layout("mixtral_top2", parted[i], unbalanced, 1);
}

/* What would compute something else does not compile, and says which instruction, value and axis.
 */
static void test_balance_of_parts(void **state)
{
    static const char *const names[] = {"mixtral_top2/sdp2", "mixtral_top2/sdp2_stp2_bf4"};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(names); i++) {
        struct status status = STATUS_NONE;
        struct config *config = config_load(NULL, names[i], &status);
        assert_non_null(config);
        assert_null(schedule_compile_rank(config, 0, &status));
        if (!strstr(status.text, "load_balance") || !strstr(status.text, "rows / sequence data") ||
            !strstr(status.text, "fw decoder.0.mlp.router.logits"))
            fail_msg("%s: %s", names[i], status.text);
        config_free(config);
    }
}

/* Sums of 16-bit summands are rounded once more for each rank. */
static void test_16_bits(void **state)
{
    static const char *const some[] = {"dp2_z3", "stp2_ce4", "dp2_stp2", "sdp2_stp2_pp2s2_ms4",
                                       "dp2_tp2_pp2s1_bf4"};
    static const char *const bf16[] = {"distributed.compute_dtype=bf16", NULL};
    static const char *const fp16[] = {"distributed.compute_dtype=fp16", NULL};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(some); i++) {
        check_layout("llama", some[i], bf16, 4000);
        check_layout("mtp_llama", some[i], fp16, 1000);
    }
}

static int choose(struct random *random, const int *choices, int count)
{
    return choices[random_integer(random, 0, count - 1)];
}

/* Any sizes of the groups, and any order of the micro-batches. */
static void check_random_layout(struct random *random)
{
    static const char *const models[] = {"llama", "gpt_2", "starcoder", "mixtral", "mtp_llama"};
    static const char *const extra[] = {"base_model.decoder.num_blocks=3"};
    int tensors = choose(random, (int[]){1, 2, 4}, 3),
        pipelines = choose(random, (int[]){1, 2, 3}, 3);
    int sequences = choose(random, (int[]){1, 1, 2, 3}, 4),
        batches = choose(random, (int[]){1, 2, 3}, 3);
    int depth = (int)random_integer(random, 1, 2), breadth = (int)random_integer(random, 1, 2);
    int splits = choose(random, (int[]){1, 1, 2}, 3), chunks = choose(random, (int[]){1, 2}, 2);
    const char *stp = random_integer(random, 0, 1) ? "true" : "false";
    const char *vocabulary = random_integer(random, 0, 3) ? "true" : "false";
    int zero = (int)random_integer(random, 0, 3), stage = (int)random_integer(random, 1, 2);
    int tokens = 4 * splits * sequences * tensors * chunks;
    const char *model = models[random_integer(random, 0, ARRAY_LENGTH(models) - 1)];
    char lines[13][80], same[3][80];
    const char *overrides[14] = {extra[0]}, *plain[5] = {extra[0]};
    const char *const keys[] = {"distributed.world_size",
                                "distributed.tensor_parallel",
                                "distributed.pipeline_parallel",
                                "distributed.sequence_data_parallel",
                                "multi_stage.zero_stage",
                                "multi_stage.layers_per_stage",
                                "schedule.depth_first_micro_batches",
                                "schedule.breadth_first_micro_batches",
                                "schedule.micro_batch_splits",
                                "data.micro_batch_size",
                                "base_model.head.cross_entropy_splits"};
    const int numbers[] = {tensors * pipelines * sequences * batches,
                           tensors,
                           pipelines,
                           sequences,
                           zero,
                           stage,
                           depth,
                           breadth,
                           splits,
                           tokens,
                           chunks};
    for (int i = 0; i < ARRAY_LENGTH(keys); i++) {
        snprintf(lines[i], sizeof(lines[i]), "%s=%d", keys[i], numbers[i]);
        overrides[1 + i] = lines[i];
    }
    snprintf(lines[11], sizeof(lines[11]), "distributed.sequence_tensor_parallel=%s", stp);
    snprintf(lines[12], sizeof(lines[12]), "base_model.embeddings.vocab_parallel=%s", vocabulary);
    overrides[12] = lines[11], overrides[13] = lines[12];
    snprintf(same[0], sizeof(same[0]), "data.micro_batch_size=%d", tokens);
    snprintf(same[1], sizeof(same[1]), "schedule.depth_first_micro_batches=%d",
             depth * breadth * batches);
    plain[1] = same[0], plain[2] = same[1];
    printf(
        "%s: tp %d (stp %s, vocabulary %s), pp %d (s%d), sdp %d, dp %d, z%d, df %d, bf %d, ms %d, "
        "ce %d, %d tokens\n",
        model, tensors, stp, vocabulary, pipelines, stage, sequences, batches, zero, depth, breadth,
        splits, chunks, tokens);
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = random_integer(random, 0, 1)};
    struct two_runs it;
    const char *all[15] = {0};
    memcpy(all, overrides, sizeof(overrides));
    two_runs_open(&it, load_small(model, "simple", all), load_small(model, "simple", plain),
                  &options);
    check_runs(&it);
    two_runs_end(&it);
}

static void test_random(void **state)
{
    struct random random = random_start("layouts");
    const char *count = getenv("LOCKSTEP_TEST_COUNT");
    (void)state;
    for (int i = 0; i < (count ? atoi(count) : 6); i++)
        check_random_layout(&random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"llama", test_model, NULL, NULL, (void *)"llama"},
        {"gpt_2", test_model, NULL, NULL, (void *)"gpt_2"},         /* tied, biases, positions */
        {"starcoder", test_model, NULL, NULL, (void *)"starcoder"}, /* one group of keys */
        {"mixtral", test_model, NULL, NULL, (void *)"mixtral"},
        {"mtp_llama", test_model, NULL, NULL, (void *)"mtp_llama"}, /* two heads */
        cmocka_unit_test(test_routing),
        cmocka_unit_test(test_balance_of_parts),
        cmocka_unit_test(test_16_bits),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
