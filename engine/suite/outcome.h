/* How a test ended. Travels between processes as one line of JSON. */
#ifndef ENGINE_SUITE_OUTCOME_H
#define ENGINE_SUITE_OUTCOME_H

#include "engine/base/status.h"
#include "engine/train/run.h"

#include <stdint.h>

enum outcome_kind { OUTCOME_NONE = 0, OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_SKIPPED };

const char *outcome_kind_name(enum outcome_kind kind); /* "PASSED", ...; static */

/* Bytes; NAN when unknown. Reserved: taken from the device. Allocated: of it, what values use. */
struct resources {
    double reserved, allocated, max_reserved, max_allocated;
};

/* One rank of a distributed test. */
struct rank_usage {
    struct resources resources; /* what was reserved and allocated at the end is not known */
    double seconds;             /* in instructions */
    int64_t printed[2];         /* bytes, to standard output and error */
};

/* Zero-initialise; strings are owned or NULL. */
struct outcome {
    enum outcome_kind kind;
    char *reason;     /* one line: why it failed or was skipped */
    char *detail;     /* the report of a failure, several lines */
    char *debug;      /* the command that shows the failure in the debugger */
    char *comparison; /* JSON object of docs/testing.md, "A comparison as JSON" */
    char *closest;    /* the tensor closest to its limit or, of a failure, furthest beyond; NULL */
    double worst;     /* and how close: 1 = at the limit */
    int64_t tensors, elements, elements_whole; /* compared, and of how many elements */
    char *device;                              /* "cpu", ...; NULL if none was opened */
    char *passed_over; /* device_passed_over of it: the same for all tests; NULL */
    double seconds;
    struct resources resources;
    struct step_report *steps; /* of the test's run, owned */
    int step_count;
    struct rank_usage *ranks; /* of a distributed test, owned */
    int rank_count;
    char *output; /* the end of what the ranks printed, several lines */
    char *remark; /* about all distributed tests, not this one alone */
};

/* Frees what it owns and zeroes it. */
void outcome_free(struct outcome *outcome);
/* Sets kind and reason, unless it failed already. */
void outcome_set(struct outcome *outcome, enum outcome_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* One line without a newline, owned by the caller. `test` is any number, given back by decode. */
char *outcome_encode(const struct outcome *outcome, int test);
/* The reverse, into a zeroed outcome. False if the line is none. */
bool outcome_decode(const char *line, struct outcome *outcome, int *test);

#endif
