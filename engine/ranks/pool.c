#include "engine/ranks/pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/ranks/pool_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

enum { QUIT_SECONDS = 10, LAUNCHER_MILLISECONDS = 1000, DEFAULT_TIMEOUT = 30 };

int rank_pool_size(const struct rank_pool *pool)
{
    return pool->options.size;
}

const char *rank_pool_carrier(const struct rank_pool *pool)
{
    return pool->processes[0].ready.carrier;
}

/* ---- talking ---- */

bool pool_has_lost(const struct rank_pool *pool, int rank)
{
    return pool->processes[rank].ended || pool->processes[rank].control_closed;
}

void pool_send(struct rank_pool *pool, int rank, enum frame_kind kind, const struct text *body,
               const int *descriptors, int count)
{
    struct pool_process *process = &pool->processes[rank];
    struct status status = STATUS_NONE;
    if (process->control.fd < 0 ||
        channel_send(&process->control, kind, body, descriptors, count, pool->timeout, &status))
        return;
    process->control_closed = true;
    if (status.code == STATUS_CANCELLED)
        process->trouble = process->stopped_by ? "takes nothing that is sent to it: it was stopped"
                                               : "takes nothing that is sent to it";
}

void pool_tell(struct rank_pool *pool, int rank)
{
    struct board_rank *page = &pool->board.page->ranks[rank];
    atomic_fetch_add(&page->order, 1);
    if (pool->shared) {
        /* the rank says that it is idle before it looks for the last time */
        uint32_t state = atomic_load(&page->state);
        if (state == BOARD_WAITING)
            board_ring(&pool->board, rank);
        else if (state != BOARD_RUNNING && state != BOARD_MOVING)
            pool_send(pool, rank, FRAME_RUN, NULL, NULL, 0);
        return;
    }
    struct text body = {0};
    struct order order = {atomic_load(&page->command), atomic_load(&page->generation),
                          atomic_load(&page->cancelled), atomic_load(&page->step),
                          atomic_load(&page->order)};
    order_write(&body, &order);
    pool_send(pool, rank, FRAME_RUN, &body, NULL, 0);
    text_free(&body);
}

/* ---- launching ---- */

static void make_token(struct rank_pool *pool)
{
    unsigned char bytes[PROTOCOL_TOKEN / 2] = {0};
    size_t got = 0;
    while (got < sizeof(bytes)) {
        ssize_t count = getrandom(bytes + got, sizeof(bytes) - got, 0);
        got += count > 0 ? (size_t)count : 0;
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(pool->token + 2 * i, 3, "%02x", bytes[i]);
}

static bool listen_for_ranks(struct rank_pool *pool, struct status *status)
{
    const char *address = pool->options.launch.address;
    char host[LISTENER_ADDRESS];
    if (pool->shared)
        return listener_open_local(&pool->listener, pool->folder.path, status);
    if (!address)
        address = listener_towards(pool->options.launch.hostfile, host, sizeof(host));
    return listener_open_remote(&pool->listener, address, status);
}

static void open_log(struct rank_pool *pool, int rank)
{
    if (!pool->options.output_folder)
        return;
    char *path = memory_format("%s/logs_rank_%d.txt", pool->options.output_folder, rank);
    pool->processes[rank].log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (pool->processes[rank].log < 0)
        pool->log_error = errno;
    free(path);
}

static void reset_processes(struct rank_pool *pool)
{
    for (int rank = 0; rank < pool->options.size; rank++) {
        pool->processes[rank] = (struct pool_process){.control = {.fd = -1},
                                                      .guardian = {.fd = -1},
                                                      .output = {-1, -1},
                                                      .wait_status = -1,
                                                      .log = -1};
        open_log(pool, rank);
    }
    pool->launched = pool->refused = 0;
    pool->launcher_tail_length = 0;
    pool->launcher_tail[0] = pool->launcher_head[0] = '\0';
}

/* Each rank has four connections, and its twin two descriptors of memory for a moment: with many
 * ranks that is more than what a shell allows by default (1024), though not what it may allow. */
static void raise_limit(int ranks)
{
    struct rlimit limit;
    rlim_t needed = 6 * (rlim_t)ranks + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool begin(struct rank_pool *pool, struct status *status)
{
    raise_limit(pool->options.size);
    if (!board_create(&pool->board, pool->options.size, status) ||
        !pool_make_folders(pool, status) || !listen_for_ranks(pool, status))
        return false;
    pool->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pool->epoll < 0)
        return status_fail(status, STATUS_IO, "no epoll: %s", strerror(errno));
    struct launch_options options = {.size = pool->options.size,
                                     .program = pool->options.program,
                                     .launcher = pool->options.launch.launcher,
                                     .hostfile = pool->options.launch.hostfile,
                                     .address = pool->listener.address,
                                     .token = pool->token,
                                     .folder = pool_folder_path(&pool->folder),
                                     .memory_folder = pool_folder_path(&pool->memory_folder),
                                     .remote = !pool->shared};
    pool_watch(pool, pool->listener.fd, SOURCE_LISTENER, 0, 0);
    pool_watch(pool, pool->board.wake, SOURCE_WAKE, 0, 0);
    if (!launch_start(&pool->launch, &options, status))
        return false;
    pool_watch(pool, pool->launch.descriptor, SOURCE_LAUNCHER, 0, 0);
    pool_watch(pool, pool->launch.output, SOURCE_LAUNCH_OUTPUT, 0, 0);
    return true;
}

/* ---- waiting for all to be there ---- */

static bool is_there(const struct rank_pool *pool, int rank)
{
    const struct pool_process *process = &pool->processes[rank];
    return process->control.fd >= 0 && process->guardian.fd >= 0 && process->output[0] >= 0 &&
           process->output[1] >= 0 &&
           atomic_load(&pool->board.page->ranks[rank].state) == BOARD_IDLE;
}

/* Whether a rank could not start. */
static bool has_failed(struct rank_pool *pool, struct status *status)
{
    char how[160], words[500];
    /* what it has told, and its ranks have, before the launcher ended; a rank explains more */
    for (int i = 0; pool->launch.ended && i < 8; i++)
        pool_pump(pool, 0);
    if (pool->launched > 0 && pool->launched != pool->options.size)
        return !status_fail(status, STATUS_INVALID,
                            "the launcher has started %d process%s for %d ranks", pool->launched,
                            pool->launched == 1 ? "" : "es", pool->options.size);
    for (int rank = 0; rank < pool->options.size; rank++)
        if (pool->processes[rank].has_failed || pool_has_lost(pool, rank))
            return !pool_fail_cause(pool, rank, "while it started", status);
    if (!pool->launch.ended)
        return false;
    pool_launcher_words(pool, words, sizeof(words));
    return !status_fail(status, STATUS_IO, "the launcher %s before all ranks had come%s%s%s",
                        launch_status_text(pool->launch.wait_status, how, sizeof(how)),
                        pool->refused ? "; who came without the token of this launch was refused"
                                      : "",
                        words[0] ? ": " : "", words);
}

/* Whom the others wait for: one that was stopped, or has not connected; else the first. */
static int find_missing(const struct rank_pool *pool)
{
    int first = -1, never = -1;
    for (int rank = pool->options.size - 1; rank >= 0; rank--) {
        if (pool->processes[rank].stopped_by)
            return rank;
        first = is_there(pool, rank) ? first : rank;
        never = pool->processes[rank].control.fd < 0 ? rank : never;
    }
    return never >= 0 ? never : first;
}

static bool fail_missing(struct rank_pool *pool, int there, struct status *status)
{
    char stopped[100], text[800];
    int rank = find_missing(pool);
    pool_stopped_text(pool, rank, stopped, sizeof(stopped));
    snprintf(text, sizeof(text), "%d of %d ranks came within %g s, rank %d is missing%s", there,
             pool->options.size, pool->options.start_timeout, rank, stopped);
    pool_add_last_words(pool, rank, text, sizeof(text));
    return status_fail(status, STATUS_IO, "%s", text);
}

static bool wait_for_all(struct rank_pool *pool, struct status *status)
{
    double deadline = clock_seconds() + pool->options.start_timeout;
    for (;;) {
        int there = 0, stopped = 0;
        atomic_store(&pool->board.page->engine_sleeps, 1);
        for (int rank = 0; rank < pool->options.size; rank++) {
            there += is_there(pool, rank);
            stopped += pool->processes[rank].stopped_by != 0;
        }
        if (stopped && deadline > clock_seconds() + pool->timeout) /* somebody may let it go on */
            deadline = clock_seconds() + pool->timeout;
        if (there == pool->options.size)
            break;
        if (has_failed(pool, status))
            return false;
        if (clock_seconds() > deadline)
            return fail_missing(pool, there, status);
        pool_pump(pool, 200);
    }
    pool_close_pending(pool);
    listener_close(&pool->listener); /* nobody else may come, and its name is gone */
    return true;
}

/* Whether all have left; or one of them in another way than it was asked to: then the others may
 * wait for it in vain. */
static bool has_quit(struct rank_pool *pool)
{
    int ended = 0;
    for (int rank = 0; rank < pool->options.size; rank++) {
        const struct pool_process *process = &pool->processes[rank];
        if (process->stopped_by || process->trouble || (process->ended && process->wait_status))
            return true;
        ended += process->ended;
    }
    return ended == pool->options.size && launch_has_ended(&pool->launch);
}

/* A guardian whose connection closes kills its rank. */
static void stop(struct rank_pool *pool)
{
    double deadline = clock_seconds() + fmin(QUIT_SECONDS, pool->timeout);
    bool all_came = pool->started, sound = rank_pool_is_sound(pool);
    pool->started = false;
    for (int rank = 0; sound && rank < pool->options.size; rank++)
        pool_send(pool, rank, FRAME_QUIT, NULL, NULL, 0);
    while (sound && !has_quit(pool) && clock_seconds() < deadline)
        pool_pump(pool, 100);
    for (int rank = 0; rank < pool->options.size; rank++)
        pool_close_process(pool, rank);
    pool_close_pending(pool);
    /* mpirun ends when its processes have; asked to, it takes two seconds */
    launch_stop(&pool->launch, all_came ? LAUNCHER_MILLISECONDS : 0);
    listener_close(&pool->listener);
    job_folder_remove(&pool->folder);
    job_folder_remove(&pool->memory_folder);
    board_close(&pool->board);
    if (pool->epoll >= 0)
        close(pool->epoll);
    pool->epoll = -1;
    reset_processes(pool);
}

static bool start(struct rank_pool *pool, struct status *status)
{
    pool->started = begin(pool, status) && wait_for_all(pool, status);
    if (!pool->started)
        pool_tell_full(pool, status);
    if (!pool->started)
        stop(pool);
    return pool->started;
}

/* ---- the pool ---- */

static char *own_program(struct status *status)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    if (length > 0 && access(path, X_OK) == 0)
        return memory_string(path);
    if (length > 0) /* replaced by another build since: ranks must be of this one */
        return memory_format("/proc/%d/exe", (int)getpid());
    status_fail(status, STATUS_IO, "/proc/self/exe: %s", strerror(errno));
    return NULL;
}

static void copy_strings(struct rank_pool_options *options)
{
    options->launch.launcher = memory_string(options->launch.launcher);
    options->launch.hostfile = memory_string(options->launch.hostfile);
    options->launch.address = memory_string(options->launch.address);
    options->output_folder = memory_string(options->output_folder);
}

struct rank_pool *rank_pool_create(const struct rank_pool_options *options, struct status *status)
{
    if (options->size < 1 || options->size > MESH_MAX_RANKS) {
        status_fail(status, STATUS_INVALID, "%d ranks: there can be 1 to %d", options->size,
                    MESH_MAX_RANKS);
        return NULL;
    }
    const char *launcher = options->launch.launcher;
    if (launcher && launcher[strspn(launcher, " ")] == '\0') {
        status_fail(status, STATUS_INVALID, "--launcher names no program");
        return NULL;
    }
    char *program = options->program ? memory_string(options->program) : own_program(status);
    if (!program)
        return NULL;
    struct rank_pool *pool = memory_zeroed(1, sizeof(*pool));
    pool->options = *options;
    copy_strings(&pool->options);
    pool->options.program = program;
    pool->own_program = !options->program;
    pool->timeout = options->launch.timeout > 0 ? options->launch.timeout : DEFAULT_TIMEOUT;
    if (options->start_timeout <= 0)
        pool->options.start_timeout =
            pool->timeout > DEFAULT_TIMEOUT ? pool->timeout : DEFAULT_TIMEOUT;
    pool->shared =
        !options->launch.launcher && !options->launch.hostfile && !options->launch.address;
    pool->folder.lock = pool->memory_folder.lock = -1;
    pool->listener.fd = pool->epoll = pool->board.fd = pool->board.wake = -1;
    pool->launch = (struct launch){.descriptor = -1, .output = -1};
    pool->processes = memory_zeroed((size_t)options->size, sizeof(*pool->processes));
    pool->missing = memory_zeroed((size_t)options->size * COMM_GROUP_COUNT, sizeof(int));
    reset_processes(pool);
    make_token(pool);
    if (start(pool, status))
        return pool;
    rank_pool_free(pool);
    return NULL;
}

void rank_pool_free(struct rank_pool *pool)
{
    if (!pool)
        return;
    stop(pool);
    for (int rank = 0; rank < pool->options.size; rank++)
        pool_close_process(pool, rank);
    free(pool->processes);
    free(pool->missing);
    free((char *)pool->options.program);
    free((char *)pool->options.launch.launcher);
    free((char *)pool->options.launch.hostfile);
    free((char *)pool->options.launch.address);
    free((char *)pool->options.output_folder);
    free(pool);
}

bool rank_pool_is_sound(const struct rank_pool *pool)
{
    for (int rank = 0; rank < pool->options.size; rank++)
        if (pool_has_lost(pool, rank) || pool->processes[rank].broken ||
            pool->processes[rank].stopped_by)
            return false;
    return pool->started && !pool->launch.ended;
}

bool rank_pool_restart(struct rank_pool *pool, struct status *status)
{
    char *program = pool->own_program ? own_program(status) : NULL;
    if (pool->own_program && !program)
        return false;
    if (program) { /* another build may lie at its path by now */
        free((char *)pool->options.program);
        pool->options.program = program;
    }
    stop(pool);
    make_token(pool);
    return start(pool, status);
}

void rank_pool_poll(struct rank_pool *pool, double seconds)
{
    pool_pump(pool, (int)(seconds * 1000));
}

void rank_pool_describe(const struct rank_pool *pool, int rank,
                        struct rank_process_state *description)
{
    const struct pool_process *process = &pool->processes[rank];
    *description = (struct rank_process_state){
        .pid = process->pid,
        .host = process->host,
        .ended = process->ended,
        .wait_status = process->wait_status,
        .stopped_by = process->stopped_by,
        .printed = {process->printed[0], process->printed[1]},
    };
}

uint64_t rank_pool_halts(const struct rank_pool *pool)
{
    return pool->halts;
}

int rank_pool_collectives(const struct rank_pool *pool, int rank, struct comm_record *records,
                          int most)
{
    return board_records(&pool->board, rank, records, most);
}
