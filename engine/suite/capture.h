/* What the ranks of a distributed test print: kept for each rank and stream apart, in files and, of
 * its end, in memory; or shown at once. The files are those of the original system (facts, 6.2),
 * RESULTS/models/MODEL/VARIANT/pytest_stdout_0 and so on. One thread. */
#ifndef ENGINE_SUITE_CAPTURE_H
#define ENGINE_SUITE_CAPTURE_H

#include "engine/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct capture_options {
    /* Folder of results. NULL: one is made in the system's temporary folder as soon as a rank
     * prints something, and stays there. Borrowed. */
    const char *results;
    bool direct; /* no files: lines go to this process's standard output and error, with "[rank 3] "
                    before each */
    int ranks;   /* processes that may print */
};

struct capture;

struct capture *capture_create(const struct capture_options *options);
void capture_free(struct capture *capture); /* NULL is fine */

/* What comes from now on belongs to MODEL/VARIANT, which runs on the first `ranks` ranks. With a
 * folder of results, files of an earlier time are emptied. False when that folder cannot be
 * written. */
bool capture_begin(struct capture *capture, const char *model, const char *variant, int ranks,
                   struct status *status);
/* A rank_pool_output (engine/ranks/pool.h). `stream` is 0 for standard output, 1 for error. */
void capture_take(void *context, int rank, int stream, const char *bytes, size_t length,
                  int64_t nanoseconds);
int64_t capture_printed(const struct capture *capture, int rank, int stream); /* bytes */
/* Writes the file pytest_WHAT, or pytest_WHAT_RANK for a rank that is not negative, if there is a
 * folder of results. */
void capture_note(struct capture *capture, const char *what, int rank, const char *text);
/* The first file of a folder of results that could not be written, and why: "PATH: No space left on
 * device"; NULL: all is there. Borrowed until the test ends. */
const char *capture_problem(struct capture *capture);
/* The end of what each rank has printed, with headers (facts, 6.7), and where all of it is. NULL if
 * nothing was printed, or it was shown already. Owned by the caller. */
char *capture_replay(const struct capture *capture);
/* Ends the test: its files are closed. */
void capture_end(struct capture *capture);

#endif
