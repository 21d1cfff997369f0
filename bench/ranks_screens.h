/* A part of lockstep_bench_ranks. */
#ifndef BENCH_RANKS_SCREENS_H
#define BENCH_RANKS_SCREENS_H

/* Runs "small/many" of the configurations in `folder` in the screens of the program `lockstep`, on
 * a pseudo-terminal, and prints members of a JSON object: how long keys take in the view of ranks
 * while these run and print. Ends the process when that cannot be done. */
void measure_screens(const char *lockstep, const char *folder);

#endif
