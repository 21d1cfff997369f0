/* Initialisation: the numbers that the NumPy version in docs/numbers.md gives, whatever the part
 * that is asked for; and the learning rate's schedules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "engine/train/counter.h"
#include "engine/train/initialize.h"
#include "engine/train/learning_rate.h"
#include "tests/unit/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* w = initialize_normal("decoder.0.mixer.query.weight", 1234, 2**-5.5, (256, 256)).reshape(-1);
 * print([float(w[i]).hex() for i in (0, 1, 2, 3, 4095, 65535)]), of docs/numbers.md; likewise
 * ("head.output_weights", 7, 1.0, (5,)) */
static void matches_the_numpy_version(void **state)
{
    (void)state;
    static const int places[] = {0, 1, 2, 3, 4095, 65535};
    static const float numbers[] = {0x1.41683ap-6f, 0x1.544c16p-6f, 0x1.198fd8p-6f,
                                    0x1.3d2956p-7f, 0x1.3a882ep-6f, -0x1.526e70p-7f};
    static const float few[] = {-0x1.7dd534p-5f, 0x1.caccfp-1f, -0x1.3f3a0p+1f, -0x1.395a2ap+1f,
                                0x1.37f5fep+0f};
    float *out = memory_zeroed(65536, sizeof *out), five[6] = {0};
    initialize_normal(out, 0, 65536, "decoder.0.mixer.query.weight", 1234, exp2(-5.5));
    for (int i = 0; i < ARRAY_LENGTH(places); i++)
        assert_memory_equal(&out[places[i]], &numbers[i], sizeof(float));
    initialize_normal(five, 0, 5, "head.output_weights", 7, 1.0);
    assert_memory_equal(five, few, sizeof few);
    assert_true(five[5] == 0); /* nothing behind the end */
    free(out);
}

/* The formula with the library's functions. */
static void pair_by_the_library(uint64_t key, int64_t pair, double std, float out[2])
{
    uint64_t a = counter_number(key, 2 * (uint64_t)pair);
    uint64_t b = counter_number(key, 2 * (uint64_t)pair + 1);
    double radius = sqrt(-2 * log((double)((a >> 11) + 1) * 0x1p-53));
    double angle = 6.283185307179586476925286766559 * ((double)(b >> 11) * 0x1p-53);
    out[0] = (float)(std * radius * cos(angle));
    out[1] = (float)(std * radius * sin(angle));
}

/* Both are off by about a unit of float64's last place, so that hardly ever, one number in a
 * hundred million, is rounded to another float, and then to its neighbour. */
static void is_what_the_library_gives(void **state)
{
    (void)state;
    enum { PAIRS = 1 << 20, OTHERS = 8 };
    float *out = memory_zeroed(2 * PAIRS, sizeof *out), pair[2];
    uint64_t seed = (uint64_t)rand(), key = counter_mix(seed ^ hash_string("w"));
    int64_t first = ((int64_t)rand() << 20) + rand(), others = 0;
    initialize_normal(out, 2 * first, 2 * PAIRS, "w", seed, 0.02);
    for (int64_t i = 0; i < PAIRS; i++) {
        pair_by_the_library(key, first + i, 0.02, pair);
        for (int k = 0; k < 2; k++) {
            float found = out[2 * i + k];
            others += found != pair[k];
            assert_true(found == pair[k] || found == nextafterf(pair[k], found));
        }
    }
    assert_true(others < OTHERS);
    free(out);
}

static void any_part_equals_that_part_of_the_whole(void **state)
{
    (void)state;
    enum { COUNT = 1001 };
    float whole[COUNT], part[COUNT];
    initialize_normal(whole, 0, COUNT, "a", 5, 1);
    for (int round = 0; round < 200; round++) {
        int first = rand() % COUNT, count = rand() % (COUNT - first + 1);
        initialize_normal(part, first, count, "a", 5, 1);
        assert_memory_equal(part, whole + first, (size_t)count * sizeof(float));
    }
    initialize_normal(part, 0, COUNT, "b", 5, 1);
    assert_true(memcmp(part, whole, sizeof whole) != 0);
    initialize_normal(part, 0, COUNT, "a", 6, 1);
    assert_true(memcmp(part, whole, sizeof whole) != 0);
}

/* Mean, deviation and the share beyond two deviations of a million numbers; the bounds are five
 * standard errors. */
static void is_normal(void **state)
{
    (void)state;
    enum { COUNT = 1 << 20 };
    float *out = memory_zeroed(COUNT, sizeof *out);
    double sum = 0, squares = 0, neighbours = 0;
    int far = 0;
    initialize_normal(out, 0, COUNT, "w", (uint64_t)rand(), 2);
    for (int i = 0; i < COUNT; i++) {
        sum += out[i];
        squares += (double)out[i] * out[i];
        neighbours += i ? (double)out[i] * out[i - 1] : 0;
        far += fabsf(out[i]) > 4;
    }
    double error = 5 / sqrt(COUNT);
    assert_true(fabs(sum / COUNT) < 2 * error);
    assert_true(fabs(squares / COUNT / 4 - 1) < sqrt(2) * error);
    assert_true(fabs(neighbours / COUNT / 4) < error);
    assert_true(fabs((double)far / COUNT - 0.0455003) < 0.21 * error);
    free(out);
}

static double rate(enum learning_rate_decay decay, double power, int iteration)
{
    struct optimizer_config optimizer = {.learning_rate = 1,
                                         .minimum_learning_rate = 0.2,
                                         .decay = decay,
                                         .decay_power = power,
                                         .warmup_iterations = 4,
                                         .decay_iterations = 12};
    return learning_rate_at(&optimizer, iteration);
}

static void assert_near(double found, double wanted)
{
    if (!(fabs(found - wanted) < 1e-14))
        fail_msg("%.17g, not %.17g", found, wanted);
}

static void schedules_the_learning_rate(void **state)
{
    (void)state;
    for (int decay = DECAY_CONSTANT; decay <= DECAY_COSINE; decay++) {
        assert_near(rate((enum learning_rate_decay)decay, 1, 0), 0);
        assert_near(rate((enum learning_rate_decay)decay, 1, 1), 0.25);
        assert_near(rate((enum learning_rate_decay)decay, 1, 4), 1);
        for (int i = 12; i < 15; i++)
            assert_near(rate((enum learning_rate_decay)decay, 1, i),
                        decay == DECAY_CONSTANT ? 1 : 0.2);
    }
    assert_near(rate(DECAY_CONSTANT, 1, 8), 1);
    assert_near(rate(DECAY_LINEAR, 1, 6), 0.8);
    assert_near(rate(DECAY_LINEAR, 1, 8), 0.6);
    assert_near(rate(DECAY_POWER, 2, 8), 0.8);
    assert_near(rate(DECAY_POWER, 0, 8), 0.6);
    assert_near(rate(DECAY_COSINE, 1, 8), 0.6);
    assert_near(rate(DECAY_COSINE, 1, 6), 1 - 0.8 * 0.5 * (1 - sqrt(0.5)));
    assert_near(rate(DECAY_COSINE, 2, 8), 1 - 0.8 * 0.5 * (1 - sqrt(0.5)));
    struct optimizer_config model_tests = {.learning_rate = 1e-4};
    assert_near(learning_rate_at(&model_tests, 1), 1e-4);
}

int main(void)
{
    struct random random = random_start("initialize");
    srand((unsigned)random_bits(&random));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_numpy_version),
        cmocka_unit_test(is_what_the_library_gives),
        cmocka_unit_test(any_part_equals_that_part_of_the_whole),
        cmocka_unit_test(is_normal),
        cmocka_unit_test(schedules_the_learning_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
