/* Errors as values.
 *
 * A function that can fail returns bool (true = done) and takes a `struct status *` as its last
 * parameter. On failure it returns false after status_fail(), whose text names what the user can
 * act on: file and line, tensor, rank. A failing function leaves its outputs unchanged or empty.
 * A status must be zero-initialised (or STATUS_NONE) before use. Any thread; not shared. */
#ifndef ENGINE_BASE_STATUS_H
#define ENGINE_BASE_STATUS_H

#include <stdbool.h>

enum status_code {
    STATUS_OK = 0,
    STATUS_INVALID,     /* the user's input is wrong */
    STATUS_NOT_FOUND,   /* a named thing does not exist */
    STATUS_UNSUPPORTED, /* valid, but this build or device cannot do it */
    STATUS_IO,          /* the system refused: file, socket, process */
    STATUS_MEMORY,      /* an allocation sized by data failed */
    STATUS_CANCELLED,   /* the user interrupted */
    STATUS_INTERNAL,    /* a broken invariant of ours */
    STATUS_EXISTS,      /* a file that must not be replaced without being told to */
};

struct status {
    enum status_code code;
    char text[1024]; /* one or more lines, no trailing newline */
};

#define STATUS_NONE ((struct status){STATUS_OK, ""})

/* Sets code and text (cut at the buffer, marked with "..."), and returns false, so that callers
 * can write `return status_fail(...)`. `status` may be NULL: the failure is then anonymous. */
bool status_fail(struct status *status, enum status_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts a context such as "model llama" (cut at 255 bytes) before the text of a failed status, as
 * "context: text". Keeps the code. Returns false. */
bool status_context(struct status *status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
