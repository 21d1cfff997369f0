#include "engine/ranks/keeper.h"

#include "engine/base/memory.h"
#include "engine/ranks/job_folder.h"
#include "engine/ranks/launch.h"
#include "engine/ranks/launched.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LAUNCHER_MILLISECONDS = 20000, /* that mpirun may take to end; it removes its files then */
    PATIENCE_MILLISECONDS = 5000,  /* that others may take who are asked to */
    SHORTEST_NAP = 10,
    LONGEST_NAP = 1000,
    GONE = -1,
    UNKNOWN = -2
};

struct kept {
    int engine; /* process */
    char *text, *folders[2], *token;
};

/* False where there is nothing to keep, or it may be on another machine than this one: where the
 * machine is not known, process numbers and folders may be somebody else's. */
static bool read_kept(struct kept *kept)
{
    const char *given = getenv(LAUNCH_KEPT), *token = getenv(LAUNCH_TOKEN);
    char here[LAUNCHED_MACHINE];
    *kept = (struct kept){0};
    if (!given || !token)
        return false;
    kept->token = memory_string(token);
    kept->text = memory_string(given);
    char *rest = kept->text, *engine = strsep(&rest, ":"), *machine = strsep(&rest, ":");
    kept->folders[0] = strsep(&rest, ":");
    kept->folders[1] = strsep(&rest, ":");
    kept->engine = atoi(engine);
    return kept->engine > 0 && machine && *machine && strcmp(machine, launched_machine(here)) == 0;
}

/* Readable when the process has ended; GONE: it is gone already; another negative number: that
 * cannot be told here. */
static struct pollfd watch(int process)
{
    int fd = (int)syscall(SYS_pidfd_open, process, 0);
    return (struct pollfd){.fd = fd < 0 && errno == ESRCH ? GONE
                                 : fd < 0                 ? UNKNOWN
                                                          : fd,
                           .events = POLLIN};
}

static bool are_there(const struct kept *kept)
{
    for (int i = 0; i < ARRAY_LENGTH(kept->folders); i++)
        if (kept->folders[i] && *kept->folders[i] && access(kept->folders[i], F_OK) == 0)
            return true;
    return false;
}

/* What the launcher has started and left, in groups and sessions of their own, too. */
static struct launched all_of(const struct kept *kept)
{
    return (struct launched){.token = kept->token, .group = getpgrp(), .elsewhere = true};
}

static bool is_needed(const struct kept *kept)
{
    struct launched all = all_of(kept);
    return are_there(kept) || launched_signal(&all, 0) > 0;
}

static void end_all(const struct kept *kept)
{
    struct launched all = all_of(kept);
    if (launched_signal(&all, SIGTERM) > 0 && !launched_wait(&all, PATIENCE_MILLISECONDS))
        launched_signal(&all, SIGKILL);
}

/* Until the engine is gone, or has ended the launch and removed its folders: which is worth a look
 * from the end of the guardian on. */
static void keep(const struct kept *kept, int guardian, int launcher)
{
    struct pollfd both[2] = {watch(kept->engine), watch(guardian)}, last = watch(launcher);
    int nap = SHORTEST_NAP;
    if (both[0].fd == UNKNOWN)
        return; /* a later engine removes what nobody has locked any more */
    if (both[0].fd >= 0 && both[1].fd >= 0)
        poll(both, 2, -1);
    while (both[0].fd >= 0 && is_needed(kept) && poll(&both[0], 1, nap) == 0)
        nap = nap < LONGEST_NAP ? 2 * nap : nap;
    if (last.fd >= 0 && is_needed(kept))
        poll(&last, 1, LAUNCHER_MILLISECONDS);
    if (both[0].fd == GONE || poll(&both[0], 1, 0) > 0)
        end_all(kept);
    for (int i = 0; i < ARRAY_LENGTH(kept->folders); i++)
        if (kept->folders[i])
            job_folder_erase(kept->folders[i]);
}

void keeper_start(int launcher)
{
    struct kept kept;
    int guardian = getpid();
    bool here = read_kept(&kept);
    pid_t between = here ? fork() : -1;
    if (between == 0) {
        if (fork() == 0) {
            setsid();
            close_range(0, ~0u, 0); /* a launcher waits for the end of its pipes */
            launched_forget_token();
            keep(&kept, guardian, launcher);
        }
        _exit(0);
    }
    if (between > 0)
        waitpid(between, NULL, 0);
    free(kept.text);
    free(kept.token);
}
