/* References that are recorded on a GPU stay there: tests compare with them without fetching a
 * tensor; what does not fit is kept by the host, and all of it moves there when memory is needed.
 */
/* link: lockstep_engine_suite */
#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "engine/suite/execute.h"
#include "helper_module.h"
#include "helper_seen.h"
#include "tests/unit/configs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of a comparison the host gets its sums, and whether an index was wrong; of a step some scalars.
 */
static size_t most_fetched(const struct outcome *outcome)
{
    enum { FAULT = 40, SCALARS = 8 };
    size_t waits = (size_t)outcome->tensors + SCALARS * (size_t)outcome->step_count;
    return waits * (sizeof(struct device_sums) + FAULT);
}

static void test_suite_fetches_no_tensor(void **state)
{
    (void)state;
    static const char *const settings[] = {"data.micro_batch_size=128", "base_model.hidden_size=64",
                                           "base_model.decoder.block.mlp.intermediate_size=48"};
    static const char *const models[] = {"llama"};
    static const char *const patterns[] = {"llama/basic/bf4"};
    struct status status = STATUS_NONE;
    struct config_search search = search_configs(settings, ARRAY_LENGTH(settings));
    struct test_list *list = test_list_create(&search, models, 1, &status);
    struct selection selection = {.patterns = patterns, .pattern_count = 1};
    assert_non_null(list);
    struct test_choice *choices = memory_zeroed((size_t)list->test_count, sizeof(*choices));
    int *order = memory_zeroed((size_t)list->test_count, sizeof(*order)), compared = 0;
    assert_true(selection_apply(&selection, list, choices, &status));
    struct environment environment = {.search = &search, .device_name = "cuda", .choices = choices};
    int count = selection_order(list, choices, order);
    for (int i = 0; i < count; i++) {
        struct outcome outcome = {0};
        size_t before =
            i > 0 ? module_count("emulator_fetched") : 0; /* there is no module before the first */
        test_execute(&environment, list, order[i], &outcome);
        if (outcome.kind != OUTCOME_PASSED)
            fail_msg("%s: %s", list->tests[order[i]].id, outcome.reason);
        size_t fetched = module_count("emulator_fetched") - before;
        if (module_is_emulated() && i > 0) {
            printf("%s: %zu bytes fetched for %d tensors\n", list->tests[order[i]].id, fetched,
                   (int)outcome.tensors);
            assert_true(fetched > 0 && fetched <= most_fetched(&outcome));
        }
        compared += (int)outcome.tensors;
        outcome_free(&outcome);
    }
    assert_true(compared > 200);
    environment_close(&environment);
    free(order);
    free(choices);
    test_list_free(list);
}

static struct recording *record(struct device *device, const struct config *config)
{
    struct status status = STATUS_NONE;
    struct comm *comm = comm_self();
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    struct recording *recording = run ? recording_make(run, NULL, NULL, NULL, &status) : NULL;
    if (!recording)
        fail_msg("%s", status.text);
    run_free(run);
    comm_close(comm);
    return recording;
}

/* All comparisons of a test with a recording; the initial parameters must be those recorded. */
static struct seen compare(struct device *device, const struct config *config,
                           const struct recording *recording, const struct tolerances *tolerances)
{
    struct status status = STATUS_NONE;
    struct seen seen = {0};
    struct comm *comm = comm_self();
    struct pair_options options = {.test = config,
                                   .recording = recording,
                                   .tolerances = tolerances,
                                   .device = device,
                                   .comm = comm};
    struct pair *pair = pair_create(&options, &status);
    struct pair_event event;
    if (!pair)
        fail_msg("%s", status.text);
    for (int p = 0; p < pair->test->program->parameter_count; p++) {
        assert_true(pair->initial[p].compared);
        assert_int_equal(pair->initial[p].metrics.different, 0);
        assert_true(pair->initial[p].metrics.count > 0);
    }
    pair_observe(pair, seen_observe, &seen);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    pair_free(pair);
    comm_close(comm);
    return seen;
}

/* A device that may hand out so much; 0: all that it has. */
static struct device *open_device(int64_t limit)
{
    struct status status = STATUS_NONE;
    struct device *device =
        device_open("cuda", &(struct device_options){.memory_limit = limit}, &status);
    if (!device)
        fail_msg("%s", status.text);
    return device;
}

/* What the run that is recorded takes by itself. */
static int64_t bytes_of_run(struct device *device, const struct config *config)
{
    struct device_memory memory;
    struct status status = STATUS_NONE;
    struct comm *comm = comm_self();
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    assert_non_null(run);
    device_memory(device, &memory);
    run_free(run);
    comm_close(comm);
    return memory.live_total;
}

/* Takes all memory that the device may hand out, and gives it back. */
static void press(struct device *device)
{
    struct status status = STATUS_NONE;
    int64_t room;
    void *all, *more = NULL;
    assert_true(device_room(device, &room));
    if (!device_allocate(device, MEMORY_WORKSPACE, (size_t)room, &all, &status))
        fail_msg("%s", status.text);
    assert_false(device_allocate(device, MEMORY_WORKSPACE, 1, &more, &status));
    assert_null(more);
    device_release(device, MEMORY_WORKSPACE, all, (size_t)room);
}

static void compare_recorded(const char *reference_name, const char *name)
{
    struct status status = STATUS_NONE;
    struct config *reference = load_tiny_config(reference_name), *test = load_tiny_config(name);
    struct config_search search = search_configs(NULL, 0);
    struct tolerances *tolerances = tolerances_load(&search, "default", "cuda", &status);
    struct device *device = open_device(0);
    struct recording *recording = record(device, reference);
    struct device_memory memory;
    assert_int_equal(recording->there_bytes, recording->bytes);
    device_memory(device, &memory);
    assert_int_equal(memory.live_total, 0); /* what can be given back is not in use */
    assert_int_equal(memory.reserve, recording->bytes);
    int64_t bytes = recording->bytes, of_run = bytes_of_run(device, reference);
    size_t before = module_count("emulator_fetched");
    struct seen there = compare(device, test, recording, tolerances), again;
    size_t fetched = module_count("emulator_fetched") - before;
    recording_free(recording);
    device_memory(device, &memory);
    assert_int_equal(memory.live_total + memory.reserve, 0);
    device_close(device);

    /* Part of it has no place; then nothing has. */
    device = open_device(of_run + bytes);
    recording = record(device, reference);
    assert_true(recording->there_bytes > 0 && recording->there_bytes <= bytes / 2);
    again = compare(device, test, recording, tolerances);
    seen_assert_same(&again, &there);
    free(again.results);
    recording_free(recording);
    device_close(device);

    device = open_device(4 * (of_run + bytes));
    recording = record(device, reference);
    assert_int_equal(recording->there_bytes, bytes);
    press(device);
    assert_null(recording->device);
    before = module_count("emulator_fetched");
    again = compare(device, test, recording, tolerances);
    seen_assert_same(&again, &there);
    free(again.results);
    assert_true(!module_is_emulated() || module_count("emulator_fetched") - before > 4 * fetched);
    recording_free(recording);
    device_memory(device, &memory);
    assert_int_equal(memory.live_total + memory.reserve, 0);
    device_close(device);
    free(there.results);
    tolerances_free(tolerances);
    config_free(reference);
    config_free(test);
}

static void test_wherever_it_lies(void **state)
{
    (void)state;
    compare_recorded("llama/simple", "llama/bf16");
    compare_recorded("llama/simple", "llama/ms4"); /* rows of the reference's tensors */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_suite_fetches_no_tensor),
                                       cmocka_unit_test(test_wherever_it_lies)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
