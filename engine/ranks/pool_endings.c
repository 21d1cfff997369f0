/* What became of a rank process, in words. */
#include "engine/ranks/pool_internal.h"

#include "engine/base/clock.h"
#include "engine/base/text.h"
#include "engine/base/unicode.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum {
    ENDING_MILLISECONDS = 3000,   /* for a guardian to tell, and for the last output to come */
    LAUNCHER_MILLISECONDS = 1000, /* for a launcher that took its processes along */
    ABORT_MILLISECONDS = 100,     /* the same, where that is a guess */
    DRAIN_ROUNDS = 64,
    LEAST_WORDS = 40 /* fewer characters of room are not worth it */
};

void pool_keep_tail(char *tail, size_t *length, const char *bytes, size_t count)
{
    if (count >= POOL_TAIL) {
        bytes += count - POOL_TAIL;
        count = POOL_TAIL;
    }
    size_t keep = *length + count > POOL_TAIL ? POOL_TAIL - count : *length;
    memmove(tail, tail + *length - keep, keep);
    memcpy(tail + keep, bytes, count);
    *length = keep + count;
    tail[*length] = '\0';
}

/* Until the output of a process that has ended has come, to its last byte. */
static void drain(struct rank_pool *pool, struct pool_process *process, double deadline)
{
    for (int round = 0; round < DRAIN_ROUNDS && clock_seconds() < deadline; round++) {
        if (process->output[0] < 0 && process->output[1] < 0)
            return;
        pool_pump(pool, process->ended ? 50 : 0);
    }
}

static void wait_for_launcher(struct rank_pool *pool, int milliseconds)
{
    double deadline = clock_seconds() + milliseconds * 1e-3;
    while (!launch_has_ended(&pool->launch) && clock_seconds() < deadline)
        pool_pump(pool, 20);
}

/* Whether it was killed: all ranks go with it. */
static bool launcher_was_killed(const struct rank_pool *pool)
{
    return pool->launch.ended && WIFSIGNALED(pool->launch.wait_status);
}

/* ---- who is the cause ---- */

/* What is known of how a rank has come to its end; what comes first explains what comes later. */
enum ending {
    ENDING_OWN,     /* of itself: a signal, an exit, nonsense that it sent */
    ENDING_UNKNOWN, /* nobody has told: its guardian is gone, too */
    ENDING_LEFT,    /* its connection is gone, whoever closed it; else it would be there */
    ENDING_STOPPED, /* it has not ended, but is stopped: the others may wait for it */
    ENDING_NONE,    /* it lives, and may have failed, or be silent */
};

static bool has_left(const struct pool_process *process)
{
    return process->wait_status >= 0 && WIFEXITED(process->wait_status) &&
           WEXITSTATUS(process->wait_status) == PROTOCOL_LEFT;
}

static enum ending ending_of(const struct rank_pool *pool, int rank)
{
    const struct pool_process *process = &pool->processes[rank];
    if (process->trouble || (process->wait_status >= 0 && !has_left(process)))
        return ENDING_OWN;
    if (process->ended && !has_left(process))
        return ENDING_UNKNOWN;
    if (pool_has_lost(pool, rank))
        return ENDING_LEFT;
    return process->stopped_by ? ENDING_STOPPED : ENDING_NONE;
}

/* Until all that came at the same time was taken, and guardians have told of those that are lost.
 */
static void settle(struct rank_pool *pool)
{
    double deadline = clock_seconds() + ENDING_MILLISECONDS * 1e-3;
    bool open = true;
    pool_pump(pool, 0);
    while (open && clock_seconds() < deadline) {
        open = false;
        for (int rank = 0; rank < pool->options.size; rank++)
            open |= pool_has_lost(pool, rank) && !pool->processes[rank].ended &&
                    !pool->processes[rank].trouble;
        if (open)
            pool_pump(pool, 50);
    }
}

/* The rule, in all phases. Ends, closed connections and last messages do not come in the order in
 * which things happened: a rank that dies takes others along, by MPI, by the launcher, or as the
 * engine closes their connections, and what they say may come first. So, once it is known what
 * became of all that are lost, a rank is the cause
 *   - that has ended of itself, rather than one
 *   - that nobody can tell of any more, rather than one
 *   - that has left, as its connection with the engine was gone, rather than one
 *   - that is stopped, rather than
 *   - the one with which something is amiss: one that has failed, or is silent.
 * Of several alike it is the one whose end was told first; a guardian tells before anybody else can
 * know. A launcher that was killed takes all of them along: pool_ending_text says so. */
int pool_find_cause(struct rank_pool *pool, int rank)
{
    settle(pool);
    int cause = rank, first = INT_MAX;
    enum ending best = ending_of(pool, rank);
    if (pool->processes[rank].ended)
        first = pool->processes[rank].end_number;
    for (int other = 0; other < pool->options.size; other++) {
        const struct pool_process *process = &pool->processes[other];
        enum ending ending = ending_of(pool, other);
        int number = process->ended ? process->end_number : INT_MAX;
        if (ending > best || (ending == best && number >= first))
            continue;
        cause = other;
        best = ending;
        first = number;
    }
    return cause;
}

bool pool_fail_cause(struct rank_pool *pool, int rank, const char *when, struct status *status)
{
    char how[160], text[800], whose[40] = "";
    int cause = pool_find_cause(pool, rank);
    if (!pool_has_lost(pool, cause)) /* it is only stopped */
        cause = rank;
    const struct pool_process *process = &pool->processes[cause];
    if (process->has_failed)
        return status_fail(status, pool->started ? STATUS_INVALID : STATUS_UNSUPPORTED,
                           "rank %d: %s", cause, process->failure.reason);
    if (pool->started)
        snprintf(whose, sizeof(whose), "process %lld of ", (long long)process->pid);
    pool_ending_text(pool, cause, how, sizeof(how));
    snprintf(text, sizeof(text), "%srank %d %s %s", whose, cause, how, when);
    pool_add_last_words(pool, cause, text, sizeof(text));
    return status_fail(status, STATUS_IO, "%s", text);
}

/* ---- in words ---- */

/* Whether a rank has gone with its launcher. One that ended by itself is an explanation only where
 * nobody has told of the rank; and mpirun here only ends as its ranks do. */
static bool went_with_launcher(const struct rank_pool *pool, const struct pool_process *process)
{
    bool other = pool->options.launch.launcher || pool->options.launch.hostfile;
    if (!process->ended || !pool->launch.ended)
        return false;
    return launcher_was_killed(pool) || (other && process->wait_status < 0);
}

const char *pool_ending_text(struct rank_pool *pool, int rank, char *buffer, int size)
{
    struct pool_process *process = &pool->processes[rank];
    double deadline = clock_seconds() + ENDING_MILLISECONDS * 1e-3;
    char how[120];
    while (!process->ended && clock_seconds() < deadline)
        pool_pump(pool, 50);
    drain(pool, process, deadline);
    bool told = process->wait_status >= 0 && !has_left(process);
    bool killed = told && WIFSIGNALED(process->wait_status);
    if (process->ended && !killed) /* MPI, too, ends a rank that has lost its launcher */
        wait_for_launcher(pool,
                          process->wait_status >= 0 ? ABORT_MILLISECONDS : LAUNCHER_MILLISECONDS);
    if (process->trouble && !killed)
        snprintf(buffer, (size_t)size, "%s", process->trouble);
    else if (went_with_launcher(pool, process))
        snprintf(buffer, (size_t)size, "is gone with its launcher, which %s",
                 launch_status_text(pool->launch.wait_status, how, sizeof(how)));
    else if (told)
        return launch_status_text(process->wait_status, buffer, size);
    else if (!process->ended || has_left(process))
        snprintf(buffer, (size_t)size, "has closed its connection with the engine");
    else
        snprintf(buffer, (size_t)size, "%s",
                 pool->shared ? "is gone with its guardian, which was killed"
                              : "is gone, or cannot be reached any more: its guardian is silent");
    return buffer;
}

void pool_stopped_text(const struct rank_pool *pool, int rank, char *buffer, int size)
{
    int number = pool->processes[rank].stopped_by;
    buffer[0] = '\0';
    if (number)
        snprintf(buffer, (size_t)size, " and was stopped by signal %d (%s)", number,
                 strsignal(number));
}

/* Lines of what was printed, as text that only prints. */
static void add_lines(struct text *shown, const char *bytes, size_t length)
{
    const char *end = bytes + length;
    for (const char *stop; (stop = memchr(bytes, '\n', (size_t)(end - bytes))); bytes = stop + 1) {
        unicode_add_printable(shown, bytes, (size_t)(stop - bytes));
        text_add(shown, "\n");
    }
    unicode_add_printable(shown, bytes, (size_t)(end - bytes));
}

void pool_last_words(const char *tail, size_t length, char *words, size_t size)
{
    struct text shown = {0};
    while (length > 0 && tail[length - 1] == '\n')
        length--;
    add_lines(&shown, tail, length);
    size_t room = size - 1, first = shown.length > room ? shown.length - room : 0;
    const char *line = first > 0 ? memchr(shown.data + first, '\n', shown.length - first) : NULL;
    if (line &&
        (size_t)(line - shown.data) - first < room / 4) /* whole lines, if that costs little */
        first = (size_t)(line - shown.data) + 1;
    while (first < shown.length && (shown.data[first] & 0xc0) == 0x80) /* a whole character */
        first++;
    snprintf(words, size, "%s", shown.length ? shown.data + first : "");
    text_free(&shown);
}

void pool_launcher_words(const struct rank_pool *pool, char *words, size_t size)
{
    static const char between[] = "\n...\n";
    char head[4 * POOL_HEAD + 1]; /* a byte that does not print is shown as up to four */
    const char *from = pool->launcher_head + strspn(pool->launcher_head, "-\n"), *end;
    pool_last_words(pool->launcher_tail, pool->launcher_tail_length, words, size);
    if (pool->launcher_tail_length < size)
        return;
    pool_last_words(from, strlen(from), head, sizeof(head));
    if (!(end = strrchr(head, '\n')) || (size_t)(end - head) > size / 2)
        return; /* no line that is whole, or no room for the end */
    size_t used = (size_t)snprintf(words, size, "%.*s%s", (int)(end - head), head, between);
    pool_last_words(pool->launcher_tail, pool->launcher_tail_length, words + used, size - used);
}

void pool_add_last_words(const struct rank_pool *pool, int rank, char *text, size_t size)
{
    static const char by_rank[] = "; it printed: ", by_launcher[] = "; the launcher printed: ";
    const struct pool_process *process = &pool->processes[rank];
    /* what comes before the rank has connected goes through the launcher */
    bool early = process->tail_length == 0 && !pool->started;
    size_t length = early ? pool->launcher_tail_length : process->tail_length;
    size_t used = strlen(text);
    if (length == 0 || size < used + LEAST_WORDS)
        return;
    used += (size_t)snprintf(text + used, size - used, "%s", early ? by_launcher : by_rank);
    if (early)
        pool_launcher_words(pool, text + used, size - used);
    else
        pool_last_words(process->tail, length, text + used, size - used);
}
