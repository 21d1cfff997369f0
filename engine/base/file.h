/* Whole files: read, mapped, written. Any thread. */
#ifndef ENGINE_BASE_FILE_H
#define ENGINE_BASE_FILE_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* All bytes of `path` as a string, with a zero behind them; *length (may be NULL) is without it.
 * The caller frees. STATUS_NOT_FOUND if there is no such file, STATUS_INVALID if it is a folder or
 * has more than `limit` bytes; on failure *text stays as it was. */
bool file_read(const char *path, size_t limit, char **text, size_t *length, struct status *status);

/* Maps a regular file read-only; *map is NULL for an empty one. STATUS_INVALID if it is none (a
 * folder, a pipe), STATUS_NOT_FOUND if there is no such file; on failure *map and *size stay as
 * they were. */
bool file_map(const char *path, void **map, size_t *size, struct status *status);
void file_unmap(void *map, size_t size);

enum file_mode {
    FILE_KEEP = 0, /* a file that exists is left alone: STATUS_EXISTS */
    FILE_REPLACE,
};

/* Writes `length` bytes to `path` under a temporary name beside it and renames that, so that
 * whoever looks sees the old file, the new one, or none: never a part. A link is followed; what is
 * no regular file (a device, a pipe) is written as it is. On failure nothing is left behind and
 * the text names the path. */
bool file_write(const char *path, const void *bytes, size_t length, enum file_mode mode,
                struct status *status);
/* Whether file_write(path, ..., FILE_REPLACE) could begin now, for those who have long to go until
 * they know what to write. What is at `path` stays as it is, and nothing is left. */
bool file_can_write(const char *path, struct status *status);

#endif
