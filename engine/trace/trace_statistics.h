/* Statistics of one tensor for its record. Internal to engine/trace. */
#ifndef ENGINE_TRACE_TRACE_STATISTICS_H
#define ENGINE_TRACE_TRACE_STATISTICS_H

#include "engine/tensor/tensor.h"

struct trace_statistics {
    int64_t finite, nans, infinities;
    double mean, deviation;  /* of the finite ones; NAN if there are too few */
    double minimum, maximum; /* NAN if none is finite */
};

/* One pass over the host tensor, by all threads; the result does not depend on their number. */
struct trace_statistics trace_statistics_of(const struct tensor *tensor);

#endif
