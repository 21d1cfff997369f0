/* Standard output and error of this process, led into pipes while a screen is on, so that nothing
 * tears it. A thread reads whichever pipe has something at once and keeps it with the time and in
 * the order of arrival, in a memory file that a signal handler can still print. What stands in both
 * pipes when the thread comes to look has no order any more: standard output is taken first. */
#ifndef UI_TERM_CAPTURE_H
#define UI_TERM_CAPTURE_H

#include "engine/base/status.h"
#include "engine/base/text.h"

#include <stdint.h>
#include <sys/types.h>

struct term_capture;

/* Bytes that came together on one stream. */
struct term_piece {
    int descriptor;      /* STDOUT_FILENO or STDERR_FILENO */
    int64_t nanoseconds; /* CLOCK_MONOTONIC of when they were read */
};

/* Leads those of the two streams that are terminals into pipes. NULL on failure. One at a time. End
 * with term_capture_end; the thread that begins it takes and ends it. */
struct term_capture *term_capture_begin(struct status *status);

/* The next piece, its bytes appended to `out`; false if there is none. All that was written before
 * the call that gives false has been given. Beyond 16 MiB the oldest is dropped, up to the last
 * MiB. NULL is fine. */
bool term_capture_take(struct term_capture *capture, struct term_piece *piece, struct text *out);
/* Readable while there is something to take; -1 for NULL. */
int term_capture_fd(const struct term_capture *capture);

/* Writes all of it, unless nobody is left to read it. Allowed in a signal handler. */
void term_write(int fd, const char *bytes, size_t length);

/* Puts the descriptors back and prints the last `most` bytes of what was captured to `fd`: allowed
 * in a signal handler of any thread; nothing is taken any more. */
void term_capture_release(struct term_capture *capture, int fd, off_t most);
/* After a release or instead of it, which it then does. */
void term_capture_end(struct term_capture *capture, int fd, off_t most);

#endif
