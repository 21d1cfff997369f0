/* Statistics of one tensor for its record. Internal to engine/trace. */
#ifndef ENGINE_TRACE_TRACE_STATISTICS_H
#define ENGINE_TRACE_TRACE_STATISTICS_H

#include "engine/device/statistics.h"

struct trace_statistics {
    int64_t finite, nans, infinities;
    double mean, deviation;  /* of the finite ones; NAN if there are too few */
    double minimum, maximum; /* NAN if none is finite */
};

/* As statistics_of_host(). */
struct trace_statistics trace_statistics_of(const struct mosaic *tensor);
/* What was found elsewhere, as a record has it. */
struct trace_statistics trace_statistics_from(const struct device_statistics *found);

#endif
