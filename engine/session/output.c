/* Storage of lines. Each rank has two rings: one of bytes, one of what is known of each line. Both
 * start small and double up to the rank's share, so that a thousand quiet ranks cost little. */
#include "engine/session/output.h"

#include "engine/base/memory.h"
#include "engine/session/output_ring.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_LINES = 16, FIRST_BYTES = 2048, LEAST_SHARE = 64 << 10 };
#define ALL_BYTES ((int64_t)256 << 20)

const char *rank_stream_name(enum rank_stream stream)
{
    return stream == RANK_STDERR ? "stderr" : "stdout";
}

struct rank_output *rank_output_create(const struct rank_output_limits *limits)
{
    struct rank_output *output = memory_zeroed(1, sizeof(*output));
    if (limits)
        output->limits = *limits;
    if (output->limits.lines <= 0)
        output->limits.lines = OUTPUT_LINES;
    if (output->limits.bytes <= 0)
        output->limits.bytes = ALL_BYTES;
    if (output->limits.line_bytes <= 0 || output->limits.line_bytes > LEAST_SHARE / 4)
        output->limits.line_bytes = OUTPUT_LINE_BYTES;
    pthread_mutex_init(&output->mutex, NULL);
    return output;
}

static void free_ring(struct rank_ring *ring)
{
    for (int stream = 0; stream < RANK_STREAM_COUNT; stream++)
        text_free(&ring->open[stream].bytes);
    free(ring->bytes);
    free(ring->lines);
}

void rank_output_free(struct rank_output *output)
{
    if (!output)
        return;
    for (int rank = 0; rank < output->rank_count; rank++)
        free_ring(&output->ranks[rank]);
    free(output->ranks);
    pthread_mutex_destroy(&output->mutex);
    free(output);
}

static void grow_ranks(struct rank_output *output, int count)
{
    while (output->rank_count < count)
        ARRAY_PUSH(output->ranks, output->rank_count, output->rank_capacity,
                   ((struct rank_ring){0}));
}

/* ---- the rings ---- */

/* Half of a rank's share is for bytes, half for what is known of the lines. */
static size_t half_share(const struct rank_output *output)
{
    int64_t share = output->limits.bytes / output->rank_count;
    return (size_t)(share > LEAST_SHARE ? share : LEAST_SHARE) / 2;
}

static size_t most_bytes(const struct rank_output *output)
{
    size_t room = FIRST_BYTES, most = half_share(output);
    while (room * 2 <= most)
        room *= 2;
    return room;
}

static int most_lines(const struct rank_output *output)
{
    size_t most = half_share(output) / sizeof(struct kept_line);
    return most < (size_t)output->limits.lines ? (int)most : output->limits.lines;
}

int64_t ring_find(const struct rank_ring *ring, int64_t sequence)
{
    int64_t low = ring->first, high = ring->next;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ring_line(ring, middle)->sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where a line of `length` bytes and its zero byte would go in a ring of `room`. */
static uint64_t place_of(uint64_t end, size_t length, size_t room)
{
    uint64_t into = end & (room - 1);
    return into + length + 1 > room ? end + (room - into) : end;
}

/* Moves the newest lines that fit into a ring of another size. */
static void resize_bytes(struct rank_ring *ring, size_t room)
{
    char *bytes = memory_zeroed(room, 1);
    int64_t first = ring->next;
    for (size_t used = 0; first > ring->first; first--) {
        used += ring_line(ring, first - 1)->length + 1u;
        if (used > room)
            break;
    }
    uint64_t end = 0;
    for (int64_t number = first; number < ring->next; number++) {
        struct kept_line *line = &ring->lines[number % ring->line_room];
        memcpy(bytes + end, ring_text(ring, line), line->length + 1u);
        line->offset = end;
        end += line->length + 1u;
    }
    free(ring->bytes);
    ring->bytes = bytes;
    ring->room = room;
    ring->first = first;
    ring->end = end;
}

static void resize_lines(struct rank_ring *ring, int room)
{
    struct kept_line *lines = memory_zeroed((size_t)room, sizeof(*lines));
    if (ring->next - ring->first > room)
        ring->first = ring->next - room;
    for (int64_t number = ring->first; number < ring->next; number++)
        lines[number % room] = *ring_line(ring, number);
    free(ring->lines);
    ring->lines = lines;
    ring->line_room = room;
}

static bool has_bytes(const struct rank_ring *ring, size_t length)
{
    if (ring->first == ring->next)
        return true;
    uint64_t oldest = ring_line(ring, ring->first)->offset;
    return place_of(ring->end, length, ring->room) + length + 1 - oldest <= ring->room;
}

/* Grows the rings as far as the rank's share allows, then drops the oldest lines. */
static void make_room(const struct rank_output *output, struct rank_ring *ring, size_t length)
{
    size_t most = most_bytes(output);
    int lines = most_lines(output);
    if (ring->room > most) /* ranks have come: the share is smaller now */
        resize_bytes(ring, most);
    while (ring->room < most && (ring->room < length + 1 || !has_bytes(ring, length)))
        resize_bytes(ring, ring->room ? ring->room * 2 : FIRST_BYTES);
    while (!has_bytes(ring, length))
        ring->first++;
    if (ring->line_room > lines)
        resize_lines(ring, lines);
    if (ring->next - ring->first == ring->line_room && ring->line_room < lines) {
        int doubled = ring->line_room ? ring->line_room * 2 : FIRST_LINES;
        resize_lines(ring, doubled < lines ? doubled : lines);
    }
    if (ring->next - ring->first == ring->line_room)
        ring->first++;
}

static void keep_line(struct rank_output *output, struct rank_ring *ring, enum rank_stream stream,
                      const char *bytes, size_t length, bool cut, int64_t nanoseconds)
{
    if (length > (size_t)output->limits.line_bytes) {
        length = (size_t)output->limits.line_bytes;
        cut = true;
    }
    make_room(output, ring, length);
    struct kept_line *line = &ring->lines[ring->next % ring->line_room];
    line->offset = place_of(ring->end, length, ring->room);
    line->sequence = output->sequence++;
    line->nanoseconds = nanoseconds;
    line->length = (uint32_t)length;
    line->stream = (uint8_t)stream;
    line->cut = cut;
    char *to = ring->bytes + (line->offset & (ring->room - 1));
    if (length > 0)
        memcpy(to, bytes, length);
    to[length] = '\0';
    ring->end = line->offset + length + 1;
    ring->next++;
    ring->count[stream]++;
}

/* ---- taking bytes ---- */

static void begin_anew(struct open_line *open)
{
    text_clear(&open->bytes);
    open->returned = open->cut = false;
}

/* A part of a line, without line feeds. */
static void add_piece(struct open_line *open, const char *bytes, size_t length, int line_bytes,
                      int64_t now)
{
    if (length == 0)
        return;
    if (!open->began)
        open->nanoseconds = now;
    open->began = true;
    if (open->returned && bytes[0] != '\r')
        begin_anew(open);
    while (length > 0 && bytes[length - 1] == '\r') {
        open->returned = true;
        length--;
    }
    const char *restart = length > 0 ? memrchr(bytes, '\r', length) : NULL;
    if (restart) {
        bool returned = open->returned;
        length -= (size_t)(restart + 1 - bytes);
        bytes = restart + 1;
        begin_anew(open);
        open->returned = returned;
    }
    size_t room = (size_t)line_bytes - open->bytes.length;
    open->cut = open->cut || length > room;
    text_add_part(&open->bytes, bytes, length < room ? length : room);
}

static void end_line(struct rank_output *output, struct rank_ring *ring, enum rank_stream stream)
{
    struct open_line *open = &ring->open[stream];
    keep_line(output, ring, stream, open->bytes.data ? open->bytes.data : "", open->bytes.length,
              open->cut, open->nanoseconds);
    begin_anew(open);
    open->began = false;
}

static void take_bytes(struct rank_output *output, struct rank_ring *ring, enum rank_stream stream,
                       const char *bytes, size_t length, int64_t now)
{
    struct open_line *open = &ring->open[stream];
    ring->bytes_all += (int64_t)length;
    while (length > 0) {
        const char *end = memchr(bytes, '\n', length);
        size_t piece = end ? (size_t)(end - bytes) : length;
        if (end && !open->began && !memchr(bytes, '\r', piece)) {
            keep_line(output, ring, stream, bytes, piece, false, now);
        } else {
            add_piece(open, bytes, piece, output->limits.line_bytes, now);
            if (end)
                end_line(output, ring, stream);
        }
        bytes += piece + (end != NULL);
        length -= piece + (end != NULL);
    }
}

void rank_output_append(struct rank_output *output, int rank, enum rank_stream stream,
                        const char *bytes, size_t length, int64_t nanoseconds)
{
    if (rank < 0 || length == 0)
        return;
    pthread_mutex_lock(&output->mutex);
    grow_ranks(output, rank + 1);
    if (output->began == 0)
        output->began = nanoseconds;
    take_bytes(output, &output->ranks[rank], stream, bytes, length, nanoseconds);
    pthread_mutex_unlock(&output->mutex);
    atomic_fetch_add(&output->version, 1);
}

void rank_output_finish(struct rank_output *output)
{
    pthread_mutex_lock(&output->mutex);
    for (int rank = 0; rank < output->rank_count; rank++)
        for (int stream = 0; stream < RANK_STREAM_COUNT; stream++)
            if (output->ranks[rank].open[stream].began)
                end_line(output, &output->ranks[rank], (enum rank_stream)stream);
    pthread_mutex_unlock(&output->mutex);
    atomic_fetch_add(&output->version, 1);
}

/* ---- counts ---- */

static void add_counts(const struct rank_ring *ring, struct rank_output_counts *counts)
{
    for (int stream = 0; stream < RANK_STREAM_COUNT; stream++) {
        counts->lines[stream] += ring->count[stream];
        counts->memory += (int64_t)ring->open[stream].bytes.capacity;
    }
    counts->kept += ring->next - ring->first;
    counts->dropped += ring->first;
    counts->bytes += ring->bytes_all;
    counts->memory += (int64_t)(ring->room + (size_t)ring->line_room * sizeof(*ring->lines));
}

void rank_output_count_locked(const struct rank_output *output, int rank,
                              struct rank_output_counts *counts)
{
    *counts = (struct rank_output_counts){.ranks = output->rank_count, .began = output->began};
    for (int i = 0; i < output->rank_count; i++)
        if (rank < 0 || i == rank)
            add_counts(&output->ranks[i], counts);
    counts->version = atomic_load(&output->version);
}

void rank_output_count(struct rank_output *output, int rank, struct rank_output_counts *counts)
{
    pthread_mutex_lock(&output->mutex);
    rank_output_count_locked(output, rank, counts);
    pthread_mutex_unlock(&output->mutex);
}

uint64_t rank_output_version(const struct rank_output *output)
{
    return atomic_load(&output->version);
}
