#include "engine/compare/diff_parts.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool part_of_name(const char *name, int *index, int *count, char **whole)
{
    const char *suffix = strstr(name, " ms=");
    int length = 0;
    if (!suffix || sscanf(suffix, " ms=%4d/%4d%n", index, count, &length) != 2 || suffix[length] ||
        *index < 0 || *index >= *count)
        return false;
    *whole = memory_string_part(name, (size_t)(suffix - name));
    return true;
}

char *part_name(const char *whole, int index, int count)
{
    return memory_format("%s ms=%d/%d", whole, index, count);
}

static bool is_of_chunk(const char *name)
{
    return strstr(name, ".chunk_") != NULL;
}

struct split split_of(const struct trace_step *step)
{
    struct split split = {0};
    for (int i = 0; i < step->count; i++) {
        const char *name = trace_name(step, i);
        int index, count;
        char *whole = NULL;
        if (split.micro_sequences == 0 && part_of_name(name, &index, &count, &whole))
            split.micro_sequences = count;
        free(whole);
        split.chunks = split.chunks || is_of_chunk(name);
        split.experts = split.experts || strstr(name, ".mlp.router");
    }
    return split;
}

bool split_explains(const struct split *split, const struct split *other, const char *name)
{
    if (split->micro_sequences > 0 && other->micro_sequences == 0 && strstr(name, " ms="))
        return true;
    if (split->chunks && !other->chunks && is_of_chunk(name))
        return true;
    return other->chunks && !split->chunks &&
           (text_ends_with(name, ".logits") || text_ends_with(name, ".loss.log_sum_exp"));
}

bool parts_are_rows(const struct split *split, const char *name)
{
    const char *mlp = strstr(name, ".mlp.");
    if (strncmp(name, "fw ", 3) != 0 && strncmp(name, "bw ", 3) != 0)
        return false;
    return !split->experts || !mlp || strncmp(mlp, ".mlp.router", 11) == 0 ||
           strcmp(mlp, ".mlp.output") == 0;
}

static bool is_rows_of(const struct trace_tensor *whole, const struct trace_tensor *part, int count)
{
    struct shape rows = whole->shape;
    if (rows.rank == 0 || rows.dims[0] % count != 0)
        return false;
    rows.dims[0] /= count;
    return shape_equal(rows, part->shape);
}

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

static int64_t sampling_step(const struct trace_tensor *tensor)
{
    return tensor->sampling_step > 1 ? tensor->sampling_step : 1;
}

/* How many of `count` are left from `first` on, every `step`-th. */
static int64_t left(int64_t count, int64_t first, int64_t step)
{
    return first < count ? (count - 1 - first) / step + 1 : 0;
}

/* Every `step`-th sample from `first` on, without a copy: rows of one element. */
static struct tensor every(const struct trace_tensor *tensor, int64_t first, int64_t step,
                           int64_t count)
{
    enum dtype dtype = tensor->samples.dtype;
    char *data = tensor->samples.data;
    struct tensor view =
        tensor_of(data + (size_t)first * dtype_size(dtype), dtype, shape_of2(count, 1));
    view.row_stride = step;
    return view;
}

bool samples_meet(const struct trace_tensor *whole, const struct trace_tensor *part, int64_t offset,
                  struct meeting *meeting)
{
    int64_t whole_step = sampling_step(whole), part_step = sampling_step(part), begin = 0;
    int64_t whole_count = shape_elements(whole->samples.shape);
    int64_t part_count = shape_elements(part->samples.shape);
    while (begin < part_count && (offset + begin * part_step) % whole_step != 0)
        begin++;
    meeting->first = begin * part_step;
    meeting->stride = common_multiple(whole_step, part_step);
    int64_t there = (offset + meeting->first) / whole_step;
    int64_t count = left(part_count, begin, meeting->stride / part_step);
    int64_t kept = left(whole_count, there, meeting->stride / whole_step);
    count = kept < count ? kept : count;
    if (count == 0 && part_count > 0)
        return false;
    meeting->whole = every(whole, there, meeting->stride / whole_step, count);
    meeting->part = every(part, begin, meeting->stride / part_step, count);
    return true;
}

enum part_view part_align(const struct trace_tensor *whole, const struct trace_tensor *part,
                          int index, int count, struct meeting *meeting)
{
    if (!is_rows_of(whole, part, count))
        return PART_SHAPE;
    int64_t offset = index * shape_elements(part->shape);
    return samples_meet(whole, part, offset, meeting) ? PART_MEETS : PART_SAMPLED;
}
