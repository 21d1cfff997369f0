/* check accuses no kernel that is right, whatever an instruction writes: numbers of rows, experts,
 * tokens, and infinities where 16 bits have no more room; and it accuses one that is not. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <math.h>
#include <stdio.h>

struct bench {
    struct config *config;
    struct tolerances *tolerances;
    struct device *device;
    struct comm *comm;
    struct pair *pair;
};

/* With other parameters in each run. */
static void bench_open(struct bench *bench, const char *name, const char *setting)
{
    struct status status = STATUS_NONE;
    struct random random = random_start(name);
    char text[64];
    snprintf(text, sizeof(text), "distributed.seed=%d", (int)random_integer(&random, 0, 999999));
    const char *const overrides[] = {"data.micro_batch_size=32",
                                     "base_model.hidden_size=32",
                                     "base_model.decoder.num_blocks=1",
                                     "base_model.decoder.block.mixer.heads=2",
                                     "base_model.decoder.block.mixer.head_groups=1",
                                     "base_model.decoder.block.mixer.head_size=16",
                                     "base_model.decoder.block.mlp.intermediate_size=48",
                                     text,
                                     setting};
    bench->config = load_config(name, overrides, setting ? 9 : 8);
    bench->tolerances = tolerances_load(NULL, "layer_match", "cpu", &status);
    bench->device = device_open("cpu", &(struct device_options){.threads = 1}, &status);
    bench->comm = comm_self();
    struct pair_options options = {.test = bench->config,
                                   .reference = bench->config,
                                   .tolerances = bench->tolerances,
                                   .device = bench->device,
                                   .comm = bench->comm,
                                   .keep_limit = 1 << 30,
                                   .threads = 1};
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
}

static struct check check_last(struct pair *pair)
{
    struct status status = STATUS_NONE;
    struct check check;
    int step = pair->test->step, last = run_next(pair->test) - 1;
    if (!check_instruction(pair, step, last, &check, &status))
        fail_msg("%d: %s", last, status.text);
    return check;
}

/* Runs and checks every instruction; returns how many wrote an infinity. */
static int check_all(struct pair *pair)
{
    struct status status = STATUS_NONE;
    struct pair_event event;
    int overflows = 0;
    while (!pair_ended(pair)) {
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
        struct check check = check_last(pair);
        const struct program *program = pair->test->program;
        if (!check.supported || check.output < 0 || check.wrong)
            fail_msg("step %d, %d %s: supported %d, output %d, introduced %g > %g", check.step,
                     check.instruction, op_name(program->instructions[check.instruction].op),
                     check.supported, check.output, check.introduced_relative,
                     check.expected_relative);
        overflows += check.introduced.infinity_test > 0;
    }
    return overflows;
}

static void test_right_kernels(void **state)
{
    static const char *const names[] = {"mixtral_top2/ms4", "mtp_llama/ce4", "gpt_2/bf2_df2",
                                        "mixtral/bf16", "qwen_2/fp16"};
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(names); i++) {
        struct bench bench;
        bench_open(&bench, names[i], NULL);
        check_all(bench.pair);
        bench_close(&bench);
    }
}

/* A loss scale that is too large: gradients overflow, and the step is left out. */
static void test_overflow(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "llama/fp16", "optimizer.gradient_scaler.initial=1e12");
    assert_true(check_all(bench.pair) > 0);
    bench_close(&bench);
}

/* Runs to the first instruction that wrote a value of `dtype` and returns that value. */
static int run_to(struct pair *pair, enum dtype dtype)
{
    struct status status = STATUS_NONE;
    struct pair_event event;
    while (pair_run_one(pair, &event, &status) && !pair_ended(pair)) {
        const struct program *program = pair->test->program;
        int output = program->instructions[run_next(pair->test) - 1].outputs[0];
        if (program->values[output].dtype == dtype)
            return output;
    }
    fail_msg("nothing of dtype %s: %s", dtype_name(dtype), status.text);
    return -1;
}

/* What was computed is changed in one place. */
static void test_wrong_kernels(void **state)
{
    static const struct {
        const char *name;
        enum dtype dtype;
        double number;
    } cases[] = {{"mixtral_top2", DTYPE_I32, 3.0},
                 {"llama/fp16", DTYPE_F16, INFINITY},
                 {"llama/fp16", DTYPE_F16, -INFINITY},
                 {"llama/bf16", DTYPE_BF16, NAN}};
    (void)state;
    struct random random = random_start("elements");
    for (int i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct bench bench;
        bench_open(&bench, cases[i].name, NULL);
        int value = run_to(bench.pair, cases[i].dtype);
        assert_false(check_last(bench.pair).wrong);
        struct tensor tensor = executor_tensor(bench.pair->test->executor, value);
        int64_t at = random_integer(&random, 0, shape_elements(tensor.shape) - 1);
        double before = tensor_load(&tensor, at);
        bool whole = cases[i].dtype == DTYPE_I32;
        tensor_store(&tensor, at, whole ? before + cases[i].number : cases[i].number);
        struct check check = check_last(bench.pair);
        assert_true(check.wrong);
        assert_int_equal(check.output, value);
        bench_close(&bench);
    }
}

/* One wrong choice among many is a smaller number than the rounding of the scores beside it, but
 * it is the choice that is wrong. */
static void test_wrong_output_beside_a_right_one(void **state)
{
    (void)state;
    struct random random = random_start("outputs");
    struct bench bench;
    bench_open(&bench, "mixtral_top2", "data.micro_batch_size=8192");
    int experts = run_to(bench.pair, DTYPE_I32);
    const struct run *run = bench.pair->test;
    int scores = run->program->instructions[run_next(run) - 1].outputs[1];
    struct check right = check_last(bench.pair);
    struct tensor tensor = executor_tensor(run->executor, scores);
    for (int64_t i = 0; i < shape_elements(tensor.shape); i++)
        tensor_store(&tensor, i, tensor_load(&tensor, i) * (1 + 0.9 * right.expected_relative));
    struct check rounded = check_last(bench.pair);
    assert_true(!rounded.wrong && rounded.output == scores);
    tensor = executor_tensor(run->executor, experts);
    int64_t at = random_integer(&random, 0, shape_elements(tensor.shape) - 1);
    tensor_store(&tensor, at, tensor_load(&tensor, at) + 3);
    struct check wrong = check_last(bench.pair);
    assert_true(wrong.introduced_relative < rounded.introduced_relative);
    assert_true(wrong.wrong && wrong.introduced_relative > wrong.expected_relative);
    assert_int_equal(wrong.output, experts);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_kernels),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_wrong_kernels),
        cmocka_unit_test(test_wrong_output_beside_a_right_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
