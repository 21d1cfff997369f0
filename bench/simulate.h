/* All ranks of a pool, played by one process that computes nothing: for measurements and tests of
 * what the engine does with many ranks. It connects, answers, and takes its orders as real ranks do
 * (on this machine through the control page, with a launcher through messages), compiles their
 * programs, comes to their collectives, keeps their flight recorders, and prints lines. */
#ifndef BENCH_SIMULATE_H
#define BENCH_SIMULATE_H

#include "engine/base/status.h"

#include <stdint.h>

struct simulation {
    int ranks;
    int lines; /* that each rank prints while it runs a step, evenly over its instructions */
    /* That one never gets past that instruction: "rank 3 hangs" is the last that it says, on
     * standard error. -1: none. */
    int missing_rank, missing_instruction;
};

/* "RANKS LINES MISSING_RANK MISSING_INSTRUCTION": the first four of `words`. */
bool simulation_read(struct simulation *simulation, int count, char **words);
/* Serves the engine that has launched this process until it says that it is enough, or is gone.
 * False when it could not begin, or does not understand what the engine says. */
bool simulation_serve(const struct simulation *simulation, struct status *status);

/* Writes a folder of configurations, and a program "mpirun" that starts `self` "simulate" with
 * these settings, for a PATH that begins with the folder. The run is called "small/many": pairs of
 * tensor and pipeline ranks, all others data ranks; `ranks` is a multiple of 4. */
bool simulation_write_folder(const struct simulation *simulation, const char *folder,
                             const char *self, struct status *status);

/* The line of this number (from 0, over all steps) that a rank prints: "rank 17 line 4 ... at
 * 123.456789", with the time (CLOCK_MONOTONIC). Odd ones go to standard error. Returns `buffer`. */
char *simulation_line(int rank, int64_t line, char *buffer, int size);

#endif
