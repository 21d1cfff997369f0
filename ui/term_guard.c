#include "ui/term_guard.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    CAPTURE_PRINTED = 64 << 10,
    RESTORE_BYTES = 512,
    HANDLER_STACK = 64 << 10, /* a stack overflow leaves no room on the normal one */
};

static const int fatal_signals[] = {SIGTERM, SIGHUP, SIGQUIT, SIGSEGV,
                                    SIGABRT, SIGBUS, SIGFPE,  SIGILL};
static const int event_signals[] = {SIGWINCH, SIGTSTP, SIGCONT, SIGINT};

enum { FATAL_COUNT = 8, EVENT_COUNT = 4 };

struct term_guard {
    bool events;
    int tty; /* -1: none */
    struct termios modes;
    char restore[RESTORE_BYTES];
    size_t restore_length;
    atomic_bool armed;    /* the terminal is in our modes: there is something to put back */
    atomic_flag restored; /* the first fatal signal does it, a second one must not */
    struct sigaction old_fatal[FATAL_COUNT];
    struct sigaction old_event[EVENT_COUNT];
    stack_t old_stack;
    int pipe[2];
    struct term_capture *capture; /* NULL: none */
    char handler_stack[HANDLER_STACK];
};

/* Handlers of signals get a number and nothing else: what they must put back is found here. */
static struct term_guard *_Atomic active;

/* Only calls of signal-safety(7). */
static void restore_in_handler(struct term_guard *guard)
{
    if (!guard || atomic_flag_test_and_set(&guard->restored))
        return;
    if (guard->tty >= 0 && atomic_load(&guard->armed)) {
        term_write(guard->tty, guard->restore, guard->restore_length);
        tcsetattr(guard->tty, TCSANOW, &guard->modes);
    }
    if (guard->capture)
        term_capture_release(guard->capture, STDERR_FILENO, CAPTURE_PRINTED);
}

static bool is_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

static void on_fatal(int number, siginfo_t *information, void *context)
{
    struct term_guard *guard = atomic_load(&active);
    (void)context;
    restore_in_handler(guard);
    for (int i = 0; i < FATAL_COUNT; i++)
        if (fatal_signals[i] == number)
            sigaction(number, &guard->old_fatal[i], NULL);
    if (is_fault(number) && information->si_code > 0)
        return; /* the instruction faults again, now for the handler before us, with its details */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_event(int number)
{
    const struct term_guard *guard = atomic_load(&active);
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(guard->pipe[1], &byte, 1); /* a full pipe has news enough */
    (void)written;
    errno = saved;
}

static void install(int number, const struct sigaction *action, struct sigaction *old)
{
    sigaction(number, NULL, old);
    if (old->sa_handler != SIG_IGN)
        sigaction(number, action, NULL);
}

static void install_event(struct term_guard *guard, int index)
{
    struct sigaction action = {.sa_handler = on_event, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(event_signals[index], &action, &guard->old_event[index]);
}

static void install_handlers(struct term_guard *guard)
{
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    /* All blocked: above all TTOU, which would stop a background process that sets the modes. */
    sigfillset(&action.sa_mask);
    stack_t stack = {.ss_sp = guard->handler_stack, .ss_size = sizeof(guard->handler_stack)};
    sigaltstack(&stack, &guard->old_stack);
    for (int i = 0; i < FATAL_COUNT; i++)
        install(fatal_signals[i], &action, &guard->old_fatal[i]);
    for (int i = 0; guard->events && i < EVENT_COUNT; i++)
        install_event(guard, i);
}

struct term_guard *term_guard_begin(int tty, bool events, struct status *status)
{
    if (atomic_load(&active)) {
        status_fail(status, STATUS_INTERNAL, "the terminal is in use already");
        return NULL;
    }
    struct term_guard *guard = memory_zeroed(1, sizeof(*guard));
    guard->pipe[0] = guard->pipe[1] = -1;
    if (events && pipe2(guard->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        status_fail(status, STATUS_IO, "no pipe for signals: %s", strerror(errno));
        free(guard);
        return NULL;
    }
    guard->events = events;
    guard->tty = tty >= 0 && tcgetattr(tty, &guard->modes) == 0 ? tty : -1;
    atomic_store(&guard->armed, true);
    atomic_store(&active, guard);
    install_handlers(guard);
    return guard;
}

void term_guard_set_restore(struct term_guard *guard, const char *bytes, size_t length)
{
    guard->restore_length = length < RESTORE_BYTES ? length : RESTORE_BYTES;
    memcpy(guard->restore, bytes, guard->restore_length);
}

void term_guard_arm(struct term_guard *guard, bool armed)
{
    atomic_store(&guard->armed, armed);
}

bool term_guard_capture(struct term_guard *guard, struct status *status)
{
    guard->capture = term_capture_begin(status);
    return guard->capture != NULL;
}

bool term_guard_captured(struct term_guard *guard, struct term_piece *piece, struct text *out)
{
    return guard && term_capture_take(guard->capture, piece, out);
}

int term_guard_capture_fd(const struct term_guard *guard)
{
    return guard ? term_capture_fd(guard->capture) : -1;
}

int term_guard_fd(const struct term_guard *guard)
{
    return guard ? guard->pipe[0] : -1;
}

int term_guard_take(struct term_guard *guard)
{
    unsigned char byte;
    return guard && guard->pipe[0] >= 0 && read(guard->pipe[0], &byte, 1) == 1 ? byte : 0;
}

void term_guard_stop(struct term_guard *guard)
{
    term_guard_arm(guard, false);
    struct sigaction standard = {.sa_handler = SIG_DFL}, ours;
    sigemptyset(&standard.sa_mask);
    sigaction(SIGTSTP, &standard, &ours);
    raise(SIGTSTP);
    sigaction(SIGTSTP, &ours, NULL);
    term_guard_arm(guard, true);
}

void term_guard_end(struct term_guard *guard)
{
    if (!guard)
        return;
    if (guard->tty >= 0)
        tcsetattr(guard->tty, TCSADRAIN, &guard->modes);
    term_guard_arm(guard, false);
    term_capture_end(guard->capture, STDERR_FILENO, CAPTURE_PRINTED);
    guard->capture = NULL;
    for (int i = 0; i < FATAL_COUNT; i++)
        sigaction(fatal_signals[i], &guard->old_fatal[i], NULL);
    for (int i = 0; guard->events && i < EVENT_COUNT; i++)
        sigaction(event_signals[i], &guard->old_event[i], NULL);
    sigaltstack(&guard->old_stack, NULL);
    for (int i = 0; i < 2; i++) {
        if (guard->pipe[i] >= 0)
            close(guard->pipe[i]);
    }
    atomic_store(&active, NULL);
    free(guard);
}
