#include "engine/ranks/summary.h"

#include "engine/device/statistics.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Chan, Golub, LeVeque 1979: sums of squares of parts with different means. */
void summary_add(struct device_statistics *to, const struct device_statistics *other)
{
    double a = (double)to->finite, b = (double)other->finite;
    to->nans += other->nans;
    to->infinities += other->infinities;
    if (other->finite == 0)
        return;
    double apart = to->finite > 0 ? other->mean - to->mean : 0;
    to->squares += other->squares + apart * apart * a * b / (a + b);
    to->mean = to->finite > 0 ? to->mean + apart * b / (a + b) : other->mean;
    to->finite += other->finite;
    to->minimum = fmin(to->minimum, other->minimum);
    to->maximum = fmax(to->maximum, other->maximum);
}

struct device_statistics summary_statistics(const struct tensor *part)
{
    struct mosaic_part whole = {.tensor = *part};
    struct mosaic mosaic;
    bool fits = mosaic_make(&mosaic, part->shape, &whole, 1);
    assert(fits); /* the only part is the whole */
    (void)fits;
    struct device_statistics found = statistics_of_host(&mosaic);
    mosaic_free(&mosaic);
    return found;
}

/* Where sample `index` lies in a part, -1: elsewhere. */
static int64_t place_in(const struct shard *shard, const struct sampling *sampling, int64_t index)
{
    int64_t place = index * sampling->step;
    return shard->global.rank > 0 ? shard_local_flat(shard, place) : place;
}

void summary_take(const struct tensor *part, const struct shard *shard,
                  const struct sampling *sampling, struct text *out)
{
    size_t size = dtype_size(part->dtype);
    int64_t elements = shape_elements(part->shape);
    for (int64_t i = 0; i < sampling->count; i++) {
        int64_t place = place_in(shard, sampling, i);
        if (place >= 0 && place < elements)
            text_add_part(out, (const char *)part->data + (size_t)place * size, size);
    }
}

bool summary_put(const char *bytes, size_t length, const struct shard *shard, enum dtype dtype,
                 const struct sampling *sampling, char *samples)
{
    size_t size = dtype_size(dtype), at = 0;
    for (int64_t i = 0; i < sampling->count; i++) {
        if (place_in(shard, sampling, i) < 0)
            continue;
        if (at + size > length)
            return false;
        memcpy(samples + (size_t)i * size, bytes + at, size);
        at += size;
    }
    return at == length;
}
