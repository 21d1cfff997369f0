#include "helper_seen.h"

#include "engine/base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void seen_observe(void *context, const struct pair *pair, int step, int value,
                  const struct pair_result *result)
{
    struct seen *seen = context;
    (void)pair, (void)step, (void)value;
    ARRAY_PUSH(seen->results, seen->count, seen->capacity, *result);
}

static void assert_near(double a, double b)
{
    assert_true(fabs(a - b) <= 1e-12 * fabs(b) + 1e-300);
}

void seen_assert_same(const struct seen *there, const struct seen *here)
{
    assert_true(there->count > 60);
    assert_int_equal(there->count, here->count);
    for (int i = 0; i < there->count; i++) {
        const struct metrics *a = &there->results[i].metrics, *b = &here->results[i].metrics;
        assert_int_equal(there->results[i].verdict.failures, here->results[i].verdict.failures);
        assert_int_equal(a->different, b->different);
        assert_int_equal(a->max_index, b->max_index);
        assert_true(a->max_ulp == b->max_ulp);
        assert_near(a->rms_difference, b->rms_difference);
        assert_near(a->rms_reference, b->rms_reference);
        assert_near(a->cosine, b->cosine);
    }
}
