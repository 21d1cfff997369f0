#include "engine/base/memory.h"
#include "engine/base/names.h"
#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void names_are_found_again_in_order(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct names names = {0};
    char name[64];
    assert_int_equal(names_find(&names, "decoder.0"), -1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "decoder.%d.mixer", i);
        assert_true(names_set(&names, name, 3 * i));
    }
    assert_int_equal(names.count, COUNT);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "decoder.%d.mixer", i);
        assert_int_equal(names_find(&names, name), 3 * i);
        assert_string_equal(names.names[i], name);
    }
    assert_int_equal(names_find(&names, "decoder.5000.mixer"), -1);
    assert_int_equal(names_find(&names, ""), -1);
    names_free(&names);
    assert_int_equal(names_find(&names, "decoder.1.mixer"), -1);
    names_free(&names);
}

static void setting_again_changes_the_value_only(void **state)
{
    (void)state;
    struct names names = {0};
    assert_true(names_set(&names, "", 7));
    assert_true(names_set(&names, "b", 8));
    assert_false(names_set(&names, "", 9));
    assert_int_equal(names_find(&names, ""), 9);
    assert_int_equal(names.count, 2);
    names_free(&names);
}

/* The published test vectors of FNV-1a, 64 bit. */
static void hashes_are_fnv_1a(void **state)
{
    (void)state;
    assert_true(hash_string("") == 0xcbf29ce484222325u);
    assert_true(hash_string("a") == 0xaf63dc4c8601ec8cu);
    assert_true(hash_string("foobar") == 0x85944171f73967e8u);
    assert_true(hash_bytes("a\0b", 3) != hash_bytes("a\0c", 3));
}

static void distances_count_edits(void **state)
{
    (void)state;
    assert_int_equal(names_distance("", ""), 0);
    assert_int_equal(names_distance("", "abc"), 3);
    assert_int_equal(names_distance("hidden", "hiden"), 1);
    assert_int_equal(names_distance("hidden", "hiddne"), 1); /* two letters changed places */
    assert_int_equal(names_distance("kitten", "sitting"), 3);
    assert_int_equal(names_distance("ca", "abc"), 3); /* no second edit of a swapped pair */
}

static int minimum(int a, int b)
{
    return a < b ? a : b;
}

/* The definition, by recursion. */
static int distance_of(const char *a, int length_a, const char *b, int length_b)
{
    if (length_a == 0 || length_b == 0)
        return length_a + length_b;
    int change = a[length_a - 1] != b[length_b - 1];
    int best = minimum(distance_of(a, length_a - 1, b, length_b),
                       distance_of(a, length_a, b, length_b - 1)) +
               1;
    best = minimum(best, distance_of(a, length_a - 1, b, length_b - 1) + change);
    if (length_a > 1 && length_b > 1 && a[length_a - 1] == b[length_b - 2] &&
        a[length_a - 2] == b[length_b - 1])
        best = minimum(best, distance_of(a, length_a - 2, b, length_b - 2) + 1);
    return best;
}

static void random_word(char word[8])
{
    int length = rand() % 7;
    for (int i = 0; i < length; i++)
        word[i] = (char)('a' + rand() % 3);
    word[length] = '\0';
}

static void distances_agree_with_the_definition(void **state)
{
    (void)state;
    struct random random = random_start("names");
    srand((unsigned)random_bits(&random));
    for (int i = 0; i < 300; i++) {
        char a[8], b[8];
        random_word(a);
        random_word(b);
        int wanted = distance_of(a, (int)strlen(a), b, (int)strlen(b));
        if (names_distance(a, b) != wanted)
            fail_msg("distance of '%s' and '%s': %d, not %d", a, b, names_distance(a, b), wanted);
    }
}

static void the_closest_name_is_meant(void **state)
{
    (void)state;
    static const char *const keys[] = {"hidden_size", "heads", "head_groups", "vocab_size"};
    assert_string_equal(names_closest("hiden_size", keys, ARRAY_LENGTH(keys)), "hidden_size");
    assert_string_equal(names_closest("head_group", keys, ARRAY_LENGTH(keys)), "head_groups");
    assert_string_equal(names_closest("head", keys, ARRAY_LENGTH(keys)), "heads");
    assert_null(names_closest("rotary", keys, ARRAY_LENGTH(keys)));
    assert_null(names_closest("heads", keys, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found_again_in_order),
        cmocka_unit_test(setting_again_changes_the_value_only),
        cmocka_unit_test(hashes_are_fnv_1a),
        cmocka_unit_test(distances_count_edits),
        cmocka_unit_test(distances_agree_with_the_definition),
        cmocka_unit_test(the_closest_name_is_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
