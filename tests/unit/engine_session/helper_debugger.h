/* A debugger without a thread, on a model small enough for tests. */
#ifndef HELPER_DEBUGGER_H
#define HELPER_DEBUGGER_H

#include "engine/session/debugger.h"
#include "engine/session/output.h"

struct bench {
    struct debugger *debugger;
    struct text output; /* of the last command */
    char reason[200];   /* of the last stop */
    int stops;          /* EVENT_STOPPED so far */
    /* Questions for an interrupt, or whether a picture is wanted still, until it comes; -1: never
     */
    _Atomic int cancel_after;
    struct status status;        /* of the last command */
    struct rank_output *printed; /* what ranks print */
};

/* "--set" for a model of 32 channels. */
extern const char *const tiny_overrides[];
extern const int tiny_override_count;

void bench_open(struct bench *bench);
/* The same, and a first command that loads a run. */
void bench_open_run(struct bench *bench, const char *file);
void bench_close(struct bench *bench);
/* Where the run stands: step * instructions + instruction. */
int64_t bench_position(const struct bench *bench);
/* Of the instruction at a position. */
const struct origin *bench_origin(const struct bench *bench, int64_t at);
/* Runs a command that must work, and gives its output. */
const char *bench_do(struct bench *bench, const char *line);
/* Runs a command that must fail, and gives its message. */
const char *bench_fail(struct bench *bench, const char *line);
/* Fails the test unless `text` contains `part`. */
void must_contain(const char *text, const char *part);
/* Hash over all values of both runs that are at hand; the number of them in *count. */
uint64_t bench_hash(const struct bench *bench, int *count);

#endif
