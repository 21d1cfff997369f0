/* A part of a tensor, of a rank or of a micro-sequence, against its slice of the reference's whole
 * tensor. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/tensor/shard.h"

#include <stdlib.h>
#include <string.h>

struct shape pair_whole_shape(const struct value *value)
{
    return value->shard.global.rank > 0 ? value->shard.global : value->shape;
}

bool pair_is_part(const struct value *value)
{
    return value->shard.global.rank > 0 && !shard_is_whole(&value->shard);
}

bool pair_cut_reference(const struct value *of, const struct shard *place, struct pair_sides *sides,
                        struct status *status)
{
    struct tensor view;
    if (shard_view(place, &sides->reference, &view)) {
        sides->reference = view;
        return true;
    }
    enum dtype dtype = sides->reference.dtype;
    void *slice = memory_try((size_t)shape_elements(of->shape), dtype_size(dtype));
    if (!slice)
        return status_fail(status, STATUS_MEMORY, "no memory for the reference's part of %s",
                           of->name);
    struct tensor local = tensor_of(slice, dtype, of->shape);
    shard_copy_out(place, &sides->reference, &local);
    free(sides->reference_buffer);
    sides->reference_buffer = slice;
    sides->reference = local;
    return true;
}

bool pair_sample_part(const struct value *of, const struct shard *place, struct pair_sides *sides,
                      const struct trace_tensor *recorded, struct status *status)
{
    int64_t step = recorded->sampling_step > 0 ? recorded->sampling_step : 1;
    int64_t all = shape_elements(recorded->samples.shape), count = 0;
    size_t here = dtype_size(sides->test.dtype), there = dtype_size(sides->reference.dtype);
    char *test = memory_try((size_t)all, here), *reference = memory_try((size_t)all, there);
    if (!test || !reference) {
        free(test);
        free(reference);
        return status_fail(status, STATUS_MEMORY, "no memory for the samples of %s", of->name);
    }
    for (int64_t i = 0; i < all; i++) {
        int64_t local = shard_local_flat(place, i * step);
        if (local < 0)
            continue;
        memcpy(test + (size_t)count * here, (char *)sides->test.data + (size_t)local * here, here);
        memcpy(reference + (size_t)count++ * there,
               (char *)recorded->samples.data + (size_t)i * there, there);
    }
    if (count == 0) {
        free(test);
        free(reference);
        return status_fail(status, STATUS_NOT_FOUND, "none of the recorded samples lies in %s",
                           of->name);
    }
    free(sides->test_buffer);
    free(sides->reference_buffer);
    sides->test_buffer = test;
    sides->reference_buffer = reference;
    sides->test = tensor_of(test, sides->test.dtype, shape_of1(count));
    sides->reference = tensor_of(reference, sides->reference.dtype, shape_of1(count));
    return true;
}
