#ifdef LOCKSTEP_HAVE_VTERM

#include "helper_screen.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <vterm.h>

enum { DEADLINE_SECONDS = 60 };

/* A sequence that terminals pass over, and that no program writes. */
static const char mark[] = "\033]7777;mark\a";

static int on_property(VTermProp property, VTermValue *value, void *user)
{
    struct screen *screen = user;
    if (property == VTERM_PROP_ALTSCREEN)
        screen->alternate = value->boolean;
    else if (property == VTERM_PROP_CURSORVISIBLE)
        screen->cursor_visible = value->boolean;
    else if (property == VTERM_PROP_MOUSE)
        screen->mouse = value->number != VTERM_PROP_MOUSE_NONE;
    return 1;
}

static const VTermScreenCallbacks callbacks = {.settermprop = on_property};

static void start_emulator(struct screen *screen)
{
    VTerm *terminal = vterm_new(screen->rows, screen->cols);
    vterm_set_utf8(terminal, 1);
    VTermScreen *cells = vterm_obtain_screen(terminal);
    screen->terminal = terminal;
    screen->cells = cells;
    screen->cursor_visible = true;
    vterm_screen_enable_altscreen(cells, 1);
    vterm_screen_set_callbacks(cells, &callbacks, screen);
    vterm_screen_reset(cells, 1);
}

/* The default actions back: the test runner has handlers for crashes. */
static void reset_signals(void)
{
    for (int number = 1; number < 32; number++)
        signal(number, SIG_DFL);
}

static void run_program(int (*program)(void *), void *context, int slave)
{
    setpgid(0, 0);
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(slave, getpid());
    reset_signals();
    for (int i = 0; i < 3; i++)
        dup2(slave, i);
    _exit(program(context));
}

/* Starts the program and reports what becomes of it, as a shell watches its job. */
static void run_leader(struct screen *screen, int report, int (*program)(void *), void *context)
{
    close(screen->master);
    setsid();
    ioctl(screen->slave, TIOCSCTTY, 0);
    reset_signals();
    signal(SIGHUP, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0)
        run_program(program, context, screen->slave);
    int value = pid;
    do {
        if (write(report, &value, sizeof(value)) != sizeof(value))
            break;
    } while (waitpid(pid, &value, WUNTRACED) == pid);
    _exit(0);
}

void screen_start(struct screen *screen, int rows, int cols, int (*program)(void *), void *context)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    int reports[2];
    *screen = (struct screen){.rows = rows, .cols = cols};
    assert_int_equal(openpty(&screen->master, &screen->slave, NULL, NULL, &size), 0);
    assert_int_equal(pipe(reports), 0);
    screen->leader = fork();
    assert_true(screen->leader >= 0);
    if (screen->leader == 0)
        run_leader(screen, reports[1], program, context);
    close(reports[1]);
    screen->reports = reports[0];
    int pid;
    assert_int_equal(read(screen->reports, &pid, sizeof(pid)), sizeof(pid));
    screen->program = pid;
    start_emulator(screen);
}

void screen_type(struct screen *screen, const char *bytes)
{
    assert_int_equal(write(screen->master, bytes, strlen(bytes)), strlen(bytes));
}

void screen_resize(struct screen *screen, int rows, int cols)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    vterm_set_size(screen->terminal, rows, cols);
    screen->rows = rows;
    screen->cols = cols;
    assert_int_equal(ioctl(screen->master, TIOCSWINSZ, &size), 0);
}

void screen_row(struct screen *screen, int row, char *text, size_t size)
{
    VTermRect box = {.start_row = row, .end_row = row + 1, .end_col = screen->cols};
    size_t length = vterm_screen_get_text(screen->cells, text, size - 1, box);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    text[length] = '\0';
}

static unsigned rgb_of(struct screen *screen, VTermColor color)
{
    vterm_screen_convert_color_to_rgb(screen->cells, &color);
    return (unsigned)color.rgb.red << 16 | (unsigned)color.rgb.green << 8 | color.rgb.blue;
}

struct screen_cell screen_cell_at(struct screen *screen, int row, int col)
{
    VTermScreenCell cell;
    vterm_screen_get_cell(screen->cells, (VTermPos){.row = row, .col = col}, &cell);
    return (struct screen_cell){cell.chars[0], rgb_of(screen, cell.fg), rgb_of(screen, cell.bg)};
}

/* The emulator knows no clipboard: its sequence is picked out of the bytes. */
static void pick_copied(struct screen *screen, const char *bytes, size_t count)
{
    static const char begin[] = "\033]52;c;";
    for (size_t i = 0; i < count; i++) {
        if (screen->copying >= 0) {
            bool fits = bytes[i] == begin[screen->copying];
            screen->copying = fits ? screen->copying + 1 : bytes[i] == begin[0];
            if (screen->copying == (int)sizeof(begin) - 1) {
                screen->copying = -1;
                screen->copied_length = 0;
            }
        } else if (bytes[i] == '\a') {
            screen->copied[screen->copied_length] = '\0';
            screen->copying = 0;
        } else if (screen->copied_length < sizeof(screen->copied) - 1) {
            screen->copied[screen->copied_length++] = bytes[i];
        }
    }
}

static void count_marks(struct screen *screen, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool fits = bytes[i] == mark[screen->marking];
        screen->marking = fits ? screen->marking + 1 : bytes[i] == mark[0];
        if (screen->marking == (int)sizeof(mark) - 1) {
            screen->marking = 0;
            screen->marks++;
        }
    }
}

/* Takes what the program wrote, for at most `ms`. Returns whether there was anything. */
static bool feed(struct screen *screen, int ms)
{
    struct pollfd ready = {.fd = screen->master, .events = POLLIN};
    char bytes[4096];
    if (poll(&ready, 1, ms) <= 0)
        return false;
    ssize_t count = read(screen->master, bytes, sizeof(bytes));
    if (count > 0)
        vterm_input_write(screen->terminal, bytes, (size_t)count);
    if (count > 0) {
        pick_copied(screen, bytes, (size_t)count);
        count_marks(screen, bytes, (size_t)count);
    }
    /* What the terminal answers (its attributes, the cursor's place). */
    size_t answer = vterm_output_read(screen->terminal, bytes, sizeof(bytes));
    if (answer > 0 && write(screen->master, bytes, answer) != (ssize_t)answer)
        return false;
    return count > 0;
}

static void show(struct screen *screen)
{
    for (int row = 0; row < screen->rows; row++) {
        char text[2048];
        screen_row(screen, row, text, sizeof(text));
        print_error("%2d|%s\n", row, text);
    }
}

void screen_wait(struct screen *screen, bool (*condition)(struct screen *, const void *),
                 const void *context, const char *what)
{
    time_t deadline = time(NULL) + DEADLINE_SECONDS;
    while (!condition(screen, context)) {
        feed(screen, 20);
        if (time(NULL) > deadline) {
            print_error("never: %s\n", what);
            show(screen);
            fail();
        }
    }
}

struct row_text {
    int row;
    const char *text;
};

static bool row_equals(struct screen *screen, const void *context)
{
    const struct row_text *wanted = context;
    char text[2048];
    screen_row(screen, wanted->row, text, sizeof(text));
    return strcmp(text, wanted->text) == 0;
}

void screen_wait_row(struct screen *screen, int row, const char *text)
{
    screen_wait(screen, row_equals, &(struct row_text){row, text}, text);
}

static bool text_is_shown(struct screen *screen, const void *context)
{
    char text[2048];
    for (int row = 0; row < screen->rows; row++) {
        screen_row(screen, row, text, sizeof(text));
        if (strstr(text, context))
            return true;
    }
    return false;
}

void screen_wait_text(struct screen *screen, const char *text)
{
    screen_wait(screen, text_is_shown, text, text);
}

static bool cursor_is_at(struct screen *screen, const void *context)
{
    const int *wanted = context;
    VTermPos at;
    vterm_state_get_cursorpos(vterm_obtain_state(screen->terminal), &at);
    return at.row == wanted[0] && at.col == wanted[1];
}

static bool has_copied(struct screen *screen, const void *context)
{
    (void)context;
    return screen->copied_length > 0 && screen->copying == 0;
}

void screen_wait_copied(struct screen *screen)
{
    screen_wait(screen, has_copied, NULL, "something for the clipboard");
}

void screen_wait_cursor(struct screen *screen, int row, int col)
{
    char what[64];
    snprintf(what, sizeof(what), "cursor at row %d, column %d", row, col);
    screen_wait(screen, cursor_is_at, (int[2]){row, col}, what);
}

static bool has_report(struct screen *screen, const void *context)
{
    struct pollfd ready = {.fd = screen->reports, .events = POLLIN};
    (void)context;
    return poll(&ready, 1, 0) > 0;
}

static bool has_marks(struct screen *screen, const void *count)
{
    return screen->marks >= *(const int *)count;
}

/* What the program wrote last may still be on its way through the system when it has ended: what is
 * written behind it comes behind it. */
static void feed_all(struct screen *screen)
{
    int wanted = screen->marks + 1;
    while (feed(screen, 0)) /* there is room for the mark then */
        ;
    assert_int_equal(write(screen->slave, mark, sizeof(mark) - 1), sizeof(mark) - 1);
    screen_wait(screen, has_marks, &wanted, "all that the program wrote");
}

int screen_wait_status(struct screen *screen)
{
    int status = 0;
    screen_wait(screen, has_report, NULL, "the program stops or ends");
    assert_int_equal(read(screen->reports, &status, sizeof(status)), sizeof(status));
    feed_all(screen);
    return status;
}

bool screen_is_restored(struct screen *screen)
{
    struct termios modes;
    assert_int_equal(tcgetattr(screen->slave, &modes), 0);
    tcflag_t usual = ICANON | ECHO | ISIG;
    return !screen->alternate && screen->cursor_visible && !screen->mouse &&
           (modes.c_lflag & usual) == usual && (modes.c_iflag & ICRNL);
}

void screen_end(struct screen *screen)
{
    kill(screen->program, SIGKILL);
    waitpid(screen->leader, NULL, 0);
    close(screen->master);
    close(screen->slave);
    close(screen->reports);
    vterm_free(screen->terminal);
}

#else
typedef int helper_screen_unused;
#endif
