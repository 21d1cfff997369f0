#include "engine/base/file.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(const char *path, struct status *status)
{
    return status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
}

static bool write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

static bool write_to(const char *path, int flags, mode_t mode, const void *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, mode);
    if (fd < 0)
        return false;
    bool good = write_all(fd, bytes, length);
    int error = errno;
    if (close(fd) != 0 && good)
        return false;
    errno = error;
    return good;
}

/* Gives the temporary file its name. */
static bool move_to(const char *temporary, const char *path, enum file_mode mode)
{
    if (mode == FILE_REPLACE)
        return rename(temporary, path) == 0;
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    /* The file system does not know the flag: the next best. */
    if (access(path, F_OK) == 0) {
        errno = EEXIST;
        return false;
    }
    return rename(temporary, path) == 0;
}

static bool replace(const char *path, mode_t permissions, const void *bytes, size_t length,
                    enum file_mode mode, struct status *status)
{
    char *temporary = memory_format("%s.%d.new", path, (int)getpid());
    bool good = write_to(temporary, O_CREAT | O_EXCL, permissions, bytes, length);
    bool made = good || errno != EEXIST; /* else it is another's */
    if (!good)
        fail(made ? path : temporary, status);
    if (good && !move_to(temporary, path, mode))
        good = errno == EEXIST ? status_fail(status, STATUS_EXISTS, "%s exists already", path)
                               : fail(path, status);
    if (!good && made)
        unlink(temporary);
    free(temporary);
    return good;
}

bool file_write(const char *path, const void *bytes, size_t length, enum file_mode mode,
                struct status *status)
{
    struct stat information;
    bool exists = stat(path, &information) == 0;
    if (exists && S_ISDIR(information.st_mode))
        return status_fail(status, STATUS_INVALID, "%s is a folder", path);
    if (exists && !S_ISREG(information.st_mode))
        return write_to(path, 0, 0, bytes, length) || fail(path, status);
    if (exists && mode == FILE_KEEP)
        return status_fail(status, STATUS_EXISTS, "%s exists already", path);
    char *real = exists ? realpath(path, NULL) : NULL;
    mode_t permissions = exists ? information.st_mode & 0777 : 0666;
    bool good = replace(real ? real : path, permissions, bytes, length, mode, status);
    free(real);
    return good;
}
