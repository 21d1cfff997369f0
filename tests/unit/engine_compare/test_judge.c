#include "engine/base/text.h"
#include "tests/unit/engine_compare/helper_naive.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct limits exact = {.scale = 1};
static const struct limits loose = {
    .rms_relative = 0.25, .rms_absolute = 0.5, .max_relative = 1, .max_absolute = 2, .scale = 1};

static struct metrics differing(double rms, double max, double rms_reference)
{
    return (struct metrics){.count = 100,
                            .rms_difference = rms,
                            .max_difference = max,
                            .rms_reference = rms_reference,
                            .rms_test = rms_reference,
                            .cosine = 1,
                            .different = rms > 0 ? 100 : 0};
}

static int failures_of(struct metrics metrics, const struct limits *limits)
{
    return metrics_judge(&metrics, limits).failures;
}

/* A limit that is met exactly passes; the next number above fails, each metric for itself. */
static void test_strictly_greater(void **state)
{
    (void)state;
    assert_int_equal(failures_of(differing(0.5, 2, 2), &loose), 0);
    double above = nextafter(0.5, 1);
    assert_int_equal(failures_of(differing(above, 2, 4), &loose), FAILURE_RMS_ABSOLUTE);
    assert_int_equal(failures_of(differing(above, 2, 2), &loose),
                     FAILURE_RMS_ABSOLUTE | FAILURE_RMS_RELATIVE);
    assert_int_equal(failures_of(differing(0.25, nextafter(1, 2), 1), &loose),
                     FAILURE_MAX_RELATIVE);
    assert_int_equal(failures_of(differing(0.5, nextafter(2, 3), 4), &loose), FAILURE_MAX_ABSOLUTE);
    struct metrics met = differing(0.5, 2, 2);
    assert_true(metrics_judge(&met, &loose).worst == 1);
}

static void test_zero_limits_are_exact(void **state)
{
    (void)state;
    struct metrics equal = differing(0, 0, 1), tiny = differing(1e-300, 1e-299, 1);
    assert_int_equal(failures_of(equal, &exact), 0);
    assert_true(metrics_judge(&equal, &exact).worst == 0);
    assert_true(isinf(metrics_judge(&tiny, &exact).worst));
    assert_int_equal(failures_of(tiny, &exact), FAILURE_RMS_RELATIVE | FAILURE_RMS_ABSOLUTE |
                                                    FAILURE_MAX_RELATIVE | FAILURE_MAX_ABSOLUTE);
    struct metrics zeros = differing(0, 0, 0); /* 0/0 is no failure */
    assert_int_equal(failures_of(zeros, &exact), 0);
    struct metrics against_zero = differing(0.01, 0.01, 0); /* x/0 is */
    assert_int_equal(failures_of(against_zero, &loose),
                     FAILURE_RMS_RELATIVE | FAILURE_MAX_RELATIVE);
}

/* rms_epsilon is part of the scale, so that small tensors are judged by absolute size. */
static void test_scale_has_an_epsilon(void **state)
{
    (void)state;
    struct limits limits = loose;
    limits.rms_epsilon = 4;
    struct metrics metrics = differing(0.5, 1, 3);
    struct verdict verdict = metrics_judge(&metrics, &limits);
    assert_true(fabs(verdict.rms_relative - 0.1) < 1e-15);
    assert_true(fabs(verdict.max_relative - 0.2) < 1e-15);
    assert_true(fabs(verdict.worst - 1) < 1e-15); /* rms 0.5 of 0.5 */
}

/* A comparison by "difference > limit" lets NaN pass; this one does not. */
static void test_not_finite_fails(void **state)
{
    (void)state;
    struct limits endless = {INFINITY, INFINITY, INFINITY, INFINITY, 0, 1, false, false};
    for (int field = 0; field < 4; field++) {
        struct metrics metrics = differing(0, 0, 1);
        int64_t *counts[] = {&metrics.nan_test, &metrics.nan_reference, &metrics.infinity_test,
                             &metrics.infinity_reference};
        *counts[field] = 1;
        struct verdict verdict = metrics_judge(&metrics, &endless);
        assert_int_equal(verdict.failures, FAILURE_NOT_FINITE);
        assert_true(isinf(verdict.worst));
    }
    struct metrics overflowed = differing(INFINITY, INFINITY, INFINITY);
    assert_true(failures_of(overflowed, &loose) & FAILURE_RMS_RELATIVE); /* inf/inf */
}

static void test_describe(void **state)
{
    (void)state;
    struct metrics metrics = differing(0.6, 1.5, 2);
    metrics.rms_test = 1.5;
    metrics.cosine = 0.968;
    struct verdict verdict = metrics_judge(&metrics, &loose);
    struct text text = {0};
    metrics_describe(&metrics, &verdict, &loose, &text);
    assert_string_equal(text.data, "rms/scale 3.00e-01 > 2.5e-01    rms 6.00e-01 > 5.0e-01    "
                                   "cosine 0.968    norm ratio 0.750\n"
                                   "max/scale 7.50e-01 <= 1.0e+00    max 1.50e+00 <= 2.0e+00\n"
                                   "different 100 of 100 elements\n");
    text_clear(&text);
    metrics.different = 0; /* of two types */
    metrics_describe(&metrics, &verdict, &loose, &text);
    assert_non_null(
        strstr(text.data, "\ndifferent once they have the same type 0 of 100 elements\n"));
    text_clear(&text);
    metrics.nan_test = 3;
    verdict = metrics_judge(&metrics, &loose);
    metrics_describe(&metrics, &verdict, &loose, &text);
    assert_int_equal(strncmp(text.data, "not finite: 3 NaN and 0 infinite in test, ", 42), 0);
    text_free(&text);
}

enum { COUNT = 4096, PARTS = 8 };

/* Tensors made by doing what the guess should find. */
struct made {
    float reference[COUNT], test[COUNT];
    float parts[PARTS][COUNT];
};

static void make_parts(struct random *random, struct made *made, int parts)
{
    memset(made, 0, sizeof(*made));
    for (int part = 0; part < parts; part++)
        for (int i = 0; i < COUNT; i++) {
            made->parts[part][i] = (float)random_normal(random);
            made->reference[i] += made->parts[part][i] / (float)parts;
        }
    memcpy(made->test, made->reference, sizeof(made->test));
}

static bool guess(const struct made *made, char buffer[256])
{
    struct tensor reference =
        tensor_of((void *)(uintptr_t)made->reference, DTYPE_F32, shape_of1(COUNT));
    struct tensor test = tensor_of((void *)(uintptr_t)made->test, DTYPE_F32, shape_of1(COUNT));
    struct metrics metrics;
    metrics_compute(&reference, &test, 1, 1, &metrics);
    return metrics_guess(&metrics, buffer, 256);
}

static void assert_guess(const struct made *made, const char *expected)
{
    char found[256];
    if (!guess(made, found))
        fail_msg("no guess instead of \"%s\"", expected);
    if (!strstr(found, expected))
        fail_msg("\"%s\" does not say \"%s\"", found, expected);
}

/* Multiplies with a little noise, as another order of additions would leave it. */
static void multiply(struct random *random, struct made *made, double factor)
{
    for (int i = 0; i < COUNT; i++)
        made->test[i] =
            (float)((double)made->reference[i] * factor * (1 + 1e-5 * random_normal(random)));
}

static void test_guess_multiples(void **state)
{
    (void)state;
    static const struct {
        double factor;
        const char *says;
    } cases[] = {{2, "norm ratio 2: added"},
                 {0.5, "norm ratio 1/2: one of 2"},
                 {4, "norm ratio 4: a sum over 4"},
                 {0.25, "norm ratio 1/4"},
                 {65536, "65536 = 2^16: the loss scale"},
                 {0x1p-16, "2^-16: divided by the loss scale"},
                 {-1, "opposite sign"},
                 {-2, "opposite sign and norm ratio 2"},
                 {0.75, "norm ratio 3/4: one of 4 micro-batches was not added"},
                 {5.0 / 4, "norm ratio 5/4: one of 4 parts was added twice"},
                 {1.0 / 3, "norm ratio 1/3"},
                 {3, "norm ratio 3: a sum over 3"},
                 {2.7182818, "multiplied by 2.718"}};
    struct random random = random_start("guesses");
    struct made *made = malloc(sizeof(*made));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make_parts(&random, made, 1);
        multiply(&random, made, cases[i].factor);
        assert_guess(made, cases[i].says);
    }
    char buffer[256];
    make_parts(&random, made, 1);
    multiply(&random, made, 1);
    assert_false(guess(made, buffer)); /* rounding needs no cause */
    make_parts(&random, made, 1);
    assert_false(guess(made, buffer)); /* nor do equal tensors */
    free(made);
}

/* One of n independent parts is lost, or added twice: no longer a multiple. */
static void test_guess_parts(void **state)
{
    (void)state;
    struct random random = random_start("guesses of parts");
    struct made *made = malloc(sizeof(*made));
    for (int n = 2; n <= 4; n++)
        for (int twice = 0; twice <= 1; twice++) {
            make_parts(&random, made, n);
            /* Parts of exactly equal share, so that the projection is what the rule says. */
            double square = 0, product = 0;
            for (int i = 0; i < COUNT; i++) {
                square += (double)made->reference[i] * (double)made->reference[i];
                product += (double)made->reference[i] * (double)made->parts[0][i] / n;
            }
            double correction = (square / n - product) / square;
            for (int i = 0; i < COUNT; i++) {
                double part =
                    (double)made->parts[0][i] / n + correction * (double)made->reference[i];
                made->test[i] = (float)((double)made->reference[i] + (twice ? part : -part));
            }
            char expected[64];
            snprintf(expected, sizeof(expected), "one of %d parts %s", n,
                     twice ? "was added twice" : "was not added");
            assert_guess(made, expected);
        }
    free(made);
}

static void test_guess_others(void **state)
{
    (void)state;
    struct random random = random_start("other guesses");
    struct made *made = malloc(sizeof(*made));
    make_parts(&random, made, 1);
    memset(made->test, 0, sizeof(made->test));
    assert_guess(made, "all of the test is 0");
    make_parts(&random, made, 1);
    memset(made->reference, 0, sizeof(made->reference));
    assert_guess(made, "all of the reference is 0");
    make_parts(&random, made, 1);
    made->test[random_integer(&random, 0, COUNT - 1)] += 1;
    assert_guess(made, "one element differs");
    for (int i = 64; i < 96; i++)
        made->test[i] += 1;
    assert_guess(made, "elements differ, the rest is bit-equal");
    make_parts(&random, made, 1);
    for (int i = 0; i < COUNT; i++)
        made->test[i] = made->reference[(i * 64 + i / 64) % COUNT];
    assert_guess(made, "the same values in another order");
    make_parts(&random, made, 2);
    memcpy(made->reference, made->parts[0], sizeof(made->reference));
    memcpy(made->test, made->parts[1], sizeof(made->test));
    made->test[0] += 0.5f;
    assert_guess(made, "uncorrelated");
    make_parts(&random, made, 1);
    for (int i = 0; i < COUNT; i++) /* the share of three parts and one of them, but too far off */
        made->parts[1][i] = (float)random_normal(&random);
    double square = 0, product = 0;
    for (int i = 0; i < COUNT; i++) {
        square += (double)made->reference[i] * (double)made->reference[i];
        product += (double)made->reference[i] * (double)made->parts[1][i];
    }
    for (int i = 0; i < COUNT; i++)
        made->test[i] = (float)((4.0 / 3 - product / square) * (double)made->reference[i] +
                                (double)made->parts[1][i]);
    char none[256];
    assert_false(guess(made, none));
    make_parts(&random, made, 1);
    made->test[9] = NAN;
    assert_guess(made, "NaN in the test only");
    made->test[9] = INFINITY;
    assert_guess(made, "infinities in the test only");
    made->test[9] = made->reference[9];
    made->reference[10] = NAN;
    assert_guess(made, "the reference is at fault");
    free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strictly_greater),
        cmocka_unit_test(test_zero_limits_are_exact),
        cmocka_unit_test(test_scale_has_an_epsilon),
        cmocka_unit_test(test_not_finite_fails),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_guess_multiples),
        cmocka_unit_test(test_guess_parts),
        cmocka_unit_test(test_guess_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
