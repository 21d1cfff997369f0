/* A program on a pseudo-terminal of 200x60, and how long its screens take. What cannot go on ends
 * the process with a word about it on standard error. */
#ifndef BENCH_TERMINAL_H
#define BENCH_TERMINAL_H

#include "engine/base/text.h"

#include <stdbool.h>
#include <sys/types.h>

struct terminal {
    int master;
    pid_t pid;
    struct text heard; /* since something was typed */
};

/* Runs `program` in a process of its own, without the user's settings. */
void terminal_start(struct terminal *terminal, void (*program)(const void *context),
                    const void *context);
/* Kills it. */
void terminal_stop(struct terminal *terminal);
void terminal_type(struct terminal *terminal, const char *bytes);
/* Whether something came within so many milliseconds; takes what is there. */
bool terminal_hear(struct terminal *terminal, int milliseconds);
/* Until nothing comes for so many milliseconds. */
void terminal_hear_rest(struct terminal *terminal, int quiet);
/* Waits until the words were written. */
void terminal_wait_words(struct terminal *terminal, const char *words);
/* What the thread of the screens took of the processor so far, seconds. */
double terminal_turn(const struct terminal *terminal);
/* One key: until the terminal hears something, and what that took of the processor, seconds. False
 * when nothing came: a late frame of the key before had both in it. */
bool terminal_measure_key(struct terminal *terminal, const char *key, double *wall, double *took);

#endif
