/* What a trace keeps of a tensor, taken where its parts lie: the samples that fall into a part, and
 * statistics that add up with those of the other parts. So a rank of another host sends some
 * kilobytes rather than its part. Pure. */
#ifndef ENGINE_RANKS_SUMMARY_H
#define ENGINE_RANKS_SUMMARY_H

#include "engine/base/text.h"
#include "engine/device/device.h"
#include "engine/tensor/shard.h"

/* Samples of a whole tensor: its elements 0, step, 2*step, ... (`count` of them, by flat index). */
struct sampling {
    int64_t step, count;
};

/* Host memory. The statistics of all elements of a part of type f32, bf16, f16 or f64. */
struct device_statistics summary_statistics(const struct tensor *part);
/* Those of two parts that have no element in common, together: in any order the same but for the
 * rounding of mean and squares. */
void summary_add(struct device_statistics *to, const struct device_statistics *other);

/* Appends the elements of a part that are samples of the whole, in their order. `shard` is where it
 * lies; without a global shape it is the whole. */
void summary_take(const struct tensor *part, const struct shard *shard,
                  const struct sampling *sampling, struct text *out);
/* The other way: puts them at their places among the `sampling->count` samples of the whole. False
 * if `length` is not that of the samples of such a part. */
bool summary_put(const char *bytes, size_t length, const struct shard *shard, enum dtype dtype,
                 const struct sampling *sampling, char *samples);

#endif
