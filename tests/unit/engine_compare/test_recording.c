/* A recording of the reference gives the same comparisons as the live reference. */
#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "engine/compare/recording.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    struct metrics *metrics;
    int count, capacity;
    int parameters; /* compared before the first step */
};

static void observe(void *context, const struct pair *pair, int step, int value,
                    const struct pair_result *result)
{
    struct seen *seen = context;
    (void)pair, (void)step, (void)value;
    ARRAY_PUSH(seen->metrics, seen->count, seen->capacity, result->metrics);
}

static struct config *load(const struct config_search *search, const char *name)
{
    struct status status = STATUS_NONE;
    struct config *config = config_load(search, name, &status);
    if (!config)
        fail_msg("%s", status.text);
    return config;
}

static void run_pair(const struct pair_options *options, struct seen *seen)
{
    struct status status = STATUS_NONE;
    struct pair_event event;
    struct pair *pair = pair_create(options, &status);
    if (!pair)
        fail_msg("%s", status.text);
    for (int p = 0; p < pair->test->program->parameter_count; p++) {
        const struct pair_result *result = &pair->results[pair->test->program->parameters[p].value];
        seen->parameters += result->compared;
        assert_int_equal(result->metrics.different, 0);
    }
    pair_observe(pair, observe, seen);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    pair_free(pair);
}

static void test_as_live(void **state)
{
    static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};
    static const char *const overrides[] = {"data.micro_batch_size=64", "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48"};
    static const char *const runs[][3] = {{"llama/bf16", "llama/simple", "bf16"},
                                          {"gpt_2/fp16", "gpt_2/simple", "fp16"},
                                          {"llama/bf2_df2", "llama/df4", "layer_match"}};
    struct config_search search = {directories, 1, overrides, 3};
    struct status status = STATUS_NONE;
    (void)state;
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    struct comm *comm = comm_self();
    struct recording_memory spare = {0};
    int again = 0;
    for (int i = 0; i < ARRAY_LENGTH(runs); i++) {
        struct config *test = load(&search, runs[i][0]), *reference = load(&search, runs[i][1]);
        struct tolerances *tolerances = tolerances_load(&search, runs[i][2], "cpu", &status);
        struct run *run = run_create(reference, device, comm, &(struct run_options){0}, &status);
        assert_non_null(run);
        int64_t forecast = recording_bytes(run->program, run->steps);
        const char *before = spare.memory;
        bool fits = before && spare.reserved >= forecast;
        struct recording *recording = recording_make(run, &spare, NULL, NULL, &status);
        assert_non_null(recording);
        assert_null(spare.memory);
        assert_true(!fits || recording->memory == before);
        again += fits;
        assert_int_equal(recording->bytes, forecast);
        run_free(run);
        struct seen live = {0}, recorded = {0};
        struct pair_options options = {.test = test,
                                       .reference = reference,
                                       .tolerances = tolerances,
                                       .device = device,
                                       .comm = comm};
        run_pair(&options, &live);
        options.reference = NULL;
        options.recording = recording;
        run_pair(&options, &recorded);
        assert_int_equal(live.parameters, recorded.parameters);
        assert_true(live.parameters > 10);
        assert_true(live.count > 60 && live.count == recorded.count);
        assert_memory_equal(live.metrics, recorded.metrics,
                            (size_t)live.count * sizeof(*live.metrics));
        free(live.metrics);
        free(recorded.metrics);
        recording_recycle(recording, &spare);
        tolerances_free(tolerances);
        config_free(test);
        config_free(reference);
    }
    assert_true(again > 0);
    recording_memory_free(&spare);
    comm_close(comm);
    device_close(device);
}

static bool refuse(const void *context, struct status *status)
{
    (void)context;
    return status_fail(status, STATUS_CANCELLED, "interrupted");
}

static void test_can_be_interrupted(void **state)
{
    struct status status = STATUS_NONE;
    static const char *const overrides[] = {"data.micro_batch_size=64"};
    struct config_search search = {NULL, 0, overrides, 1};
    (void)state;
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    struct comm *comm = comm_self();
    struct config *config = load(&search, "llama");
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    assert_non_null(run);
    assert_null(recording_make(run, NULL, refuse, NULL, &status));
    assert_int_equal(status.code, STATUS_CANCELLED);
    run_free(run);
    config_free(config);
    comm_close(comm);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_live),
        cmocka_unit_test(test_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
