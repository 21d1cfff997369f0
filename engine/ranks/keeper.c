#include "engine/ranks/keeper.h"

#include "engine/base/clock.h"
#include "engine/ranks/job_folder.h"
#include "engine/ranks/launch.h"
#include "engine/ranks/launched.h"
#include "engine/ranks/rank.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ALONE_MILLISECONDS = 2000,  /* for a launcher whose ranks have seen that the engine is gone */
    SPARE_MILLISECONDS = 10000, /* on a busy machine */
    NAP_MILLISECONDS = 10
};

struct keeper {
    int socket, engine, signals; /* descriptors; the second is readable when the engine is gone */
    pid_t launcher;
    bool ended; /* the launcher */
    const char *token;
};

int keeper_longest(const struct keeper_order *order)
{
    return order->wait + 2 * (order->patience + LAUNCHED_KILLED_MILLISECONDS) + SPARE_MILLISECONDS;
}

static void tell(const struct keeper *keeper, int kind, int value)
{
    struct keeper_note note = {.kind = kind, .value = value};
    ssize_t sent = send(keeper->socket, &note, sizeof(note), MSG_NOSIGNAL);
    (void)sent; /* an engine that is gone is seen otherwise */
}

/* ---- the launcher ---- */

/* In the child. */
static void become(char **command, int failure, pid_t parent)
{
    sigset_t none;
    setpgid(0, 0);
    /* asked rather than killed: mpirun removes its files then */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    errno = ESRCH;
    if (getppid() == parent) /* else it died before it could be watched */
        execvp(command[0], command);
    int code = errno;
    if (write(failure, &code, sizeof(code)) < 0)
        _exit(126);
    _exit(127);
}

/* 0, or why it could not be started. */
static int start(struct keeper *keeper, char **command)
{
    int failure[2], code = 0;
    pid_t parent = getpid();
    if (pipe2(failure, O_CLOEXEC) != 0)
        return errno;
    keeper->launcher = fork();
    if (keeper->launcher == 0)
        become(command, failure[1], parent);
    int error = errno;
    close(failure[1]);
    if (keeper->launcher < 0)
        return error;
    setpgid(keeper->launcher, keeper->launcher);
    ssize_t got = read(failure[0], &code, sizeof(code));
    close(failure[0]);
    return got == sizeof(code) ? code : 0;
}

/* All children that have ended: the launcher, and whoever was left by those that it had started. */
static bool reap(struct keeper *keeper)
{
    struct signalfd_siginfo drained;
    int state;
    pid_t pid;
    ssize_t got = read(keeper->signals, &drained, sizeof(drained));
    (void)got;
    while ((pid = waitpid(-1, &state, WNOHANG)) > 0)
        if (pid == keeper->launcher) {
            keeper->ended = true;
            tell(keeper, KEEPER_ENDED, state);
        }
    return pid == 0; /* there are others */
}

/* ---- the end ---- */

static void nap(const struct keeper *keeper, int milliseconds)
{
    struct pollfd child = {.fd = keeper->signals, .events = POLLIN};
    poll(&child, 1, milliseconds);
}

/* Whether there is one of those; it is sent the signal then. The group is looked for first: once
 * that is gone, every child that is left is one of the others. */
static bool signal_any(struct keeper *keeper, const struct launched *which, int number)
{
    bool children = reap(keeper);
    return launched_signal(which, number) > 0 || (which->elsewhere && children);
}

/* Until there is none of those; whether there is none. */
static bool wait_for(struct keeper *keeper, const struct launched *which, int milliseconds)
{
    double deadline = clock_seconds() + milliseconds / 1e3;
    while (signal_any(keeper, which, 0)) {
        if (clock_seconds() >= deadline)
            return false;
        nap(keeper, NAP_MILLISECONDS);
    }
    return true;
}

/* Some may start others while they are killed. */
static void kill_all(struct keeper *keeper, const struct launched *which)
{
    double deadline = clock_seconds() + LAUNCHED_KILLED_MILLISECONDS / 1e3;
    while (signal_any(keeper, which, SIGKILL) && clock_seconds() < deadline)
        nap(keeper, NAP_MILLISECONDS);
}

/* The group of the launcher first: what it has started elsewhere is mostly its own to end. Those
 * that it has started may need as long as it does: it may be a script, and mpirun what it waits
 * for. */
static void end_all(struct keeper *keeper, const struct keeper_order *order)
{
    struct launched group = {
        .token = keeper->token, .ancestor = getpid(), .group = keeper->launcher};
    struct launched others = group;
    double deadline = clock_seconds() + order->wait / 1e3;
    others.elsewhere = true;
    for (reap(keeper); !keeper->ended && clock_seconds() < deadline; reap(keeper))
        nap(keeper, NAP_MILLISECONDS);
    if (launched_signal(&group, 0) > 0) {
        kill(-keeper->launcher, SIGTERM); /* all at once: none is just being started */
        if (!wait_for(keeper, &group, order->patience))
            kill_all(keeper, &group);
    }
    if (signal_any(keeper, &others, SIGTERM) && !wait_for(keeper, &others, order->patience))
        kill_all(keeper, &others);
}

/* ---- in between ---- */

/* Whether the engine has ended, or does so within this time. */
static bool engine_is_gone(const struct keeper *keeper, int milliseconds)
{
    struct pollfd engine = {.fd = keeper->engine, .events = POLLIN};
    return keeper->engine < 0 || poll(&engine, 1, milliseconds) > 0;
}

/* The system closes the socket of an engine that was killed before it tells that it has ended, on a
 * busy machine long before. */
static bool engine_is_leaving(const struct keeper *keeper)
{
    char byte;
    return recv(keeper->socket, &byte, sizeof(byte), MSG_DONTWAIT) >= 0 ||
           (errno != EAGAIN && errno != EINTR);
}

static void keep(struct keeper *keeper, struct keeper_order *order)
{
    struct pollfd pollers[3] = {{.fd = keeper->signals, .events = POLLIN},
                                {.fd = keeper->engine, .events = POLLIN},
                                {.fd = keeper->socket, .events = POLLIN}};
    while (!engine_is_gone(keeper, 0)) {
        struct keeper_order given;
        reap(keeper);
        poll(pollers, 3, -1);
        ssize_t got =
            pollers[2].revents ? recv(keeper->socket, &given, sizeof(given), MSG_DONTWAIT) : -1;
        if (got == sizeof(given))
            *order = given;
        if (got >= 0 || (pollers[2].revents && errno != EAGAIN && errno != EINTR))
            break; /* or it has closed its end */
    }
    end_all(keeper, order);
}

/* Its own words went through the pipe that the engine reads the launcher's from. */
static void fall_silent(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

/* No signal but SIGKILL and SIGSTOP is for a keeper: who ends the engine by name ends it later. */
static void prepare(struct keeper *keeper, pid_t engine)
{
    sigset_t all;
    signal(SIGCHLD, SIG_DFL); /* whatever it is for who has started the engine */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    keeper->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    fcntl(keeper->socket, F_SETFD, FD_CLOEXEC);
    keeper->engine = (int)syscall(SYS_pidfd_open, engine, 0);
    if (keeper->engine >= 0 && getppid() != engine) { /* its number is another one's already */
        close(keeper->engine);
        keeper->engine = -1;
    }
}

static int be_keeper(int argc, char **argv)
{
    struct keeper keeper = {.token = getenv(LAUNCH_TOKEN)};
    if (argc <= KEEPER_LAUNCHER || !keeper.token) {
        fprintf(stderr, "%s keeper: only the engine starts it, between itself and a launcher\n",
                argv[0]);
        return 1;
    }
    struct keeper_order order = {ALONE_MILLISECONDS, atoi(argv[KEEPER_PATIENCE])};
    keeper.socket = atoi(argv[KEEPER_SOCKET]);
    prepare(&keeper, (pid_t)atoi(argv[KEEPER_ENGINE]));
    int error = start(&keeper, argv + KEEPER_LAUNCHER);
    fall_silent();
    if (error) {
        tell(&keeper, KEEPER_FAILED, error);
        return 1;
    }
    tell(&keeper, KEEPER_STARTED, (int)keeper.launcher);
    keep(&keeper, &order);
    if (engine_is_gone(&keeper, engine_is_leaving(&keeper) ? SPARE_MILLISECONDS : 0))
        for (int i = 0; i < 2; i++)
            job_folder_erase(argv[KEEPER_FOLDERS + i]);
    return 0;
}

bool keeper_serve(int argc, char **argv, int *code)
{
    if (argc < 2 || strcmp(argv[1], KEEPER_COMMAND) != 0)
        return false;
    *code = be_keeper(argc, argv);
    return true;
}
