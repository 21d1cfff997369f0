/* Limits for updated parameters go by all rates of the schedule so far, not by the last one. */
#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "tests/unit/configs.h"

#include <math.h>
#include <stdio.h>

#define TINY                                                                                       \
    "data.micro_batch_size=64", "base_model.hidden_size=32",                                       \
        "base_model.decoder.block.mlp.intermediate_size=48", "training.train_iters=3"

enum { STEPS = 3 };

struct seen {
    int updated, updated_failed; /* parameters and moments, and those beyond their limits */
    int updates[STEPS];          /* that each step counts */
    double limits[STEPS];        /* for the rms of the parameters' differences */
};

static void observe(void *context, const struct pair *pair, int step, int value,
                    const struct pair_result *result)
{
    struct seen *seen = context;
    if (pair->test->program->values[value].state < 0)
        return;
    assert_in_range(step, 0, STEPS - 1);
    seen->updated++;
    seen->updated_failed += result->verdict.failures != 0;
    seen->updates[step] = pair->updates;
    if (pair->test->program->values[pair->test->program->values[value].state].what == WHAT_PARAM)
        seen->limits[step] = result->limits->rms_absolute;
}

static struct recording *record(const struct config *config, struct device *device,
                                struct comm *comm)
{
    struct status status = STATUS_NONE;
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    struct recording *recording = run ? recording_make(run, NULL, NULL, NULL, &status) : NULL;
    if (!recording)
        fail_msg("%s", status.text);
    run_free(run);
    return recording;
}

/* The reference runs beside the test, or did before (`recorded`). */
static struct seen compare(const char *name, const char *reference_name, bool recorded,
                           const char *const *overrides, int count)
{
    struct status status = STATUS_NONE;
    struct seen seen = {0};
    struct pair_event event;
    struct config_search search = search_configs(NULL, 0);
    struct config *test = load_config(name, overrides, count);
    struct config *reference = load_config(reference_name, overrides, count);
    struct tolerances *tolerances = tolerances_load(&search, "bf16", "cpu", &status);
    struct device *device = device_open("cpu", &(struct device_options){0}, &status);
    struct comm *comm = comm_self();
    struct recording *recording = recorded ? record(reference, device, comm) : NULL;
    struct pair_options options = {.test = test,
                                   .reference = recorded ? NULL : reference,
                                   .recording = recording,
                                   .tolerances = tolerances,
                                   .device = device,
                                   .comm = comm};
    struct pair *pair = pair_create(&options, &status);
    if (!pair)
        fail_msg("%s", status.text);
    pair_observe(pair, observe, &seen);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    pair_free(pair);
    recording_free(recording);
    comm_close(comm);
    device_close(device);
    tolerances_free(tolerances);
    config_free(reference);
    config_free(test);
    assert_true(seen.updated > 50);
    return seen;
}

static void test_schedules(void **state)
{
    (void)state;
    static const char *const schedules[] = {"constant,-1,1e-4", "constant,2,1e-3;constant,-1,1e-6",
                                            "constant,3,1e-3;constant,-1,0", "constant,-1,0",
                                            "linear,2,1e-5,1e-3;constant,-1,1e-5"};
    static const double sums[] = {3e-4, 1e-3 + 2e-6, 2e-3, 0, 5.05e-4 + 2e-5};
    for (int i = 0; i < ARRAY_LENGTH(schedules); i++) {
        char schedule[100];
        snprintf(schedule, sizeof(schedule), "optimizer.learning_rate.schedule=%s", schedules[i]);
        const char *const overrides[] = {TINY, schedule};
        struct seen seen =
            compare("llama/bf16", "llama/simple", false, overrides, ARRAY_LENGTH(overrides));
        if (seen.updated_failed)
            fail_msg("%s: %d of %d are beyond their limits", schedules[i], seen.updated_failed,
                     seen.updated);
        assert_true(fabs(seen.limits[STEPS - 1] - 0.9 * sums[i]) <= 1e-9 * sums[i]);
    }
}

/* A step that overflows makes no update: on both sides here, unless only the test computes in
 * fp16. */
static void test_skipped_steps(void **state)
{
    (void)state;
    static const char *const overrides[] = {TINY, "optimizer.gradient_scaler.initial=1e18"};
    for (int recorded = 0; recorded < 2; recorded++) {
        struct seen both =
            compare("llama/fp16", "llama/fp16", recorded, overrides, ARRAY_LENGTH(overrides));
        struct seen one =
            compare("llama/fp16", "llama/simple", recorded, overrides, ARRAY_LENGTH(overrides));
        for (int step = 0; step < STEPS; step++) {
            assert_int_equal(both.updates[step], 1);
            assert_int_equal(one.updates[step], step + 1);
        }
        assert_int_equal(both.updated_failed, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules),
                                       cmocka_unit_test(test_skipped_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
