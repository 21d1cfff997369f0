/* The memory plan of real programs: no two values that live at the same time share memory unless
 * the plan says so, and running with memory reused gives the bits of running with all kept. */
#include "engine/base/memory.h"
#include "engine/program/memory_plan.h"
#include "engine/train/run.h"
#include "engine/train/schedule.h"
#include "tests/unit/configs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int root_of(const struct memory_plan *plan, int value)
{
    while (plan->placements[value].shares >= 0)
        value = plan->placements[value].shares;
    return value;
}

/* Of the members of a group that share memory, only one is live at a time; views excepted. */
static void check_overlap(const struct program *program, const struct memory_plan *plan)
{
    for (int a = 0; a < program->value_count; a++) {
        const struct placement *x = &plan->placements[a];
        if (x->persistent || x->shares >= 0)
            continue;
        for (int b = a + 1; b < program->value_count; b++) {
            const struct placement *y = &plan->placements[b];
            if (y->persistent || y->shares >= 0)
                continue;
            bool together = x->first <= y->last && y->first <= x->last;
            bool apart = x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset;
            if (together && !apart)
                fail_msg("%%%d and %%%d overlap", a, b);
        }
    }
}

/* Every operand of every instruction is live and not overwritten when the instruction runs. */
static void check_operands(const struct program *program, const struct memory_plan *plan)
{
    for (int i = 0; i < program->instruction_count; i++)
        for (int k = 0; k < program->instructions[i].input_count; k++) {
            int value = program->instructions[i].inputs[k];
            if (!memory_plan_holds(plan, program, value, i))
                fail_msg("instruction %d reads %%%d, which is gone", i, value);
            const struct placement *root = &plan->placements[root_of(plan, value)];
            assert_true(root->persistent || root->last >= i);
        }
}

static void test_plans(void **state)
{
    static const char *const names[] = {"llama/simple",  "llama/bf4",    "llama/ms4",
                                        "llama/ce4",     "gpt_2/df4_z2", "mixtral/bf16",
                                        "mtp_llama/fp16"};
    struct status status = STATUS_NONE;
    (void)state;
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    for (int n = 0; n < ARRAY_LENGTH(names); n++) {
        struct config *config = load_tiny_config(names[n]);
        struct program *program = schedule_compile(config, &status);
        if (!program)
            fail_msg("%s", status.text);
        struct memory_plan *reuse = memory_plan_create(program, device, PLAN_REUSE, &status);
        struct memory_plan *keep = memory_plan_create(program, device, PLAN_KEEP, &status);
        assert_non_null(reuse);
        assert_non_null(keep);
        check_overlap(program, reuse);
        check_operands(program, reuse);
        check_overlap(program, keep);
        check_operands(program, keep);
        assert_true(reuse->step_bytes < keep->step_bytes);
        assert_true(reuse->step_bytes >= reuse->live[reuse->peak]);
        memory_plan_free(reuse);
        memory_plan_free(keep);
        program_free(program);
        config_free(config);
    }
    device_close(device);
}

static char *run_to_end(const char *name, enum plan_mode mode, size_t *size)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config(name);
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    struct comm *comm = comm_self();
    struct run_options options = {.plan = mode};
    struct run *run = run_create(config, device, comm, &options, &status);
    while (run && !run_ended(run))
        if (!run_one(run, &status))
            break;
    if (!run || !run_ended(run))
        fail_msg("%s", status.text);
    struct device_memory memory;
    device_memory(device, &memory);
    assert_int_equal(memory.peak_total, memory_plan_total(run->executor->plan));
    char *bytes = NULL;
    *size = 0;
    for (int p = 0; p < run->program->parameter_count; p++) {
        int value = run->program->parameters[p].value;
        size_t more = value_bytes(&run->program->values[value]);
        bytes = memory_resize(bytes, *size + more, 1);
        assert_true(executor_read(run->executor, value, bytes + *size, &status));
        *size += more;
    }
    run_free(run);
    device_memory(device, &memory);
    assert_int_equal(memory.live_total, 0);
    comm_close(comm);
    device_close(device);
    config_free(config);
    return bytes;
}

static void test_same_bits_whatever_the_plan(void **state)
{
    static const char *const names[] = {"llama/ms4", "gpt_2/df4_z2", "mixtral/fp16"};
    (void)state;
    for (int n = 0; n < ARRAY_LENGTH(names); n++) {
        size_t size_a, size_b;
        char *a = run_to_end(names[n], PLAN_REUSE, &size_a);
        char *b = run_to_end(names[n], PLAN_KEEP, &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(a, b, size_a);
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_same_bits_whatever_the_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
