#include "engine/train/initialize.h"

#include "engine/base/names.h"
#include "engine/train/counter.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925286766559;

/* Both elements of pair `pair`, in float64: the cosine is for the even one. */
static void normal_pair(uint64_t key, uint64_t pair, double std, float out[2])
{
    uint64_t a = counter_number(key, 2 * pair), b = counter_number(key, 2 * pair + 1);
    double u1 = (double)((a >> 11) + 1) * 0x1p-53; /* (0, 1]: the logarithm is finite */
    double u2 = (double)(b >> 11) * 0x1p-53;
    double radius = sqrt(-2 * log(u1)), angle = two_pi * u2;
    out[0] = (float)(std * radius * cos(angle));
    out[1] = (float)(std * radius * sin(angle));
}

void initialize_normal(float *out, int64_t first, int64_t count, const char *name, uint64_t seed,
                       double std)
{
    uint64_t key = counter_mix(seed ^ hash_string(name));
    float pair[2];
    int64_t i = 0;
    if (count > 0 && first % 2) {
        normal_pair(key, (uint64_t)first / 2, std, pair);
        out[i++] = pair[1];
    }
    for (; i + 1 < count; i += 2)
        normal_pair(key, (uint64_t)(first + i) / 2, std, out + i);
    if (i < count) {
        normal_pair(key, (uint64_t)(first + i) / 2, std, pair);
        out[i] = pair[0];
    }
}
