/* Every layout of the model tests computes what one rank computes: each rank's every named value
 * is its part of the single process's, replicas have the same bits, and so have runs again. */
#include "helper_world.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const variants[] = {
    "dp2",
    "dp2_z2",
    "dp2_z3",
    "dp2_z2_df4",
    "sdp2",
    "tp2",
    "stp2",
    "tp2_df4",
    "stp2_ce4",
    "dp2_stp2",
    "sdp2_stp2_bf4",
    "sdp2_stp2",
    "pp2s2_bf4",
    "pp2s1_bf4",
    "pp2s2_ms4",
    "dp2_pp2s2_bf4",
    "stp2_pp2s1_bf4",
    "dp2_stp2_pp2s2_bf4",
    "dp2_tp2_pp2s1_bf4",
    "sdp2_stp2_pp2s2_ms4",
};

static void compare_reports(const struct two_runs *it, int step)
{
    struct step_report report;
    const struct step_report *reference = &it->baseline->reports[step];
    assert_true(world_report(it->world, step, &report));
    if (!(fabs(report.loss - reference->loss) <= 1e-5 * fabs(reference->loss)) ||
        !(fabs(report.gradient_norm - reference->gradient_norm) <= 1e-5 * reference->gradient_norm))
        fail_msg("step %d: loss %.9g and norm %.9g, but %.9g and %.9g on one rank", step + 1,
                 report.loss, report.gradient_norm, reference->loss, reference->gradient_norm);
    assert_int_equal(report.tokens, reference->tokens);
}

static void check_layout(const char *model, const char *variant)
{
    struct run_options options = {.plan = PLAN_KEEP, .keep_points = true};
    struct two_runs it;
    char text[600] = "";
    two_runs_start(&it, model, variant, &options);
    uint64_t bits[2];
    for (int step = 0; step < it.config->train_iterations; step++) {
        int pairs;
        if (!two_runs_step(&it, text))
            fail_msg("%s/%s, step %d: %s", model, variant, step + 1, text);
        two_runs_compare(&it);
        compare_reports(&it, step);
        int unequal = count_unequal_replicas(it.world, &pairs);
        if (unequal || pairs == 0)
            fail_msg("%s/%s: %d of %d replicas differ", model, variant, unequal, pairs);
        bits[step % 2] = world_bits(it.world);
    }
    printf("%s/%s: %d values, worst %.3f of the limit; %d have no counterpart\n", model, variant,
           it.compared, it.worst, it.unmatched);
    if (it.wrong || it.uncovered)
        fail_msg("%s/%s: %d of %d values are wrong, %d log points are missing; first: %s", model,
                 variant, it.wrong, it.compared, it.uncovered, it.first_wrong);
    /* once more: the second step from its saved point */
    struct status status = STATUS_NONE;
    if (!world_go_to_step(it.world, 1, &status) || !world_finish_step(it.world, text))
        fail_msg("%s/%s: %s%s", model, variant, status.text, text);
    assert_true(world_bits(it.world) == bits[1]);
    two_runs_end(&it);
}

static void check_model(const char *model)
{
    const char *only = getenv("LOCKSTEP_TEST_VARIANT");
    for (int i = 0; i < ARRAY_LENGTH(variants); i++)
        if (!only || strcmp(only, variants[i]) == 0)
            check_layout(model, variants[i]);
}

static void test_model(void **state)
{
    check_model(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"llama", test_model, NULL, NULL, (void *)"llama"},
        {"gpt_2", test_model, NULL, NULL, (void *)"gpt_2"},         /* tied, biases, positions */
        {"starcoder", test_model, NULL, NULL, (void *)"starcoder"}, /* one group of keys */
        {"mixtral", test_model, NULL, NULL, (void *)"mixtral"},
        {"mtp_llama", test_model, NULL, NULL, (void *)"mtp_llama"}, /* two heads */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
