#include "engine/compare/metrics_device.h"

#include <math.h>

static double cosine_of(const struct device_sums *sums)
{
    if (sums->references == 0 && sums->tests == 0)
        return 1;
    if (sums->references == 0 || sums->tests == 0)
        return 0;
    double cosine = sums->products / (sqrt(sums->references) * sqrt(sums->tests));
    return cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
}

struct metrics metrics_of_sums(const struct device_sums *sums, int64_t count)
{
    double mean = sums->finite > 0 ? 1 / (double)sums->finite : 0;
    return (struct metrics){
        .count = count,
        .rms_difference = sqrt(sums->differences * mean),
        .rms_reference = sqrt(sums->references * mean),
        .rms_test = sqrt(sums->tests * mean),
        .max_difference = sums->largest,
        .max_index = sums->largest_index,
        .max_reference = sums->largest_reference,
        .max_test_value = sums->largest_test,
        .cosine = cosine_of(sums),
        .nan_reference = sums->nan_reference,
        .nan_test = sums->nan_test,
        .infinity_reference = sums->infinity_reference,
        .infinity_test = sums->infinity_test,
        .different = sums->different,
        .max_ulp = sums->nan_reference + sums->nan_test > 0 ? UINT64_MAX : sums->distance,
    };
}
