/* Places and names of tensors, on a real program. */
#include "engine/session/places.h"
#include "helper_debugger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bench bench;

static int open_bench(void **state)
{
    (void)state;
    bench_open(&bench);
    bench_do(&bench, "file llama/bf4");
    return 0;
}

static int close_bench(void **state)
{
    (void)state;
    bench_close(&bench);
    return 0;
}

static const struct program *program(void)
{
    return debugger_program(bench.debugger);
}

static int count_matches(const char *text)
{
    struct place place;
    struct status status = STATUS_NONE;
    if (!place_parse(program(), 2, text, &place, &status))
        fail_msg("%s: %s", text, status.text);
    int count = 0;
    for (int i = 0; i < program()->instruction_count; i++)
        count += place_matches(program(), &place, i);
    place_free(&place);
    return count;
}

static void test_places(void **state)
{
    (void)state;
    int backward = count_matches("backward"), all = program()->instruction_count;
    assert_true(backward > 0 && backward < all);
    int one = count_matches("backward decoder.1 mb=2");
    assert_true(one > 0);
    assert_int_equal(count_matches("mb=2 decoder.1 backward"), one);
    int sum = count_matches("backward decoder.1 mb=0") + count_matches("backward decoder.1 mb=1") +
              one + count_matches("backward decoder.1 mb=3");
    assert_int_equal(count_matches("backward decoder.1"), sum);
    /* the parameters of a layer are updated under its name only when the phase is named */
    assert_int_equal(count_matches("decoder.1"), sum + count_matches("forward decoder.1"));
    assert_true(count_matches("update decoder.1") > 5);
    assert_int_equal(count_matches("3"), 1);
    assert_int_equal(count_matches("*3"), 1);
    assert_int_equal(count_matches("2:3"), 1);
    /* written by each micro-batch, and the total is one of them */
    assert_int_equal(count_matches("gradient decoder.1.mlp.layer_2.weight"), 4);
    assert_int_equal(count_matches("fw decoder.0.output"), 4);
    assert_int_equal(count_matches("fw decoder.0.output mb=1/4"), 1);
    assert_true(count_matches("/^ *[0-9]+ +accumulate/") > 10);
    assert_int_equal(count_matches("mlp.layer_2"), count_matches("decoder.0.mlp.layer_2") +
                                                       count_matches("decoder.1.mlp.layer_2"));
}

static void must_fail(const char *text, const char *says)
{
    struct place place;
    struct status status = STATUS_NONE;
    if (place_parse(program(), 2, text, &place, &status))
        fail_msg("'%s' was read", text);
    must_contain(status.text, says);
}

static void test_errors(void **state)
{
    (void)state;
    must_fail("", "a place is missing");
    must_fail("decodr.1.mlp", "no layer, phase or tensor");
    must_fail("gradient decoder.1.mlp.layr_2.weight",
              "did you mean 'gradient decoder.1.mlp.layer_2.weight'");
    must_fail("100000", "there is no instruction 100000");
    must_fail("1:", "two numbers");
    must_fail("0:1", "counted from 1");
    must_fail("/(/", "/(/");
    must_fail("/x", "between two slashes");
    must_fail("%999999", "there is no value");
    must_fail("decoder.1.mlp.layer_2.weight", "names several tensors");
    must_fail("backward nothing", "no layer, phase or tensor");
}

static void test_tensors(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    int count = program()->instruction_count;
    int last = tensor_find(program(), "fw decoder.0.output", count, &status);
    assert_string_equal(program()->values[last].name, "fw decoder.0.output mb=3/4");
    int first = tensor_find(program(), "fw decoder.0.output", 0, &status);
    assert_string_equal(program()->values[first].name, "fw decoder.0.output mb=0/4");
    int between = tensor_find(program(), "fw decoder.0.output",
                              program()->values[first].producer + 1, &status);
    assert_int_equal(between, first);
    char text[32];
    snprintf(text, sizeof(text), "%%%d", last);
    assert_int_equal(tensor_find(program(), text, 0, &status), last);
    /* every canonical name finds its own value */
    for (int i = 0; i < program()->by_name.count; i++)
        assert_int_equal(tensor_find(program(), program()->by_name.names[i], count, &status),
                         program()->by_name.values[i]);
}

/* What a user can complete. */
static void test_completion(void **state)
{
    (void)state;
    struct words *words = words_of_program(program());
    static const struct {
        const char *line;
        size_t start;
        const char *expected;
    } cases[] = {{"rev", 0, "reverse-step"},
                 {"break decoder.1.ml", 6, "decoder.1.mlp.layer_2"},
                 {"diff gradient decoder.1.mlp.layer_2", 14, "decoder.1.mlp.layer_2.weight"},
                 {"print/ref fw head.lo", 13, "head.logits mb=0/4"},
                 {"info div", 5, "divergences"},
                 {"info dis", 5, "display"},
                 {"until back", 6, "backward"},
                 {"break fw x if rel_", 14, "rel_rms"},
                 {"file llama/bf", 5, "llama/bf4"},
                 {"file llama/bf4 fault drop", 21, "dropped-micro-batch"},
                 {"set dig", 4, "digits"},
                 {"stop on d", 8, "divergence"},
                 {"save br", 5, "breakpoints"},
                 {"save breakpoints /et", 17, "/etc/"},
                 {"source ~/et", 7, "~/etc/"}};
    setenv("HOME", "/", 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char **matches = NULL;
        int count = words_complete(words, NULL, cases[i].line, cases[i].start,
                                   strlen(cases[i].line), &matches);
        bool found = false;
        for (int m = 0; m < count; m++) {
            found = found || strcmp(matches[m], cases[i].expected) == 0;
            free(matches[m]);
        }
        if (count)
            free(matches);
        if (!found)
            fail_msg("'%s' does not complete to '%s' (%d matches)", cases[i].line,
                     cases[i].expected, count);
    }
    words_release(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_errors),
                                       cmocka_unit_test(test_tensors),
                                       cmocka_unit_test(test_completion)};
    return cmocka_run_group_tests(tests, open_bench, close_bench);
}
