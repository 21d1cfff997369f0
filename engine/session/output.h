/* What ranks print: the lines of standard output and standard error of every rank, kept in a
 * bounded ring for each, and fetched a screenful at a time.
 *
 * Whoever reads a rank's pipe (the engine thread; for a run inside the process the front end, which
 * captures descriptors 1 and 2) appends the bytes as they come. Screens and commands fetch copies
 * of the few lines that they show. Any thread may call any function: appending holds the lock for
 * one copy, a fetch that has much to look through lets go of it again and again.
 *
 * Lines are ordered by when they were complete: `sequence` grows by one with each line of any rank.
 * What a rank has begun to print and not ended yet comes last, as a partial line. A carriage return
 * that no line feed follows begins the line anew, as on a terminal (progress bars).
 *
 * Bytes are kept as they came; what is fetched is made printable (engine/base/unicode.h), so that
 * no control character or escape sequence of a rank ever reaches a terminal, and is valid UTF-8. */
#ifndef ENGINE_SESSION_OUTPUT_H
#define ENGINE_SESSION_OUTPUT_H

#include "engine/base/status.h"

#include <stddef.h>
#include <stdint.h>

enum rank_stream { RANK_STDOUT = 0, RANK_STDERR, RANK_STREAM_COUNT };

const char *rank_stream_name(enum rank_stream stream); /* "stdout", "stderr"; static */

enum {
    OUTPUT_LINES = 100000,    /* kept for each rank */
    OUTPUT_LINE_BYTES = 8192, /* kept of one line */
    OUTPUT_TEXT_BYTES = 2048, /* of a line, in a page */
    OUTPUT_RANGES = 16,
    OUTPUT_PATTERN = 160,
};

/* 0: as said here. */
struct rank_output_limits {
    int lines;      /* for each rank: OUTPUT_LINES */
    int64_t bytes;  /* of all ranks: 256 MiB, shared evenly, at least 64 KiB for each */
    int line_bytes; /* of one line: OUTPUT_LINE_BYTES; the rest is cut off, and said so */
};

struct rank_output;

/* Without ranks: they come with what they print, and each one's share of the bytes becomes smaller,
 * which drops their oldest lines when they print on. `limits` may be NULL. */
struct rank_output *rank_output_create(const struct rank_output_limits *limits);
void rank_output_free(struct rank_output *output);

/* Takes `length` bytes that `rank` (from 0) printed; lines may be split anywhere. `nanoseconds` is
 * CLOCK_MONOTONIC of when they were read, of the machine the caller runs on. */
void rank_output_append(struct rank_output *output, int rank, enum rank_stream stream,
                        const char *bytes, size_t length, int64_t nanoseconds);
/* What ranks print from now on belongs to another run: unfinished lines become whole ones. */
void rank_output_finish(struct rank_output *output);

struct rank_output_counts {
    int ranks;
    int64_t lines[RANK_STREAM_COUNT]; /* complete ones, dropped ones too */
    int64_t kept, dropped;            /* lines of both streams */
    int64_t bytes;                    /* printed */
    int64_t memory;                   /* bytes that this takes */
    int64_t began;                    /* CLOCK_MONOTONIC of the first byte of all, ns; 0: none */
    uint64_t version;                 /* grows whenever something arrives */
};

/* Of one rank; -1: of all. A rank that is not there has printed nothing. */
void rank_output_count(struct rank_output *output, int rank, struct rank_output_counts *counts);
/* Only the version. Cheap, without the lock: whether it is worth looking again. */
uint64_t rank_output_version(const struct rank_output *output);

/* ---- looking ---- */

struct rank_range {
    int first, last;
};

/* Which lines. Plain data; all zero: every line. */
struct output_filter {
    struct rank_range ranges[OUTPUT_RANGES];
    int range_count;              /* 0: all ranks */
    unsigned streams;             /* 1 << enum rank_stream, or-ed; 0: both */
    char pattern[OUTPUT_PATTERN]; /* to be found in the line; "": anything */
    bool expression;              /* the pattern is an extended POSIX regular expression */
};

/* Reads "0-3,7" into the ranges, "all" as none. */
bool output_filter_ranks(struct output_filter *filter, const char *text, struct status *status);
/* Reads "/expression/" or plain text as the pattern. */
bool output_filter_pattern(struct output_filter *filter, const char *text, struct status *status);
bool output_filter_has_rank(const struct output_filter *filter, int rank);
/* "rank 0-3,7 stderr /nan/", "" when it lets everything pass. Returns `buffer`. */
const char *output_filter_text(const struct output_filter *filter, char *buffer, int size);

struct output_line {
    int64_t sequence; /* OUTPUT_NEWEST for a partial line */
    int rank;
    enum rank_stream stream;
    int64_t nanoseconds; /* of its first byte */
    char *text;          /* printable, OUTPUT_TEXT_BYTES of the line at most */
    bool partial;        /* not ended yet */
    bool cut;            /* the line is longer than the text, or was longer than what is kept */
};

#define OUTPUT_NEWEST INT64_MAX

/* Lines around a place. Plain data. */
struct output_query {
    struct output_filter filter;
    int64_t anchor; /* a sequence number, OUTPUT_NEWEST: the end */
    int before;     /* at most so many lines that pass, before the anchor */
    int after;      /* and from the anchor on; with OUTPUT_NEWEST the partial lines */
    int64_t scan;   /* lines to look at, at most; 0: OUTPUT_SCAN */
    int split;      /* > 0: so many lines of each of the first `split` ranks that pass, one rank
                       after the other */
    /* Before looking: the anchor moves to the next line behind it (`search_direction` 1) or before
     * it (-1) that also holds this pattern, "/expression/" or plain text, once around the end. */
    char search[OUTPUT_PATTERN];
    int search_direction; /* 0: do not search */
};

enum { OUTPUT_SCAN = 1000000 };

struct output_page {
    struct output_line *lines; /* [count], in order; partial ones last */
    int count;
    int before;      /* how many of them lie before the anchor */
    bool unfinished; /* the scan ended early: there may be more than what was found */
    int64_t anchor;  /* where the search led to; -1: nowhere. Without one: of the query */
    struct rank_output_counts counts;
};

/* Fills *page (free with output_page_free). Fails on an expression that is none. */
bool rank_output_fetch(struct rank_output *output, const struct output_query *query,
                       struct output_page *page, struct status *status);
void output_page_free(struct output_page *page);

/* The sequence number of the next line behind `from` (`direction` 1) or before it (-1) that passes
 * the filter and holds `pattern` ("/expression/" or plain text); -1: none. Does not go around. */
bool rank_output_search(struct rank_output *output, const struct output_filter *filter,
                        const char *pattern, int64_t from, int direction, int64_t *sequence,
                        struct status *status);

#endif
