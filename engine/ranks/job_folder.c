#include "engine/ranks/job_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BEGINS "lockstep-job-" /* the process, "-", NAME_ENDS characters */

enum { NAME_ENDS = 6, DESCRIPTORS = 16, MOST_WALKS = 16, MOST_TRIES = 100 };

static bool is_name(const char *name)
{
    size_t length = sizeof(NAME_BEGINS) - 1;
    if (strncmp(name, NAME_BEGINS, length) != 0)
        return false;
    const char *process = name + length, *end = process + strspn(process, "0123456789");
    return end > process && *end == '-' && strlen(end + 1) == NAME_ENDS;
}

static int erase_one(const char *path, const struct stat *state, int kind, struct FTW *place)
{
    (void)state, (void)place;
    if (kind == FTW_DP)
        rmdir(path);
    else
        unlink(path);
    return 0; /* what stays does not keep the rest */
}

void job_folder_erase(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct stat state;
    if (!slash || !is_name(slash + 1))
        return;
    /* a walk ends where somebody else has just removed something: then there is another one */
    for (int walk = 0; walk < MOST_WALKS && lstat(path, &state) == 0 && S_ISDIR(state.st_mode) &&
                       state.st_uid == geteuid();
         walk++)
        nftw(path, erase_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
}

/* The lock of a folder; -1: there is none yet, or somebody else has it, or has erased the folder
 * since the lock was opened. */
static int take_lock(const char *folder, int flags)
{
    char path[160];
    snprintf(path, sizeof(path), "%.120s/lock", folder);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    struct stat state;
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &state) == 0 &&
        state.st_nlink > 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Folders whose engine was killed, and whose guardians, too. */
static void erase_stale(const char *base)
{
    DIR *folder = opendir(base);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[512];
        if (!is_name(entry->d_name))
            continue;
        snprintf(path, sizeof(path), "%s/%.64s", base, entry->d_name);
        int lock = take_lock(path, 0);
        if (lock < 0)
            continue;
        job_folder_erase(path);
        close(lock);
    }
    if (folder)
        closedir(folder);
}

static bool make_one(struct job_folder *folder, const char *base, struct status *status)
{
    *folder = (struct job_folder){.lock = -1};
    int length = snprintf(folder->path, sizeof(folder->path), "%s/" NAME_BEGINS "%d-XXXXXX", base,
                          (int)getpid());
    if (length >= (int)sizeof(folder->path)) {
        folder->path[0] = '\0';
        return status_fail(status, STATUS_IO, "%s: its name is too long", base);
    }
    if (!mkdtemp(folder->path)) {
        int error = errno;
        folder->path[0] = '\0';
        return status_fail(status, STATUS_IO, "no folder for ranks in %s: %s", base,
                           strerror(error));
    }
    folder->lock = take_lock(folder->path, O_CREAT);
    return folder->lock >= 0 ||
           status_fail(status, STATUS_IO, "%s/lock: %s", folder->path, strerror(errno));
}

bool job_folder_make(struct job_folder *folder, const char *base, struct status *status)
{
    erase_stale(base);
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        struct status reason = STATUS_NONE;
        if (make_one(folder, base, &reason))
            return true;
        bool taken = folder->path[0]; /* by another engine that began just now and found it stale */
        job_folder_remove(folder);
        if (!taken || tries + 1 == MOST_TRIES)
            return status_fail(status, reason.code, "%s", reason.text);
    }
    return false;
}

void job_folder_remove(struct job_folder *folder)
{
    if (folder->path[0]) {
        job_folder_erase(folder->path);
        if (folder->lock >= 0)
            close(folder->lock);
    }
    *folder = (struct job_folder){.lock = -1};
}
