/* The rings behind output.h. Internal to engine/session/output*.c; under the output's lock. */
#ifndef ENGINE_SESSION_OUTPUT_RING_H
#define ENGINE_SESSION_OUTPUT_RING_H

#include "engine/session/output.h"

#include "engine/base/text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A complete line; its bytes stand in one piece in the ring, ended by a zero byte. */
struct kept_line {
    int64_t sequence, nanoseconds;
    uint64_t offset; /* in the ring, counted from its beginning on and never wrapped */
    uint32_t length;
    uint8_t stream;
    bool cut;
};

/* What was printed of a line that has not ended. */
struct open_line {
    struct text bytes;
    int64_t nanoseconds; /* of the first byte */
    bool began;
    bool returned; /* ends in a carriage return: what follows begins the line anew */
    bool cut;
};

struct rank_ring {
    char *bytes;
    size_t room;       /* of bytes, a power of two */
    uint64_t end;      /* offset behind the newest line */
    int64_t bytes_all; /* printed */
    struct kept_line *lines;
    int line_room;
    int64_t first, next; /* numbers of the lines that are kept: [first, next) */
    int64_t count[RANK_STREAM_COUNT];
    struct open_line open[RANK_STREAM_COUNT];
};

struct rank_output {
    struct rank_output_limits limits;
    pthread_mutex_t mutex; /* guards what follows */
    struct rank_ring *ranks;
    int rank_count, rank_capacity;
    int64_t sequence; /* of the next line */
    int64_t began;    /* as in rank_output_counts */
    _Atomic uint64_t version;
};

/* Line `number` of [first, next). */
static inline const struct kept_line *ring_line(const struct rank_ring *ring, int64_t number)
{
    return &ring->lines[number % ring->line_room];
}

static inline const char *ring_text(const struct rank_ring *ring, const struct kept_line *line)
{
    return ring->bytes + (line->offset & (ring->room - 1));
}

/* The number of the first line whose sequence is `sequence` or more; `next` if there is none. */
int64_t ring_find(const struct rank_ring *ring, int64_t sequence);

/* With the lock held. */
void rank_output_count_locked(const struct rank_output *output, int rank,
                              struct rank_output_counts *counts);

#endif
