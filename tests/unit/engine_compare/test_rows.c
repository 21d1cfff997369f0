/* A recorded reference that computes whole tensors, and a test that computes them in
 * micro-sequences: every part is compared with its rows. */
#include "helper_recorded.h"

#include "tests/unit/configs.h"

#include <string.h>

/* Records every named value of the run. */
static void record(const struct recorded *bench, const char *name, bool full)
{
    struct config *config = load_tiny_config(name);
    struct status status = STATUS_NONE;
    struct run *run = recorded_run(bench, config);
    struct trace_description what = {.run = name, .full_tensors = full};
    struct trace_writer *writer = trace_create(bench->directory, &what, &status);
    char step[32];
    assert_non_null(writer);
    while (!run_ended(run)) {
        assert_true(run_one(run, &status));
        const struct instruction *done = &run->program->instructions[run_next(run) - 1];
        for (int k = 0; k < done->output_count; k++) {
            const struct value *value = &run->program->values[done->outputs[k]];
            struct tensor tensor = executor_tensor(run->executor, value->id);
            if (value->name[0] && dtype_is_float(value->dtype))
                assert_true(trace_add(writer, value->name, &tensor, &status));
        }
        if (run_next(run) == run->program->instruction_count)
            assert_true(trace_finish_step(writer, run_step_name(run->step, step), &status));
    }
    assert_true(trace_finish(writer, &status));
    run_free(run);
    config_free(config);
}

struct tally {
    int parts, sampled, failed;
    int64_t elements;
};

static void observe(void *context, const struct pair *pair, int step, int value,
                    const struct pair_result *result)
{
    struct tally *tally = context;
    const struct value *of = &pair->test->program->values[value];
    (void)step;
    tally->failed += result->verdict.failures != 0;
    if (!strstr(of->name, " ms="))
        return;
    tally->parts++;
    tally->sampled += result->sampled;
    tally->elements += result->metrics.count;
    assert_true(result->metrics.count > 0);
}

/* Compares llama in micro-sequences with what is in the folder. */
static struct tally compare(struct recorded *bench, const char *fault)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config("llama/ms4");
    struct tally tally = {0};
    struct pair_event event;
    struct pair *pair = recorded_compare(bench, config, fault);
    pair_observe(pair, observe, &tally);
    while (!pair_ended(pair))
        if (!pair_run_one(pair, &event, &status))
            fail_msg("%s", status.text);
    recorded_end(bench);
    config_free(config);
    return tally;
}

static void test_rows_of_a_trace(void **state)
{
    struct recorded bench;
    (void)state;
    recorded_open(&bench);
    record(&bench, "llama", true);
    struct tally whole = compare(&bench, NULL), wrong = compare(&bench, "lost-keys");
    assert_int_equal(whole.failed, 0);
    assert_int_equal(whole.sampled, 0);
    assert_true(whole.parts > 200);
    assert_int_equal(wrong.parts, whole.parts);
    assert_true(wrong.failed > 20);
    wrong = compare(&bench, "scale:op=cross_entropy,ms=2,factor=1.5");
    assert_int_equal(wrong.failed, 2); /* the loss of all micro-sequences, in each step */
    record(&bench, "llama", false);
    struct tally sampled = compare(&bench, NULL);
    wrong = compare(&bench, "lost-keys");
    print_message("%d parts, %lld elements; sampled: %d parts, %lld elements\n", whole.parts,
                  (long long)whole.elements, sampled.parts, (long long)sampled.elements);
    assert_int_equal(sampled.failed, 0);
    assert_true(sampled.sampled > 100 && sampled.elements < whole.elements);
    assert_in_range(sampled.parts, whole.parts / 2, whole.parts);
    assert_true(wrong.failed > 20);
    recorded_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_of_a_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
