#include "engine/base/memory.h"
#include "ui/editor.h"
#include "ui/history.h"
#include "ui/lineedit.h"

#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What the callbacks got: lines joined by '|', the end as "<end>". */
struct record {
    struct lineedit *edit;
    char lines[512];
    char matches[512];
    bool prompt_again;
};

static void on_line(void *context, const char *line)
{
    struct record *record = context;
    strcat(record->lines, line ? line : "<end>");
    strcat(record->lines, "|");
    if (line && record->prompt_again)
        lineedit_prompt(record->edit, "> ");
}

static void on_matches(void *context, char *const *matches, int count)
{
    struct record *record = context;
    record->matches[0] = '\0';
    for (int i = 0; i < count; i++)
        sprintf(record->matches + strlen(record->matches), "%s ", matches[i]);
}

/* Commands, and after "print" tensor names. */
static int complete(void *context, const char *line, size_t start, size_t end, char ***matches)
{
    static const char *const commands[] = {"break", "backtrace", "continue", "print"};
    static const char *const tensors[] = {"d\u00e9coder.0", "d\u00e9coder.1"};
    bool first = start == 0;
    const char *const *words = first ? commands : tensors;
    int count = 0;
    (void)context;
    assert_true(start <= end && end <= strlen(line));
    for (int i = 0; i < (first ? 4 : 2); i++) {
        if (strncmp(words[i], line + start, end - start) != 0)
            continue;
        if (count == 0)
            *matches = memory_zeroed(4, sizeof(**matches));
        (*matches)[count++] = memory_string(words[i]);
    }
    return count;
}

static struct lineedit *open_embedded(struct record *record, const char *history)
{
    struct lineedit_options options = {.embedded = true,
                                       .history_path = history,
                                       .context = record,
                                       .line = on_line,
                                       .complete = complete,
                                       .matches = on_matches};
    struct status status = STATUS_NONE;
    *record = (struct record){0};
    record->edit = lineedit_open(&options, &status);
    assert_non_null(record->edit);
    lineedit_prompt(record->edit, "(lockstep) ");
    return record->edit;
}

static void push(struct record *record, const char *bytes)
{
    lineedit_push(record->edit, bytes, strlen(bytes));
}

static void expect_line(struct record *record, const char *line, size_t cursor)
{
    struct lineedit_state state;
    lineedit_state(record->edit, &state);
    assert_true(state.open);
    assert_string_equal(state.line, line);
    assert_int_equal(state.cursor, cursor);
}

static void test_embedded_editing(void **state)
{
    (void)state;
    struct record record;
    struct lineedit_state shown;
    open_embedded(&record, "");
    lineedit_state(record.edit, &shown);
    assert_string_equal(shown.prompt, "(lockstep) ");
    push(&record, "pr\u00e9 \u4e2d");
    expect_line(&record, "pr\u00e9 \u4e2d", 8); /* bytes */
    push(&record, "\033[D\033[D");
    expect_line(&record, "pr\u00e9 \u4e2d", 4);
    push(&record, "\x7f"
                  "x\x05"
                  "!");
    expect_line(&record, "prx \u4e2d!", 8);
    push(&record, "\x01\x0b\x19\x19"); /* start, kill, yank twice */
    expect_line(&record, "prx \u4e2d!prx \u4e2d!", 16);
    lineedit_set_line(record.edit, "step 2");
    expect_line(&record, "step 2", 6);
    push(&record, "\rnext\r"); /* the second waits for a prompt */
    assert_string_equal(record.lines, "step 2|");
    lineedit_state(record.edit, &shown);
    assert_false(shown.open);
    lineedit_prompt(record.edit, "> ");
    assert_true(lineedit_ready(record.edit));
    assert_true(lineedit_feed(record.edit));
    assert_string_equal(record.lines, "step 2|next|");
    lineedit_prompt(record.edit, "> ");
    push(&record, "\x04");
    assert_string_equal(record.lines, "step 2|next|<end>|");
    assert_false(lineedit_feed(record.edit));
    lineedit_close(record.edit);
}

static void test_embedded_completion(void **state)
{
    (void)state;
    struct record record;
    open_embedded(&record, "");
    push(&record, "c\t");
    expect_line(&record, "continue ", 9);
    lineedit_set_line(record.edit, "b");
    push(&record, "\t");
    expect_line(&record, "b", 1);
    assert_true(strcmp(record.matches, "break backtrace ") == 0 ||
                strcmp(record.matches, "backtrace break ") == 0);
    lineedit_set_line(record.edit, "print d");
    push(&record, "\t");
    expect_line(&record, "print d\u00e9coder.", 15);
    push(&record, "1\t");
    expect_line(&record, "print d\u00e9coder.1 ", 17);
    lineedit_set_line(record.edit, "zzz");
    push(&record, "\t");
    expect_line(&record, "zzz", 3);
    lineedit_close(record.edit);
}

static void test_embedded_history_and_interrupt(void **state)
{
    (void)state;
    struct record record;
    open_embedded(&record, "");
    record.prompt_again = true;
    push(&record, "one\rtwo\rone\r");
    assert_string_equal(record.lines, "one|two|one|");
    push(&record, "thr\033[A");
    expect_line(&record, "one", 3);
    push(&record, "\033[A");
    expect_line(&record, "two", 3);
    push(&record, "\033[A"); /* the first "one" was dropped as a duplicate */
    expect_line(&record, "two", 3);
    push(&record, "\033[B\033[B");
    expect_line(&record, "thr", 3);
    push(&record, "\033[A\033[A");
    lineedit_interrupt(record.edit);
    expect_line(&record, "", 0);
    push(&record, "\033[A");
    expect_line(&record, "one", 3); /* from the newest again */
    lineedit_close(record.edit);
}

static void test_pasted_lines_run_one_by_one(void **state)
{
    (void)state;
    struct record record;
    open_embedded(&record, "");
    push(&record, "a\033[200~b\rstep\n");
    expect_line(&record, "a", 1); /* not before the paste has ended */
    push(&record, "next\r\033[201~");
    assert_string_equal(record.lines, ""); /* a paste runs nothing by itself */
    push(&record, "\r");
    assert_string_equal(record.lines, "ab|");
    while (lineedit_prompt(record.edit, "> "), lineedit_ready(record.edit))
        lineedit_feed(record.edit);
    assert_string_equal(record.lines, "ab|step|next|");
    push(&record, "x\r");
    assert_string_equal(record.lines, "ab|step|next|x|");
    lineedit_close(record.edit);
}

static void test_pipe(void **state)
{
    (void)state;
    int ends[2];
    struct record record = {.prompt_again = true};
    struct status status = STATUS_NONE;
    assert_int_equal(pipe(ends), 0);
    char *printed = NULL;
    size_t printed_size = 0;
    FILE *output = open_memstream(&printed, &printed_size);
    struct lineedit_options options = {
        .input = fdopen(ends[0], "r"), .output = output, .context = &record, .line = on_line};
    record.edit = lineedit_open(&options, &status);
    assert_non_null(record.edit);
    assert_int_equal(lineedit_fd(record.edit), ends[0]);
    assert_int_equal(write(ends[1], "ru", 2), 2);
    lineedit_prompt(record.edit, "> ");
    assert_true(lineedit_feed(record.edit));
    assert_string_equal(record.lines, "");
    assert_int_equal(write(ends[1], "n\nstep\r\n\nqu", 11), 11);
    assert_true(lineedit_feed(record.edit)); /* one line at a time */
    assert_string_equal(record.lines, "run|");
    while (lineedit_ready(record.edit))
        lineedit_feed(record.edit);
    assert_string_equal(record.lines, "run|step||");
    close(ends[1]);
    assert_true(lineedit_feed(record.edit)); /* the last line has no end */
    assert_string_equal(record.lines, "run|step||qu|");
    assert_true(lineedit_ready(record.edit));
    assert_false(lineedit_feed(record.edit));
    assert_string_equal(record.lines, "run|step||qu|<end>|");
    assert_int_equal(lineedit_fd(record.edit), -1);
    lineedit_close(record.edit);
    fclose(options.input);
    fclose(output);
    assert_string_equal(printed, ""); /* neither prompt nor echo */
    free(printed);
}

static void test_history_file(void **state)
{
    (void)state;
    char folder[] = "/tmp/lockstep-history-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/deep/er/history", folder);
    struct status status = STATUS_NONE;
    struct history first = {.limit = 3}, second = {.limit = 3}, read = {.limit = 3};
    assert_true(history_load(&first, path, &status)); /* none yet */
    assert_true(history_add(&first, "a"));
    assert_false(history_add(&first, "  "));
    assert_false(history_add(&first, "x\ny"));
    assert_true(history_save(&first, path, &status));
    struct stat information;
    assert_int_equal(stat(path, &information), 0);
    assert_int_equal(information.st_mode & 0777, 0600);
    /* Two sessions at once: both keep their lines. */
    history_add(&first, "b");
    history_add(&second, "c");
    assert_true(history_save(&first, path, &status));
    assert_true(history_save(&second, path, &status));
    assert_true(history_load(&read, path, &status));
    assert_int_equal(read.count, 3);
    assert_string_equal(read.lines[0], "a");
    assert_string_equal(read.lines[2], "c");
    history_add(&read, "a"); /* again: moves to the end */
    history_add(&read, "d"); /* one too many: the oldest goes */
    assert_int_equal(read.count, 3);
    assert_string_equal(read.lines[0], "c");
    assert_string_equal(read.lines[1], "a");
    history_free(&first);
    history_free(&second);
    history_free(&read);

    struct record record; /* and through the prompt */
    open_embedded(&record, path);
    push(&record, "\033[A");
    expect_line(&record, "c", 1);
    push(&record, "ontinue\r");
    lineedit_close(record.edit);
    assert_true(history_load(&read, path, &status));
    assert_string_equal(read.lines[read.count - 1], "continue");
    history_free(&read);
    unlink(path);
    for (char *slash = strrchr(path, '/'); slash > path + 4; slash = strrchr(path, '/')) {
        *slash = '\0';
        rmdir(path);
    }
    free(path);
}

/* The editor of builds without readline is tested in every build. */
static void test_own_editor(void **state)
{
    (void)state;
    struct history history = {0};
    history_add(&history, "break 12");
    history_add(&history, "step");
    struct record record = {0};
    struct editor editor = {
        .history = &history, .complete = complete, .matches = on_matches, .context = &record};
    static const struct {
        const char *bytes, *line;
        size_t cursor;
    } steps[] = {
        {"h\u00e9\u4e2do", "h\u00e9\u4e2do", 7},
        {"\033[D\033[D\033[D", "h\u00e9\u4e2do", 1},
        {"\033[3~X", "hX\u4e2do", 2},
        {"\x05 two\x17", "hX\u4e2do ", 7},
        {"\x15\x19", "hX\u4e2do ", 7},
        {"\033[A\033[A", "break 12", 8},
        {"\033[A\033[B", "step", 4},
        {"\033[B", "hX\u4e2do ", 7},
        {"\x15"
         "con\t",
         "continue ", 9},
        {"\033b\033d", " ", 0},
        {"b\t", "b ", 1},
        {"\x0b\x7f\x7f\033[200~a\tb\033[201~", "a\tb", 3},
        {"\x1b\xe2\x80\xa6\x01\x06", "a\tb", 1},
    };
    editor_start(&editor);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        for (const char *byte = steps[i].bytes; *byte; byte++)
            assert_int_equal(editor_push(&editor, (unsigned char)*byte), EDITOR_CONTINUE);
        assert_string_equal(editor.line.data, steps[i].line);
        assert_int_equal(editor.cursor, steps[i].cursor);
    }
    assert_string_equal(record.matches, "break backtrace ");
    assert_int_equal(editor_push(&editor, '\r'), EDITOR_LINE);
    editor_start(&editor);
    assert_int_equal(editor_push(&editor, 4), EDITOR_END);
    editor_free(&editor);
    history_free(&history);
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    setenv("INPUTRC", "/dev/null", 1);
    setenv("TERM", "xterm-256color", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedded_editing),
        cmocka_unit_test(test_embedded_completion),
        cmocka_unit_test(test_embedded_history_and_interrupt),
        cmocka_unit_test(test_pasted_lines_run_one_by_one),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_history_file),
        cmocka_unit_test(test_own_editor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
