#include "ui/shell.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the terminal sends to this process as well as to the command. */
static const int shared_signals[] = {SIGINT, SIGQUIT, SIGTSTP};
enum { SHARED_COUNT = 3 };

static void leave_signals(struct sigaction old[SHARED_COUNT])
{
    for (int i = 0; i < SHARED_COUNT; i++) {
        bool stops = shared_signals[i] == SIGTSTP;
        struct sigaction action = {.sa_handler = stops ? SIG_DFL : SIG_IGN};
        sigemptyset(&action.sa_mask);
        sigaction(shared_signals[i], &action, &old[i]);
    }
}

static void take_signals(const struct sigaction old[SHARED_COUNT])
{
    for (int i = 0; i < SHARED_COUNT; i++)
        sigaction(shared_signals[i], &old[i], NULL);
}

static int redirect(posix_spawn_file_actions_t *actions, int input, int output)
{
    int error = input < 0 ? posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null",
                                                             O_RDONLY, 0)
                          : posix_spawn_file_actions_adddup2(actions, input, STDIN_FILENO);
    for (int stream = STDOUT_FILENO; stream <= STDERR_FILENO && output >= 0 && error == 0; stream++)
        error = posix_spawn_file_actions_adddup2(actions, output, stream);
    return error;
}

/* 0 or the number of the error. */
static int start(const char *command, int input, int output, pid_t *pid)
{
    const char *shell = getenv("SHELL");
    char *path = memory_string(shell && shell[0] == '/' ? shell : "/bin/sh");
    char *line = memory_string(command);
    char option[] = "-c";
    char *with_command[] = {path, option, line, NULL}, *alone[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    for (int i = 0; i < SHARED_COUNT; i++)
        sigaddset(&defaults, shared_signals[i]);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int error = redirect(&actions, input, output);
    if (error == 0)
        error =
            posix_spawn(pid, path, &actions, &attributes, *command ? with_command : alone, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(line);
    free(path);
    return error;
}

bool shell_run(const char *command, int input, int output, struct status *status)
{
    struct sigaction old[SHARED_COUNT];
    pid_t pid;
    fflush(NULL);
    leave_signals(old);
    int error = start(command, input, output, &pid);
    while (error == 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    take_signals(old);
    return error == 0 || status_fail(status, STATUS_IO, "the shell: %s", strerror(error));
}
