#include "ui/keymap.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *command_of(const struct keymap *map, const char *view, const char *name)
{
    struct key key;
    assert_true(keys_parse(name, &key));
    const struct keymap_binding *binding = keymap_find(map, view, &key);
    return binding ? binding->command : "";
}

static void test_defaults_and_overrides(void **state)
{
    (void)state;
    struct keymap map = {0};
    struct status status = STATUS_NONE;
    assert_true(keymap_load(&map, NULL, &status));
    assert_string_equal(command_of(&map, "tensor", "s"), "step");
    assert_string_equal(command_of(&map, "program", "b"), "break here"); /* the view's own first */
    assert_string_equal(command_of(&map, "memory", "b"), "break");
    assert_string_equal(command_of(&map, NULL, "page-down"), "move page-down");
    assert_string_equal(command_of(&map, "memory", "F9"), "");

    assert_true(keymap_add(&map,
                           "# mine\nglobal s  stepi 2 # two\n\nprogram b none\nglobal # help\n"
                           "memory F9 view memory\n",
                           "mine", &status) == false);
    assert_string_equal(status.text, "mine:5: expected a view, a key and a command, such as: "
                                     "global ctrl-l redraw");
    assert_string_equal(command_of(&map, NULL, "s"), "step"); /* nothing was changed */

    assert_true(
        keymap_add(&map, "# mine\nglobal s  stepi 2 # two\n\nprogram b none\n", "mine", &status));
    assert_string_equal(command_of(&map, NULL, "s"), "stepi 2");
    assert_string_equal(command_of(&map, "program", "b"), "");
    keymap_free(&map);
}

static void test_wrong_key_names_the_line(void **state)
{
    (void)state;
    struct keymap map = {0};
    struct status status = STATUS_NONE;
    assert_false(keymap_add(&map, "global j down\nglobal ctrl-foo x\n", "my.conf", &status));
    assert_int_equal(status.code, STATUS_INVALID);
    assert_non_null(strstr(status.text, "my.conf:2: 'ctrl-foo' is no key"));
    assert_int_equal(map.count, 0);
}

static void test_keys_of_commands(void **state)
{
    (void)state;
    struct keymap map = {0};
    struct status status = STATUS_NONE;
    char name[48];
    assert_true(keymap_load(&map, NULL, &status));
    assert_string_equal(keymap_key_of(&map, "program", "step", name), "s");
    assert_string_equal(keymap_key_of(&map, "tests", "view ranks", name), "6"); /* r is covered */
    assert_string_equal(keymap_key_of(&map, "tests", "no such", name), "");
    keymap_free(&map);
}

/* One line for each command of the view, where its first key comes, with all of its keys; what is
 * bound anew is told in its old place. */
static void test_described(void **state)
{
    (void)state;
    static const char bindings[] = "memory a view log\nglobal x step\nmemory b step\n"
                                   "memory F9 view log\nmemory ctrl-x step 2\n";
    struct keymap map = {0};
    struct status status = STATUS_NONE;
    struct text out = {0};
    assert_true(keymap_add(&map, bindings, "mine", &status));
    keymap_describe(&map, "memory", &out);
    assert_string_equal(out.data, "  a, F9                  view log\n"
                                  "  b                      step\n"
                                  "  ctrl-x                 step 2\n");
    text_clear(&out);
    keymap_describe(&map, "global", &out);
    assert_string_equal(out.data, "  x                      step\n");
    text_clear(&out);
    keymap_describe(&map, "tensor", &out);
    assert_int_equal(out.length, 0);
    assert_true(keymap_add(&map, "memory a step\n", "mine", &status));
    keymap_describe(&map, "memory", &out);
    assert_string_equal(out.data, "  a, b                   step\n"
                                  "  F9                     view log\n"
                                  "  ctrl-x                 step 2\n");
    text_free(&out);
    keymap_free(&map);
}

static void test_user_file(void **state)
{
    (void)state;
    char path[] = "/tmp/lockstep-keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "global q none\nglobal Q quit\n", 28), 28);
    close(fd);
    struct keymap map = {0};
    struct status status = STATUS_NONE;
    assert_true(keymap_load(&map, path, &status));
    assert_string_equal(command_of(&map, NULL, "q"), "");
    assert_string_equal(command_of(&map, NULL, "Q"), "quit");
    keymap_free(&map);

    FILE *file = fopen(path, "w");
    fputs("broken\n", file);
    fclose(file);
    assert_false(keymap_load(&map, path, &status)); /* told, and the defaults work */
    assert_string_equal(command_of(&map, NULL, "q"), "quit");
    keymap_free(&map);
    unlink(path);
    assert_true(keymap_load(&map, path, &status)); /* none is fine */
    keymap_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_and_overrides),
        cmocka_unit_test(test_wrong_key_names_the_line),
        cmocka_unit_test(test_keys_of_commands),
        cmocka_unit_test(test_described),
        cmocka_unit_test(test_user_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
