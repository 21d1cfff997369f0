/* Statistics of one tensor for its record. Internal to engine/trace. */
#ifndef ENGINE_TRACE_TRACE_STATISTICS_H
#define ENGINE_TRACE_TRACE_STATISTICS_H

#include "engine/tensor/mosaic.h"

struct trace_statistics {
    int64_t finite, nans, infinities;
    double mean, deviation;  /* of the finite ones; NAN if there are too few */
    double minimum, maximum; /* NAN if none is finite */
};

/* One pass over the tensor, by all threads; the result depends neither on their number nor on how
 * the tensor is cut into parts. */
struct trace_statistics trace_statistics_of(const struct mosaic *tensor);

#endif
