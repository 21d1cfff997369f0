/* Looking at lines: a walk over the rings of the chosen ranks in the order of the sequence numbers,
 * forward or back, merged by a heap. */
#include "engine/base/expression.h"
#include "engine/base/memory.h"
#include "engine/base/unicode.h"
#include "engine/session/output.h"
#include "engine/session/output_ring.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOCKED_LINES = 4096
}; /* looked at before the lock is let go of, so that appending goes on */

/* ---- what passes ---- */

struct pattern {
    char *text; /* NULL: anything passes */
    size_t length;
    bool expression;
    regex_t compiled;
};

struct matcher {
    const struct output_filter *filter;
    struct pattern patterns[2];
    int pattern_count;
};

static bool add_pattern(struct matcher *matcher, const char *text, bool expression,
                        struct status *status)
{
    struct pattern *pattern = &matcher->patterns[matcher->pattern_count];
    char why[EXPRESSION_WHY_SIZE];
    if (!text[0])
        return true;
    if (expression && !expression_compile(text, &pattern->compiled, why))
        return status_fail(status, STATUS_INVALID, "/%s/: %s", text, why);
    pattern->text = memory_string(text);
    pattern->length = strlen(text);
    pattern->expression = expression;
    matcher->pattern_count++;
    return true;
}

static void free_matcher(struct matcher *matcher)
{
    for (int i = 0; i < matcher->pattern_count; i++) {
        if (matcher->patterns[i].expression)
            regfree(&matcher->patterns[i].compiled);
        free(matcher->patterns[i].text);
    }
}

/* `bytes` end in a zero byte. */
static bool passes(const struct matcher *matcher, enum rank_stream stream, const char *bytes,
                   size_t length)
{
    if (matcher->filter->streams && !(matcher->filter->streams & 1u << stream))
        return false;
    for (int i = 0; i < matcher->pattern_count; i++) {
        const struct pattern *pattern = &matcher->patterns[i];
        if (pattern->expression ? regexec(&pattern->compiled, bytes, 0, NULL, 0) != 0
                                : !memmem(bytes, length, pattern->text, pattern->length))
            return false;
    }
    return true;
}

/* ---- the walk ---- */

/* The next line of one rank. */
struct cursor {
    int rank;
    int64_t number, sequence;
};

struct walk {
    struct rank_output *output;
    const struct matcher *matcher;
    int direction; /* 1 forward, -1 back */
    struct cursor *heap;
    int count;
    int64_t scan; /* lines that may still be looked at */
};

static bool comes_first(const struct walk *walk, const struct cursor *a, const struct cursor *b)
{
    return walk->direction > 0 ? a->sequence < b->sequence : a->sequence > b->sequence;
}

static void sift_down(struct walk *walk, int at)
{
    for (;;) {
        int best = at;
        for (int child = 2 * at + 1; child <= 2 * at + 2 && child < walk->count; child++)
            if (comes_first(walk, &walk->heap[child], &walk->heap[best]))
                best = child;
        if (best == at)
            return;
        struct cursor moved = walk->heap[at];
        walk->heap[at] = walk->heap[best];
        walk->heap[best] = moved;
        at = best;
    }
}

/* Sets the cursor on a line of its rank, or on the oldest one behind it if that was dropped; false
 * if there is no more line in this direction. */
static bool place_cursor(const struct walk *walk, struct cursor *cursor, int64_t number)
{
    const struct rank_ring *ring = &walk->output->ranks[cursor->rank];
    if (number < ring->first && walk->direction > 0)
        number = ring->first;
    if (number < ring->first || number >= ring->next)
        return false;
    cursor->number = number;
    cursor->sequence = ring_line(ring, number)->sequence;
    return true;
}

static void start_walk(struct walk *walk, int64_t anchor)
{
    const struct rank_output *output = walk->output;
    walk->heap = memory_zeroed((size_t)output->rank_count, sizeof(*walk->heap));
    walk->count = 0;
    for (int rank = 0; rank < output->rank_count; rank++) {
        struct cursor cursor = {.rank = rank};
        if (!output_filter_has_rank(walk->matcher->filter, rank))
            continue;
        int64_t number = ring_find(&output->ranks[rank], anchor);
        if (place_cursor(walk, &cursor, walk->direction > 0 ? number : number - 1))
            walk->heap[walk->count++] = cursor;
    }
    for (int i = walk->count / 2; i >= 0 && walk->count > 0; i--)
        sift_down(walk, i);
}

/* Moves the cursor on top of the heap by one line, or to `number`. */
static void step_walk(struct walk *walk, int64_t number)
{
    if (!place_cursor(walk, &walk->heap[0], number))
        walk->heap[0] = walk->heap[--walk->count];
    if (walk->count > 0)
        sift_down(walk, 0);
}

/* Lets others have the lock for a moment: lines may be gone then. */
static void breathe(struct walk *walk)
{
    pthread_mutex_unlock(&walk->output->mutex);
    pthread_mutex_lock(&walk->output->mutex);
}

static char *printable(const char *bytes, size_t length, bool *cut)
{
    struct text text = {0};
    if (length > OUTPUT_TEXT_BYTES) {
        length = OUTPUT_TEXT_BYTES;
        while (length > 0 && ((unsigned char)bytes[length] & 0xc0) == 0x80)
            length--; /* not in the middle of a character */
        *cut = true;
    }
    unicode_add_printable(&text, bytes, length);
    return text_take(&text);
}

struct found {
    struct output_line *lines;
    int count, capacity;
};

static void add_found(struct found *found, int rank, const struct kept_line *line,
                      const char *bytes)
{
    struct output_line copy = {.sequence = line->sequence,
                               .rank = rank,
                               .stream = (enum rank_stream)line->stream,
                               .nanoseconds = line->nanoseconds,
                               .cut = line->cut};
    copy.text = printable(bytes, line->length, &copy.cut);
    ARRAY_PUSH(found->lines, found->count, found->capacity, copy);
}

/* Adds the next `most` lines that pass. With the lock held. False when the walk was cut short. */
static bool run_walk(struct walk *walk, int most, struct found *found)
{
    for (int end = found->count + most; walk->count > 0 && found->count < end; walk->scan--) {
        if (walk->scan <= 0)
            return false;
        if (walk->scan % LOCKED_LINES == 0)
            breathe(walk);
        const struct cursor *top = &walk->heap[0];
        const struct rank_ring *ring = &walk->output->ranks[top->rank];
        int64_t number = top->number;
        if (number >= ring->first) {
            const struct kept_line *line = ring_line(ring, number);
            const char *bytes = ring_text(ring, line);
            if (passes(walk->matcher, (enum rank_stream)line->stream, bytes, line->length))
                add_found(found, top->rank, line, bytes);
            number += walk->direction;
        } /* else it was dropped meanwhile */
        step_walk(walk, number);
    }
    return true;
}

static void add_partial(const struct rank_output *output, const struct matcher *matcher, int most,
                        struct found *found)
{
    int end = found->count + most;
    for (int rank = 0; rank < output->rank_count; rank++)
        for (int stream = 0; stream < RANK_STREAM_COUNT && found->count < end; stream++) {
            const struct open_line *open = &output->ranks[rank].open[stream];
            if (!open->began || open->bytes.length == 0 ||
                !output_filter_has_rank(matcher->filter, rank) ||
                !passes(matcher, (enum rank_stream)stream, open->bytes.data, open->bytes.length))
                continue;
            struct kept_line line = {.sequence = OUTPUT_NEWEST,
                                     .nanoseconds = open->nanoseconds,
                                     .length = (uint32_t)open->bytes.length,
                                     .stream = (uint8_t)stream,
                                     .cut = open->cut};
            add_found(found, rank, &line, open->bytes.data);
            found->lines[found->count - 1].partial = true;
        }
}

static void reverse(struct output_line *lines, int count)
{
    for (int i = 0; i < count / 2; i++) {
        struct output_line line = lines[i];
        lines[i] = lines[count - 1 - i];
        lines[count - 1 - i] = line;
    }
}

/* ---- what is asked ---- */

static bool walk_from(struct rank_output *output, const struct matcher *matcher, int64_t anchor,
                      int direction, int most, int64_t *scan, struct found *found)
{
    struct walk walk = {
        .output = output, .matcher = matcher, .direction = direction, .scan = *scan};
    if (most <= 0)
        return true;
    start_walk(&walk, anchor);
    bool whole = run_walk(&walk, most, found);
    *scan = walk.scan;
    free(walk.heap);
    return whole;
}

/* The lines of one page, or of one rank of a split one. With the lock held. False when the walk was
 * cut short. */
static bool fetch_lines(struct rank_output *output, const struct output_query *query,
                        const struct matcher *matcher, int64_t anchor, struct found *found,
                        int *before)
{
    int64_t scan = query->scan > 0 ? query->scan : OUTPUT_SCAN;
    int start = found->count;
    bool whole = walk_from(output, matcher, anchor, -1, query->before, &scan, found);
    if (found->count > start) /* without any line there is no array yet */
        reverse(found->lines + start, found->count - start);
    *before = found->count - start;
    if (anchor != OUTPUT_NEWEST)
        whole = walk_from(output, matcher, anchor, 1, query->after, &scan, found) && whole;
    add_partial(output, matcher, start + *before + query->after - found->count, found);
    return whole;
}

static bool fetch_split(struct rank_output *output, const struct output_query *query,
                        const struct matcher *matcher, int64_t anchor, struct found *found)
{
    bool whole = true;
    int taken = 0, before;
    struct output_filter one = query->filter;
    struct matcher of_one = *matcher;
    of_one.filter = &one;
    one.range_count = 1;
    for (int rank = 0; rank < output->rank_count && taken < query->split; rank++) {
        if (!output_filter_has_rank(&query->filter, rank))
            continue;
        one.ranges[0] = (struct rank_range){rank, rank};
        whole = fetch_lines(output, query, &of_one, anchor, found, &before) && whole;
        taken++;
    }
    return whole;
}

/* The line that the query's search leads to, around the end once; -1: none. */
static bool search_around(struct rank_output *output, const struct output_query *query,
                          int64_t *anchor, struct status *status)
{
    int64_t other_end = query->search_direction > 0 ? -1 : OUTPUT_NEWEST;
    *anchor = query->anchor;
    if (query->search_direction == 0)
        return true;
    if (!rank_output_search(output, &query->filter, query->search, query->anchor,
                            query->search_direction, anchor, status))
        return false;
    return *anchor >= 0 || rank_output_search(output, &query->filter, query->search, other_end,
                                              query->search_direction, anchor, status);
}

bool rank_output_fetch(struct rank_output *output, const struct output_query *query,
                       struct output_page *page, struct status *status)
{
    struct matcher matcher = {.filter = &query->filter};
    struct found found = {0};
    bool whole;
    *page = (struct output_page){0};
    if (!search_around(output, query, &page->anchor, status) ||
        !add_pattern(&matcher, query->filter.pattern, query->filter.expression, status))
        return false;
    int64_t anchor = page->anchor >= 0 ? page->anchor : query->anchor;
    pthread_mutex_lock(&output->mutex);
    if (query->split > 0)
        whole = fetch_split(output, query, &matcher, anchor, &found);
    else
        whole = fetch_lines(output, query, &matcher, anchor, &found, &page->before);
    rank_output_count_locked(output, -1, &page->counts);
    pthread_mutex_unlock(&output->mutex);
    free_matcher(&matcher);
    page->lines = found.lines;
    page->count = found.count;
    page->unfinished = !whole;
    return true;
}

void output_page_free(struct output_page *page)
{
    for (int i = 0; i < page->count; i++)
        free(page->lines[i].text);
    free(page->lines);
    *page = (struct output_page){0};
}

bool rank_output_search(struct rank_output *output, const struct output_filter *filter,
                        const char *pattern, int64_t from, int direction, int64_t *sequence,
                        struct status *status)
{
    struct matcher matcher = {.filter = filter};
    struct output_filter wanted = {0};
    struct found found = {0};
    int64_t scan = INT64_MAX - INT64_MAX % LOCKED_LINES - 1;
    *sequence = -1;
    bool ok = output_filter_pattern(&wanted, pattern, status) &&
              add_pattern(&matcher, filter->pattern, filter->expression, status) &&
              add_pattern(&matcher, wanted.pattern, wanted.expression, status);
    if (ok) {
        int64_t anchor = direction > 0 && from < OUTPUT_NEWEST ? from + 1 : from;
        pthread_mutex_lock(&output->mutex);
        walk_from(output, &matcher, anchor, direction, 1, &scan, &found);
        pthread_mutex_unlock(&output->mutex);
    }
    if (found.count > 0)
        *sequence = found.lines[0].sequence;
    for (int i = 0; i < found.count; i++)
        free(found.lines[i].text);
    free(found.lines);
    free_matcher(&matcher);
    return ok;
}
