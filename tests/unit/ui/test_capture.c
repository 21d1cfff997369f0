/* Output that is captured on a real terminal: its order, its amount, and what is left of it after
 * a fall. */
#include "helper_screen.h"

#include "tests/unit/random.h"
#include "ui/term_capture.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef LOCKSTEP_HAVE_VTERM

enum { LINES = 400, LEAST = 8 };

/* Until somebody has read what was written; the other way round nothing is waited for. */
static void wait_until_read(int descriptor)
{
    for (int left = 1; left > 0;) {
        if (ioctl(descriptor, FIONREAD, &left) != 0)
            _exit(10);
        sched_yield();
    }
}

/* Lines of both streams, one after the other, none taken before all are there. */
static int orderly_program(void *context)
{
    struct random random = *(struct random *)context;
    struct term_capture *capture = term_capture_begin(NULL);
    struct text written = {0}, taken = {0};
    struct term_piece piece;
    char line[32];
    int64_t before = 0;
    if (!capture || term_capture_take(capture, &piece, &taken))
        return 2;
    for (int i = 0; i < LINES; i++) {
        int descriptor = random_integer(&random, 0, 1) ? STDERR_FILENO : STDOUT_FILENO;
        snprintf(line, sizeof(line), "%d: %d\n", descriptor, i);
        text_format(&written, "%d:%s", descriptor, line);
        if (write(descriptor, line, strlen(line)) < 0)
            return 3;
        wait_until_read(descriptor);
    }
    struct pollfd fd = {.fd = term_capture_fd(capture), .events = POLLIN};
    if (poll(&fd, 1, 60000) != 1)
        return 4;
    struct text bytes = {0};
    while (term_capture_take(capture, &piece, &bytes)) {
        if (piece.nanoseconds < before)
            return 5;
        before = piece.nanoseconds;
        text_format(&taken, "%d:%s", piece.descriptor, bytes.data);
        text_clear(&bytes);
    }
    if (strcmp(written.data, taken.data) != 0)
        return 6;
    if (poll(&fd, 1, 0) != 0)
        return 7;
    fputs("the end", stdout); /* no line feed, and nobody waits: taken all the same */
    if (!term_capture_take(capture, &piece, &bytes) || strcmp(bytes.data, "the end") != 0)
        return 8;
    term_capture_end(capture, STDERR_FILENO, 1 << 16);
    return 0;
}

static void test_order_of_both_streams(void **state)
{
    struct random random = random_start("capture");
    struct screen screen;
    char last[64];
    (void)state;
    screen_start(&screen, LEAST, 40, orderly_program, &random);
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    screen_wait_text(&screen, "the end"); /* printed at the end, in the same order */
    for (int row = 0; row < LEAST - 1; row++) {
        snprintf(last, sizeof(last), ": %d", LINES - LEAST + 1 + row);
        screen_wait_text(&screen, last);
    }
    screen_end(&screen);
}

enum { BURST = 40 << 20 };

static void *print_much(void *context)
{
    static char block[100000];
    memset(block, 'x', sizeof(block));
    (void)context;
    for (int done = 0; done < BURST; done += (int)sizeof(block))
        if (fwrite(block, 1, sizeof(block), stderr) != sizeof(block))
            _exit(9);
    return NULL;
}

/* More than is kept, while nobody takes: writers do not wait for ever, the end is there. */
static int loud_program(void *context)
{
    struct term_capture *capture = term_capture_begin(NULL);
    struct term_piece piece;
    struct text bytes = {0};
    pthread_t thread;
    (void)context;
    if (!capture || pthread_create(&thread, NULL, print_much, NULL) != 0)
        return 2;
    pthread_join(thread, NULL);
    fputs("last\n", stderr);
    while (term_capture_take(capture, &piece, &bytes))
        if (piece.descriptor != STDERR_FILENO)
            return 3;
    if (bytes.length < 1 << 20 || bytes.length > (17 << 20) + 8 ||
        strcmp(bytes.data + bytes.length - 6, "xlast\n") != 0)
        return 4;
    term_capture_end(capture, STDERR_FILENO, 100);
    return 0;
}

static void test_more_than_is_kept(void **state)
{
    struct screen screen;
    (void)state;
    screen_start(&screen, LEAST, 200, loud_program, NULL);
    int status = screen_wait_status(&screen);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    screen_wait_text(&screen, "xxxxlast");
    screen_end(&screen);
}

static struct term_capture *falling; /* handlers get a number only */

static void on_abort(int number)
{
    (void)number;
    term_capture_release(falling, STDERR_FILENO, 1 << 16);
} /* and abort goes on */

/* What was printed right before the fall is printed by the handler, whoever reads at the time. */
static int falling_program(void *context)
{
    (void)context;
    falling = term_capture_begin(NULL);
    signal(SIGABRT, on_abort);
    for (int i = 0; i < 20; i++)
        fprintf(i % 2 ? stderr : stdout, "word %d\n", i);
    fputs("last word\n", stderr);
    abort();
}

static void test_last_words(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct screen screen;
        screen_start(&screen, 30, 40, falling_program, NULL);
        int status = screen_wait_status(&screen);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        screen_wait_text(&screen, "last word");
        screen_wait_text(&screen, "word 19");
        screen_wait_text(&screen, "word 18");
        screen_end(&screen);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_both_streams),
        cmocka_unit_test(test_more_than_is_kept),
        cmocka_unit_test(test_last_words),
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
