/* Internal to pool*.c. */
#ifndef ENGINE_RANKS_POOL_INTERNAL_H
#define ENGINE_RANKS_POOL_INTERNAL_H

#include "engine/ranks/channel.h"
#include "engine/ranks/job_folder.h"
#include "engine/ranks/launch.h"
#include "engine/ranks/pool.h"

enum { POOL_HEAD = 200, POOL_TAIL = 2048 };

struct pool_process {
    struct channel control, guardian;
    int output[2]; /* -1: not connected, or ended */
    int64_t pid;
    char host[65];
    bool control_closed, ended;
    const char *trouble; /* why the engine has closed the connection, static; NULL: it did not */
    int wait_status;     /* -1: not known */
    int end_number;      /* among those that ended: in which order that was told */
    int stopped_by;
    int log; /* file of its output, -1 */
    int64_t printed[2];
    char tail[POOL_TAIL + 1]; /* the last it printed */
    size_t tail_length;
    /* answers */
    bool has_ready, has_failed, has_data, broken;
    struct ready ready;
    struct failure failure; /* the newest */
    struct text data;
};

/* A connection that has not said what it is for. */
struct pending {
    struct channel channel;
    struct pending *next;
};

struct rank_pool {
    struct rank_pool_options options; /* strings owned */
    double timeout;
    bool own_program; /* options.program was found */
    bool started;
    bool shared; /* ranks are on this machine: they map control page and memory */
    char token[PROTOCOL_TOKEN + 1];
    /* Of a launch on this machine: for the socket and the files of mpirun, and for memory that MPI
     * shares. */
    struct job_folder folder, memory_folder;
    struct listener listener;
    struct launch launch;
    int refused;  /* connections that came without the token of this launch */
    int launched; /* processes that the launcher says it has started; 0: it does not say */
    struct board board;
    struct pool_process *processes; /* [options.size] */
    int ends;                       /* how many have ended */
    uint64_t halts;                 /* how often one was stopped, or went on */
    int *missing; /* [COMM_GROUP_COUNT][options.size]: by the lowest rank of a group, which of its
                     members was last found missing */
    struct pending *pending;
    int epoll;
    uint32_t epoch, generation;        /* the last ones used; they never come again */
    char launcher_head[POOL_HEAD + 1]; /* the first it printed */
    char launcher_tail[POOL_TAIL + 1];
    size_t launcher_tail_length;
    int log_error;       /* errno of a log that could not be written, told once */
    struct world *world; /* that uses the processes, or NULL */
};

/* Handles what is there, waiting up to so many milliseconds for something (-1: for ever). */
void pool_pump(struct rank_pool *pool, int milliseconds);
/* Whether the rank's process is gone or its connection is. */
bool pool_has_lost(const struct rank_pool *pool, int rank);
/* Sends a frame; failing, the rank counts as lost. */
void pool_send(struct rank_pool *pool, int rank, enum frame_kind kind, const struct text *body,
               const int *descriptors, int count);
/* A new order: makes a rank look at its control page (sends it, where it has one of its own). */
void pool_tell(struct rank_pool *pool, int rank);

/* ---- pool_memory.c ---- */

/* Reads or writes memory of a rank on another machine: struct memory_link; the context is a struct
 * pool_memory. */
struct pool_memory {
    struct rank_pool *pool;
    int rank;
};
/* Asks ranks on other machines, of the first `ranks`, for nothing, which also those answer that
 * wait for others: whether some do not within a second. */
bool pool_find_silent(struct rank_pool *pool, const bool *asked, int ranks, bool *silent);
bool pool_read_memory(void *context, const struct extent *extent, void *bytes,
                      struct status *status);
/* Asks such a rank about a value: the answer is as protocol.h has it. */
bool pool_ask(struct pool_memory *memory, const struct question *question, struct text *answer,
              struct status *status);
bool pool_write_memory(void *context, const struct extent *extent, const void *bytes,
                       struct status *status);

/* ---- pool_endings.c: what became of a process ---- */

/* Who is the cause when something is amiss with `rank` (it is lost, has failed, or does not
 * answer): this rank, or another one. Waits a moment until it is known what became of those that
 * are lost. The rule is told where it stands. */
int pool_find_cause(struct rank_pool *pool, int rank);
/* Fails: tells of the cause of what is amiss with a rank. `when` is "while it started". */
bool pool_fail_cause(struct rank_pool *pool, int rank, const char *when, struct status *status);
/* "was killed by signal 9 (Killed)", after waiting a moment for its guardian to tell and for the
 * last that it printed. */
const char *pool_ending_text(struct rank_pool *pool, int rank, char *buffer, int size);
/* " and was stopped by signal 19 (Stopped (signal))", or "". */
void pool_stopped_text(const struct rank_pool *pool, int rank, char *buffer, int size);
/* Appends "; it printed: ..." to a text: as much of the end as there is room for. */
void pool_add_last_words(const struct rank_pool *pool, int rank, char *text, size_t size);
/* The end of what was printed, as far as there is room, as text that only prints: what a launcher
 * or a rank prints may be anything. Without the line ends that come last. */
void pool_last_words(const char *tail, size_t length, char *words, size_t size);
/* The same of the launcher; where there is no room for all of it, its first lines come first, in
 * which the cause mostly is: mpirun adds a page of advice. */
void pool_launcher_words(const struct rank_pool *pool, char *words, size_t size);
/* Keeps the last POOL_TAIL bytes of what has come. */
void pool_keep_tail(char *tail, size_t *length, const char *bytes, size_t count);

/* ---- pool_folders.c ---- */

/* For a launch on this machine; else there are none. */
bool pool_make_folders(struct rank_pool *pool, struct status *status);
const char *pool_folder_path(const struct job_folder *folder); /* NULL: there is none */
/* Processes could not start: says where there is no room for their files, if that is so. */
void pool_tell_full(const struct rank_pool *pool, struct status *status);

/* ---- pool_events.c: what comes over the connections ---- */

enum pool_source {
    SOURCE_LISTENER,
    SOURCE_LAUNCHER,
    SOURCE_LAUNCH_OUTPUT,
    SOURCE_WAKE,
    SOURCE_PENDING,
    SOURCE_CONTROL,
    SOURCE_GUARDIAN,
    SOURCE_OUTPUT
};

/* Adds a descriptor to what pool_pump looks at. */
void pool_watch(struct rank_pool *pool, int fd, enum pool_source source, int rank, int stream);
void pool_close_process(struct rank_pool *pool, int rank);
void pool_close_pending(struct rank_pool *pool);

#endif
