/* What the engine and its rank processes say to each other: frames of a length, a kind and a body.
 * Numbers are little-endian, texts a length and bytes without a zero. Whatever comes from a socket
 * is checked here: a body that is too short, too long, or not what it claims to be is refused as a
 * whole. Pure functions; any thread. Internal to engine/ranks. */
#ifndef ENGINE_RANKS_PROTOCOL_H
#define ENGINE_RANKS_PROTOCOL_H

#include "engine/base/text.h"
#include "engine/ranks/board.h"
#include "engine/ranks/collectives.h"
#include "engine/ranks/summary.h"

enum {
    PROTOCOL_MAGIC = 0x4b434f4c,
    PROTOCOL_VERSION = 6,
    PROTOCOL_TOKEN = 32,           /* characters of the token */
    PROTOCOL_HEADER = 8,           /* bytes before a body: its length, the kind */
    PROTOCOL_MOST_HELLO = 1024,    /* bytes of a body before the token was seen */
    PROTOCOL_MOST_BODY = 17 << 20, /* after it */
    PROTOCOL_CHUNK = 16 << 20,     /* bytes of a tensor in one frame */
    PROTOCOL_MOST_WORDS = 4096,
    PROTOCOL_SAMPLES = 1 << 16, /* of a tensor, in one answer */
    PROTOCOL_ARENAS = 2,
    PROTOCOL_LEFT = 113, /* exit status of a rank whose connection with the engine is gone */
};

enum frame_kind {
    FRAME_HELLO = 1, /* the first of every connection: struct hello */
    FRAME_WELCOME,   /* engine: struct welcome; to a rank of this machine with the control page */
    FRAME_EXITED,    /* guardian: u32 wait status of its rank */
    FRAME_HALTED,    /* guardian: u32 signal that stopped it; 0: it goes on */
    FRAME_SETUP,     /* engine: struct setup; first forget the run before */
    FRAME_MEMORY,    /* engine: struct arenas; to a rank of this machine with the memory */
    FRAME_READY,     /* rank: struct ready */
    FRAME_FORGET,    /* engine: free the run */
    FRAME_RUN,       /* engine: struct order; "look at the control page" on this machine */
    FRAME_UPDATE,    /* rank on another machine: struct update */
    FRAME_ARRIVED,   /* engine: struct update of the last one of a group to come to its meeting */
    FRAME_READ,      /* engine: struct extent */
    FRAME_DATA,      /* rank: the bytes that were read */
    FRAME_WRITE,     /* engine: struct extent, then the bytes */
    FRAME_FAILED,    /* rank: struct failure */
    FRAME_QUIT,      /* engine */
    FRAME_ASK,       /* engine: struct question; FRAME_DATA answers it */
    FRAME_KIND_COUNT,
};

/* What a connection is for. Output connections carry bytes of the stream after their hello. */
enum hello_role { ROLE_GUARDIAN = 0, ROLE_CONTROL, ROLE_STDOUT, ROLE_STDERR, ROLE_COUNT };

struct hello {
    char token[PROTOCOL_TOKEN + 1];
    enum hello_role role;
    int rank;
    int launched; /* how many processes its launcher has started, as far as it says so; else 0 */
    int64_t pid;
    char host[65];
};

struct welcome {
    int size;    /* ranks of the pool */
    bool shared; /* control page and memory come as descriptors */
};

/* Words are owned by whoever filled the struct; those of setup_read: setup_free. */
struct setup {
    uint32_t epoch, generation;
    int world; /* ranks of this run */
    char *name, *folder, *fault, *device;
    char **directories, **overrides;
    int directory_count, override_count;
    int plan, threads;
    int worker;         /* which of those that share the GPUs of each machine */
    int collectives;    /* enum rank_collectives */
    int limit;          /* milliseconds that data may move after all members have come */
    bool shares_memory; /* FRAME_MEMORY comes next */
    uint64_t config_hash;
    struct mesh mesh;
};

struct arenas {
    int count;
    uint64_t bytes[PROTOCOL_ARENAS];
};

struct ready {
    uint64_t program_hash;
    uint32_t epoch, instructions;
    struct arenas arenas;
    char carrier[160]; /* of its collectives, in words */
};

/* To a rank on another machine: the engine's words of the control page. */
struct order {
    uint64_t command;
    uint32_t generation, cancelled, step, number;
};

/* A rank's words of the control page; of the meetings only that of `group` (-1: none). */
struct update {
    int rank, group, waiting_group;
    uint64_t position, meeting_sequence, waiting_since, busy;
    uint32_t state, seen;
    struct comm_descriptor meeting;
    struct comm_record record; /* the newest; sequence 0: none yet */
};

/* What rank `rank` has on its page, of the meetings that of `group`, whose number `meetings` tells.
 */
void update_of_page(const struct board_rank *page, int rank, int group, const uint64_t *meetings,
                    struct update *update);

struct extent {
    uint32_t arena;
    uint64_t offset, bytes;
};

/* Why an instruction or a setup failed. */
struct failure {
    uint32_t epoch;
    bool broken; /* it cannot be set up again: data were on their way, or its GPU is lost */
    char reason[1024];
};

/* About a value of the rank's program: its samples and statistics, or the hash of its bytes. */
struct question {
    int value;
    struct sampling sampling; /* of the whole tensor; a count of 0: the hash is asked for */
};

enum { STATISTICS_BYTES = 56 };

/* The header of a frame; false: such a frame does not exist, or its body is longer than `most`. */
void frame_header(unsigned char header[PROTOCOL_HEADER], enum frame_kind kind, size_t length);
bool frame_parse(const unsigned char header[PROTOCOL_HEADER], size_t most, enum frame_kind *kind,
                 size_t *length);

/* Append a body. */
void hello_write(struct text *body, const struct hello *hello);
void welcome_write(struct text *body, const struct welcome *welcome);
void setup_write(struct text *body, const struct setup *setup);
void arenas_write(struct text *body, const struct arenas *arenas);
void ready_write(struct text *body, const struct ready *ready);
void order_write(struct text *body, const struct order *order);
void update_write(struct text *body, const struct update *update);
void extent_write(struct text *body, const struct extent *extent);
void question_write(struct text *body, const struct question *question);
void hash_write(struct text *body, uint64_t hash);
void statistics_write(struct text *body, const struct device_statistics *statistics);
void number_write(struct text *body, uint32_t number);
void failure_write(struct text *body, const struct failure *failure);

/* Read a whole body; false: it is not one. */
bool hello_read(const void *body, size_t length, struct hello *hello);
bool welcome_read(const void *body, size_t length, struct welcome *welcome);
/* On success the setup is owned by the caller; on failure it is empty. */
bool setup_read(const void *body, size_t length, struct setup *setup);
void setup_free(struct setup *setup);
bool arenas_read(const void *body, size_t length, struct arenas *arenas);
bool ready_read(const void *body, size_t length, struct ready *ready);
bool order_read(const void *body, size_t length, struct order *order);
/* Of a pool of `size` ranks. */
bool update_read(const void *body, size_t length, int size, struct update *update);
/* *data: the bytes after the extent, `extent->bytes` of them for FRAME_WRITE, none for FRAME_READ.
 */
bool extent_read(const void *body, size_t length, struct extent *extent, const void **data);
bool question_read(const void *body, size_t length, struct question *question);
bool hash_read(const void *body, size_t length, uint64_t *hash);
/* Of the beginning of a body: the samples follow. */
bool statistics_read(const void *body, size_t length, struct device_statistics *statistics);
bool number_read(const void *body, size_t length, uint32_t *number);
bool failure_read(const void *body, size_t length, struct failure *failure);

#endif
