/* The main journeys on a real pseudo-terminal, seen through a terminal emulator: from a failing run
 * to the faulty instruction, stopping a run, resizing, leaving. */
#include "helper_screen.h"

#include "engine/base/memory.h"
#include "tests/unit/tiny_model.h"
#include "ui/ui.h"

#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef LOCKSTEP_HAVE_VTERM

static const char *const tiny[] = {TINY_MODEL, "training.train_iters=100000"};
/* How many of them make a tiny run, and one without an end. */
enum { ENDLESS = sizeof(tiny) / sizeof(tiny[0]), TINY = ENDLESS - 1 };

static int run_screens(const struct ui_options *options)
{
    struct status status = STATUS_NONE;
    setenv("XDG_STATE_HOME", "/nonexistent", 1);
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    setlocale(LC_ALL, "C.UTF-8");
    if (ui_run(options, &status))
        return 0;
    fprintf(stderr, "%s\n", status.text);
    return 1;
}

static int faulty_run(void *context)
{
    (void)context;
    struct ui_options options = {.search = {.overrides = tiny, .override_count = TINY},
                                 .device = "cpu",
                                 .threads = 1,
                                 .file = {.run = "llama/bf4", .fault = "dropped-micro-batch"}};
    return run_screens(&options);
}

static int long_run(void *context)
{
    (void)context;
    struct ui_options options = {.search = {.overrides = tiny, .override_count = ENDLESS},
                                 .device = "cpu",
                                 .threads = 1,
                                 .file = {.run = "llama/df2"}};
    return run_screens(&options);
}

static int list_of_tests(void *context)
{
    (void)context;
    struct ui_options options = {
        .search = {.overrides = tiny, .override_count = TINY}, .device = "cpu", .threads = 1};
    return run_screens(&options);
}

/* Opens a run, and lets it go as far as `state`. */
static void start_run(struct screen *screen, int rows, int cols, int (*program)(void *),
                      const char *state)
{
    screen_start(screen, rows, cols, program, NULL);
    screen_wait_text(screen, "STOPPED: loaded");
    screen_type(screen, "c");
    screen_wait_text(screen, state);
}

static void leave(struct screen *screen)
{
    int status = screen_wait_status(screen);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(screen_is_restored(screen));
    screen_end(screen);
}

static int value_of_digit(char digit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = strchr(digits, digit);
    return found ? (int)(found - digits) : 0;
}

/* The terminal got, in base64, what the message says; a number. */
static void check_copied(struct screen *screen)
{
    char text[200], message[220], *end;
    int length = 0;
    screen_wait_copied(screen);
    assert_int_equal(screen->copied_length % 4, 0);
    for (size_t i = 0; i < screen->copied_length; i += 4) {
        unsigned bits = 0;
        for (size_t k = 0; k < 4; k++)
            bits = bits << 6 | (unsigned)value_of_digit(screen->copied[i + k]);
        for (int k = 0; k < 3 && screen->copied[i + 1 + (size_t)k] != '='; k++)
            text[length++] = (char)(bits >> (16 - 8 * k));
    }
    text[length] = '\0';
    assert_true(strtod(text, &end) != 0 && *end == '\0');
    snprintf(message, sizeof(message), "copied: %s", text);
    screen_wait_text(screen, message);
}

static void test_find_the_fault(void **state)
{
    struct screen screen;
    (void)state;
    screen_start(&screen, 40, 120, faulty_run, NULL);
    screen_wait_text(&screen, "STOPPED: loaded");
    screen_type(&screen, ":stop on div\t\r"); /* completed by the session's words */
    screen_wait_text(&screen, "(lockstep)");
    screen_type(&screen, "c");
    screen_wait_text(&screen, "STOPPED: divergence");
    screen_wait_text(&screen, "Divergences  1 of ");
    screen_wait_text(&screen, "DIVERGED   f32 [48,32]"); /* the tensor view follows */
    screen_type(&screen, "B");
    screen_wait_text(&screen, "the reference has `accumulate`, the test has `copy`");
    screen_type(&screen, "3");
    screen_wait_text(&screen, "gradient decoder.1.mlp.layer_2.weight mb=2/4");
    screen_type(&screen, "m");
    screen_wait_text(&screen, "forecast ");
    screen_type(&screen, "\033"); /* Esc closes, and the tensor is back */
    screen_wait_text(&screen, "produced by");
    screen_type(&screen, "4ey"); /* the worst number goes to the clipboard, when it is there */
    check_copied(&screen);
    screen_type(&screen, ":graft gradient decoder.1.mlp.layer_2.weight mb=2/4\r:stop off\r");
    screen_type(&screen, "c");
    screen_wait_text(&screen, "ENDED");
    screen_type(&screen, "q");
    leave(&screen);
}

static bool is_gone(struct screen *screen, const void *text)
{
    char row[1000];
    for (int i = 0; i < screen->rows; i++) {
        screen_row(screen, i, row, sizeof(row));
        if (strstr(row, text))
            return false;
    }
    return true;
}

static void test_stop_a_run(void **state)
{
    struct screen screen;
    (void)state;
    start_run(&screen, 24, 80, long_run, "RUNNING");
    screen_wait_text(&screen, "step 1"); /* far away: it is shown as it goes */
    screen_type(&screen, ":inf");        /* the prompt is open while the run goes on */
    screen_wait_text(&screen, ":inf");
    screen_resize(&screen, 30, 110);
    screen_wait_row(&screen, 28, ":inf");
    screen_type(&screen, "\003"); /* Ctrl-C in the prompt drops the line only */
    screen_wait_text(&screen, "(lockstep)");
    screen_wait_text(&screen, "RUNNING");
    screen_type(&screen, "4");
    screen_wait_text(&screen, "Tensor  as of the last stop");
    screen_type(&screen, "\003");
    screen_wait_text(&screen, "STOPPED: interrupted");
    screen_wait(&screen, is_gone, "as of the last stop", "a title of a run that stands");
    screen_type(&screen, "\003");
    screen_wait_text(&screen, "Leave? (y or n)");
    screen_type(&screen, "n");
    screen_resize(&screen, 5, 20);
    screen_wait_text(&screen, "too small");
    screen_resize(&screen, 24, 80);
    screen_wait_text(&screen, "STOPPED: interrupted");
    screen_type(&screen, "c");
    screen_wait_text(&screen, "RUNNING");
    screen_type(&screen, "q"); /* asks: the run moves */
    screen_wait_text(&screen, "Leave? (y or n)");
    screen_type(&screen, "y");
    leave(&screen);
}

static void test_choose_a_test(void **state)
{
    struct screen screen;
    (void)state;
    screen_start(&screen, 24, 80, list_of_tests, NULL);
    screen_wait_text(&screen, "no run is open: choose a test");
    screen_type(&screen, "/llama_yarn/basic/ms4\r");
    screen_wait_text(&screen, "against simple");
    screen_type(&screen, "jj\r");
    screen_wait_text(&screen, "llama_yarn/ms4 ~ llama_yarn/simple");
    screen_wait_text(&screen, "forward  sequence 1/4");
    screen_type(&screen, "?");
    screen_wait_text(&screen, "The letters of gdb move the run");
    screen_type(&screen, "q");
    leave(&screen);
}

/* ---- maps ---- */

static int map_program(void *context)
{
    setenv("TERM", context, 1);
    unsetenv("NO_COLOR");
    return faulty_run(NULL);
}

/* Opens the map of the tensor that diverged and finds its legend: the row, and the columns of the
 * two ramps' ends. */
static int find_legend(struct screen *screen, int *blue, int *red)
{
    screen_wait_text(screen, "STOPPED: loaded");
    screen_type(screen, "c");
    screen_wait_text(screen, "DIVERGED   f32 [48,32]");
    screen_type(screen, ":tensor show map\r");
    screen_wait_text(screen, "! NaN, inf");
    for (int row = 0; row < screen->rows; row++) {
        *blue = *red = -1;
        for (int col = 0; col < screen->cols; col++) {
            uint32_t character = screen_cell_at(screen, row, col).character;
            bool ramp = character == 0x2580 || character == 0x2588;
            if (ramp && *blue < 0)
                *blue = col;
            if (ramp)
                *red = col;
            if (character == '!' && *red >= 0)
                return row;
        }
    }
    fail_msg("no legend");
    return -1;
}

/* Half blocks in any two colours where there are 256; shades in blue and red where there are 8. */
static void test_colors_of_maps(void **state)
{
    static const char *const terminals[] = {"xterm-256color", "xterm"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct screen screen;
        int blue = -1, red = -1, both = 0;
        screen_start(&screen, 40, 120, map_program, (void *)(uintptr_t)terminals[i]);
        int legend = find_legend(&screen, &blue, &red);
        struct screen_cell below = screen_cell_at(&screen, legend, blue);
        struct screen_cell above = screen_cell_at(&screen, legend, red);
        assert_int_equal(below.character, i ? 0x2588 : 0x2580);
        if (i == 0) /* the darkest blue, and the shades of the ramp end in red */
            assert_int_equal(below.foreground, 0x0000ff);
        assert_true((below.foreground & 0xff) > below.foreground >> 16);
        assert_true((above.foreground & 0xff) < above.foreground >> 16);
        for (int row = 0; row < legend; row++)
            for (int col = 0; col < screen.cols; col++) {
                struct screen_cell cell = screen_cell_at(&screen, row, col);
                both += cell.character == 0x2580 && cell.foreground != cell.background;
            }
        assert_true(i ? both == 0 : both > 100);
        screen_type(&screen, "q");
        leave(&screen);
    }
}

/* ---- output ---- */

static void *print_once(void *context)
{
    (void)context;
    while (isatty(STDOUT_FILENO) || isatty(STDERR_FILENO))
        usleep(1000); /* until the screens have taken both */
    printf("hello from outside\n");
    fprintf(stderr, "bad \033[31mred\n");
    return NULL;
}

static int noisy_run(void *context)
{
    pthread_t thread;
    pthread_create(&thread, NULL, print_once, NULL);
    int code = long_run(context);
    pthread_join(thread, NULL);
    return code;
}

/* What libraries print is the output of rank 0, its two streams told apart. */
static void test_captured_output(void **state)
{
    struct screen screen;
    (void)state;
    start_run(&screen, 24, 80, noisy_run, "RUNNING");
    screen_type(&screen, "6T");
    screen_wait_text(&screen, "| hello from outside");
    screen_wait_text(&screen, "! bad ^[[31mred");
    screen_type(&screen, "o"); /* standard output alone */
    screen_wait_text(&screen, "only stdout");
    screen_wait_text(&screen, "| hello from outside");
    screen_type(&screen, "\003");
    screen_wait_text(&screen, "STOPPED: interrupted");
    screen_type(&screen, ":output stderr\r");
    screen_wait_text(&screen, "! bad ^[[31mred");
    screen_type(&screen, "q");
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    screen_end(&screen);
}

/* ---- leaving ---- */

/* A script takes the place of the program that tests are run with. */
static int pretended_tests(void *path)
{
    struct ui_options options = {.search = {.overrides = tiny, .override_count = TINY},
                                 .device = "cpu",
                                 .threads = 1,
                                 .program_path = path};
    return run_screens(&options);
}

static void write_script(char *path, const char *commands)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "#!/bin/sh\n%s\n", commands);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
}

/* The title has no progress of tests any more. */
static bool is_at_rest(struct screen *screen, const void *context)
{
    char row[1000];
    (void)context;
    screen_row(screen, 1, row, sizeof(row));
    return !strstr(row, "done [");
}

/* The end of tests is told, and why the selected one failed, though its line has no room for that.
 */
static void test_tests_end(void **state)
{
    char path[] = "/tmp/lockstep-failing-XXXXXX";
    struct screen screen;
    (void)state;
    write_script(path, "echo 'gpt_2/basic/simple FAILED 0.10s   first divergence: train_1, fw "
                       "far.away.from.here  (3 tensors, 9 elements)  [100%]'\n"
                       "echo '==== 1 failed, 2 deselected in 0.10s ===='");
    screen_start(&screen, 24, 80, pretended_tests, path);
    screen_wait_text(&screen, "gpt_2");
    screen_type(&screen, "\rjjr");
    screen_wait_text(&screen, "tests: 1 failed, 2 deselected in 0.10s");
    screen_wait_text(&screen,
                     "gpt_2/basic/simple: first divergence: train_1, fw far.away.from.here");
    screen_wait(&screen, is_at_rest, NULL, "the tests end");
    screen_type(&screen, "q");
    leave(&screen);
    unlink(path);
}

/* Who leaves while something runs is asked; without it, leaves. */
static void test_leaving_asks(void **state)
{
    char path[] = "/tmp/lockstep-endless-XXXXXX";
    struct screen screen;
    (void)state;
    write_script(path, "exec sleep 100000");
    screen_start(&screen, 24, 80, pretended_tests, path);
    screen_wait_text(&screen, "gpt_2");
    screen_type(&screen, "r");
    screen_wait_text(&screen, "tests are started");
    screen_type(&screen, "q");
    screen_wait_text(&screen, "Tests are running. Leave? (y or n)");
    screen_type(&screen, "n");
    screen_wait_text(&screen, "(lockstep)");
    screen_type(&screen, "q");
    screen_wait_text(&screen, "Tests are running. Leave? (y or n)");
    screen_type(&screen, "y");
    leave(&screen);
    unlink(path);
    start_run(&screen, 24, 80, long_run, "RUNNING");
    screen_type(&screen, "q");
    screen_wait_text(&screen, "The run moves. Leave? (y or n)");
    screen_type(&screen, "y");
    leave(&screen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tests_end),      cmocka_unit_test(test_leaving_asks),
        cmocka_unit_test(test_colors_of_maps), cmocka_unit_test(test_captured_output),
        cmocka_unit_test(test_find_the_fault), cmocka_unit_test(test_stop_a_run),
        cmocka_unit_test(test_choose_a_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    printf("no libvterm: nothing is tested\n");
    return 0;
}

#endif
