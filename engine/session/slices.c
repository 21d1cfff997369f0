#include "engine/session/slices.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *text, *at;
    struct shape shape;
    struct status *status;
};

/* The three numbers of "start:stop:step", as far as they are given. */
struct range {
    bool has_start, has_stop, single, ellipsis;
    int64_t start, stop, step;
};

static bool fail(struct reader *reader, const char *message)
{
    char shape[80];
    return status_fail(reader->status, STATUS_INVALID, "slice %s of a tensor %s: %s", reader->text,
                       shape_text(reader->shape, shape), message);
}

static void skip_blanks(struct reader *reader)
{
    while (isspace((unsigned char)*reader->at))
        reader->at++;
}

static bool read_number(struct reader *reader, bool *given, int64_t *number)
{
    skip_blanks(reader);
    *given = *reader->at == '-' || *reader->at == '+' || isdigit((unsigned char)*reader->at);
    if (!*given)
        return true;
    char *end;
    errno = 0;
    *number = strtoll(reader->at, &end, 10);
    if (end == reader->at || errno || *number > INT32_MAX * INT64_C(1024) ||
        *number < INT32_MIN * INT64_C(1024))
        return fail(reader, "a number in it cannot be read");
    reader->at = end;
    skip_blanks(reader);
    return true;
}

static bool read_range(struct reader *reader, struct range *range)
{
    *range = (struct range){.step = 1};
    skip_blanks(reader);
    if (strncmp(reader->at, "...", 3) == 0) {
        reader->at += 3;
        range->ellipsis = true;
        skip_blanks(reader);
        return true;
    }
    if (!read_number(reader, &range->has_start, &range->start))
        return false;
    if (*reader->at != ':') {
        range->single = true;
        return range->has_start || fail(reader, "an index is missing");
    }
    reader->at++;
    bool has_step = false;
    if (!read_number(reader, &range->has_stop, &range->stop))
        return false;
    if (*reader->at == ':') {
        reader->at++;
        if (!read_number(reader, &has_step, &range->step))
            return false;
    }
    return (!has_step || range->step != 0) || fail(reader, "a step of 0");
}

static int64_t clamp(int64_t number, int64_t low, int64_t high)
{
    return number < low ? low : number > high ? high : number;
}

/* As numpy: negative numbers count from the end, ranges are cut to what is there. */
static bool resolve(struct reader *reader, const struct range *range, int64_t size,
                    struct slice *slice)
{
    int64_t start = range->start < 0 ? range->start + size : range->start;
    if (range->single) {
        if (start < 0 || start >= size)
            return status_fail(reader->status, STATUS_INVALID,
                               "slice %s: there is no index %" PRId64 " among %" PRId64,
                               reader->text, range->start, size);
        *slice = (struct slice){start, 1, 1, true};
        return true;
    }
    bool forward = range->step > 0;
    int64_t stop = range->stop < 0 ? range->stop + size : range->stop;
    int64_t low = forward ? 0 : -1, high = forward ? size : size - 1;
    start = range->has_start ? clamp(start, low, high) : forward ? 0 : size - 1;
    stop = range->has_stop ? clamp(stop, low, high) : forward ? size : -1;
    int64_t span = forward ? stop - start : start - stop;
    int64_t stride = forward ? range->step : -range->step;
    *slice = (struct slice){start, range->step, span > 0 ? (span + stride - 1) / stride : 0, false};
    return true;
}

static bool read_ranges(struct reader *reader, struct range *ranges, int *count)
{
    *count = 0;
    skip_blanks(reader);
    while (*reader->at != ']' || *count == 0) {
        if (*count > TENSOR_MAX_RANK)
            return fail(reader, "too many dimensions");
        if (!read_range(reader, &ranges[(*count)++]))
            return false;
        if (*reader->at == ',')
            reader->at++;
        else if (*reader->at != ']')
            return fail(reader, "',' or ']' is missing");
        skip_blanks(reader);
    }
    reader->at++;
    skip_blanks(reader);
    return !*reader->at || fail(reader, "something is left behind it");
}

static bool apply_ranges(struct reader *reader, const struct range *ranges, int count,
                         struct slices *slices)
{
    int rank = reader->shape.rank, dimension = 0, ellipses = 0;
    for (int i = 0; i < count; i++)
        ellipses += ranges[i].ellipsis;
    if (ellipses > 1)
        return fail(reader, "more than one '...'");
    if (count - ellipses > rank)
        return fail(reader, "too many dimensions");
    for (int i = 0; i < count; i++) {
        if (ranges[i].ellipsis)
            dimension = rank - (count - i - 1);
        else if (!resolve(reader, &ranges[i], reader->shape.dims[dimension],
                          &slices->dims[dimension]))
            return false;
        else
            dimension++;
    }
    return true;
}

bool slices_parse(const char *text, struct shape shape, struct slices *slices,
                  struct status *status)
{
    struct reader reader = {text, text, shape, status};
    struct slices parsed = {.rank = shape.rank};
    for (int d = 0; d < shape.rank; d++)
        parsed.dims[d] = (struct slice){0, 1, shape.dims[d], false};
    skip_blanks(&reader);
    if (*reader.at) {
        struct range ranges[TENSOR_MAX_RANK + 2];
        int count;
        if (*reader.at++ != '[')
            return fail(&reader, "it does not start with '['");
        if (!read_ranges(&reader, ranges, &count) || !apply_ranges(&reader, ranges, count, &parsed))
            return false;
    }
    *slices = parsed;
    return true;
}

int64_t slices_elements(const struct slices *slices)
{
    int64_t count = 1;
    for (int d = 0; d < slices->rank; d++)
        count *= slices->dims[d].count;
    return count;
}

int64_t slices_index(const struct slices *slices, struct shape shape,
                     const int64_t place[TENSOR_MAX_RANK])
{
    int64_t index = 0;
    for (int d = 0; d < slices->rank; d++)
        index = index * shape.dims[d] + slices->dims[d].start + place[d] * slices->dims[d].step;
    return index;
}
