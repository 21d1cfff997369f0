/* Outcomes survive the way between processes: random ones, and lines that are none. */
#include "tests/unit/random.h"

#include "engine/base/memory.h"
#include "engine/suite/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

static double random_number(struct random *random)
{
    switch (random_integer(random, 0, 5)) {
    case 0:
        return NAN;
    case 1:
        return INFINITY;
    case 2:
        return -INFINITY;
    default:
        return random_normal(random) * pow(10, random_uniform(random, -30, 30));
    }
}

static char *random_string(struct random *random)
{
    static const char letters[] = "ab \n\t\"\\{}<&%s\001/";
    char string[40] = "";
    if (random_integer(random, 0, 3) == 0)
        return NULL;
    int length = (int)random_integer(random, 0, 39);
    for (int i = 0; i < length; i++)
        string[i] = letters[random_integer(random, 0, (int64_t)sizeof(letters) - 2)];
    return memory_string(string);
}

static struct outcome random_outcome(struct random *random)
{
    struct outcome outcome = {
        .kind = (enum outcome_kind)random_integer(random, OUTCOME_NONE, OUTCOME_SKIPPED),
        .reason = random_string(random),
        .detail = random_string(random),
        .debug = random_string(random),
        .comparison = random_string(random),
        .closest = random_string(random),
        .device = random_string(random),
        .passed_over = random_string(random),
        .worst = random_number(random),
        .tensors = random_integer(random, 0, INT32_MAX),
        .elements = random_integer(random, 0, INT64_MAX / 2),
        .elements_whole = random_integer(random, 0, INT64_MAX / 2),
        .seconds = random_number(random),
        .resources = {random_number(random), random_number(random), random_number(random),
                      random_number(random)},
        .step_count = (int)random_integer(random, 0, 3),
        .rank_count = (int)random_integer(random, 0, 3),
        .output = random_string(random),
        .remark = random_string(random),
    };
    outcome.steps = memory_zeroed((size_t)outcome.step_count, sizeof(*outcome.steps));
    for (int i = 0; i < outcome.step_count; i++)
        outcome.steps[i] = (struct step_report){i + 1,
                                                random_number(random),
                                                random_number(random),
                                                random_number(random),
                                                random_number(random),
                                                random_integer(random, 0, 1),
                                                random_integer(random, 0, INT64_MAX / 2),
                                                random_number(random)};
    outcome.ranks = memory_zeroed((size_t)outcome.rank_count, sizeof(*outcome.ranks));
    for (int i = 0; i < outcome.rank_count; i++)
        outcome.ranks[i] = (struct rank_usage){
            {NAN, NAN, random_number(random), random_number(random)},
            random_number(random),
            {random_integer(random, 0, INT64_MAX / 2), random_integer(random, 0, INT64_MAX / 2)}};
    return outcome;
}

static void assert_same_number(double a, double b)
{
    if (isnan(a) && isnan(b))
        return;
    assert_true(a == b);
}

static void assert_same_string(const char *a, const char *b)
{
    if (!a || !b)
        assert_true(a == b);
    else
        assert_string_equal(a, b);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_same_string(a->reason, b->reason);
    assert_same_string(a->detail, b->detail);
    assert_same_string(a->debug, b->debug);
    assert_same_string(a->comparison, b->comparison);
    assert_same_string(a->closest, b->closest);
    assert_same_string(a->device, b->device);
    assert_same_string(a->passed_over, b->passed_over);
    assert_same_number(a->worst, b->worst);
    assert_same_number(a->seconds, b->seconds);
    assert_int_equal(a->tensors, b->tensors);
    assert_int_equal(a->elements, b->elements);
    assert_int_equal(a->elements_whole, b->elements_whole);
    assert_same_number(a->resources.reserved, b->resources.reserved);
    assert_same_number(a->resources.allocated, b->resources.allocated);
    assert_same_number(a->resources.max_reserved, b->resources.max_reserved);
    assert_same_number(a->resources.max_allocated, b->resources.max_allocated);
    assert_int_equal(a->step_count, b->step_count);
    for (int i = 0; i < a->step_count; i++) {
        assert_int_equal(a->steps[i].step, b->steps[i].step);
        assert_same_number(a->steps[i].loss, b->steps[i].loss);
        assert_same_number(a->steps[i].gradient_norm, b->steps[i].gradient_norm);
        assert_same_number(a->steps[i].learning_rate, b->steps[i].learning_rate);
        assert_same_number(a->steps[i].loss_scale, b->steps[i].loss_scale);
        assert_int_equal(a->steps[i].skipped, b->steps[i].skipped);
        assert_int_equal(a->steps[i].tokens, b->steps[i].tokens);
        assert_same_number(a->steps[i].seconds, b->steps[i].seconds);
    }
    assert_same_string(a->output, b->output);
    assert_same_string(a->remark, b->remark);
    assert_int_equal(a->rank_count, b->rank_count);
    for (int i = 0; i < a->rank_count; i++) {
        const struct rank_usage *x = &a->ranks[i], *y = &b->ranks[i];
        assert_same_number(x->resources.max_reserved, y->resources.max_reserved);
        assert_same_number(x->resources.max_allocated, y->resources.max_allocated);
        assert_same_number(x->seconds, y->seconds);
        assert_int_equal(x->printed[0], y->printed[0]);
        assert_int_equal(x->printed[1], y->printed[1]);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct random random = random_start("outcomes");
    for (int i = 0; i < 500; i++) {
        struct outcome outcome = random_outcome(&random), back = {0};
        int test = (int)random_integer(&random, 0, 1000), answered = -1;
        char *line = outcome_encode(&outcome, test);
        assert_non_null(line);
        assert_null(strchr(line, '\n'));
        assert_true(outcome_decode(line, &back, &answered));
        assert_int_equal(answered, test);
        assert_same(&outcome, &back);
        free(line);
        outcome_free(&outcome);
        outcome_free(&back);
    }
}

static void test_no_outcomes(void **state)
{
    (void)state;
    static const char *const lines[] = {"",
                                        "{",
                                        "[]",
                                        "{}",
                                        "{\"test\": 1}",
                                        "{\"test\": \"1\", \"kind\": 1}",
                                        "{\"test\": 1, \"kind\": 17}",
                                        "garbage"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct outcome outcome = {0};
        int test;
        bool decoded = outcome_decode(lines[i], &outcome, &test);
        /* the fifth names a test and no kind: OUTCOME_NONE */
        assert_int_equal(decoded, i == 4);
        outcome_free(&outcome);
    }
}

/* A failure is not overwritten by a later success. */
static void test_failure_stays(void **state)
{
    (void)state;
    struct outcome outcome = {0};
    outcome_set(&outcome, OUTCOME_FAILED, "first %d", 1);
    outcome_set(&outcome, OUTCOME_PASSED, "%s", "");
    outcome_set(&outcome, OUTCOME_FAILED, "second");
    assert_int_equal(outcome.kind, OUTCOME_FAILED);
    assert_string_equal(outcome.reason, "first 1");
    outcome_free(&outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_outcomes),
        cmocka_unit_test(test_failure_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
