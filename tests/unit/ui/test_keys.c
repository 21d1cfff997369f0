#include "tests/unit/random.h"
#include "ui/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Decodes `bytes`, fed in pieces of `piece` bytes, into names joined by blanks. */
static void decode_names(const char *bytes, size_t count, size_t piece, char *names, size_t size)
{
    struct keys_decoder decoder = {0};
    struct key key;
    char name[48];
    names[0] = '\0';
    for (size_t at = 0; at < count; at += piece) {
        size_t length = count - at < piece ? count - at : piece;
        assert_int_equal(keys_push(&decoder, bytes + at, length), length);
        while (keys_next(&decoder, &key))
            snprintf(names + strlen(names), size - strlen(names), "%s%s ", keys_name(&key, name),
                     key.pasted ? "(pasted)" : "");
    }
    while (keys_flush(&decoder, &key))
        snprintf(names + strlen(names), size - strlen(names), "%s ", keys_name(&key, name));
    assert_false(keys_waiting(&decoder));
    if (names[0])
        names[strlen(names) - 1] = '\0';
}

static void expect_names(const char *bytes, size_t count, const char *expected)
{
    char names[512];
    decode_names(bytes, count, count, names, sizeof(names));
    assert_string_equal(names, expected);
    decode_names(bytes, count, 1, names, sizeof(names)); /* byte by byte gives the same */
    assert_string_equal(names, expected);
}
#define EXPECT(bytes, expected) expect_names(bytes, sizeof(bytes) - 1, expected)

static void test_sequences(void **state)
{
    (void)state;
    EXPECT("jK ", "j K space");
    EXPECT("\x0c\x01\x00\x1f", "ctrl-l ctrl-a ctrl-space ctrl-_");
    EXPECT("\r\t\x7f\x08\n", "enter tab backspace backspace enter");
    EXPECT("\x1b[A\x1bOB\x1b[H\x1bOF", "up down home end");
    EXPECT("\x1b[5~\x1b[6~\x1b[3~\x1b[2~", "page-up page-down delete insert");
    EXPECT("\x1b[1;5C\x1b[1;2A\x1b[3;3~\x1b[6;7~",
           "ctrl-right shift-up alt-delete ctrl-alt-page-down");
    EXPECT("\x1bOP\x1b[15~\x1b[24~\x1b[[C\x1b[1;5S", "F1 F5 F12 F3 ctrl-F4");
    EXPECT("\x1b[Z\x1b[a\x1bOd\x1b[5^\x1b[6$", "shift-tab shift-up ctrl-left ctrl-page-up "
                                               "shift-page-down");
    EXPECT("\x1b[97;5u\x1b[27;5;105~\x1b[65;2u", "ctrl-a ctrl-i A");
    EXPECT("\x1b"
           "x\x1b\xc3\xa9",
           "alt-x alt-\u00e9");
    EXPECT("\u4e2d\U0001f600", "\u4e2d \U0001f600");
    EXPECT("\x1b[I\x1b[O", "focus-in focus-out");
    EXPECT("\x1bOM\x1bOp\x1bOk", "enter 0 +");
}

static void test_lone_escape_needs_time(void **state)
{
    (void)state;
    struct keys_decoder decoder = {0};
    struct key key;
    keys_push(&decoder, "\x1b", 1);
    assert_false(keys_next(&decoder, &key));
    assert_true(keys_waiting(&decoder));
    assert_true(keys_flush(&decoder, &key));
    assert_int_equal(key.code, KEYS_ESCAPE);
    assert_false(keys_waiting(&decoder));
    EXPECT("\x1b\x1b[A", "escape up");
    EXPECT("\x1b[", "alt-[");
    EXPECT("\x1bO", "alt-O");
}

static void test_broken_input(void **state)
{
    (void)state;
    EXPECT("\xff"
           "a\xc3"
           "b",
           "unknown a unknown b");
    EXPECT("\x1b[?12;3cx", "unknown x");     /* an answer of the terminal is no text */
    EXPECT("\x1b[12\rx", "unknown enter x"); /* broken off by a control character */
    EXPECT("\x1b[99999999999999~q", "unknown q");
    char flood[2000] = "\x1b[";
    memset(flood + 2, '1', 1900);
    strcpy(flood + 1902, "~z");
    char names[512];
    decode_names(flood, strlen(flood), 50, names, sizeof(names));
    assert_string_equal(names, "unknown z");
}

static void test_mouse(void **state)
{
    (void)state;
    struct keys_decoder decoder = {0};
    struct key key;
    keys_push(&decoder, "\x1b[<0;201;61M", 12);
    assert_true(keys_next(&decoder, &key));
    assert_int_equal(key.mouse.col, 200);
    assert_int_equal(key.mouse.row, 60);
    EXPECT("\x1b[<0;1;1M\x1b[<0;1;1m\x1b[<2;3;4M", "mouse-left mouse-left-release mouse-right");
    EXPECT("\x1b[<64;1;1M\x1b[<65;1;1M\x1b[<32;1;1M\x1b[<35;1;1M",
           "wheel-up wheel-down mouse-left-drag mouse-move");
    EXPECT("\x1b[<16;1;1M\x1b[<66;1;1Mk", "ctrl-mouse-left unknown k");
    EXPECT("\x1b[M !!\x1b[M#!!\x1b[M`!!", "mouse-left mouse-move wheel-up");
}

static void test_paste_is_text(void **state)
{
    (void)state;
    EXPECT("\x1b[200~q\x1b[A\x1b[201~q",
           "paste-begin q(pasted) \x1b(pasted) [(pasted) A(pasted) paste-end q");
}

static void test_names_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"j",
                                        "G",
                                        "/",
                                        "-",
                                        "ctrl-l",
                                        "alt-x",
                                        "shift-tab",
                                        "space",
                                        "page-down",
                                        "F5",
                                        "F20",
                                        "\u00e9",
                                        "ctrl-alt-delete",
                                        "enter",
                                        "up",
                                        "wheel-up",
                                        "ctrl-]",
                                        "mouse-left",
                                        "mouse-right-drag",
                                        "alt--",
                                        "hash"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct key key;
        char name[48];
        assert_true(keys_parse(names[i], &key));
        assert_string_equal(keys_name(&key, name), names[i]);
    }
    struct key key, other;
    assert_true(keys_parse("Ctrl-L", &key) && keys_parse("ctrl-l", &other));
    assert_true(keys_same(&key, &other));
    assert_true(keys_parse("l", &other) && !keys_same(&key, &other));
    static const char *const wrong[] = {"",         "ctrl-", "F0",     "F21",
                                        "pagedown", "jj",    "mouse-", "\xff"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(keys_parse(wrong[i], &key));
}

/* However a stream is cut into reads, without time-outs in between the keys are the same, every
 * byte is accounted for, and the decoder always gets room again. */
static void test_split_does_not_matter(void **state)
{
    (void)state;
    static const char alphabet[] = "\x1b\x1b\x1b[[[OM<~;;;0123456789AZmMu$^x\r\xc3\xa9\xe4\xb8\xff";
    struct random random = random_start("keys");
    srand((unsigned)random_bits(&random));
    for (int round = 0; round < 5000; round++) {
        char bytes[64], whole[4096], parts[4096];
        size_t count = (size_t)(rand() % 64);
        for (size_t i = 0; i < count; i++)
            bytes[i] = alphabet[rand() % (int)(sizeof(alphabet) - 1)];
        if (count == 0)
            continue;
        decode_names(bytes, count, count, whole, sizeof(whole));
        decode_names(bytes, count, 1 + (size_t)(rand() % 7), parts, sizeof(parts));
        assert_string_equal(whole, parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_lone_escape_needs_time),
        cmocka_unit_test(test_broken_input),
        cmocka_unit_test(test_mouse),
        cmocka_unit_test(test_paste_is_text),
        cmocka_unit_test(test_names_round_trip),
        cmocka_unit_test(test_split_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
