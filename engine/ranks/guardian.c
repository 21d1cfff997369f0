#include "engine/ranks/guardian.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEND_SECONDS = 10 };

static void tell(struct channel *engine, enum frame_kind kind, uint32_t number)
{
    struct text body = {0};
    number_write(&body, number);
    channel_send(engine, kind, &body, NULL, 0, SEND_SECONDS, NULL);
    text_free(&body);
}

/* LLVM's OpenMP has a file for each process, which stays when the process is killed. */
static void forget_memory(pid_t child)
{
    char path[80];
    snprintf(path, sizeof(path), "/dev/shm/__KMP_REGISTERED_LIB_%d_%d", (int)child, (int)getuid());
    unlink(path);
}

/* Tells what became of the child; does not return once it has ended. */
static void watch_child(struct channel *engine, pid_t child)
{
    int state;
    for (pid_t pid; (pid = waitpid(child, &state, WNOHANG | WUNTRACED | WCONTINUED)) > 0;) {
        if (WIFSTOPPED(state) || WIFCONTINUED(state)) {
            tell(engine, FRAME_HALTED, WIFSTOPPED(state) ? (uint32_t)WSTOPSIG(state) : 0);
            continue;
        }
        forget_memory(child);
        tell(engine, FRAME_EXITED, (uint32_t)state);
        _exit(0);
    }
}

/* The engine says nothing to a guardian: whatever comes, also an end, ends the rank. */
static void watch(struct channel *engine, pid_t child, int signals)
{
    struct pollfd pollers[2] = {{.fd = signals, .events = POLLIN},
                                {.fd = engine->fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    for (;;) {
        watch_child(engine, child);
        if (poll(pollers, 2, -1) < 0 && errno != EINTR)
            break;
        if (pollers[0].revents && read(signals, &info, sizeof(info)) < 0 && errno != EAGAIN)
            break;
        if (pollers[1].revents)
            break;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    forget_memory(child);
    _exit(0);
}

static bool say_hello(struct channel *engine, struct hello *hello, struct status *status)
{
    struct text body = {0};
    hello->role = ROLE_GUARDIAN;
    hello->pid = getpid();
    hello_write(&body, hello);
    bool ok = channel_send(engine, FRAME_HELLO, &body, NULL, 0, SEND_SECONDS, status);
    text_free(&body);
    return ok;
}

bool guardian_split(const char *address, struct hello *hello, struct status *status)
{
    struct channel engine = {.fd = channel_connect(address, status)};
    sigset_t child_signal, before;
    if (engine.fd < 0)
        return false;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* of the launcher's death; the rank dies of this one's */
    sigemptyset(&child_signal);
    sigaddset(&child_signal, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_signal, &before);
    int signals = signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK);
    pid_t guardian = getpid(), child = -1;
    if (say_hello(&engine, hello, status) && signals >= 0)
        child = fork();
    if (child > 0)
        watch(&engine, child, signals);
    if (signals >= 0)
        close(signals);
    channel_close(&engine);
    if (child < 0)
        return status_fail(status, STATUS_IO, "no process for a rank: %s", strerror(errno));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (getppid() != guardian)
        _exit(1);
    return true;
}
