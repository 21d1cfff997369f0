#include "bench/terminal.h"
#include "bench/figures.h"

#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 60, COLS = 200, LIMIT_MS = 60000 };

void terminal_start(struct terminal *terminal, void (*program)(const void *context),
                    const void *context)
{
    struct winsize size = {.ws_row = ROWS, .ws_col = COLS};
    terminal->pid = forkpty(&terminal->master, NULL, NULL, &size);
    if (terminal->pid < 0)
        give_up("no pseudo-terminal");
    if (terminal->pid == 0) {
        setenv("TERM", "xterm-256color", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
        setenv("XDG_STATE_HOME", "/nonexistent", 1);
        unsetenv("NO_COLOR");
        program(context);
        _exit(1);
    }
}

void terminal_stop(struct terminal *terminal)
{
    kill(terminal->pid, SIGKILL);
    waitpid(terminal->pid, NULL, 0);
    close(terminal->master);
    text_free(&terminal->heard);
}

void terminal_type(struct terminal *terminal, const char *bytes)
{
    text_clear(&terminal->heard);
    if (write(terminal->master, bytes, strlen(bytes)) < 0)
        give_up(strerror(errno));
}

bool terminal_hear(struct terminal *terminal, int milliseconds)
{
    char bytes[65536];
    struct pollfd fd = {.fd = terminal->master, .events = POLLIN};
    if (poll(&fd, 1, milliseconds) <= 0)
        return false;
    ssize_t count = read(terminal->master, bytes, sizeof(bytes));
    if (count <= 0)
        give_up("the screens have ended");
    text_add_part(&terminal->heard, bytes, (size_t)count);
    return true;
}

void terminal_hear_rest(struct terminal *terminal, int quiet)
{
    while (terminal_hear(terminal, quiet))
        continue;
}

void terminal_wait_words(struct terminal *terminal, const char *words)
{
    while (!terminal->heard.data || !strstr(terminal->heard.data, words))
        if (!terminal_hear(terminal, LIMIT_MS))
            give_up(words);
}

double terminal_turn(const struct terminal *terminal)
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

bool terminal_measure_key(struct terminal *terminal, const char *key, double *wall, double *took)
{
    double before = terminal_turn(terminal), begun = now();
    terminal_type(terminal, key);
    bool heard = terminal_hear(terminal, 1000);
    *wall = now() - begun;
    terminal_hear_rest(terminal, 2);
    *took = terminal_turn(terminal) - before;
    return heard;
}
