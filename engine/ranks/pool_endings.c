/* What became of a rank process, in words. */
#include "engine/ranks/pool_internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum {
    ENDING_MILLISECONDS = 3000,   /* for a guardian to tell, and for the last output to come */
    LAUNCHER_MILLISECONDS = 1000, /* for a launcher that took its processes along */
    DRAIN_ROUNDS = 64,
    MOST_WORDS = 600,
    LEAST_WORDS = 40 /* fewer characters of room are not worth it */
};

static double now(void)
{
    return (double)board_nanoseconds() * 1e-9;
}

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
    for (int round = 0; round < DRAIN_ROUNDS && now() < deadline; round++) {
        if (process->output[0] < 0 && process->output[1] < 0)
            return;
        pool_pump(pool, process->ended ? 50 : 0);
    }
}

static void wait_for_launcher(struct rank_pool *pool)
{
    double deadline = now() + LAUNCHER_MILLISECONDS * 1e-3;
    while (!launch_has_ended(&pool->launch) && now() < deadline)
        pool_pump(pool, 20);
}

const char *pool_ending_text(struct rank_pool *pool, int rank, char *buffer, int size)
{
    struct pool_process *process = &pool->processes[rank];
    double deadline = now() + ENDING_MILLISECONDS * 1e-3;
    char how[120];
    while (!process->ended && now() < deadline)
        pool_pump(pool, 50);
    drain(pool, process, deadline);
    bool known = process->ended && process->wait_status >= 0;
    if (known && (WIFSIGNALED(process->wait_status) || !process->trouble))
        return launch_status_text(process->wait_status, buffer, size);
    if (process->ended && !known)
        wait_for_launcher(pool);
    if (process->trouble)
        snprintf(buffer, (size_t)size, "%s", process->trouble);
    else if (!process->ended)
        snprintf(buffer, (size_t)size, "has closed its connection with the engine");
    else if (pool->launch.ended)
        snprintf(buffer, (size_t)size, "is gone with its launcher, which %s",
                 launch_status_text(pool->launch.wait_status, how, sizeof(how)));
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

const char *pool_last_words(char *tail, size_t *length)
{
    while (*length > 0 && tail[*length - 1] == '\n')
        tail[--*length] = '\0';
    return tail + (*length > MOST_WORDS ? *length - MOST_WORDS : 0);
}

void pool_add_last_words(const struct rank_pool *pool, int rank, char *text, size_t size)
{
    static const char by_rank[] = "; it printed: ", by_launcher[] = "; the launcher printed: ";
    const struct pool_process *process = &pool->processes[rank];
    /* what comes before the rank has connected goes through the launcher */
    bool early = process->tail_length == 0 && !pool->started;
    const char *tail = early ? pool->launcher_tail : process->tail;
    size_t length = early ? pool->launcher_tail_length : process->tail_length;
    size_t used = strlen(text);
    while (length > 0 && tail[length - 1] == '\n')
        length--;
    if (length == 0 || size < used + LEAST_WORDS)
        return;
    size_t room = size - used - sizeof(by_launcher), first = length > room ? length - room : 0;
    const char *line = first > 0 ? memchr(tail + first, '\n', length - first) : NULL;
    if (line && (size_t)(line - tail) - first < room / 4) /* whole lines, if that costs little */
        first = (size_t)(line - tail) + 1;
    snprintf(text + used, size - used, "%s%.*s", early ? by_launcher : by_rank,
             (int)(length - first), tail + first);
}
