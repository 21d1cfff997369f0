/* Whole models against PyTorch: the recorded traces under baselines/, on the same parameters and
 * tokens. Every tensor of both steps, and the parameters before the first and after the last. */
#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/compare/pair.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Relative rms error. Both sides compute in float32; PyTorch's own float32 is up to 4e-6 away from
 * its float64 (baselines/README.md), a forgotten term shows at 1e-3 and more. */
static const double LIMIT = 2e-5;

struct tally {
    int compared, failed;
    double worst;
    char worst_name[256];
    struct names compared_names[2]; /* of each step */
};

/* Adam divides a gradient that is pure rounding (key biases have none in truth) by its own size, so
 * such a parameter may differ by a good part of the learning rate, 1e-4 for each of two steps. */
static bool follows_rounding(const char *name)
{
    return strstr(name, "key_value.bias") != NULL;
}

static void observe(void *context, const struct pair *pair, int step, int value,
                    const struct pair_result *result)
{
    struct tally *tally = context;
    const struct metrics *metrics = &result->metrics;
    assert_int_equal(metrics->nan_test + metrics->infinity_test, 0);
    if (metrics->rms_reference == 0)
        assert_true(metrics->rms_difference == 0);
    double relative =
        metrics->rms_reference > 0 ? metrics->rms_difference / metrics->rms_reference : 0;
    tally->compared++;
    tally->failed += result->verdict.failures != 0;
    const char *name = pair->test->program->values[value].name;
    assert_true(names_set(&tally->compared_names[step], name, value));
    bool is_update = strstr(name, ".updated") != NULL;
    if (relative > tally->worst && !(is_update && follows_rounding(name))) {
        tally->worst = relative;
        snprintf(tally->worst_name, sizeof(tally->worst_name), "%s", name);
    }
}

/* A residual sum hands its gradient on to both of its summands: one value, under the sum's name. */
static bool has_gradient_of_sum(const char *name)
{
    const char *layer = strrchr(name, '.');
    size_t length = layer ? (size_t)(layer - name) : 0;
    bool branch = length > 6 && (strncmp(layer - 6, ".mixer", 6) == 0 ||
                                 (length > 4 && strncmp(layer - 4, ".mlp", 4) == 0));
    return strncmp(name, "bw ", 3) == 0 && branch && strcmp(layer, ".output") == 0;
}

/* Nothing that was recorded is left out: the run compares what a step computes, and before it the
 * parameters that it begins with, of the second step as what the update of the first made. */
static void check_all_compared(const struct pair *pair, const struct trace *trace,
                               const struct tally *tally)
{
    const struct program *program = pair->test->program;
    for (int step = 0; step < 2; step++) {
        char name[32];
        const struct trace_step *recorded = trace_find_step(trace, run_step_name(step, name));
        assert_non_null(recorded);
        for (int i = 0; i < recorded->count; i++) {
            const char *tensor = trace_name(recorded, i);
            bool found = names_find(&tally->compared_names[step], tensor) >= 0;
            if (strncmp(tensor, "param ", 6) == 0)
                found = step == 1 && program_find(program, tensor) >= 0;
            if (found == has_gradient_of_sum(tensor))
                fail_msg("%s: %s is %scompared", name, tensor, found ? "" : "not ");
        }
    }
    for (int p = 0; p < program->parameter_count; p++) {
        char updated[300];
        const char *path = program->values[program->parameters[p].value].path;
        snprintf(updated, sizeof(updated), "state %s.updated", path);
        assert_true(pair->initial[p].compared && pair->initial[p].verdict.failures == 0);
        for (int step = 0; step < 2; step++)
            assert_true(names_find(&tally->compared_names[step], updated) >= 0);
    }
}

static void check_final_parameters(struct pair *pair, const struct trace *trace)
{
    const struct trace_step *final = trace_find_step(trace, "final");
    const struct program *program = pair->test->program;
    struct status status = STATUS_NONE;
    assert_non_null(final);
    for (int p = 0; p < program->parameter_count; p++) {
        const struct value *value = &program->values[program->parameters[p].value];
        struct trace_tensor recorded;
        assert_true(trace_find(final, value->name, &recorded));
        float *data = memory_zeroed(value_bytes(value), 1);
        assert_true(executor_read(pair->test->executor, value->id, data, &status));
        int64_t stride = recorded.sampling_step ? recorded.sampling_step : 1;
        double sum = 0;
        int64_t count = shape_elements(recorded.samples.shape);
        for (int64_t i = 0; i < count; i++) {
            double difference = (double)data[i * stride] - tensor_load(&recorded.samples, i);
            assert_true(fabs(difference) <= 2.5e-4);
            sum += difference * difference;
        }
        if (!follows_rounding(value->name))
            assert_true(sqrt(sum / (double)count) <= 2e-6);
        free(data);
    }
}

static void run_model(const char *model)
{
    struct status status = STATUS_NONE;
    const char *directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};
    const char *overrides[] = {"data.micro_batch_size=256"};
    struct config_search search = {directories, 1, overrides, 1};
    struct config *config = config_load(&search, model, &status);
    if (!config)
        fail_msg("%s", status.text);
    struct tolerances *tolerances = tolerances_load(&search, "layer_match", "cpu", &status);
    char init[512], data[512], directory[512];
    snprintf(init, sizeof(init), "%s/baselines/%s/init.json", LOCKSTEP_SOURCE_DIR, model);
    snprintf(data, sizeof(data), "%s/baselines/%s/data.safetensors", LOCKSTEP_SOURCE_DIR, model);
    snprintf(directory, sizeof(directory), "%s/baselines/%s/trace", LOCKSTEP_SOURCE_DIR, model);
    struct trace *trace = trace_open(directory, &status);
    if (!trace)
        fail_msg("%s", status.text);
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    struct comm *comm = comm_self();
    struct pair_options options = {.test = config,
                                   .trace = trace,
                                   .tolerances = tolerances,
                                   .device = device,
                                   .comm = comm,
                                   .inner_values = true,
                                   .test_options = {.init_from = init, .data_from = data}};
    struct pair *pair = pair_create(&options, &status);
    if (!pair)
        fail_msg("%s", status.text);
    struct tally tally = {0};
    struct pair_event event;
    pair_observe(pair, observe, &tally);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    print_message("%s: %d tensors, worst relative error %.1e at %s\n", model, tally.compared,
                  tally.worst, tally.worst_name);
    assert_int_equal(tally.failed, 0);
    assert_true(tally.worst < LIMIT);
    check_all_compared(pair, trace, &tally);
    for (int step = 0; step < 2; step++)
        names_free(&tally.compared_names[step]);
    check_final_parameters(pair, trace);
    pair_free(pair);
    trace_close(trace);
    tolerances_free(tolerances);
    config_free(config);
    comm_close(comm);
    device_close(device);
}

static void test_model(void **state)
{
    run_model(*state);
}

#define MODEL(name)                                                                                \
    {                                                                                              \
        name, test_model, NULL, NULL, (void *)(uintptr_t)name                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        MODEL("llama"),     MODEL("llama_3"), MODEL("llama_yarn"), MODEL("llama_9x64"),
        MODEL("qwen_2"),    MODEL("mistral"), MODEL("mixtral"),    MODEL("mixtral_top2"),
        MODEL("mtp_llama"), MODEL("gpt_2"),   MODEL("starcoder"),  MODEL("starcoder_2"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
