/* Interrupts at random places, in the middle of kernels and of comparisons, forward and on the way
 * back: what is said to be at hand is right at every moment, and a run that goes on gives the same
 * bits as one that was never interrupted. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "engine/compare/pair_internal.h"
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Says yes after so many questions, and from then on. */
struct countdown {
    _Atomic int left;
    struct interrupt interrupt;
};

static bool asked(const void *context)
{
    _Atomic int *left = (_Atomic int *)(uintptr_t)context;
    if (atomic_load(left) <= 0)
        return true;
    return atomic_fetch_sub(left, 1) <= 1;
}

struct bench {
    struct config *test, *reference;
    struct tolerances *tolerances;
    struct device *device;
    struct comm *comm;
    struct pair *pair;
};

static struct config *load(const char *name, int vocabulary, uint64_t seed)
{
    char data_seed[64], vocabulary_size[64];
    snprintf(vocabulary_size, sizeof(vocabulary_size), "base_model.embeddings.vocab_size=%d",
             vocabulary ? vocabulary : 300);
    snprintf(data_seed, sizeof(data_seed), "data.seed=%d", (int)(seed % 1000000));
    const char *overrides[] = {"base_model.hidden_size=64",
                               vocabulary_size,
                               "base_model.decoder.block.mixer.heads=4",
                               "base_model.decoder.block.mixer.head_groups=2",
                               "base_model.decoder.block.mixer.head_size=16",
                               "base_model.decoder.block.mlp.intermediate_size=160",
                               "data.micro_batch_size=128",
                               "data.maximum_document_length=60",
                               "training.train_iters=2",
                               data_seed};
    return load_config(name, overrides, ARRAY_LENGTH(overrides));
}

struct pairing {
    const char *test, *reference;
    int64_t keep_limit, points_limit;
    int vocabulary; /* 0: a small one */
};

static void bench_open(struct bench *bench, const struct pairing *layout, uint64_t seed)
{
    struct status status = STATUS_NONE;
    bench->test = load(layout->test, layout->vocabulary, seed);
    bench->reference = load(layout->reference, layout->vocabulary, seed);
    bench->tolerances = tolerances_load(NULL, "layer_match", "cpu", &status);
    bench->device = device_open("cpu", &(struct device_options){.threads = 2}, &status);
    bench->comm = comm_self();
    struct run_options options = {.keep_points = true, .points_limit = layout->points_limit};
    bench->pair = pair_create(&(struct pair_options){.test = bench->test,
                                                     .reference = bench->reference,
                                                     .tolerances = bench->tolerances,
                                                     .device = bench->device,
                                                     .comm = bench->comm,
                                                     .inner_values = true,
                                                     .keep_limit = layout->keep_limit,
                                                     .test_options = options,
                                                     .reference_options = options,
                                                     .threads = 2},
                              &status);
    if (!bench->pair)
        fail_msg("%s: %s", layout->test, status.text);
}

static void bench_close(struct bench *bench)
{
    pair_free(bench->pair);
    tolerances_free(bench->tolerances);
    comm_close(bench->comm);
    device_close(bench->device);
    config_free(bench->test);
    config_free(bench->reference);
}

/* Everything that `run` says is at hand is the same in the other run, at the same place. Returns
 * how much that is. */
static int same_values(const struct run *run, const struct run *other)
{
    int count = 0;
    for (int v = 0; v < run->program->value_count; v++) {
        const struct value *value = &run->program->values[v];
        if (!executor_holds(run->executor, v))
            continue;
        assert_true(executor_holds(other->executor, v));
        struct tensor a = executor_tensor(run->executor, v),
                      b = executor_tensor(other->executor, v);
        if (memcmp(a.data, b.data, value_bytes(value)) != 0)
            fail_msg("step %d, instruction %d: value %d, %s, is not what it was", run->step + 1,
                     run_next(run), v, value->name);
        count++;
    }
    return count;
}

static void same_results(const struct pair *pair, const struct pair *other)
{
    for (int v = 0; v < pair->test->program->value_count; v++) {
        if (pair->results[v].compared != other->results[v].compared)
            fail_msg("step %d, instruction %d: %s is compared in one run only",
                     pair->test->step + 1, run_next(pair->test),
                     pair->test->program->values[v].name);
        assert_memory_equal(&pair->results[v].metrics, &other->results[v].metrics,
                            sizeof(struct metrics));
    }
}

/* One instruction of `pair`, interrupted some times. Returns how often. */
static int run_one_with_interrupts(struct pair *pair, const struct pair *other,
                                   struct countdown *countdown, struct random *random)
{
    int step = pair->test->step, next = run_next(pair->test), count = 0;
    for (;; count++) {
        struct status status = STATUS_NONE;
        struct pair_event event;
        bool again = count < 3;
        atomic_store(&countdown->left,
                     again ? (int)random_integer(random, 1, count ? 200 : 20) : INT32_MAX);
        if (pair_run_one(pair, &event, &status))
            return count;
        assert_int_equal(status.code, STATUS_CANCELLED);
        assert_true(again && pair->test->step == step && run_next(pair->test) == next);
        if (random_integer(random, 0, 9) == 0)
            same_values(pair->test, other->test);
    }
}

/* Goes somewhere, is interrupted on the way, and comes back. */
static bool travel_with_interrupt(struct pair *pair, struct countdown *countdown,
                                  struct random *random)
{
    struct status status = STATUS_NONE;
    int count = pair->test->program->instruction_count;
    int step = pair->test->step, next = run_next(pair->test);
    int to_step = (int)random_integer(random, 0, step);
    int to = (int)random_integer(random, 0, to_step < step ? count : next);
    atomic_store(&countdown->left, (int)random_integer(random, 1, 4000));
    bool arrived = pair_go_to(pair, to_step, to, &status);
    if (!arrived)
        assert_int_equal(status.code, STATUS_CANCELLED);
    assert_true(pair->test->step <= step);
    atomic_store(&countdown->left, INT32_MAX);
    if (!pair_go_to(pair, step, next, &status))
        fail_msg("%s", status.text);
    return !arrived;
}

/* Returns how many ways were left in the middle: with few ways, there may be none. */
static int interrupt_everywhere(const struct pairing *layout, struct random *random)
{
    struct bench bench, quiet;
    struct countdown countdown = {.left = INT32_MAX};
    struct status status = STATUS_NONE;
    struct pair_event event;
    uint64_t seed = random_bits(random);
    int interrupts = 0, travels = 0, held = 0;
    bench_open(&bench, layout, seed);
    bench_open(&quiet, layout, seed);
    countdown.interrupt = (struct interrupt){asked, &countdown.left};
    bench.pair->interrupt = &countdown.interrupt;
    while (!pair_ended(quiet.pair)) {
        interrupts += run_one_with_interrupts(bench.pair, quiet.pair, &countdown, random);
        if (!pair_run_one(quiet.pair, &event, &status))
            fail_msg("%s", status.text);
        bool last = run_next(quiet.pair->test) == quiet.pair->test->program->instruction_count;
        if (!last && random_integer(random, 0, 39))
            continue;
        travels += travel_with_interrupt(bench.pair, &countdown, random);
        held += same_values(bench.pair->test, quiet.pair->test);
        same_results(bench.pair, quiet.pair);
    }
    for (int step = 0; step < quiet.pair->test->steps; step++)
        assert_true(bench.pair->test->reports[step].loss == quiet.pair->test->reports[step].loss);
    print_message("%s against %s: %d interrupts, %d ways interrupted, %d values compared\n",
                  layout->test, layout->reference, interrupts, travels, held);
    assert_true(interrupts > 150 && held > 300);
    bench_close(&bench);
    bench_close(&quiet);
    return travels;
}

static void test_interrupts_change_nothing(void **state)
{
    static const struct pairing layouts[] = {
        {"llama/bf4", "llama/df4", 0, 0, 0},
        {"llama/ms4", "llama/simple", (int64_t)1 << 32, 0, 0},
        {"llama/ms4", "llama/simple", 0, 0, 0},
        {"mixtral/bf16", "mixtral/simple", 0, 1, 0}, /* points of the first step only */
        {"gpt_2/fp16", "gpt_2/simple", (int64_t)1 << 32, 1, 0},
    };
    struct random random = random_start("interrupts");
    int travels = 0;
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(layouts); i++)
        travels += interrupt_everywhere(&layouts[i], &random);
    assert_true(travels > 3);
}

/* Updates and sums of large tensors write over what they read, and take long: they are left in the
 * middle and go on from there, or begin anew after the run went elsewhere. */
static void test_long_updates_are_interrupted(void **state)
{
    static const struct pairing layout = {"llama/bf4", "llama/df4", 0, 0, 40000};
    struct random random = random_start("long updates");
    struct bench bench, quiet;
    struct countdown countdown = {.left = INT32_MAX};
    struct status status = STATUS_NONE;
    struct pair_event event;
    uint64_t seed = random_bits(&random);
    int halves = 0;
    (void)state;
    bench_open(&bench, &layout, seed);
    bench_open(&quiet, &layout, seed);
    countdown.interrupt = (struct interrupt){asked, &countdown.left};
    bench.pair->interrupt = &countdown.interrupt;
    while (!pair_ended(quiet.pair)) {
        for (int again = 2; again >= 0; again--) {
            struct status ignored = STATUS_NONE;
            atomic_store(&countdown.left, again ? (int)random_integer(&random, 2, 4) : INT32_MAX);
            if (pair_run_one(bench.pair, &event, &ignored))
                break;
            assert_int_equal(ignored.code, STATUS_CANCELLED);
            if (bench.pair->test->executor->done == 0)
                continue;
            same_values(bench.pair->test, quiet.pair->test);
            if (halves++ % 3 == 0)
                travel_with_interrupt(bench.pair, &countdown, &random);
        }
        assert_true(pair_run_one(quiet.pair, &event, &status));
        same_values(bench.pair->test, quiet.pair->test);
    }
    same_results(bench.pair, quiet.pair);
    print_message("left in the middle %d times\n", halves);
    assert_true(halves > 0);
    bench_close(&bench);
    bench_close(&quiet);
}

/* Of at most so many bytes, which are copied without a look. */
static int pieces_of_states(const struct program *program)
{
    const size_t piece = 1 << 20;
    int pieces = 0;
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].kind == VALUE_STATE)
            pieces += (int)((value_bytes(&program->values[v]) + piece - 1) / piece);
    return pieces;
}

/* A way back is left while states are written: nothing is at hand until they are, and then all is
 * as it was. So it is where a step ends, while its states are copied. */
static void test_ways_back_are_left_between_states(void **state)
{
    static const struct pairing layouts[] = {
        {"llama/simple", "llama/simple", (int64_t)1 << 40, 0, 9000},
        {"llama/bf16", "llama/simple", 0, 1, 9000}, /* initialised anew */
    };
    struct random random = random_start("ways back");
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(layouts); i++) {
        struct bench bench, quiet;
        struct countdown countdown = {.left = INT32_MAX};
        struct status status = STATUS_NONE;
        uint64_t seed = random_bits(&random);
        bench_open(&bench, &layouts[i], seed);
        bench_open(&quiet, &layouts[i], seed);
        struct run *run = bench.pair->test;
        countdown.interrupt = (struct interrupt){asked, &countdown.left};
        bench.pair->interrupt = &countdown.interrupt;
        int count = run->program->instruction_count, looks = 0;
        assert_true(pair_go_to(quiet.pair, 0, 7, &status));
        for (int again = 0; again < 3; again++) {
            assert_true(pair_go_to(bench.pair, 0, count, &status));
            atomic_store(&countdown.left,
                         looks ? (int)random_integer(&random, 2, looks) : INT32_MAX);
            bool came = pair_go_to(bench.pair, 0, 0, &status);
            assert_true(came == (looks == 0));
            looks = came ? INT32_MAX - countdown.left : looks;
            for (int v = 0; !came && run->executor->hollow && v < run->program->value_count; v++)
                assert_false(executor_holds(run->executor, v));
            assert_true(came || run->executor->hollow || bench.pair->reference->executor->hollow);
            atomic_store(&countdown.left, INT32_MAX);
            status = STATUS_NONE;
            assert_true(pair_go_to(bench.pair, 0, 7, &status));
            assert_true(same_values(run, quiet.pair->test) > 7);
            assert_int_equal(run_next(run), 7);
        }
        print_message("%s: %d looks on the way back\n", layouts[i].test, looks);
        assert_true(looks >= pieces_of_states(run->program));
        bench_close(&bench);
        bench_close(&quiet);
    }
}

/* Asks nothing, and watches what the pair holds. */
struct watch {
    const struct pair *pair;
    int64_t held;       /* looks at which anything was held */
    int64_t copying;    /* looks while a large value was being copied to be held */
    int64_t stop_after; /* of these: then it says yes, once */
};

enum { LARGE = 4 << 20 };

/* The large value that the reference computed last and the test has yet to compute; -1: there is
 * none, or it is held. */
static int large_to_hold(const struct pair *pair)
{
    const struct program *program = pair->reference->program;
    int next = run_next(pair->reference);
    const struct instruction *last = next > 0 ? &program->instructions[next - 1] : NULL;
    for (int k = 0; last && k < last->output_count; k++) {
        int other = last->outputs[k], value = pair->test_value[other];
        if (value_bytes(&program->values[other]) >= LARGE && value >= 0 &&
            pair_is_compared(pair, value) && !pair->held[other].data &&
            pair->test->program->values[value].producer >= run_next(pair->test))
            return other;
    }
    return -1;
}

static bool watches(const void *context)
{
    struct watch *watch = (struct watch *)(uintptr_t)context;
    const struct pair *pair = watch->pair;
    for (int v = 0; v < pair->reference->program->value_count; v++)
        watch->held += pair->held[v].data != NULL;
    if (!pair->reference->executor->interrupt || large_to_hold(pair) < 0)
        return false;
    watch->copying++;
    return watch->copying == watch->stop_after;
}

static void watch_pair(struct watch *watch, struct interrupt *interrupt, struct pair *pair)
{
    watch->pair = pair;
    *interrupt = (struct interrupt){watches, watch};
    pair->interrupt = interrupt;
}

/* Copies take time and memory: none is made where both runs compute in the same order. */
static void test_nothing_is_held_of_runs_in_step(void **state)
{
    static const struct pairing layout = {"llama/simple", "llama/simple", 0, 0, 0};
    struct random random = random_start("runs in step");
    struct bench bench;
    struct watch watch = {0};
    struct interrupt interrupt;
    struct status status = STATUS_NONE;
    struct pair_event event;
    int compared = 0;
    (void)state;
    bench_open(&bench, &layout, random_bits(&random));
    assert_false(bench.pair->keep);
    watch_pair(&watch, &interrupt, bench.pair);
    for (; !pair_ended(bench.pair); compared += event.compared_count)
        assert_true(pair_run_one(bench.pair, &event, &status));
    assert_true(compared > 200);
    assert_int_equal(watch.held, 0);
    bench_close(&bench);
}

/* Whatever the order in which the two runs compute, comparing in memory that is used again gives
 * what it gives where every value stays. */
static void test_memory_used_again_compares_the_same(void **state)
{
    static const struct pairing layouts[] = {
        {"llama/bf4", "llama/df4", 0, 0, 0},
        {"llama/ms4", "llama/simple", 0, 0, 0},
        {"mtp_llama/bf2_df2", "mtp_llama/df4", 0, 0, 0},
        {"gpt_2/ce4", "gpt_2/simple", 0, 0, 0},
    };
    struct random random = random_start("memory used again");
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(layouts); i++) {
        struct pairing kept = layouts[i];
        struct bench bench, keeping;
        struct status status = STATUS_NONE;
        struct pair_event event;
        uint64_t seed = random_bits(&random);
        int compared = 0;
        kept.keep_limit = (int64_t)1 << 32;
        bench_open(&bench, &layouts[i], seed);
        bench_open(&keeping, &kept, seed);
        assert_true(keeping.pair->keep && !bench.pair->keep);
        for (; !pair_ended(keeping.pair); compared += event.compared_count) {
            assert_true(pair_run_one(bench.pair, &event, &status));
            assert_true(pair_run_one(keeping.pair, &event, &status));
            same_results(bench.pair, keeping.pair);
        }
        assert_true(compared > 200);
        bench_close(&bench);
        bench_close(&keeping);
    }
}

/* A large value is copied in pieces with looks between; left there, nothing is held of it, and
 * nothing is missing when the pair goes on. */
static void test_holding_is_interrupted(void **state)
{
    static const struct pairing layout = {"llama/bf4", "llama/df4", 0, 0, 40000};
    struct random random = random_start("holding");
    struct bench bench, quiet;
    struct watch watch = {.stop_after = random_integer(&random, 2, 4)};
    struct interrupt interrupt;
    struct status status = STATUS_NONE;
    struct pair_event event;
    uint64_t seed = random_bits(&random);
    int cancelled = 0;
    (void)state;
    bench_open(&bench, &layout, seed);
    bench_open(&quiet, &layout, seed);
    watch_pair(&watch, &interrupt, bench.pair);
    while (!pair_ended(quiet.pair)) {
        int next = run_next(bench.pair->reference);
        while (!pair_run_one(bench.pair, &event, &status)) {
            assert_int_equal(status.code, STATUS_CANCELLED);
            int other = large_to_hold(bench.pair);
            assert_true(other >= 0 && run_next(bench.pair->reference) >= next);
            status = STATUS_NONE;
            cancelled++;
        }
        assert_true(pair_run_one(quiet.pair, &event, &status));
        same_results(bench.pair, quiet.pair);
    }
    assert_int_equal(cancelled, 1);
    assert_true(watch.held > 0 && watch.copying >= LARGE >> 20);
    bench_close(&bench);
    bench_close(&quiet);
}

/* A check and the walk of blame end soon, too; afterwards they give what they would have given. */
static void test_checks_can_be_interrupted(void **state)
{
    static const struct pairing layout = {"mixtral", "mixtral", (int64_t)1 << 32, 0, 0};
    struct random random = random_start("checks");
    struct bench bench;
    struct countdown countdown = {.left = INT32_MAX};
    struct status status = STATUS_NONE;
    (void)state;
    bench_open(&bench, &layout, random_bits(&random));
    struct pair *pair = bench.pair;
    countdown.interrupt = (struct interrupt){asked, &countdown.left};
    pair->interrupt = &countdown.interrupt;
    int count = pair->test->program->instruction_count, cancelled = 0;
    assert_true(pair_go_to(pair, 1, count, &status));
    for (int i = 0; i < 60; i++) {
        struct check check, again;
        int instruction = (int)random_integer(&random, 0, count - 1);
        atomic_store(&countdown.left, (int)random_integer(&random, 1, 1000));
        bool done = check_instruction(pair, 1, instruction, &check, &status);
        if (!done)
            assert_int_equal(status.code, STATUS_CANCELLED);
        cancelled += !done;
        atomic_store(&countdown.left, INT32_MAX);
        assert_true(pair_go_to(pair, 1, count, &status));
        assert_true(check_instruction(pair, 1, instruction, &again, &status));
        char text[300];
        if (again.wrong)
            fail_msg("%s: %g > %g",
                     program_instruction_text(pair->test->program, instruction, text, sizeof(text)),
                     again.introduced_relative, again.expected_relative);
        if (done)
            assert_true(check.introduced_relative == again.introduced_relative);
    }
    print_message("%d of 60 checks interrupted\n", cancelled);
    assert_in_range(cancelled, 5, 59);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interrupts_change_nothing),
        cmocka_unit_test(test_long_updates_are_interrupted),
        cmocka_unit_test(test_ways_back_are_left_between_states),
        cmocka_unit_test(test_nothing_is_held_of_runs_in_step),
        cmocka_unit_test(test_memory_used_again_compares_the_same),
        cmocka_unit_test(test_holding_is_interrupted),
        cmocka_unit_test(test_checks_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
