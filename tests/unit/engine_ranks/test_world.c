/* What test_layouts would not be worth if it did not notice: each collective of a program is left
 * out on all ranks, and the comparison must see it. And what keeps worlds honest besides: memory
 * that is given on changes no bit, an overflow of one rank is one of all, ranks that disagree say
 * so. */
#include "helper_world.h"

#include "engine/base/memory.h"
#include "engine/train/schedule.h"
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

struct mutation {
    int number; /* which of the collectives of each program */
    char text[200];
};

static bool is_sum(const struct instruction *instruction)
{
    return instruction->op == OP_ALL_REDUCE || instruction->op == OP_REDUCE_SCATTER;
}

static int find_sum(const struct program *program, int number)
{
    for (int i = 0; i < program->instruction_count; i++)
        if (is_sum(&program->instructions[i]) && number-- == 0)
            return i;
    return -1;
}

static int count_sums(const struct program *program)
{
    int count = 0;
    while (find_sum(program, count) >= 0)
        count++;
    return count;
}

/* What the rank itself has stands for the sum. */
static bool leave_out(struct program *program, void *context, struct status *status)
{
    struct mutation *mutation = context;
    int index = find_sum(program, mutation->number);
    if (index < 0)
        return status_fail(status, STATUS_NOT_FOUND, "no collective %d", mutation->number);
    struct instruction *instruction = &program->instructions[index];
    program_instruction_text(program, index, mutation->text, sizeof(mutation->text));
    int64_t rows = program->values[instruction->outputs[0]].shape.dims[0];
    enum comm_group group = (enum comm_group)instruction->parameters.group;
    bool scatter = instruction->op == OP_REDUCE_SCATTER;
    instruction->op = scatter ? OP_SLICE_ROWS : OP_COPY;
    instruction->parameters =
        (struct op_parameters){.first_row = scatter ? rows * seat_index(&program->seat, group) : 0};
    return true;
}

/* Whether anything of the first step shows that a collective is missing. */
static bool is_noticed(struct two_runs *it)
{
    struct step_report report = {0};
    const struct step_report *reference = &it->baseline->reports[0];
    char text[600];
    int pairs;
    if (!two_runs_step(it, text))
        return true;
    two_runs_compare(it);
    bool reported = world_report(it->world, 0, &report) &&
                    fabs(report.loss - reference->loss) <= 1e-5 * reference->loss;
    return it->wrong || !reported || count_unequal_replicas(it->world, &pairs);
}

static void check_mutation(const char *model, const char *variant, struct mutation *mutation)
{
    /* the text has micro-batches whose labels are all masked: nobody misses their gradients */
    static const char *const random_data[] = {"data.type=random", NULL};
    struct run_options options = {
        .plan = PLAN_KEEP, .change = leave_out, .change_context = mutation};
    struct two_runs it;
    two_runs_start(&it, model, variant, random_data, &options);
    if (!is_noticed(&it))
        fail_msg("%s: nobody misses %s", it.config->name, mutation->text);
    two_runs_end(&it);
}

/* Without pipeline ranks all programs have the same collectives. */
static void test_collectives_are_missed(void **state)
{
    static const char *const models[] = {"llama", "gpt_2", "starcoder", "mixtral"};
    static const char *const variants[] = {"dp2_z2_df4", "tp2", "stp2", "sdp2_stp2", "stp2_ce4"};
    struct random random = random_start("collectives are missed");
    (void)state;
    for (int i = 0; i < 30; i++) {
        const char *model = models[random_integer(&random, 0, ARRAY_LENGTH(models) - 1)];
        const char *variant = variants[random_integer(&random, 0, ARRAY_LENGTH(variants) - 1)];
        struct status status = STATUS_NONE;
        struct config *config = load_small(model, variant, NULL);
        struct program *program = schedule_compile(config, &status);
        if (!program)
            fail_msg("%s", status.text);
        struct mutation mutation = {.number =
                                        (int)random_integer(&random, 0, count_sums(program) - 1)};
        program_free(program);
        config_free(config);
        check_mutation(model, variant, &mutation);
    }
}

static uint64_t bits_of_states(const char *model, const char *variant, enum plan_mode plan)
{
    struct run_options options = {.plan = plan};
    struct two_runs it;
    char text[600];
    uint64_t bits = 1;
    two_runs_start(&it, model, variant, NULL, &options);
    for (int step = 0; step < it.config->train_iterations; step++)
        if (!world_finish_step(it.world, text))
            fail_msg("%s", text);
    for (int rank = 0; rank < it.world->size; rank++) {
        const struct run *run = it.world->ranks[rank].run;
        for (int v = 0; v < run->program->value_count; v++)
            if (run->program->values[v].kind == VALUE_STATE)
                bits = bits * 31 + hash_bytes(executor_tensor(run->executor, v).data,
                                              value_bytes(&run->program->values[v]));
    }
    two_runs_end(&it);
    return bits;
}

static void test_plans_agree(void **state)
{
    static const char *const variants[] = {"dp2_z3", "dp2_stp2_pp2s2_bf4", "sdp2_stp2_pp2s2_ms4"};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(variants); i++)
        assert_true(bits_of_states("mtp_llama", variants[i], PLAN_KEEP) ==
                    bits_of_states("mtp_llama", variants[i], PLAN_REUSE));
}

/* The first product of rank 1's backward pass is not finite. */
static bool overflow(struct program *program, void *context, struct status *status)
{
    (void)context;
    for (int i = 0; program->seat.rank == 1 && i < program->instruction_count; i++) {
        struct instruction *instruction = &program->instructions[i];
        if (instruction->op != OP_MATMUL || instruction->origin.phase != PHASE_BACKWARD)
            continue;
        instruction->op = OP_FILL;
        instruction->input_count = 0;
        instruction->parameters = (struct op_parameters){.value = INFINITY};
        return true;
    }
    return program->seat.rank != 1 || status_fail(status, STATUS_NOT_FOUND, "no product");
}

static void test_overflow_is_shared(void **state)
{
    static const char *const fp16[] = {"distributed.compute_dtype=fp16", NULL};
    static const char *const variants[] = {"dp2_z2", "stp2", "pp2s1_bf4"};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(variants); i++) {
        struct run_options options = {.plan = PLAN_KEEP, .change = overflow};
        struct two_runs it;
        char text[600];
        two_runs_start(&it, "llama", variants[i], fp16, &options);
        if (!world_finish_step(it.world, text))
            fail_msg("%s", text);
        for (int rank = 0; rank < it.world->size; rank++) {
            assert_true(it.world->ranks[rank].run->reports[0].skipped);
            assert_false(isfinite(it.world->ranks[rank].run->reports[0].gradient_norm));
        }
        two_runs_end(&it);
    }
}

/* The tensor ranks' first sum is of other sizes on rank 1. */
static bool disagree(struct program *program, void *context, struct status *status)
{
    (void)context, (void)status;
    if (program->seat.rank == 1)
        program->instructions[find_sum(program, 1)].parameters.average = true;
    return true;
}

static void test_disagreement_is_told(void **state)
{
    struct run_options options = {.plan = PLAN_KEEP, .change = disagree};
    struct status status = STATUS_NONE;
    struct world_event event;
    struct two_runs it;
    char text[600];
    int mismatches = 0;
    (void)state;
    two_runs_start(&it, "llama", "tp2", NULL, &options);
    for (int rank = 0; rank < 2; rank++)
        assert_true(world_allow(it.world, rank, 10000, &status));
    while (world_next(it.world, 0, &event)) {
        mismatches += event.kind == WORLD_MISMATCH;
        assert_int_not_equal(event.kind, WORLD_FAILED);
    }
    assert_int_equal(mismatches, 2); /* each says it, once */
    assert_true(world_is_quiet(it.world));
    assert_int_equal(it.world->ranks[0].state, RANK_WAITING);
    world_waiting_text(it.world, 0, text, sizeof(text));
    assert_non_null(strstr(text, "rank 0 is in all_reduce(tensor, "));
    assert_non_null(strstr(text, "but rank 1 in all_reduce(tensor, average, "));
    two_runs_end(&it);
}

/* One rank that may go on waits for the other, which says before what it stands. */
static void test_waiting_is_told(void **state)
{
    struct run_options options = {.plan = PLAN_KEEP};
    struct status status = STATUS_NONE;
    struct world_event event;
    struct two_runs it;
    char text[600];
    bool waits_for[2];
    (void)state;
    two_runs_start(&it, "llama", "tp2", NULL, &options);
    assert_true(world_allow(it.world, 1, 10000, &status));
    while (world_next(it.world, 0, &event))
        assert_int_equal(event.rank, 1);
    assert_int_equal(it.world->ranks[1].state, RANK_WAITING);
    assert_int_equal(world_waits_for(it.world, 1, waits_for), 1);
    assert_true(waits_for[0] && !waits_for[1]);
    world_waiting_text(it.world, 1, text, sizeof(text));
    assert_non_null(strstr(text, "rank 1 waits in all_reduce(tensor, "));
    assert_non_null(strstr(text, "for rank 0, which stands before slice_rows"));
    int there = run_next(it.world->ranks[1].run);
    assert_true(world_allow(it.world, 0, there + 1, &status));
    world_hold(it.world, 1); /* it has begun: it goes through, and no further */
    while (world_next(it.world, 0, &event))
        assert_int_equal(event.kind, WORLD_DONE);
    for (int rank = 0; rank < 2; rank++) {
        assert_int_equal(run_next(it.world->ranks[rank].run), there + 1);
        assert_int_equal(it.world->ranks[rank].state, RANK_STOPPED);
    }
    two_runs_end(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collectives_are_missed), cmocka_unit_test(test_plans_agree),
        cmocka_unit_test(test_overflow_is_shared),     cmocka_unit_test(test_disagreement_is_told),
        cmocka_unit_test(test_waiting_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
