/* Traces that do not have all of a run, as other software records them. */
#include "engine/base/memory.h"
#include "engine/compare/check.h"
#include "helper_recorded.h"
#include "tests/unit/configs.h"

#include <stdlib.h>

enum { STEPS = 3, MOMENTS = 5 };

/* The parameters as `steps` steps have left them, under the name of a step of the trace. */
struct moment {
    int steps;
    const char *name;
};

static struct config *load_steps(void)
{
    static const char *const overrides[] = {"data.micro_batch_size=32", "base_model.hidden_size=32",
                                            "base_model.decoder.block.mlp.intermediate_size=48",
                                            "training.train_iters=3"};
    return load_config("llama", overrides, 4);
}

static void record_moments(const struct recorded *bench, const struct config *config,
                           const struct moment *moments)
{
    struct status status = STATUS_NONE;
    struct run *run = recorded_run(bench, config);
    struct trace_description what = {.full_tensors = true};
    struct trace_writer *writer = trace_create(bench->directory, &what, &status);
    const struct program *program = run->program;
    assert_non_null(writer);
    for (int i = 0; i < MOMENTS && moments[i].name; i++) {
        int last = moments[i].steps - 1;
        assert_true(run_go_to(run, last < 0 ? 0 : last, last < 0 ? 0 : program->instruction_count,
                              &status));
        for (int p = 0; p < program->parameter_count; p++) {
            const struct value *value = &program->values[program->parameters[p].value];
            struct tensor tensor = executor_tensor(run->executor, value->id);
            assert_true(trace_add(writer, value->name, &tensor, &status));
        }
        assert_true(trace_finish_step(writer, moments[i].name, &status));
    }
    assert_true(trace_finish(writer, &status));
    run_free(run);
}

/* How many updates of parameters were compared in each step; all were right. */
struct tally {
    int updates[STEPS];
};

static void count_update(void *context, const struct pair *pair, int step, int value,
                         const struct pair_result *result)
{
    struct tally *tally = context;
    const struct program *program = pair->test->program;
    int state = program->values[value].state;
    if (state < 0 || program->values[state].what != WHAT_PARAM)
        return;
    if (result->metrics.different)
        fail_msg("step %d: %s is another one", step + 1, program->values[value].name);
    tally->updates[step]++;
}

/* An update is compared with what the step after it begins with, and with nothing where the trace
 * does not have that: not with what is recorded of a later step. */
static void test_updates_and_missing_steps(void **state)
{
    static const struct {
        struct moment moments[MOMENTS];
        bool compared[STEPS];
    } traces[] = {
        {{{0, "train_1"}, {1, "train_2"}, {2, "train_3"}, {3, "final"}}, {1, 1, 1}},
        {{{0, "train_1"}, {0, "eval_1"}, {1, "train_2"}, {2, "train_3"}}, {1, 1, 0}},
        {{{0, "train_1"}, {2, "train_3"}, {3, "final"}}, {0, 0, 1}},
        {{{2, "train_3"}, {0, "train_1"}, {3, "train_4"}, {1, "train_2"}}, {1, 1, 1}},
    };
    struct status status = STATUS_NONE;
    struct recorded bench;
    struct config *config = load_steps();
    (void)state;
    recorded_open(&bench);
    for (int i = 0; i < ARRAY_LENGTH(traces); i++) {
        struct tally tally = {0};
        struct pair_event event;
        record_moments(&bench, config, traces[i].moments);
        struct pair *pair = recorded_compare(&bench, config, NULL);
        pair_observe(pair, count_update, &tally);
        while (!pair_ended(pair))
            if (!pair_run_one(pair, &event, &status))
                fail_msg("%s", status.text);
        for (int step = 0; step < STEPS; step++)
            assert_int_equal(tally.updates[step],
                             traces[i].compared[step] ? pair->test->program->parameter_count : 0);
        recorded_end(&bench);
    }
    config_free(config);
    recorded_close(&bench);
}

/* A tensor that is recorded, times `factor`. */
struct wrong {
    const char *name;
    double factor;
};

static void add_wrong(struct trace_writer *writer, const struct run *run, const struct wrong *wrong)
{
    struct status status = STATUS_NONE;
    struct tensor tensor = executor_tensor(run->executor, program_find(run->program, wrong->name));
    size_t count = (size_t)shape_elements(tensor.shape);
    float *numbers = memory_zeroed(count, sizeof(*numbers));
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)(tensor_load(&tensor, (int64_t)i) * wrong->factor);
    tensor = tensor_of(numbers, DTYPE_F32, tensor.shape);
    assert_true(trace_add(writer, wrong->name, &tensor, &status));
    free(numbers);
}

/* The first is a parameter; the others are those of the first step, in its order. */
static void record_wrong(const struct recorded *bench, const struct config *config,
                         const struct wrong *wrong, int count)
{
    struct status status = STATUS_NONE;
    struct run *run = recorded_run(bench, config);
    struct trace_description what = {.full_tensors = true};
    struct trace_writer *writer = trace_create(bench->directory, &what, &status);
    assert_non_null(writer);
    add_wrong(writer, run, &wrong[0]);
    assert_true(trace_finish_step(writer, "init", &status));
    for (int i = 1; i < count; i++) {
        int value = program_find(run->program, wrong[i].name);
        assert_true(value >= 0);
        assert_true(run_go_to(run, 0, run->program->values[value].producer + 1, &status));
        add_wrong(writer, run, &wrong[i]);
    }
    assert_true(trace_finish_step(writer, "train_1", &status));
    assert_true(trace_finish(writer, &status));
    run_free(run);
}

/* Blame of the last of them: it must accuse what makes wrong[guilty]. Returns how many are
 * suspected instead. */
static int count_suspects(struct recorded *bench, const struct config *config,
                          const struct wrong *wrong, int count, int guilty)
{
    struct status status = STATUS_NONE;
    struct blame blame;
    record_wrong(bench, config, wrong, count);
    struct pair *pair = recorded_compare(bench, config, NULL);
    const struct program *program = pair->test->program;
    int value = program_find(program, wrong[count - 1].name);
    assert_true(pair_go_to(pair, 0, program->values[value].producer + 1, &status));
    assert_int_equal(first_divergence(pair), value);
    if (!blame_walk(pair, value, &blame, &status))
        fail_msg("%s", status.text);
    assert_true(blame.guilty >= 0 && !blame.sure);
    assert_int_equal(blame.links[blame.guilty].value, program_find(program, wrong[guilty].name));
    int suspects = blame.suspect_count;
    blame_free(&blame);
    recorded_end(bench);
    return suspects;
}

/* All that the trace does not have on the way to a wrong value is suspected, until an instruction
 * further back is found that reads a wrong parameter. */
static void test_suspects(void **state)
{
    struct wrong wrong[] = {{"param decoder.0.norm_2.weight", 1},
                            {"fw decoder.0.mixer_residual", 1},
                            {"fw decoder.0.norm_2.output", 1.00003},
                            {"fw decoder.0.output", 1.5}};
    struct recorded bench;
    struct config *config = load_steps();
    (void)state;
    recorded_open(&bench);
    assert_int_equal(count_suspects(&bench, config, wrong, 4, 3), 4);
    wrong[0].factor = 2;
    assert_int_equal(count_suspects(&bench, config, wrong, 4, 2), 0);
    config_free(config);
    recorded_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_updates_and_missing_steps),
        cmocka_unit_test(test_suspects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
