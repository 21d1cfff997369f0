/* The losses that two runs report are held against each other, also where all tensors agree. */
#include "tests/unit/configs.h"
#include "tests/unit/random.h"

#include "engine/suite/execute_internal.h"

#include <math.h>
#include <string.h>

enum { STEPS = 2 };

/* The largest difference of two losses that no limit forbids. */
static double allowed(const struct comparison *comparison, int step, double loss)
{
    char name[32];
    const struct limits *limits =
        tolerances_find(comparison->tolerances, run_step_name(step, name), "fw head.loss");
    int heads = comparison->test->base_model.prediction_heads;
    double scale = hypot(loss, limits->rms_epsilon);
    return fmin(fmin(limits->rms_relative, limits->max_relative) * scale,
                fmin(limits->rms_absolute, limits->max_absolute) * heads);
}

/* Judges two runs whose losses differ in one step, by `share` of what is allowed. */
static void judge(const struct comparison *comparison, struct random *random, double share,
                  int step, struct comparison_log *log)
{
    struct step_report reference[STEPS], test[STEPS];
    struct outcome outcome = {.steps = test, .step_count = STEPS};
    for (int i = 0; i < STEPS; i++) {
        reference[i] = (struct step_report){.step = i + 1, .loss = random_uniform(random, 3, 9)};
        test[i] = reference[i];
    }
    test[step].loss += share * allowed(comparison, step, reference[step].loss);
    execution_judge_losses(&outcome, comparison, reference, STEPS, log);
}

static void try_model(const char *name, const char *table, struct random *random)
{
    struct status status = STATUS_NONE;
    struct config *config = load_tiny_config(name);
    struct comparison comparison = {.test = config, .reference = config};
    comparison.tolerances = tolerances_load(NULL, table, "cpu", &status);
    assert_non_null(comparison.tolerances);
    for (int i = 0; i < 40; i++) {
        struct comparison_log log = {0}, failed = {.failed = 1};
        int step = (int)random_integer(random, 0, STEPS - 1);
        double sign = random_integer(random, 0, 1) ? 1 : -1;
        char expected[32];
        judge(&comparison, random, sign * random_uniform(random, 0, 0.99), step, &log);
        assert_int_equal(log.problem_count, 0);
        judge(&comparison, random, sign * random_uniform(random, 1.01, 9), step, &failed);
        assert_int_equal(failed.problem_count, 0); /* a tensor says it already */
        judge(&comparison, random, sign * random_uniform(random, 1.01, 9), step, &log);
        assert_int_equal(log.problem_count, 1);
        assert_non_null(strstr(log.problems[0], run_step_name(step, expected)));
        comparison_log_free(&log);
    }
    tolerances_free(comparison.tolerances);
    config_free(config);
}

static void test_losses_of_steps_are_judged(void **state)
{
    struct random random = random_start("losses of steps");
    (void)state;
    try_model("llama/ms4", "layer_match", &random);
    try_model("llama/bf16", "bf16", &random);
    try_model("mtp_llama", "default", &random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_of_steps_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
