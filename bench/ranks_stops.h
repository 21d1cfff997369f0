/* A part of lockstep_bench_ranks. */
#ifndef BENCH_RANKS_STOPS_H
#define BENCH_RANKS_STOPS_H

#include "engine/config/config.h"

/* Steps a run of several ranks by single instructions, all of them stopping each time, and prints a
 * JSON object: milliseconds for each, and what of that no processor did anything. Ranks are
 * processes of this program ("rank"), or inside of this one. */
void measure_stops(const char *run_name, bool in_process, const struct config_search *search);

#endif
