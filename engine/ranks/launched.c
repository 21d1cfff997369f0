#include "engine/ranks/launched.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/launch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536, MOST_GENERATIONS = 1000, NAP_NANOSECONDS = 10000000 };

/* All of a file whose length the system does not tell; NULL: it cannot be read. */
static char *read_whole(const char *path, size_t *length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = NULL;
    ssize_t got = fd >= 0 ? 1 : 0;
    *length = 0;
    while (got > 0) {
        bytes = memory_resize(bytes, *length + CHUNK, 1);
        got = read(fd, bytes + *length, CHUNK);
        *length += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    return bytes;
}

/* Its environment is empty once it has ended. */
static bool has_token(const char *process, const char *token)
{
    char path[300];
    size_t length;
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%s/environ", process);
    char *environment = read_whole(path, &length),
         *wanted = memory_format(LAUNCH_TOKEN "=%s", token);
    size_t size = strlen(wanted) + 1; /* with the zero at its end */
    for (size_t at = 0; !found && at + size <= length;) {
        found = memcmp(environment + at, wanted, size) == 0;
        at += strnlen(environment + at, length - at) + 1;
    }
    free(wanted);
    free(environment);
    return found;
}

/* Its parent; 0: it has ended, waited for or not. */
static pid_t parent_of(pid_t process)
{
    char path[40], text[512];
    char state = 'Z';
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)process);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *name_end = strrchr(text, ')'); /* a name may hold anything */
    if (name_end)
        sscanf(name_end + 1, " %c %d", &state, &parent);
    return state == 'Z' || state == 'X' ? 0 : (pid_t)parent;
}

static bool descends(pid_t process, pid_t ancestor)
{
    pid_t parent = ancestor > 0 ? parent_of(process) : 0;
    for (int i = 0; parent > 1 && parent != ancestor && i < MOST_GENERATIONS; i++)
        parent = parent_of(parent);
    return parent > 0 && parent == ancestor;
}

/* Whether it is one of those; it is sent the signal then. What was looked at is what gets it: its
 * number may be another process's by then. */
static bool signal_one(const struct launched *which, const char *process, int number)
{
    pid_t pid = (pid_t)atoi(process);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return false;
    bool is_one = (getpgid(pid) == which->group) != which->elsewhere &&
                  (descends(pid, which->ancestor) || has_token(process, which->token));
    if (is_one && number)
        is_one = syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) == 0;
    close(fd);
    return is_one;
}

int launched_signal(const struct launched *which, int number)
{
    DIR *folder = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strspn(entry->d_name, "0123456789") == strlen(entry->d_name) &&
            atoi(entry->d_name) != getpid())
            count += signal_one(which, entry->d_name, number);
    if (folder)
        closedir(folder);
    return count;
}

bool launched_wait(const struct launched *which, int milliseconds)
{
    double deadline = clock_seconds() + milliseconds / 1e3;
    while (launched_signal(which, 0) > 0) {
        if (clock_seconds() >= deadline)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = NAP_NANOSECONDS}, NULL);
    }
    return true;
}
