/* The terminal and the prompt on a real pseudo-terminal, seen through a terminal emulator. */
#include "helper_screen.h"

#include "engine/base/memory.h"
#include "ui/lineedit.h"
#include "ui/term.h"
#include "ui/term_guard.h"
#include "ui/text_width.h"

#include <locale.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef LOCKSTEP_HAVE_VTERM

/* ---- the programs under test ---- */

static void open_screen(void)
{
    struct term_options options = {.mouse = true};
    struct status status = STATUS_NONE;
    if (!theme_load(&options.theme, "dark", NULL, &status) || !term_open(&options, &status)) {
        fprintf(stderr, "%s\n", status.text);
        _exit(3);
    }
}

static void draw_screen(const char *key, int keys)
{
    char line[64];
    term_clear();
    snprintf(line, sizeof(line), "size %dx%d", term_rows(), term_cols());
    term_put(0, 0, term_cols(), THEME_BAR, line);
    snprintf(line, sizeof(line), "key %d: %s", keys, key);
    term_put(1, 2, -1, THEME_NORMAL, line);
    term_put(2, 0, -1, THEME_ERROR, "\033[31mred\007 \xff \u4e2d.");
    term_put(3, 0, 8, THEME_NAME, "decoder.1.mlp");
    term_box((struct layout_rectangle){4, 0, term_rows() - 4, term_cols()}, THEME_FOCUS, "Tensor");
    term_put(term_rows() - 2, term_cols() - 4, 10, THEME_NORMAL, "\u4e2d\u6587\u5b57");
    term_cursor(1, 2);
    term_flush();
}

static void act_on(const struct key *key)
{
    if (strcmp(key->text, "C") == 0) /* a true fault, of a kind that no sanitizer reports first */
        *(volatile int *)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) = 1;
    else if (strcmp(key->text, "A") == 0)
        abort();
    else if (strcmp(key->text, "O") == 0)
        printf("stray output\n");
    else if (strcmp(key->text, "z") == 0 && key->modifiers == KEYS_CONTROL)
        term_suspend();
}

static int screen_program(void *unused)
{
    struct key key;
    char name[48] = "none";
    int keys = 0;
    (void)unused;
    open_screen();
    for (;;) {
        draw_screen(name, keys);
        struct pollfd fds[] = {{.fd = term_input_fd(), .events = POLLIN},
                               {.fd = term_signal_fd(), .events = POLLIN}};
        poll(fds, 2, term_key_timeout());
        term_take_events();
        while (term_read_key(&key)) {
            if (key.code == KEYS_HANGUP || strcmp(key.text, "q") == 0) {
                term_close();
                return 7;
            }
            keys_name(&key, name);
            keys++;
            act_on(&key);
        }
    }
}

static int complete(void *context, const char *line, size_t start, size_t end, char ***matches)
{
    static const char *const words[] = {"break", "backtrace"};
    int count = 0;
    (void)context;
    for (int i = 0; i < 2; i++) {
        if (strncmp(words[i], line + start, end - start) != 0)
            continue;
        if (count == 0)
            *matches = memory_zeroed(2, sizeof(**matches));
        (*matches)[count++] = memory_string(words[i]);
    }
    return count;
}

struct prompt_program {
    int events[2]; /* each byte: the engine has something to say */
    struct lineedit *edit;
    bool over;
    char matches[64]; /* embedded */
};

static void on_line(void *context, const char *line)
{
    struct prompt_program *program = context;
    if (!line) {
        program->over = true;
        return;
    }
    printf("got <%s>\n", line);
    lineedit_prompt(program->edit, "(lockstep) ");
}

static void open_prompt(struct prompt_program *program, bool embedded,
                        void (*matches)(void *, char *const *, int))
{
    struct lineedit_options options = {.embedded = embedded,
                                       .history_path = "",
                                       .context = program,
                                       .line = on_line,
                                       .complete = complete,
                                       .matches = matches};
    struct status status = STATUS_NONE;
    program->edit = lineedit_open(&options, &status);
    if (!program->edit)
        _exit(3);
    lineedit_prompt(program->edit, "(lockstep) ");
}

static int plain_program(void *context)
{
    struct prompt_program *program = context;
    int said = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct term_guard *guard = term_guard_begin(0, true, NULL);
    open_prompt(program, false, NULL);
    while (!program->over) {
        struct pollfd fds[] = {{.fd = lineedit_fd(program->edit), .events = POLLIN},
                               {.fd = program->events[0], .events = POLLIN},
                               {.fd = term_guard_fd(guard), .events = POLLIN}};
        char byte;
        poll(fds, 3, lineedit_ready(program->edit) ? 0 : -1);
        if (fds[1].revents && read(program->events[0], &byte, 1) == 1) {
            lineedit_hide(program->edit);
            printf("event %d\n", ++said);
            lineedit_show(program->edit);
        }
        for (int number = term_guard_take(guard); number > 0; number = term_guard_take(guard)) {
            if (number == SIGINT)
                lineedit_interrupt(program->edit);
            else if (number == SIGWINCH)
                lineedit_resize(program->edit, 0, 0);
        }
        if (fds[0].revents || lineedit_ready(program->edit))
            lineedit_feed(program->edit);
    }
    lineedit_close(program->edit);
    term_guard_end(guard);
    return 0;
}

static void on_matches(void *context, char *const *matches, int count)
{
    struct prompt_program *program = context;
    program->matches[0] = '\0';
    for (int i = 0; i < count; i++)
        sprintf(program->matches + strlen(program->matches), "%s ", matches[i]);
}

static void draw_embedded(struct prompt_program *program)
{
    struct lineedit_state state;
    struct text captured = {0};
    lineedit_state(program->edit, &state);
    int prompt = text_width(state.prompt, strlen(state.prompt));
    term_clear();
    struct term_piece piece;
    while (term_captured(&piece, &captured))
        ;
    term_put(0, 0, -1, THEME_NORMAL, program->matches);
    if (captured.length)
        snprintf(program->matches, sizeof(program->matches), "%.*s", 40, captured.data);
    term_put(term_rows() - 1, 0, -1, THEME_PROMPT, state.prompt);
    term_put(term_rows() - 1, prompt, -1, THEME_NORMAL, state.line);
    term_cursor(term_rows() - 1, prompt + text_width(state.line, state.cursor));
    term_flush();
    text_free(&captured);
}

static int embedded_program(void *context)
{
    struct prompt_program *program = context;
    open_screen();
    open_prompt(program, true, on_matches);
    while (!program->over) {
        struct key key;
        draw_embedded(program);
        draw_embedded(program); /* shows what was captured by the first */
        struct pollfd fds[] = {{.fd = term_input_fd(), .events = POLLIN},
                               {.fd = term_signal_fd(), .events = POLLIN}};
        poll(fds, 2, term_key_timeout());
        if (term_take_events() & TERM_RESIZED)
            lineedit_resize(program->edit, term_rows(), term_cols());
        while (term_read_key(&key))
            lineedit_push(program->edit, key.bytes, (size_t)key.byte_count);
    }
    lineedit_close(program->edit);
    term_close();
    return 0;
}

/* ---- the tests ---- */

static void test_screen_shows_keys_and_restores(void **state)
{
    (void)state;
    struct screen screen;
    char row[512];
    screen_start(&screen, 12, 60, screen_program, NULL);
    screen_wait_row(&screen, 0, "size 12x60");
    assert_true(screen.alternate && screen.mouse);
    screen_type(&screen, "j"); /* shown in the second frame: then the first is there whole */
    screen_wait_row(&screen, 1, "  key 1: j");
    screen_wait_row(&screen, 2, "^[[31mred^G \\xff \u4e2d.");
    screen_row(&screen, 3, row, sizeof(row));
    assert_string_equal(row, "decoder\u2026");
    screen_row(&screen, 4, row, sizeof(row));
    assert_memory_equal(row, "\u250c Tensor \u2500", 14);
    screen_row(&screen, 10, row, sizeof(row)); /* clipped at the right edge, in whole characters */
    assert_non_null(strstr(row, " \u4e2d\u6587"));
    assert_null(strstr(row, "\u5b57"));
    screen_type(&screen, "\033[5~");
    screen_wait_row(&screen, 1, "  key 2: page-up");
    screen_type(&screen, "\033");
    screen_wait_row(&screen, 1, "  key 3: escape");
    screen_type(&screen, "\033[<0;5;6M");
    screen_wait_row(&screen, 1, "  key 4: mouse-left");
    screen_wait_cursor(&screen, 1, 2);
    screen_type(&screen, "O");
    screen_wait_row(&screen, 1, "  key 5: O");
    screen_row(&screen, 0, row, sizeof(row));
    assert_string_equal(row, "size 12x60"); /* the output did not get onto the screen */
    screen_type(&screen, "q");
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_true(screen_is_restored(&screen));
    screen_wait_text(&screen, "stray output"); /* but is not lost */
    screen_end(&screen);
}

static int dumb_program(void *context)
{
    (void)context;
    setenv("TERM", "dumb", 1);
    open_screen();
    return 0;
}

/* A terminal that can only print lines is left as it is, with a word about it. */
static void test_dumb_terminal(void **state)
{
    struct screen screen;
    (void)state;
    screen_start(&screen, 12, 100, dumb_program, NULL);
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
    screen_wait_text(&screen, "a terminal of type 'dumb' cannot place its cursor");
    assert_true(screen_is_restored(&screen));
    screen_end(&screen);
}

static void test_resize(void **state)
{
    (void)state;
    struct screen screen;
    char row[512];
    screen_start(&screen, 12, 60, screen_program, NULL);
    screen_wait_row(&screen, 0, "size 12x60");
    static const int sizes[][2] = {{30, 100}, {7, 20}, {24, 80}};
    for (int i = 0; i < 3; i++) {
        char wanted[32];
        screen_resize(&screen, sizes[i][0], sizes[i][1]);
        snprintf(wanted, sizeof(wanted), "size %dx%d", sizes[i][0], sizes[i][1]);
        screen_wait_row(&screen, 0, wanted);
    }
    screen_type(&screen, "j");
    screen_wait_row(&screen, 1, "  key 1: j");
    screen_row(&screen, 23, row, sizeof(row));
    assert_memory_equal(row, "\u2514", 3);
    screen_type(&screen, "q");
    assert_int_equal(WEXITSTATUS(screen_wait_status(&screen)), 7);
    screen_end(&screen);
}

static void expect_restored_after(const char *key, int number, bool exact)
{
    struct screen screen;
    screen_start(&screen, 12, 60, screen_program, NULL);
    screen_type(&screen, "O");
    screen_wait_row(&screen, 1, "  key 1: O");
    assert_true(screen.alternate);
    assert_false(screen_is_restored(&screen));
    if (key)
        screen_type(&screen, key);
    else
        kill(screen.program, number);
    int status = screen_wait_status(&screen);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    if (exact)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == number);
    assert_true(screen_is_restored(&screen));
    screen_wait_text(&screen, "stray output");
    screen_end(&screen);
}

static void test_restored_after_signals(void **state)
{
    (void)state;
    expect_restored_after(NULL, SIGTERM, true);
    expect_restored_after(NULL, SIGHUP, true);
    expect_restored_after(NULL, SIGQUIT, true);
    expect_restored_after("A", SIGABRT, true);
    expect_restored_after("C", SIGSEGV, true);
}

static void test_suspend_and_continue(void **state)
{
    (void)state;
    struct screen screen;
    screen_start(&screen, 12, 60, screen_program, NULL);
    screen_wait_row(&screen, 0, "size 12x60");
    for (int round = 0; round < 2; round++) {
        if (round == 0)
            screen_type(&screen, "\x1a"); /* the key */
        else
            kill(screen.program, SIGTSTP); /* and from outside */
        int status = screen_wait_status(&screen);
        assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
        assert_true(screen_is_restored(&screen));
        screen_resize(&screen, 14 + round, 50);
        kill(screen.program, SIGCONT);
        screen_wait_row(&screen, 0, round ? "size 15x50" : "size 14x50");
        assert_true(screen.alternate);
        screen_type(&screen, "k"); /* raw mode is back: no Enter needed */
        screen_wait_row(&screen, 1, round ? "  key 3: k" : "  key 2: k");
        screen_wait_row(&screen, 3, "decoder\u2026");
    }
    screen_type(&screen, "q");
    assert_int_equal(WEXITSTATUS(screen_wait_status(&screen)), 7);
    assert_true(screen_is_restored(&screen));
    screen_end(&screen);
}

static void test_plain_prompt(void **state)
{
    (void)state;
    struct screen screen;
    struct prompt_program program = {0};
    assert_int_equal(pipe(program.events), 0);
    screen_start(&screen, 16, 40, plain_program, &program);
    screen_wait_row(&screen, 0, "(lockstep)");
    screen_type(&screen, "h\u00e9\u4e2d");
    screen_wait_row(&screen, 0, "(lockstep) h\u00e9\u4e2d");
    screen_wait_cursor(&screen, 0, 15);
    /* Output while the prompt is open goes above it; what was typed stays. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(write(program.events[1], "x", 1), 1);
    screen_wait_row(&screen, 2, "(lockstep) h\u00e9\u4e2d");
    screen_wait_row(&screen, 0, "event 1");
    screen_wait_row(&screen, 1, "event 2");
    screen_wait_cursor(&screen, 2, 15);
    screen_type(&screen, "!\r");
    screen_wait_row(&screen, 3, "got <h\u00e9\u4e2d!>");
    screen_wait_row(&screen, 4, "(lockstep)");
    screen_type(&screen, "\033[A\033[D"); /* history, one to the left */
    screen_wait_row(&screen, 4, "(lockstep) h\u00e9\u4e2d!");
    screen_wait_cursor(&screen, 4, 15);
    screen_type(&screen, "\x15\x0b"
                         "b\t");
    screen_wait_text(&screen, "backtrace"); /* the list of matches */
    screen_type(&screen, "\x03");
    screen_wait_text(&screen, "^C");
    screen_wait_row(&screen, 7, "(lockstep)"); /* the terminal is back in the prompt's mode */
    screen_type(&screen, "next\r");
    screen_wait_text(&screen, "got <next>"); /* without the b before the interrupt */
    screen_wait_row(&screen, 9, "(lockstep)");
    screen_type(&screen, "\x04");
    assert_int_equal(screen_wait_status(&screen), 0);
    assert_true(screen_is_restored(&screen));
    screen_end(&screen);
    close(program.events[0]);
    close(program.events[1]);
}

static void test_plain_prompt_is_restored_after_a_signal(void **state)
{
    (void)state;
    struct screen screen;
    struct prompt_program program = {0};
    assert_int_equal(pipe(program.events), 0);
    screen_start(&screen, 10, 40, plain_program, &program);
    screen_wait_row(&screen, 0, "(lockstep)");
    assert_false(screen_is_restored(&screen));
    kill(screen.program, SIGTERM);
    assert_int_equal(WTERMSIG(screen_wait_status(&screen)), SIGTERM);
    assert_true(screen_is_restored(&screen));
    screen_end(&screen);
    close(program.events[0]);
    close(program.events[1]);
}

static void test_embedded_prompt(void **state)
{
    (void)state;
    struct screen screen;
    struct prompt_program program = {0};
    screen_start(&screen, 10, 50, embedded_program, &program);
    screen_wait_row(&screen, 9, "(lockstep)");
    screen_wait_cursor(&screen, 9, 11);
    screen_type(&screen, "h\u00e9\u4e2d\033[D");
    screen_wait_row(&screen, 9, "(lockstep) h\u00e9\u4e2d");
    screen_wait_cursor(&screen, 9, 13);
    screen_resize(&screen, 14, 60);
    screen_wait_row(&screen, 13, "(lockstep) h\u00e9\u4e2d");
    screen_wait_cursor(&screen, 13, 13);
    screen_type(&screen, "\r"); /* the callback prints: captured, not on the prompt */
    screen_wait_row(&screen, 0, "got <h\u00e9\u4e2d>^J");
    screen_wait_row(&screen, 13, "(lockstep)");
    screen_type(&screen, "b\t");
    screen_wait_row(&screen, 13, "(lockstep) b");
    screen_wait_text(&screen, "backtrace");
    screen_type(&screen, "r\t");
    screen_wait_row(&screen, 13, "(lockstep) break");
    screen_wait_cursor(&screen, 13, 17);
    screen_type(&screen, "\x15\033[A");
    screen_wait_row(&screen, 13, "(lockstep) h\u00e9\u4e2d");
    screen_type(&screen, "\x15\033[200~a\rb\033[201~");
    screen_wait_row(&screen, 13, "(lockstep) a^Jb");
    screen_type(&screen, "\x15\x04");
    assert_int_equal(screen_wait_status(&screen), 0);
    assert_true(screen_is_restored(&screen));
    screen_end(&screen);
}

#endif

/* Without a terminal at all: the screen in memory that scripts use. */
static void test_screen_in_memory(void **state)
{
    (void)state;
    struct status status = STATUS_NONE;
    struct term_options options = {.rows = 9, .cols = 110};
    struct layout_request request = {.rows = 9, .cols = 110, .focus = LAYOUT_PROGRAM};
    struct text out = {0};
    request.open[LAYOUT_TENSOR] = true;
    assert_true(theme_load(&options.theme, "dark", NULL, &status));
    for (int ascii = 0; ascii < 2; ascii++) {
        options.ascii = ascii;
        assert_true(term_open(&options, &status));
        assert_false(term_open(&options, &status)); /* one at a time */
        assert_int_equal(term_rows(), 9);
        assert_int_equal(term_cols(), 110);
        assert_int_equal(term_input_fd(), -1);
        struct screen_layout layout = layout_compute(&request);
        term_clear();
        term_frames(&layout, request.focus);
        term_put(0, 0, -1, THEME_BAR, "h\u00e9\u4e2d");
        term_put_part(8, 2, 4, THEME_NORMAL, "0123456789", 10, 3);
        term_put(8, -2, 4, THEME_NORMAL, "abcd");
        term_flush();
        text_clear(&out);
        term_dump(&out);
        term_close();
        char *first = strtok(out.data, "\n"), *line = strtok(NULL, "\n"), *last = line;
        assert_string_equal(first, ascii ? "h???" : "h\u00e9\u4e2d");
        assert_memory_equal(line, ascii ? "+--" : "\u250c\u2500\u2500", ascii ? 3 : 9);
        for (char *next = line; next; next = strtok(NULL, "\n"))
            last = next;
        assert_string_equal(last, "cd3456");
    }
    text_free(&out);
}

int main(void)
{
    setlocale(LC_ALL, "C.UTF-8");
    setenv("TERM", "xterm-256color", 1);
    setenv("INPUTRC", "/dev/null", 1);
    unsetenv("LINES");
    unsetenv("COLUMNS");
    unsetenv("NO_COLOR");
    const struct CMUnitTest tests[] = {
#ifdef LOCKSTEP_HAVE_VTERM
        cmocka_unit_test(test_screen_shows_keys_and_restores),
        cmocka_unit_test(test_dumb_terminal),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_restored_after_signals),
        cmocka_unit_test(test_suspend_and_continue),
        cmocka_unit_test(test_plain_prompt),
        cmocka_unit_test(test_plain_prompt_is_restored_after_a_signal),
        cmocka_unit_test(test_embedded_prompt),
#endif
        cmocka_unit_test(test_screen_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
