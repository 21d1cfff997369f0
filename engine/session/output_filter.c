/* Which lines of output a user means: reading and naming filters. */
#include "engine/session/output.h"

#include "engine/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_rank(const char **text, int *rank)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    long number = strtol(*text, &end, 10);
    if (errno != 0 || number > INT_MAX)
        return false;
    *rank = (int)number;
    *text = end;
    return true;
}

bool output_filter_ranks(struct output_filter *filter, const char *text, struct status *status)
{
    struct rank_range ranges[OUTPUT_RANGES] = {{0, 0}};
    const char *at = text;
    int count = 0;
    for (bool more = strcmp(text, "all") != 0; more; at += more) {
        struct rank_range range;
        if (count == OUTPUT_RANGES)
            return status_fail(status, STATUS_INVALID, "more than %d ranges of ranks in \"%s\"",
                               OUTPUT_RANGES, text);
        bool good = read_rank(&at, &range.first);
        range.last = range.first;
        if (good && *at == '-') {
            at++;
            good = read_rank(&at, &range.last) && range.last >= range.first;
        }
        if (!good || (*at && *at != ','))
            return status_fail(status, STATUS_INVALID,
                               "\"%s\" are no ranks: numbers and ranges such as 0-3,7, or all",
                               text);
        ranges[count++] = range;
        more = *at == ',';
    }
    memcpy(filter->ranges, ranges, sizeof(ranges));
    filter->range_count = count;
    return true;
}

bool output_filter_pattern(struct output_filter *filter, const char *text, struct status *status)
{
    size_t length = strlen(text);
    bool expression = length >= 2 && text[0] == '/' && text[length - 1] == '/';
    text += expression;
    length -= expression ? 2 : 0;
    if (length >= sizeof(filter->pattern))
        return status_fail(status, STATUS_INVALID, "a pattern is at most %d bytes long",
                           (int)sizeof(filter->pattern) - 1);
    memset(filter->pattern, 0, sizeof(filter->pattern));
    memcpy(filter->pattern, text, length);
    filter->expression = expression && length > 0;
    return true;
}

bool output_filter_has_rank(const struct output_filter *filter, int rank)
{
    for (int i = 0; i < filter->range_count; i++)
        if (rank >= filter->ranges[i].first && rank <= filter->ranges[i].last)
            return true;
    return filter->range_count == 0;
}

const char *output_filter_text(const struct output_filter *filter, char *buffer, int size)
{
    struct text text = {0};
    text_add(&text, "");
    for (int i = 0; i < filter->range_count; i++) {
        const struct rank_range *range = &filter->ranges[i];
        text_format(&text, "%s%d", i ? "," : "rank ", range->first);
        if (range->last > range->first)
            text_format(&text, "-%d", range->last);
    }
    unsigned both = 1u << RANK_STDOUT | 1u << RANK_STDERR;
    if (filter->streams && (filter->streams & both) != both)
        text_format(
            &text, "%s%s", text.length ? " " : "",
            rank_stream_name(filter->streams & 1u << RANK_STDERR ? RANK_STDERR : RANK_STDOUT));
    if (filter->pattern[0]) {
        const char *quote = filter->expression ? "/" : "\"";
        text_format(&text, "%s%s%s%s", text.length ? " " : "", quote, filter->pattern, quote);
    }
    snprintf(buffer, (size_t)size, "%s", text.data);
    text_free(&text);
    return buffer;
}
