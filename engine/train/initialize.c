#include "engine/train/initialize.h"

#include "engine/base/names.h"
#include "engine/train/counter.h"
#include "engine/train/normal.h"

void initialize_normal(float *out, int64_t first, int64_t count, const char *name, uint64_t seed,
                       double std)
{
    uint64_t key = counter_mix(seed ^ hash_string(name));
    float pair[2];
    if (count > 0 && first % 2) {
        normal_pairs(key, (uint64_t)first / 2, 1, std, pair);
        *out++ = pair[1];
        first++;
        count--;
    }
    normal_pairs(key, (uint64_t)first / 2, count / 2, std, out);
    if (count % 2 == 1) {
        normal_pairs(key, (uint64_t)(first + count) / 2, 1, std, pair);
        out[count - 1] = pair[0];
    }
}
