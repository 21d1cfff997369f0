#include "engine/tensor/dtype.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What a 16-bit pattern means, by IEEE 754's definition, in doubles: the tests' own reading. */
struct format {
    enum dtype dtype;
    int fraction_bits, bias;
    uint16_t infinity;
};

static const struct format formats[] = {
    {DTYPE_F16, 10, 15, 0x7c00u},
    {DTYPE_BF16, 7, 127, 0x7f80u},
};

static double meaning(const struct format *format, unsigned bits)
{
    int exponent = (int)((bits & 0x7fffu) >> format->fraction_bits);
    double fraction = (double)(bits & ((1u << format->fraction_bits) - 1));
    double one = ldexp(1, format->fraction_bits), magnitude;
    if ((bits & 0x7fffu) >= format->infinity)
        magnitude = fraction > 0 ? NAN : INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(fraction / one, 1 - format->bias);
    else
        magnitude = ldexp(1 + fraction / one, exponent - format->bias);
    return bits & 0x8000u ? -magnitude : magnitude;
}

static unsigned stored(enum dtype dtype, double number)
{
    uint16_t bits = 0xdeadu;
    dtype_store(dtype, &bits, 0, number);
    return bits;
}

static unsigned stored_float(enum dtype dtype, float number)
{
    return dtype == DTYPE_F16 ? float_to_f16(number) : float_to_bf16(number);
}

static void every_pattern_is_read_and_written_back(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++)
        for (unsigned bits = 0; bits < 0x10000u; bits++) {
            uint16_t pattern = (uint16_t)bits;
            double wanted = meaning(&formats[f], bits);
            double got = dtype_load(formats[f].dtype, &pattern, 0);
            unsigned back = stored(formats[f].dtype, got);
            if (isnan(wanted)) { /* any NaN is as good as any other, but its sign is kept */
                assert_true(isnan(got) && isnan(meaning(&formats[f], back)));
                assert_int_equal(back & 0x8000u, bits & 0x8000u);
            } else {
                assert_true(got == wanted && !signbit(got) == !signbit(wanted));
                assert_int_equal(back, bits);
                assert_int_equal(stored_float(formats[f].dtype, (float)got), bits);
            }
        }
}

/* Between each pattern and the next: the middle goes to the even one, the smallest step off the
 * middle to the nearer one. The steps are of doubles too, which a detour by float would lose. */
static void check_between(const struct format *format, unsigned low, unsigned sign)
{
    unsigned high = low + 1, even = low & 1u ? high : low;
    double bottom = meaning(format, low);
    double step = bottom - (low ? meaning(format, low - 1) : -meaning(format, 1));
    double top = high == format->infinity ? bottom + step : meaning(format, high);
    double middle = bottom + (top - bottom) / 2;
    double factor = sign ? -1 : 1;
    assert_int_equal(stored(format->dtype, factor * middle), sign | even);
    assert_int_equal(stored(format->dtype, factor * nextafter(middle, 0)), sign | low);
    assert_int_equal(stored(format->dtype, factor * nextafter(middle, INFINITY)), sign | high);
    if (middle >= 0x1p-149 || middle == 0) { /* else below the smallest float */
        float tie = (float)(factor * middle);
        float away = (float)(factor * INFINITY);
        assert_int_equal(stored_float(format->dtype, tie), sign | even);
        assert_int_equal(stored_float(format->dtype, nextafterf(tie, 0)), sign | low);
        assert_int_equal(stored_float(format->dtype, nextafterf(tie, away)), sign | high);
    }
}

static void rounding_is_to_nearest_even_everywhere(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++)
        for (unsigned low = 0; low < formats[f].infinity; low++) {
            check_between(&formats[f], low, 0);
            check_between(&formats[f], low, 0x8000u);
        }
}

static void extremes_become_zero_infinity_or_nan(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++) {
        enum dtype dtype = formats[f].dtype;
        assert_int_equal(stored(dtype, 1e300), formats[f].infinity);
        assert_int_equal(stored(dtype, -INFINITY), 0x8000u | formats[f].infinity);
        assert_int_equal(stored(dtype, 5e-324), 0);
        assert_int_equal(stored(dtype, -5e-324), 0x8000u);
        assert_true(isnan(meaning(&formats[f], stored(dtype, NAN))));
    }
    /* A NaN whose only set bits are cut off must not become an infinity. */
    uint32_t bits = 0x7f800001u;
    float number;
    memcpy(&number, &bits, 4);
    assert_true(isnan(bf16_to_float(float_to_bf16(number))));
    assert_true(isnan(f16_to_float(float_to_f16(number))));
}

#ifdef __FLT16_MANT_DIG__
__extension__ typedef _Float16 compiler_half;

static unsigned compiler_bits(float number)
{
    compiler_half half = (compiler_half)number;
    uint16_t bits;
    memcpy(&bits, &half, 2);
    return bits;
}

static void random_floats_agree_with_the_compiler(void **state)
{
    (void)state;
    struct random random = random_start("halves");
    for (int i = 0; i < 300000; i++) {
        /* All patterns, and as often those that a half can hold. */
        uint32_t bits = (uint32_t)random_bits(&random);
        if (i % 2)
            bits = (bits & 0x8fffffffu) + ((bits & 1u ? 0x33u : 0x3bu) << 24);
        float number;
        memcpy(&number, &bits, 4);
        if (!isnan(number) && float_to_f16(number) != compiler_bits(number))
            fail_msg("%a: %04x, by the compiler %04x", (double)number, float_to_f16(number),
                     compiler_bits(number));
    }
}
#endif

static void integers_are_cut_and_limited(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        double number, wanted;
    } cases[] = {
        {DTYPE_I32, 3.99, 3},
        {DTYPE_I32, -3.99, -3},
        {DTYPE_I32, 1e20, INT32_MAX},
        {DTYPE_I32, -INFINITY, INT32_MIN},
        {DTYPE_I32, NAN, 0},
        {DTYPE_I64, 0x1p62 + 0x1p20, 0x1p62 + 0x1p20},
        {DTYPE_I64, 0x1p63, 0x1p63},
        {DTYPE_I64, -0x1p63, -0x1p63},
        {DTYPE_I64, -INFINITY, -0x1p63},
        {DTYPE_I16, 40000, 32767},
        {DTYPE_I16, -40000, -32768},
        {DTYPE_U16, 65534.5, 65534},
        {DTYPE_U16, -1, 0},
        {DTYPE_U16, 1e9, 65535},
        {DTYPE_I8, 127.9, 127},
        {DTYPE_I8, -300, -128},
        {DTYPE_U8, 255, 255},
        {DTYPE_U8, -0.5, 0},
        {DTYPE_BOOL, 0.25, 1},
        {DTYPE_BOOL, -0.0, 0},
        {DTYPE_BOOL, 256, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t memory = 0;
        dtype_store(cases[i].dtype, &memory, 0, cases[i].number);
        double got = dtype_load(cases[i].dtype, &memory, 0);
        if (got != cases[i].wanted)
            fail_msg("%s of %g: %g", dtype_name(cases[i].dtype), cases[i].number, got);
    }
}

/* Each type into each other and back, on numbers that all of them can hold, in place of their own
 * neighbours: an element of the wrong size would overwrite one. */
static void every_type_converts_into_every_other(void **state)
{
    (void)state;
    for (int from = 0; from < DTYPE_COUNT; from++)
        for (int to = 0; to < DTYPE_COUNT; to++) {
            enum { COUNT = 9 };
            uint64_t source[COUNT + 1], target[COUNT + 1];
            memset(target, 0xa5, sizeof(target));
            for (size_t i = 0; i < COUNT; i++)
                dtype_store((enum dtype)from, source, i, (double)(i * 7 % 2));
            dtype_convert(target, (enum dtype)to, source, (enum dtype)from, COUNT);
            for (size_t i = 0; i < COUNT; i++)
                assert_true(dtype_load((enum dtype)to, target, i) == (double)(i * 7 % 2));
            assert_int_equal(((unsigned char *)target)[COUNT * dtype_size((enum dtype)to)], 0xa5);
        }
    dtype_convert(NULL, DTYPE_F32, NULL, DTYPE_F32, 0);
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 2, 2, 8, 4, 8, 2, 2, 1, 1, 1};
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype found = DTYPE_COUNT;
        assert_int_equal(dtype_size((enum dtype)i), sizes[i]);
        assert_true(dtype_find(dtype_name((enum dtype)i), &found));
        assert_int_equal(found, i);
        assert_true(dtype_find(dtype_label((enum dtype)i), &found));
        assert_int_equal(found, i);
        assert_int_equal(dtype_is_float((enum dtype)i), i <= DTYPE_F64);
    }
    enum dtype untouched = DTYPE_I8;
    assert_false(dtype_find("float", &untouched));
    assert_false(dtype_find("", &untouched));
    assert_int_equal(untouched, DTYPE_I8);
}

static void epsilon_is_the_step_after_one(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++) {
        enum dtype dtype = formats[f].dtype;
        unsigned one = stored(dtype, 1);
        assert_true(meaning(&formats[f], one + 1) - 1 == dtype_epsilon(dtype));
    }
    assert_true(nextafterf(1, 2) - 1 == dtype_epsilon(DTYPE_F32));
    assert_true(nextafter(1, 2) - 1 == dtype_epsilon(DTYPE_F64));
    assert_true(dtype_epsilon(DTYPE_I64) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern_is_read_and_written_back),
        cmocka_unit_test(rounding_is_to_nearest_even_everywhere),
        cmocka_unit_test(extremes_become_zero_infinity_or_nan),
#ifdef __FLT16_MANT_DIG__
        cmocka_unit_test(random_floats_agree_with_the_compiler),
#endif
        cmocka_unit_test(integers_are_cut_and_limited),
        cmocka_unit_test(every_type_converts_into_every_other),
        cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(epsilon_is_the_step_after_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
