#include "bench/ranks_screens.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/ranks/board.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 60, COLS = 200, MOST_KEYS = 4000, SECONDS = 60, LIMIT_MS = 60000 };

struct terminal {
    int master;
    pid_t pid;
    struct text heard; /* since it was cleared */
};

static double now(void)
{
    return (double)board_nanoseconds() * 1e-9;
}

static void give_up(const char *what)
{
    fprintf(stderr, "lockstep_bench_ranks: screens: %s\n", what);
    exit(1);
}

static bool hear(struct terminal *terminal, int milliseconds)
{
    char bytes[65536];
    struct pollfd fd = {.fd = terminal->master, .events = POLLIN};
    if (poll(&fd, 1, milliseconds) <= 0)
        return false;
    ssize_t count = read(terminal->master, bytes, sizeof(bytes));
    if (count <= 0)
        give_up("they have ended");
    text_add_part(&terminal->heard, bytes, (size_t)count);
    return true;
}

static bool has_words(const struct terminal *terminal, const char *words)
{
    return terminal->heard.data && strstr(terminal->heard.data, words);
}

static void wait_words(struct terminal *terminal, const char *words)
{
    while (!has_words(terminal, words))
        if (!hear(terminal, LIMIT_MS))
            give_up(words);
}

static void type(struct terminal *terminal, const char *bytes)
{
    if (write(terminal->master, bytes, strlen(bytes)) < 0)
        give_up(strerror(errno));
}

/* What the thread of the screens took of the processor, seconds. */
static double turn_of(const struct terminal *terminal)
{
    char path[64];
    unsigned long long took = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", terminal->pid, terminal->pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%llu", &took) != 1)
        give_up("no schedstat");
    fclose(file);
    return (double)took * 1e-9;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Keys in the view of ranks while they run; until nothing changes any more. */
static int measure_keys(struct terminal *terminal, double *wall, double *took)
{
    int count = 0, silent = 0;
    text_clear(&terminal->heard);
    for (double until = now() + SECONDS; count < MOST_KEYS && silent < 3 && now() < until;) {
        double before = turn_of(terminal), begun = now();
        size_t length = terminal->heard.length;
        type(terminal, count & 1 ? "k" : "j");
        bool heard = hear(terminal, 1000) && terminal->heard.length > length;
        silent = heard ? 0 : silent + 1;
        if (!heard)
            continue;
        wall[count] = now() - begun;
        while (hear(terminal, 2))
            continue;
        took[count++] = turn_of(terminal) - before;
    }
    return count;
}

void measure_screens(const char *lockstep, const char *folder)
{
    static double wall[MOST_KEYS], took[MOST_KEYS];
    struct winsize size = {.ws_row = ROWS, .ws_col = COLS};
    struct terminal terminal = {0};
    terminal.pid = forkpty(&terminal.master, NULL, NULL, &size);
    if (terminal.pid < 0)
        give_up("no pseudo-terminal");
    if (terminal.pid == 0) {
        setenv("TERM", "xterm-256color", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
        setenv("XDG_STATE_HOME", "/nonexistent", 1);
        execl(lockstep, lockstep, "tui", "small/many", "--config-dir", folder, (char *)NULL);
        _exit(1);
    }
    wait_words(&terminal, " instructions"); /* loaded */
    type(&terminal, "6"); /* the view of ranks: table and output */
    wait_words(&terminal, "merged");
    type(&terminal, ":stop off divergence\r"); /* nothing is computed: everything diverges */
    type(&terminal, "c");
    int count = measure_keys(&terminal, wall, took);
    if (count == 0)
        give_up("no key was answered");
    qsort(wall, (size_t)count, sizeof(double), compare_doubles);
    qsort(took, (size_t)count, sizeof(double), compare_doubles);
    printf(", \"keys\": %d, \"key_median_ms\": %.2f, \"key_99_ms\": %.2f, "
           "\"key_cpu_median_ms\": %.2f, \"key_cpu_99_ms\": %.2f",
           count, wall[count / 2] * 1e3, wall[count * 99 / 100] * 1e3, took[count / 2] * 1e3,
           took[count * 99 / 100] * 1e3);
    kill(terminal.pid, SIGKILL);
    waitpid(terminal.pid, NULL, 0);
    close(terminal.master);
    text_free(&terminal.heard);
}
