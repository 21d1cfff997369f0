/* Writing whole files. Any thread. */
#ifndef ENGINE_BASE_FILE_H
#define ENGINE_BASE_FILE_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stddef.h>

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

#endif
