/* Whole models against PyTorch: the recorded traces under baselines/, on the same parameters and
 * tokens. Every tensor of both steps, and the parameters after the last one. */
#include "engine/base/memory.h"
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
    (void)step;
    assert_int_equal(metrics->nan_test + metrics->infinity_test, 0);
    if (metrics->rms_reference == 0)
        assert_true(metrics->rms_difference == 0);
    double relative =
        metrics->rms_reference > 0 ? metrics->rms_difference / metrics->rms_reference : 0;
    tally->compared++;
    tally->failed += result->verdict.failures != 0;
    const char *name = pair->test->program->values[value].name;
    bool is_update = strstr(name, ".updated") != NULL;
    if (relative > tally->worst && !(is_update && follows_rounding(name))) {
        tally->worst = relative;
        snprintf(tally->worst_name, sizeof(tally->worst_name), "%s", name);
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
    assert_true(tally.compared >= 2 * (4 + 3 + 17));
    assert_true(tally.worst < LIMIT);
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
