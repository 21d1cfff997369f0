#include "engine/trace/trace_statistics.h"

#include <math.h>

struct trace_statistics trace_statistics_from(const struct device_statistics *found)
{
    double number = (double)found->finite;
    bool any = found->finite > 0;
    return (struct trace_statistics){
        .finite = found->finite,
        .nans = found->nans,
        .infinities = found->infinities,
        .mean = any ? found->mean : NAN,
        .deviation = found->finite > 1 ? sqrt(found->squares / (number - 1)) : NAN,
        .minimum = any ? found->minimum : NAN,
        .maximum = any ? found->maximum : NAN};
}

struct trace_statistics trace_statistics_of(const struct mosaic *tensor)
{
    struct device_statistics found = statistics_of_host(tensor);
    return trace_statistics_from(&found);
}
