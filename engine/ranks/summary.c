#include "engine/ranks/summary.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 4096 };

static struct device_statistics nothing(void)
{
    return (struct device_statistics){.minimum = INFINITY, .maximum = -INFINITY};
}

/* Of differences from the first finite one, so that a large mean does not drown small deviations.
 */
static struct device_statistics of_chunk(const double *numbers, int count)
{
    struct device_statistics found = nothing();
    double first = 0, sum = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(numbers[i])) {
            found.nans += isnan(numbers[i]) != 0;
            found.infinities += isinf(numbers[i]) != 0;
            continue;
        }
        if (found.finite++ == 0)
            first = numbers[i];
        double difference = numbers[i] - first;
        sum += difference;
        squares += difference * difference;
        found.minimum = fmin(found.minimum, numbers[i]);
        found.maximum = fmax(found.maximum, numbers[i]);
    }
    if (found.finite > 0) {
        found.mean = first + sum / (double)found.finite;
        found.squares = fmax(0, squares - sum * sum / (double)found.finite);
    }
    return found;
}

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
    struct device_statistics all = nothing();
    int64_t count = shape_elements(part->shape);
    size_t size = dtype_size(part->dtype);
    double numbers[CHUNK];
    for (int64_t at = 0; at < count; at += CHUNK) {
        int some = count - at < CHUNK ? (int)(count - at) : CHUNK;
        dtype_convert(numbers, DTYPE_F64, (const char *)part->data + (size_t)at * size, part->dtype,
                      (size_t)some);
        struct device_statistics chunk = of_chunk(numbers, some);
        summary_add(&all, &chunk);
    }
    return all;
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
