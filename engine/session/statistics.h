/* Statistics and histograms of one tensor in host memory. Any thread. An interrupt (NULL: nobody
 * interrupts) ends them: they return false, and what they gave is of no use. */
#ifndef ENGINE_SESSION_STATISTICS_H
#define ENGINE_SESSION_STATISTICS_H

#include "engine/base/interrupt.h"
#include "engine/tensor/tensor.h"

/* Sums are in double; NaN and infinite elements are counted and left out of the rest. */
struct statistics {
    int64_t count, zeros, nan, infinite;
    double mean, deviation, rms, minimum, maximum; /* NAN when no element is finite */
    uint64_t hash;                                 /* of the bytes: FNV-1a */
};

bool statistics_compute(const struct interrupt *interrupt, const struct tensor *tensor,
                        struct statistics *statistics);

/* Counts the finite elements in `bins` equal parts of [low, high]; `high` itself is in the last. */
bool histogram_compute(const struct interrupt *interrupt, const struct tensor *tensor, double low,
                       double high, int bins, int64_t *counts);

/* Counts of NaN and infinite elements only; not interrupted, as stops depend on them. */
void statistics_not_finite(const struct tensor *tensor, int64_t *nan, int64_t *infinite);

#endif
