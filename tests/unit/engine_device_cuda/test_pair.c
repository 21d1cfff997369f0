/* Two runs in lockstep on the CUDA device: what both have there is compared there, with the same
 * result as on the host. */
/* link: lockstep_engine_compare */
#include "engine/base/memory.h"
#include "engine/compare/pair.h"
#include "helper_module.h"
#include "helper_seen.h"
#include "tests/unit/configs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Of a step in which nothing stops: losses and norms of both runs, loss scales, results. */
enum { WAITS_OF_A_PAIR = 16 };

struct cost {
    size_t fetched, waits; /* 0 if nobody counts them */
    int steps;
};

static struct cost run_pair(const struct pair_options *options, bool defer, struct seen *seen)
{
    struct status status = STATUS_NONE;
    struct pair_event event;
    struct cost cost = {0};
    struct pair *pair = pair_create(options, &status);
    if (!pair)
        fail_msg("%s", status.text);
    pair_observe(pair, seen_observe, seen);
    pair->defer = defer;
    cost.fetched = module_count("emulator_fetched");
    cost.waits = module_count("emulator_waits");
    cost.steps = pair->test->steps;
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    if (!pair_settle(pair, &status))
        fail_msg("%s", status.text);
    cost.fetched = module_count("emulator_fetched") - cost.fetched;
    cost.waits = module_count("emulator_waits") - cost.waits;
    pair_free(pair);
    return cost;
}

/* The same device but for one thing: what is on it is compared by the host. */
static struct device *open_fetching(struct device_ops *ops)
{
    struct status status = STATUS_NONE;
    struct device_options options = {0};
    void *context;
    *ops = *module_table();
    ops->compare = NULL;
    if (!ops->open(&context, &options, &status))
        fail_msg("%s", status.text);
    return device_wrap(ops, context);
}

struct match {
    struct config *test, *reference;
    struct tolerances *tolerances;
};

static struct match load_match(const char *test, const char *reference, const char *table)
{
    static const char *const overrides[] = {"data.micro_batch_size=32", "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48"};
    struct config_search search = search_configs(overrides, 3);
    struct status status = STATUS_NONE;
    struct match match = {config_load(&search, test, &status),
                          config_load(&search, reference, &status),
                          tolerances_load(&search, table, "cuda", &status)};
    if (status.code != STATUS_OK)
        fail_msg("%s", status.text);
    return match;
}

static void match_free(struct match *match)
{
    tolerances_free(match->tolerances);
    config_free(match->test);
    config_free(match->reference);
}

/* Runs a match on a device, with memory that is used again unless `keep`. */
static struct cost run_match(const struct match *match, struct device *device, bool keep,
                             bool defer, struct seen *seen)
{
    struct comm *comm = comm_self();
    struct pair_options options = {.test = match->test,
                                   .reference = match->reference,
                                   .tolerances = match->tolerances,
                                   .device = device,
                                   .comm = comm,
                                   .keep_limit = keep ? INT64_MAX : 0,
                                   .inner_values = true};
    struct cost cost = run_pair(&options, defer, seen);
    comm_close(comm);
    return cost;
}

/* Whether values are kept or not: in step, the reference has what is compared. */
static void check_compared_there(const struct match *match, bool keep, const struct seen *here,
                                 struct cost fetching)
{
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    struct seen there = {0}, late = {0};
    struct cost comparing = run_match(match, device, keep, false, &there);
    struct cost deferring = run_match(match, device, keep, true, &late);
    seen_assert_same(&there, here);
    seen_assert_same(&late, &there);
    /* What is left are states and scalars that the runs themselves look at. */
    if (fetching.fetched) {
        assert_true(comparing.fetched < fetching.fetched / 3);
        assert_true(deferring.fetched <= comparing.fetched);
        assert_true(comparing.waits >= (size_t)there.count);
        assert_true(deferring.waits <= WAITS_OF_A_PAIR * (size_t)deferring.steps);
    }
    free(there.results);
    free(late.results);
    device_close(device);
}

static void test_compared_there(void **state)
{
    static const char *const names[] = {"llama/bf16", "llama/fp16"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct match match = load_match(names[i], "llama/simple", strchr(names[i], '/') + 1);
        struct device_ops ops;
        struct device *device = open_fetching(&ops);
        struct seen here = {0};
        struct cost fetching = run_match(&match, device, true, false, &here);
        device_close(device);
        check_compared_there(&match, true, &here, fetching);
        check_compared_there(&match, false, &here, fetching);
        free(here.results);
        match_free(&match);
    }
}

/* The reference has its micro-batches in another order: where memory is used again, the host holds
 * what it computes before the test does. */
static void test_held_by_the_host(void **state)
{
    (void)state;
    struct match match = load_match("llama/bf4", "llama/df4", "default");
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    struct seen kept = {0}, held = {0};
    struct cost keeping = run_match(&match, device, true, false, &kept);
    struct cost holding = run_match(&match, device, false, false, &held);
    seen_assert_same(&held, &kept);
    assert_true(!module_is_emulated() || holding.fetched > 10 * keeping.fetched);
    free(kept.results);
    free(held.results);
    device_close(device);
    match_free(&match);
}

/* The host waits for the GPU where a step ends, not where instructions do, whatever their number.
 */
static void test_waits(void **state)
{
    (void)state;
    if (!module_is_emulated())
        skip();
    for (int splits = 1; splits <= 4; splits *= 4) {
        struct status status = STATUS_NONE;
        struct device *device = device_open("cuda", NULL, &status);
        struct comm *comm = comm_self();
        struct config *config = load_tiny_config(splits > 1 ? "llama/ms4" : "llama/simple");
        struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
        for (int step = 0; step < run->steps; step++) {
            size_t before = module_count("emulator_waits");
            assert_true(run_step(run, &status));
            size_t waits = module_count("emulator_waits") - before;
            /* Each loss, the norm, the scaler. */
            assert_int_equal(waits, run->program->outputs.loss_count + 2);
        }
        run_free(run);
        config_free(config);
        comm_close(comm);
        device_close(device);
    }
}

/* A trace of samples is the one that the host would write, but for the last bits of statistics; and
 * what is recorded is fetched once. */
static void record(struct trace_writer *writer, struct run *run, struct trace_gatherer *gatherer,
                   int value)
{
    struct status status = STATUS_NONE;
    struct tensor tensor = executor_tensor(run->executor, value);
    const char *name = run->program->values[value].name;
    void *buffer = NULL;
    bool ok = gatherer ? trace_gather(gatherer, name, &tensor, &status)
                       : executor_view(run->executor, value, &buffer, &tensor, &status) &&
                             trace_add(writer, name, &tensor, &status);
    free(buffer);
    if (!ok)
        fail_msg("%s", status.text);
}

static size_t record_run(struct device *device, const char *directory, bool gathering)
{
    struct status status = STATUS_NONE;
    struct comm *comm = comm_self();
    struct config *config = load_tiny_config("llama/bf16");
    struct run *run = run_create(config, device, comm, &(struct run_options){0}, &status);
    struct trace_description what = {
        .run = "run", .config_text = "", .device = "cuda", .software = "test"};
    struct trace_writer *writer = trace_create(directory, &what, &status);
    struct trace_gatherer *gatherer = gathering ? trace_gatherer_create(writer, device) : NULL;
    assert_true(writer && !gatherer == !gathering);
    size_t before = module_count("emulator_waits");
    do {
        if (!run_one(run, &status))
            fail_msg("%s", status.text);
        const struct instruction *done = &run->program->instructions[run_next(run) - 1];
        for (int k = 0; k < done->output_count; k++)
            if (run->program->values[done->outputs[k]].name[0] &&
                dtype_is_float(run->program->values[done->outputs[k]].dtype))
                record(writer, run, gatherer, done->outputs[k]);
    } while (run_next(run) < run->program->instruction_count);
    assert_true(!gatherer || trace_gather_finish(gatherer, &status));
    size_t waits = module_count("emulator_waits") - before;
    assert_true(trace_finish_step(writer, "train_1", &status));
    assert_true(trace_finish(writer, &status));
    trace_gatherer_free(gatherer);
    run_free(run);
    config_free(config);
    comm_close(comm);
    return waits;
}

static void check_traces(const char *a, const char *b)
{
    struct status status = STATUS_NONE;
    struct trace *traces[2] = {trace_open(a, &status), trace_open(b, &status)};
    if (!traces[0] || !traces[1])
        fail_msg("%s", status.text);
    const struct trace_step *steps[2] = {trace_find_step(traces[0], "train_1"),
                                         trace_find_step(traces[1], "train_1")};
    assert_non_null(steps[0]);
    assert_non_null(steps[1]);
    assert_true(steps[0]->count > 60);
    assert_int_equal(steps[0]->count, steps[1]->count);
    for (int i = 0; i < steps[0]->count; i++) {
        struct trace_tensor x, y;
        trace_at(steps[0], i, &x);
        trace_at(steps[1], i, &y);
        assert_string_equal(x.name, y.name);
        assert_true(shape_equal(x.shape, y.shape) && x.samples.dtype == y.samples.dtype);
        assert_int_equal(x.sampling_step, y.sampling_step);
        assert_int_equal(x.times, y.times);
        assert_int_equal(x.nan_count, y.nan_count);
        assert_true(x.minimum == y.minimum && x.maximum == y.maximum);
        double spread = isnan(x.deviation) ? 0 : x.deviation; /* a scalar has none */
        assert_true(fabs(x.mean - y.mean) <= 1e-12 * (fabs(x.mean) + spread));
        assert_true(isnan(x.deviation) ? isnan(y.deviation)
                                       : fabs(x.deviation - y.deviation) <= 1e-9 * x.deviation);
        assert_memory_equal(x.samples.data, y.samples.data,
                            (size_t)shape_elements(x.samples.shape) * dtype_size(x.samples.dtype));
    }
    trace_close(traces[0]);
    trace_close(traces[1]);
}

static void test_recorded_there(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct device *device = device_open("cuda", NULL, &status);
    char folder[] = "/tmp/lockstep-gather-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *fetched = memory_format("%s/fetched", folder);
    char *gathered = memory_format("%s/gathered", folder);
    size_t many = record_run(device, fetched, false), few = record_run(device, gathered, true);
    check_traces(fetched, gathered);
    assert_true(!module_is_emulated() || (many > 60 && few < 10));
    char *remove = memory_format("rm -r %s", folder);
    assert_int_equal(system(remove), 0);
    free(remove);
    free(fetched);
    free(gathered);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compared_there), cmocka_unit_test(test_held_by_the_host),
        cmocka_unit_test(test_waits), cmocka_unit_test(test_recorded_there)};
    if (!module_table())
        return module_missing();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
