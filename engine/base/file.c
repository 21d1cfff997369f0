#include "engine/base/file.h"

#include "engine/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool fail(const char *path, struct status *status)
{
    return status_fail(status, STATUS_IO, "%s: %s", path, strerror(errno));
}

/* ---- reading ---- */

static int open_to_read(const char *path, struct stat *facts, struct status *status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        status_fail(status, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, "%s: %s", path,
                    strerror(errno));
    } else if (fstat(fd, facts) != 0 || S_ISDIR(facts->st_mode)) {
        status_fail(status, STATUS_INVALID, "%s: not a regular file", path);
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Reads on until the end, or until there are `capacity` bytes. */
static bool read_up_to(int fd, char *bytes, size_t capacity, size_t *count)
{
    ssize_t taken = 1;
    while (*count < capacity && taken != 0) {
        taken = read(fd, bytes + *count, capacity - *count);
        if (taken < 0 && errno != EINTR)
            return false;
        *count += taken > 0 ? (size_t)taken : 0;
    }
    return true;
}

/* `expected` bytes, or as many as come: a pipe does not say how many. Even on failure the caller
 * frees *bytes. */
static bool read_growing(int fd, size_t expected, size_t limit, char **bytes, size_t *count)
{
    size_t capacity = expected;
    *count = 0;
    do {
        capacity = capacity < limit ? capacity + 1 : limit + 1; /* so that the end is seen */
        char *moved = realloc(*bytes, capacity + 1);
        if (!moved)
            return false;
        *bytes = moved;
        if (!read_up_to(fd, *bytes, capacity, count))
            return false;
        capacity *= 2;
    } while (*count == capacity / 2 && *count <= limit);
    (*bytes)[*count] = '\0';
    return true;
}

bool file_read(const char *path, size_t limit, char **text, size_t *length, struct status *status)
{
    struct stat facts;
    int fd = open_to_read(path, &facts, status);
    if (fd < 0)
        return false;
    char *bytes = NULL;
    size_t count = 0;
    bool good = read_growing(fd, (size_t)facts.st_size, limit, &bytes, &count);
    if (!good)
        status_fail(status, errno == ENOMEM ? STATUS_MEMORY : STATUS_IO, "%s: %s", path,
                    strerror(errno));
    else if (count > limit)
        good = status_fail(status, STATUS_INVALID, "%s: more than %zu bytes", path, limit);
    close(fd);
    if (!good) {
        free(bytes);
        return false;
    }
    *text = bytes;
    if (length)
        *length = count;
    return true;
}

bool file_map(const char *path, void **map, size_t *size, struct status *status)
{
    struct stat facts;
    int fd = open_to_read(path, &facts, status);
    if (fd < 0)
        return false;
    bool regular = S_ISREG(facts.st_mode);
    size_t bytes = (size_t)facts.st_size;
    void *mapped = NULL;
    if (regular && bytes > 0)
        mapped = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (!regular)
        return status_fail(status, STATUS_INVALID, "%s: not a regular file", path);
    if (mapped == MAP_FAILED)
        return status_fail(status, STATUS_IO, "%s: cannot map: %s", path, strerror(error));
    *map = mapped;
    *size = bytes;
    return true;
}

void file_unmap(void *map, size_t size)
{
    if (map)
        munmap(map, size);
}

/* ---- writing ---- */

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

/* `try`: only as far as the temporary file. */
static bool replace(const char *path, mode_t permissions, const void *bytes, size_t length,
                    enum file_mode mode, bool try, struct status *status)
{
    char *temporary = memory_format("%s.%d.new", path, (int)getpid());
    bool good = write_to(temporary, O_CREAT | O_EXCL, permissions, bytes, length);
    bool made = good || errno != EEXIST; /* else it is another's */
    if (!good)
        fail(made ? path : temporary, status);
    if (good && !try && !move_to(temporary, path, mode))
        good = errno == EEXIST ? status_fail(status, STATUS_EXISTS, "%s exists already", path)
                               : fail(path, status);
    if (made && (try || !good))
        unlink(temporary);
    free(temporary);
    return good;
}

static bool write_file(const char *path, const void *bytes, size_t length, enum file_mode mode,
                       bool try, struct status *status)
{
    struct stat information;
    bool exists = stat(path, &information) == 0;
    if (exists && S_ISDIR(information.st_mode))
        return status_fail(status, STATUS_INVALID, "%s is a folder", path);
    if (exists && !S_ISREG(information.st_mode)) /* a pipe that nobody reads cannot be tried */
        return (try ? access(path, W_OK) == 0 : write_to(path, 0, 0, bytes, length)) ||
               fail(path, status);
    if (exists && mode == FILE_KEEP)
        return status_fail(status, STATUS_EXISTS, "%s exists already", path);
    char *real = exists ? realpath(path, NULL) : NULL;
    mode_t permissions = exists ? information.st_mode & 0777 : 0666;
    bool good = replace(real ? real : path, permissions, bytes, length, mode, try, status);
    free(real);
    return good;
}

bool file_write(const char *path, const void *bytes, size_t length, enum file_mode mode,
                struct status *status)
{
    return write_file(path, bytes, length, mode, false, status);
}

bool file_can_write(const char *path, struct status *status)
{
    return write_file(path, "", 0, FILE_REPLACE, true, status);
}
