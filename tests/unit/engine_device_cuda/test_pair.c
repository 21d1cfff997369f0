/* Two runs in lockstep on the CUDA device: where both keep their values these are compared there,
 * with the same result as on the host. */
/* link: lockstep_engine_compare */
#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "helper_module.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    struct pair_result *results;
    int count, capacity;
};

static void observe(void *context, const struct pair *pair, int step, int value,
                    const struct pair_result *result)
{
    struct seen *seen = context;
    (void)pair, (void)step, (void)value;
    ARRAY_PUSH(seen->results, seen->count, seen->capacity, *result);
}

/* Runs both and gives the bytes that were fetched from the device, 0 if nobody counts them. */
static size_t run_pair(const struct pair_options *options, struct seen *seen)
{
    struct status status = STATUS_NONE;
    struct pair_event event;
    size_t (*fetched)(void) = NULL;
    void *module = dlopen(LOCKSTEP_EMULATED_MODULE "/lockstep_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    if (module)
        *(void **)&fetched = dlsym(module, "emulator_fetched");
    size_t before = fetched ? fetched() : 0;
    struct pair *pair = pair_create(options, &status);
    if (!pair)
        fail_msg("%s", status.text);
    pair_observe(pair, observe, seen);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    pair_free(pair);
    return fetched ? fetched() - before : 0;
}

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-12 * fabs(b) + 1e-300);
}

static void assert_same(const struct seen *there, const struct seen *here)
{
    assert_true(there->count > 60);
    assert_int_equal(there->count, here->count);
    for (int i = 0; i < there->count; i++) {
        const struct pair_result *a = &there->results[i], *b = &here->results[i];
        assert_int_equal(a->verdict.failures, b->verdict.failures);
        assert_int_equal(a->metrics.different, b->metrics.different);
        assert_int_equal(a->metrics.max_index, b->metrics.max_index);
        assert_true(a->metrics.max_ulp == b->metrics.max_ulp);
        assert_near(a->metrics.rms_difference, b->metrics.rms_difference);
        assert_near(a->metrics.rms_reference, b->metrics.rms_reference);
        assert_near(a->metrics.cosine, b->metrics.cosine);
    }
}

static void test_compared_there(void **state)
{
    static const char *const directories[] = {LOCKSTEP_SOURCE_DIR "/configs"};
    static const char *const overrides[] = {"data.micro_batch_size=32", "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48"};
    static const char *const names[] = {"llama/bf16", "llama/fp16"};
    struct config_search search = {directories, 1, overrides, 3};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct status status = STATUS_NONE;
        struct device *device = device_open("cuda", NULL, &status);
        struct comm *comm = comm_self();
        struct config *test = config_load(&search, names[i], &status);
        struct config *reference = config_load(&search, "llama/simple", &status);
        struct tolerances *tolerances =
            tolerances_load(&search, strchr(names[i], '/') + 1, "cuda", &status);
        struct pair_options options = {.test = test,
                                       .reference = reference,
                                       .tolerances = tolerances,
                                       .device = device,
                                       .comm = comm,
                                       .inner_values = true};
        if (status.code != STATUS_OK)
            fail_msg("%s", status.text);
        struct seen here = {0}, there = {0};
        size_t fetched_here = run_pair(&options, &here);
        options.keep_limit = INT64_MAX;
        size_t fetched_there = run_pair(&options, &there);
        assert_same(&there, &here);
        /* What is left are states and scalars that the runs themselves look at. */
        if (fetched_here)
            assert_true(fetched_there < fetched_here / 3);
        free(here.results);
        free(there.results);
        tolerances_free(tolerances);
        config_free(test);
        config_free(reference);
        comm_close(comm);
        device_close(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compared_there)};
    if (!module_table())
        return module_is_emulated() ? 0 : 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
