/* A run of several ranks in this process beside the run of one rank that it must agree with. */
#ifndef TESTS_UNIT_ENGINE_RANKS_HELPER_WORLD_H
#define TESTS_UNIT_ENGINE_RANKS_HELPER_WORLD_H

#include "engine/ranks/world.h"

struct two_runs {
    struct config *config, *baseline_config;
    struct device *device;
    struct comm *comm;
    struct world *world;
    struct run *baseline;
    double looseness; /* factor of all limits; 1 is for float32 */
    /* counted by two_runs_compare */
    int compared, unmatched, wrong, uncovered;
    double worst; /* largest error in units of the limit */
    char first_wrong[512];
};

/* Small enough to run in a blink: narrow layers, one token for every 32 of the variant.
 * `more` are further overrides; NULL-terminated. */
struct config *load_small(const char *model, const char *variant, const char *const *more);
/* Both configurations are freed by two_runs_end. */
void two_runs_open(struct two_runs *it, struct config *config, struct config *baseline,
                   const struct run_options *options);
/* The variant, and the first variant of one rank in its chain of references. `more` are overrides
 * of both. */
void two_runs_start(struct two_runs *it, const char *model, const char *variant,
                    const char *const *more, const struct run_options *options);
void two_runs_end(struct two_runs *it);
/* Runs both to the end of the step (from 0). False, with text, if a rank fails or all wait. */
bool two_runs_step(struct two_runs *it, char text[600]);
/* Lets all ranks run to the end of their step. */
bool world_finish_step(struct world *world, char text[600]);

/* Compares every named value that all of them hold: each rank's with its part of the baseline's. */
void two_runs_compare(struct two_runs *it);
/* Ranks that hold the same part of a value hold the same bits; returns how many do not. */
int count_unequal_replicas(const struct world *world, int *pairs);
/* A hash of all named values of all ranks. */
uint64_t world_bits(const struct world *world);

#endif
