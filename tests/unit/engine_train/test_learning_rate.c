/* Learning rates by hand: warm-up from 0, decay to the minimum, constant behind. */
#include "engine/train/learning_rate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check(const struct optimizer_config *optimizer, int steps, const double *wanted)
{
    for (int step = 1; step <= steps; step++)
        if (fabs(learning_rate_at(optimizer, step) - wanted[step - 1]) > 1e-9)
            fail_msg("step %d: %g, not %g", step, learning_rate_at(optimizer, step),
                     wanted[step - 1]);
}

static void test_constant(void **state)
{
    (void)state;
    struct optimizer_config optimizer = {.learning_rate = 1e-4, .decay = DECAY_CONSTANT};
    check(&optimizer, 3, (const double[]){1e-4, 1e-4, 1e-4});
    optimizer.warmup_iterations = 4;
    check(&optimizer, 6, (const double[]){0.25e-4, 0.5e-4, 0.75e-4, 1e-4, 1e-4, 1e-4});
}

static void test_linear(void **state)
{
    (void)state;
    struct optimizer_config optimizer = {.learning_rate = 5,
                                         .minimum_learning_rate = 1,
                                         .decay = DECAY_LINEAR,
                                         .decay_power = 1,
                                         .warmup_iterations = 2,
                                         .decay_iterations = 6};
    check(&optimizer, 8, (const double[]){2.5, 5, 4, 3, 2, 1, 1, 1});
}

static void test_power(void **state)
{
    (void)state;
    struct optimizer_config optimizer = {
        .learning_rate = 16, .decay = DECAY_POWER, .decay_power = 2, .decay_iterations = 4};
    check(&optimizer, 6, (const double[]){15, 12, 7, 0, 0, 0}); /* 16 (1 - (k/4)^2) */
}

static void test_cosine(void **state)
{
    (void)state;
    struct optimizer_config optimizer = {.learning_rate = 3,
                                         .minimum_learning_rate = 1,
                                         .decay = DECAY_COSINE,
                                         .decay_power = 1,
                                         .warmup_iterations = 1,
                                         .decay_iterations = 7};
    double root = sqrt(3) / 2; /* 2 + cos(k pi / 6) */
    check(&optimizer, 8, (const double[]){3, 2 + root, 2.5, 2, 1.5, 2 - root, 1, 1});
}

/* Each stage begins at its first rate, with the update that ends the one before. */
static void test_stages(void **state)
{
    (void)state;
    struct optimizer_config optimizer = {.learning_rate = 77,
                                         .stage_count = 4,
                                         .stages = {{DECAY_POWER, 0, 2, 0, 8, 1},
                                                    {DECAY_CONSTANT, 2, 4, 5, 5, 1},
                                                    {DECAY_POWER, 4, 6, 4, 0, 2},
                                                    {DECAY_COSINE, 6, 8, 3, 1, 1}}};
    check(&optimizer, 10, (const double[]){4, 5, 5, 4, 3, 3, 2, 1, 1, 1});
    optimizer.stage_count = 2;
    check(&optimizer, 6, (const double[]){4, 5, 5, 5, 5, 5});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_power),    cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_stages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
