/* Slices against numpy's rules, written down again in the plainest way. */
#include "engine/session/slices.h"

#include "tests/unit/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Python's slice.indices(), in its own words: the reference. */
static int python_indices(int64_t size, bool has_start, int64_t start, bool has_stop, int64_t stop,
                          int64_t step, int64_t *indices)
{
    int count = 0;
    int64_t first = has_start ? (start < 0 ? start + size : start) : (step > 0 ? 0 : size - 1);
    if (step > 0) {
        first = first < 0 ? 0 : first;
        int64_t end = has_stop ? (stop < 0 ? stop + size : stop) : size;
        for (int64_t i = first; i < end && i < size; i += step)
            indices[count++] = i;
    } else {
        first = first >= size ? size - 1 : first;
        int64_t end = has_stop ? (stop < 0 ? stop + size : stop) : -1;
        end = end < -1 ? -1 : end;
        for (int64_t i = first; i > end && i >= 0; i += step)
            indices[count++] = i;
    }
    return count;
}

static void test_random(void **state)
{
    (void)state;
    struct random random = random_start("slices");
    for (int round = 0; round < 5000; round++) {
        int64_t size = random_integer(&random, 1, 9), indices[32];
        int64_t start = random_integer(&random, -12, 12), stop = random_integer(&random, -12, 12);
        int64_t step = random_integer(&random, 1, 4) * (random_integer(&random, 0, 1) ? 1 : -1);
        bool has_start = random_integer(&random, 0, 2) > 0,
             has_stop = random_integer(&random, 0, 2);
        char text[80], a[24] = "", b[24] = "";
        if (has_start)
            snprintf(a, sizeof(a), "%" PRId64, start);
        if (has_stop)
            snprintf(b, sizeof(b), "%" PRId64, stop);
        snprintf(text, sizeof(text), "[1, %s:%s:%" PRId64 "]", a, b, step);
        struct slices slices;
        struct status status = STATUS_NONE;
        struct shape shape = shape_of2(3, size);
        if (!slices_parse(text, shape, &slices, &status))
            fail_msg("%s: %s", text, status.text);
        int count = python_indices(size, has_start, start, has_stop, stop, step, indices);
        if (slices_elements(&slices) != count)
            fail_msg("%s of %" PRId64 ": %" PRId64 " elements, not %d", text, size,
                     slices_elements(&slices), count);
        for (int64_t i = 0; i < count; i++)
            assert_int_equal(slices_index(&slices, shape, (int64_t[TENSOR_MAX_RANK]){0, i}),
                             size + indices[i]);
    }
}

static void test_forms(void **state)
{
    (void)state;
    struct shape shape = {.rank = 3, .dims = {4, 5, 6}};
    static const struct {
        const char *text;
        int64_t elements, first;
    } cases[] = {{"", 120, 0},        {"[0]", 30, 0},           {"[-1]", 30, 90},
                 {"[..., 0]", 20, 0}, {"[..., 0:2]", 40, 0},    {"[1,2,3]", 1, 45},
                 {"[:, -4:]", 96, 6}, {"[::2, ::-1]", 60, 24},  {"[ 1 : 3 , 0 ]", 12, 30},
                 {"[2:1]", 0, 60},    {"[3:, ..., -1]", 5, 95}, {"[...]", 120, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slices slices;
        struct status status = STATUS_NONE;
        if (!slices_parse(cases[i].text, shape, &slices, &status))
            fail_msg("%s: %s", cases[i].text, status.text);
        assert_int_equal(slices_elements(&slices), cases[i].elements);
        assert_int_equal(slices_index(&slices, shape, (int64_t[TENSOR_MAX_RANK]){0}),
                         cases[i].first);
    }
}

static void test_errors(void **state)
{
    (void)state;
    static const char *const texts[] = {"[",
                                        "[]",
                                        "[1",
                                        "[4]",
                                        "[-5]",
                                        "[0,0,0,0]",
                                        "[::0]",
                                        "[1]x",
                                        "[a]",
                                        "1",
                                        "[...,...]",
                                        "[1,,2]",
                                        "[,]",
                                        "[1 2]",
                                        "]",
                                        "[:::]",
                                        "[0,0,0,0,0,0,0,0]",
                                        "[99999999999999999999]",
                                        "[--1]",
                                        "[1:2:3:4]"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct slices slices;
        struct status status = STATUS_NONE;
        struct shape shape = {.rank = 3, .dims = {4, 5, 6}};
        if (slices_parse(texts[i], shape, &slices, &status))
            fail_msg("'%s' was read", texts[i]);
        assert_int_equal(status.code, STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
