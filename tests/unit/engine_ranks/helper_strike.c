#include "helper_strike.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANNOUNCEMENT "LOCKSTEP_TEST_STRIKE"
#define SIGN "LOCKSTEP_TEST_STRUCK" /* the path of a file that the rank makes */

enum { PAUSE_MILLISECONDS = 20, MOST_DESCRIPTORS = 256 };

const char *strike_name(enum strike_kind kind)
{
    static const char *const names[STRIKE_KINDS] = {
        "kill",    "crash", "abort", "stop",      "pause",    "exit 0", "exit 3",      "drop",
        "garbage", "half",  "flood", "no memory", "no files", "orphan", "no launcher", "no keeper"};
    return names[kind];
}

bool strike_is_deadly(enum strike_kind kind)
{
    return kind != STRIKE_PAUSE && kind != STRIKE_FLOOD && kind != STRIKE_NO_MEMORY &&
           kind != STRIKE_NO_FILES;
}

bool strike_takes_all(enum strike_kind kind)
{
    return kind == STRIKE_NO_LAUNCHER || kind == STRIKE_NO_KEEPER;
}

bool strike_is_instant(enum strike_kind kind)
{
    return kind <= STRIKE_STOP || kind == STRIKE_EXIT_0 || kind == STRIKE_EXIT_3;
}

/* ---- telling ---- */

/* A strike in the 32 bits that come with a signal: 4 for the kind, 8 for the word, 20 for the time.
 */
static int pack(const struct strike *strike)
{
    return (int)((uint32_t)strike->kind << 28 | (uint32_t)strike->word << 20 |
                 (uint32_t)strike->microseconds);
}

static struct strike unpack(int packed)
{
    uint32_t bits = (uint32_t)packed;
    return (struct strike){.kind = (enum strike_kind)(bits >> 28),
                           .word = (int)(bits >> 20 & 0xff),
                           .microseconds = (int)(bits & 0xfffff)};
}

void strike_send(const struct strike *strike, pid_t pid)
{
    sigqueue(pid, SIGUSR1, (union sigval){.sival_int = pack(strike)});
}

static const char *sign_path(char *path, size_t size)
{
    snprintf(path, size, "/tmp/lockstep-struck-%d", (int)getpid());
    return path;
}

bool strike_has_come(void)
{
    char path[64];
    return unlink(sign_path(path, sizeof(path))) == 0;
}

void strike_announce(const struct strike *strike)
{
    char text[64];
    unsetenv(ANNOUNCEMENT);
    if (!strike)
        return;
    strike_has_come();
    setenv(SIGN, sign_path(text, sizeof(text)), 1);
    snprintf(text, sizeof(text), "%d %d", strike->rank, pack(strike));
    setenv(ANNOUNCEMENT, text, 1);
}

/* ---- in the rank: handlers of signals, which only call what may be called there ---- */

/* A descriptor that is connected with whom this one is, other than standard input and output. */
static int find_control(void)
{
    struct sockaddr_storage engine, other;
    socklen_t length = sizeof(engine);
    memset(&engine, 0, sizeof(engine));
    if (getpeername(STDERR_FILENO, (struct sockaddr *)&engine, &length) != 0)
        return -1; /* not connected yet: output comes first */
    for (int fd = STDERR_FILENO + 1; fd < MOST_DESCRIPTORS; fd++) {
        length = sizeof(other);
        memset(&other, 0, sizeof(other));
        if (getpeername(fd, (struct sockaddr *)&other, &length) == 0 &&
            memcmp(&engine, &other, sizeof(engine)) == 0)
            return fd;
    }
    return -1;
}

static void send_garbage(int word)
{
    unsigned char bytes[64];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(0x81 + 37 * (i + (size_t)word));
    bytes[3] = 0xee; /* the longest byte of a length: no message has so many */
    send(find_control(), bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void send_half(void)
{
    unsigned char bytes[24] = {0xe8, 3, 0, 0, 15}; /* a body of 1000 bytes, of which 16 come */
    int control = find_control();
    send(control, bytes, sizeof(bytes), MSG_NOSIGNAL);
    shutdown(control, SHUT_RDWR);
}

static void flood(void)
{
    char bytes[1 << 15];
    memset(bytes, '.', sizeof(bytes));
    for (size_t printed = 0; printed < STRIKE_FLOOD_BYTES;) {
        size_t left = STRIKE_FLOOD_BYTES - printed;
        ssize_t count = write(STDOUT_FILENO, bytes, left < sizeof(bytes) ? left : sizeof(bytes));
        printed += count > 0 ? (size_t)count : 0;
    }
}

/* Somebody must wake it. */
static void take_a_break(void)
{
    pid_t self = getpid();
    if (_Fork() == 0) {
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MILLISECONDS * 1000000L}, NULL);
        kill(self, SIGCONT);
        _exit(0);
    }
    kill(self, SIGSTOP);
}

static void limit(int resource)
{
    struct rlimit limit;
    getrlimit(resource, &limit);
    limit.rlim_cur = 0;
    setrlimit(resource, &limit);
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512] = "";
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && read(file, text, sizeof(text) - 1) > 0 && strrchr(text, ')'))
        sscanf(strrchr(text, ')') + 1, " %*c %d", &parent);
    if (file >= 0)
        close(file);
    return parent;
}

static void say_last_words(int word)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "last words %d\n", word);
    ssize_t written = write(STDOUT_FILENO, text, (size_t)length);
    (void)written; /* whoever listened may be gone */
}

static void make_sign(void)
{
    const char *path = getenv(SIGN);
    int file = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file >= 0)
        close(file);
}

static void suffer(const struct strike *strike)
{
    say_last_words(strike->word);
    switch (strike->kind) {
    case STRIKE_CRASH:
        signal(SIGSEGV, SIG_DFL);
        kill(getpid(), SIGSEGV);
        break;
    case STRIKE_ABORT:
        signal(SIGABRT, SIG_DFL);
        kill(getpid(), SIGABRT);
        break;
    case STRIKE_STOP:
        kill(getpid(), SIGSTOP);
        break;
    case STRIKE_PAUSE:
        take_a_break();
        break;
    case STRIKE_EXIT_0:
        _exit(0);
    case STRIKE_EXIT_3:
        _exit(3);
    case STRIKE_DROP:
        shutdown(find_control(), SHUT_RDWR);
        break;
    case STRIKE_GARBAGE:
        send_garbage(strike->word);
        break;
    case STRIKE_HALF:
        send_half();
        break;
    case STRIKE_FLOOD:
        flood();
        break;
    case STRIKE_NO_MEMORY:
        limit(RLIMIT_AS);
        break;
    case STRIKE_NO_FILES:
        limit(RLIMIT_FSIZE);
        break;
    case STRIKE_ORPHAN:
        kill(getppid(), SIGKILL);
        break;
    case STRIKE_NO_LAUNCHER:
        kill(parent_of(getppid()), SIGKILL);
        break;
    case STRIKE_NO_KEEPER:
        kill(parent_of(parent_of(getppid())), SIGKILL);
        break;
    default:
        kill(getpid(), SIGKILL);
    }
    make_sign();
}

/* With a time, the signal comes again when it is up. */
static void wait_for(struct strike strike)
{
    struct itimerspec time = {.it_value.tv_nsec = strike.microseconds * 1000L};
    timer_t timer;
    if (strike.microseconds == 0) {
        suffer(&strike);
        return;
    }
    strike.microseconds = 0;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = SIGUSR1,
                             .sigev_value.sival_int = pack(&strike)};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, 0, &time, NULL);
}

static void on_word(int signal, siginfo_t *information, void *context)
{
    (void)signal, (void)context;
    wait_for(unpack(information->si_value.sival_int));
}

/* How often this process has forked. */
static int forks;

static void after_fork(void)
{
    forks++;
}

/* The process is the rank as soon as it has split from its guardian. */
static void on_fork(void)
{
    int rank, packed, before = forks;
    forks = INT_MAX / 2; /* what it starts is no rank */
    const char *own = getenv("OMPI_COMM_WORLD_RANK"), *text = getenv(ANNOUNCEMENT);
    if (!own || !text || sscanf(text, "%d %d", &rank, &packed) != 2 || atoi(own) != rank)
        return;
    if (before == 0)
        wait_for(unpack(packed));
}

void strike_prepare(void)
{
    struct sigaction word = {.sa_flags = SA_SIGINFO | SA_RESTART};
    word.sa_sigaction = on_word;
    sigaction(SIGUSR1, &word, NULL);
    pthread_atfork(NULL, after_fork, on_fork);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

bool strike_is_told(enum strike_kind kind, const char *text)
{
    switch (kind) {
    case STRIKE_KILL:
        return has(text, "was killed by signal 9 (Killed)");
    case STRIKE_CRASH:
        return has(text, "was killed by signal 11 (Segmentation fault)");
    case STRIKE_ABORT:
        return has(text, "was killed by signal 6 (Aborted)");
    case STRIKE_STOP:
        return has(text, "stopped by signal 19");
    case STRIKE_EXIT_0:
        return has(text, "ended with exit status 0");
    case STRIKE_EXIT_3:
        return has(text, "ended with exit status 3");
    case STRIKE_DROP:
        return has(text, "connection");
    case STRIKE_GARBAGE:
        return has(text, "sent what is no message");
    case STRIKE_HALF:
        return has(text, "in the middle of a message");
    case STRIKE_NO_MEMORY:
        /* not all libraries tell: MPI ends its process when it has none to start with */
        return has(text, "memory") || has(text, "signal") || has(text, "exit status");
    case STRIKE_NO_FILES:
        return has(text, "File size limit exceeded") || has(text, "File too large");
    case STRIKE_ORPHAN:
        return has(text, "guardian");
    case STRIKE_NO_LAUNCHER:
    case STRIKE_NO_KEEPER:
        return has(text, "launcher") && has(text, "was killed by signal 9 (Killed)");
    default:
        return false;
    }
}
