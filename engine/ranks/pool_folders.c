/* Where the files of a launch lie, and whether there is room for them. */
#include "engine/ranks/pool_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Where memory of files is memory. Without it they lie where MPI puts them. */
static void make_memory_folder(struct rank_pool *pool)
{
    static const char base[] = "/dev/shm";
    if (pool->options.size > 1 && access(base, W_OK) == 0)
        job_folder_make(&pool->memory_folder, base, NULL);
}

bool pool_make_folders(struct rank_pool *pool, struct status *status)
{
    const char *base = getenv("TMPDIR");
    if (pool->options.launch.launcher || pool->options.launch.hostfile)
        return true;                          /* on other hosts there are no such folders */
    if (!base || !*base || strlen(base) > 60) /* the name of a socket has 107 characters at most */
        base = "/tmp";
    make_memory_folder(pool);
    return job_folder_make(&pool->folder, base, status);
}

const char *pool_folder_path(const struct job_folder *folder)
{
    return folder->path[0] ? folder->path : NULL;
}

/* Where little is left, processes that cannot start say so in their own words at best. */
static void tell_full(const char *folder, long long needed, struct status *status)
{
    struct statvfs state;
    if (!folder || statvfs(folder, &state) != 0)
        return;
    long long left = (long long)state.f_bavail * (long long)state.f_frsize;
    if (left < needed)
        status_context(status, "%s is full (%lld KiB left)", folder, left / 1024);
}

void pool_tell_full(const struct rank_pool *pool, struct status *status)
{
    const long long rank_memory = 5 << 20, few_files = 1 << 20; /* what Open MPI takes */
    if (pool->options.size < 2 || pool->options.launch.launcher)
        return;
    tell_full("/dev/shm", rank_memory * pool->options.size, status);
    tell_full(pool_folder_path(&pool->folder), few_files, status);
}
