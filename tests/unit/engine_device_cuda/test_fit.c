/* Runs that do not fit into a device, the CPU's and the GPU's: the report names what takes the
 * memory, and what it says would fit does. */
/* link: lockstep_engine_compare */
#include "engine/compare/pair.h"
#include "engine/program/memory_report.h"
#include "helper_module.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct device *open_with(const char *name, int64_t limit)
{
    struct status status = STATUS_NONE;
    struct device *device =
        device_open(name, &(struct device_options){.threads = 1, .memory_limit = limit}, &status);
    if (!device)
        fail_msg("%s", status.text);
    return device;
}

/* What a run takes, and what its states and inputs do alone. */
static int64_t forecast(const char *device_name, const struct config *config, int64_t *persistent)
{
    struct status status = STATUS_NONE;
    struct device *device = open_with(device_name, 0);
    struct comm *comm = comm_self();
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    if (!run)
        fail_msg("%s", status.text);
    int64_t bytes = memory_plan_total(run->executor->plan);
    *persistent = run->executor->plan->persistent_bytes;
    run_free(run);
    comm_close(comm);
    device_close(device);
    return bytes;
}

static int number_after(const char *text, const char *words)
{
    const char *at = strstr(text, words);
    return at ? atoi(at + strlen(words)) : 0;
}

/* Makes the change that the report names; false if it names none. */
static bool follow_advice(struct config *config, const char *text, bool splits)
{
    if (splits) {
        config->schedule.micro_batch_splits = number_after(text, "schedule.micro_batch_splits=");
        return config->schedule.micro_batch_splits > 1;
    }
    config->data.micro_batch_size = number_after(text, "data.micro_batch_size=");
    config->schedule.depth_first_micro_batches =
        number_after(text, "schedule.depth_first_micro_batches=");
    return config->data.micro_batch_size > 0;
}

static void check_advice(struct device *device, const struct config *config, const char *text,
                         bool splits)
{
    struct status status = STATUS_NONE;
    struct config changed = *config;
    struct comm *comm = comm_self();
    if (follow_advice(&changed, text, splits)) {
        struct run *run = run_create(&changed, device, comm, &(struct run_options){0}, &status);
        if (!run || !run_step(run, &status))
            fail_msg("it was said to fit: %s\n%s", text, status.text);
        run_free(run);
    }
    comm_close(comm);
}

static void check_report(const char *name, const struct config *config, int64_t limit, bool may_fit)
{
    struct status status = STATUS_NONE;
    struct device *device = open_with(name, limit);
    struct comm *comm = comm_self();
    assert_null(run_create(config, device, comm, &(struct run_options){0}, &status));
    printf("%s, %lld bytes: %s\n", name, (long long)limit, status.text);
    assert_int_equal(status.code, STATUS_MEMORY);
    assert_non_null(strstr(status.text, "limit of the"));
    assert_non_null(strstr(status.text, "\nforecast of this run: "));
    assert_non_null(strstr(status.text, "activations "));
    assert_non_null(strstr(status.text, "\nmost is live at instruction "));
    assert_non_null(strstr(status.text, "\nlargest there: "));
    const char *advice = strstr(status.text, "\nwhat fits: ");
    assert_true(!may_fit == !advice);
    if (!may_fit)
        assert_non_null(strstr(status.text, "\nno division of the micro-batch fits into "));
    for (int splits = 0; advice && splits < 2; splits++)
        check_advice(device, config, advice, splits);
    struct device_memory memory;
    device_memory(device, &memory);
    assert_int_equal(memory.live_total, 0);
    comm_close(comm);
    device_close(device);
}

static const char *const devices[] = {"cpu", "cuda"};

static int device_count(void)
{
    return module_table() ? 2 : 1;
}

static void test_report(void **state)
{
    struct random random = random_start("report");
    (void)state;
    for (int i = 0; i < device_count(); i++) {
        int64_t persistent;
        struct config *config = load_tiny_config("llama/simple");
        int64_t all = forecast(devices[i], config, &persistent);
        check_report(devices[i], config, all - 1, true);
        check_report(devices[i], config, random_integer(&random, 1000, persistent / 2), false);
        /* Just as much as some division takes. */
        int parts = 2 << random_integer(&random, 0, 3);
        struct config divided = *config;
        divided.data.micro_batch_size /= parts;
        divided.schedule.depth_first_micro_batches *= parts;
        int64_t room = forecast(devices[i], &divided, &persistent);
        if (room < all)
            check_report(devices[i], config, room, true);
        config_free(config);
    }
}

/* A debugger keeps every value where there is room; where there is none it runs all the same. */
static void test_keeps_what_fits(void **state)
{
    (void)state;
    for (int i = 0; i < device_count(); i++) {
        struct status status = STATUS_NONE;
        int64_t persistent;
        struct config *config = load_tiny_config("llama/simple");
        int64_t all = forecast(devices[i], config, &persistent);
        struct comm *comm = comm_self();
        for (int rooms = 1; rooms <= 2; rooms++) {
            struct device *device = open_with(devices[i], rooms * all + 4096);
            struct pair_options options = {.test = config,
                                           .reference = config,
                                           .device = device,
                                           .comm = comm,
                                           .keep_limit = INT64_MAX};
            status = STATUS_NONE;
            struct pair *pair = pair_create(&options, &status);
            assert_true(!pair == (rooms == 1));
            if (pair)
                assert_false(pair->keep);
            else
                check_advice(device, config, status.text, false);
            pair_free(pair);
            device_close(device);
        }
        comm_close(comm);
        config_free(config);
    }
}

static void test_owners(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct device *device = open_with("cpu", 0);
    struct comm *comm = comm_self();
    struct config *config = load_tiny_config("mixtral/simple");
    for (int mode = PLAN_REUSE; mode <= PLAN_KEEP; mode++) {
        struct run_options options = {.plan = (enum plan_mode)mode};
        struct run *run = run_create(config, device, comm, &options, &status);
        if (!run)
            fail_msg("%s", status.text);
        const struct memory_plan *plan = run->executor->plan;
        int64_t classes[MEMORY_CLASS_COUNT], sum = 0, planned = 0;
        int *values, count = memory_plan_owners(plan, run->program, plan->peak, &values);
        for (int k = 0; k < count; k++) {
            sum += (plan->placements[values[k]].bytes + 63) / 64 * 64;
            if (k > 0)
                assert_true(plan->placements[values[k - 1]].bytes >=
                            plan->placements[values[k]].bytes);
        }
        memory_plan_classes(plan, run->program, plan->peak, classes);
        for (int c = 0; c < MEMORY_CLASS_COUNT; c++)
            planned += c == MEMORY_WORKSPACE ? 0 : classes[c];
        assert_int_equal(sum, planned);
        free(values);
        run_free(run);
    }
    config_free(config);
    comm_close(comm);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_keeps_what_fits),
        cmocka_unit_test(test_owners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
