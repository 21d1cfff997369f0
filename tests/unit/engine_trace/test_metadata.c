/* The quick reader of metadata against the JSON library, which reads the same text as soon as it
 * holds a blank: what both make of good, odd and spoilt texts. */
#include "engine/trace/trace.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const good[] = {
    "\"shape\":[2,2]",        "\"shape\":[4]",     "\"shape\":[4096,1024]",
    "\"dtype\":\"bf16\"",     "\"dtype\":\"F32\"", "\"sampling_step\":1",
    "\"sampling_step\":1023", "\"mean\":-1.5e-3",  "\"deviation\":12",
    "\"minimum\":-0",         "\"maximum\":1E+2",  "\"nan_count\":0",
    "\"infinity_count\":7",   "\"order\":3",       "\"times\":2"};
static const char *const odd[] = {"\"shape\":[]",
                                  "\"shape\":[1,1,1,1,4]",
                                  "\"shape\":[-4]",
                                  "\"shape\":[4.0]",
                                  "\"shape\":4",
                                  "\"dtype\":\"b\\u00661\"",
                                  "\"dtype\":7",
                                  "\"sampling_step\":-1",
                                  "\"sampling_step\":9223372036854775808",
                                  "\"sampling_step\":01",
                                  "\"mean\":null",
                                  "\"mean\":1e999",
                                  "\"mean\":.5",
                                  "\"mean\":1.",
                                  "\"mean\":NaN",
                                  "\"order\":2147483648",
                                  "\"order\":\"1\"",
                                  "\"other\":{\"a\":[1]}",
                                  "\"order\":1,\"order\":2"};

static char *any_metadata(struct random *random)
{
    struct text text = {0};
    int count = (int)random_integer(random, 0, 6);
    text_add(&text, "{");
    for (int i = 0; i < count; i++) {
        bool usual = random_integer(random, 0, 4) > 0;
        text_add(&text, i ? "," : "");
        text_add(&text, usual ? good[random_integer(random, 0, ARRAY_LENGTH(good) - 1)]
                              : odd[random_integer(random, 0, ARRAY_LENGTH(odd) - 1)]);
    }
    text_add(&text, "}");
    if (random_integer(random, 0, 5) == 0) /* a byte becomes another */
        text.data[random_integer(random, 0, (int64_t)text.length - 1)] =
            "0\"{}[],:-.e"[random_integer(random, 0, 10)];
    return text_take(&text);
}

/* The trace of one tensor with this metadata; NULL if it is refused. */
static struct trace *open_with(const char *folder, const char *text)
{
    float numbers[4] = {1, 2, 3, 4};
    struct tensor tensor = tensor_of(numbers, DTYPE_F32, shape_of1(4));
    const char *name = "a", *metadata[] = {"a", text};
    struct status status = STATUS_NONE;
    char *path = memory_format("%s/train_1.safetensors", folder);
    if (!safetensors_write(path, &name, &tensor, 1, metadata, 1, &status))
        fail_msg("%s", status.text);
    struct trace *trace = trace_open(folder, &status);
    assert_true(trace || status.text[0]);
    unlink(path);
    free(path);
    return trace;
}

/* NAN too. */
static bool same(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b);
}

static void compare(const struct trace_tensor *a, const struct trace_tensor *b)
{
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->shape.rank, b->shape.rank);
    for (int i = 0; i < a->shape.rank; i++)
        assert_int_equal(a->shape.dims[i], b->shape.dims[i]);
    assert_int_equal(a->sampling_step, b->sampling_step);
    assert_true(same(a->mean, b->mean) && same(a->deviation, b->deviation));
    assert_true(same(a->minimum + 0, b->minimum + 0) && same(a->maximum, b->maximum));
    assert_int_equal(a->nan_count, b->nan_count);
    assert_int_equal(a->infinity_count, b->infinity_count);
    assert_int_equal(a->order, b->order);
    assert_int_equal(a->times, b->times);
}

static void test_quick_and_slow(void **state)
{
    struct random random = random_start("metadata");
    char folder[] = "/tmp/lockstep-metadata-XXXXXX";
    int opened = 0, refused = 0;
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (int round = 0; round < 3000; round++) {
        char *text = any_metadata(&random);
        char *blank = memory_format("%c %s", text[0], text + 1);
        struct trace *quick = open_with(folder, text), *slow = open_with(folder, blank);
        if (!quick != !slow)
            fail_msg("only one of both reads %s", text);
        if (quick) {
            struct trace_tensor one, other;
            trace_at(&quick->steps[0], 0, &one);
            trace_at(&slow->steps[0], 0, &other);
            compare(&one, &other);
        }
        opened += quick != NULL;
        refused += quick == NULL;
        trace_close(quick);
        trace_close(slow);
        free(text);
        free(blank);
    }
    assert_true(opened > 100 && refused > 100);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quick_and_slow)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
