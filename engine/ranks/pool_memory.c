/* What the engine asks ranks on other machines for: their memory, and whether they answer. */
#include "engine/ranks/pool_internal.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <stdio.h>
#include <string.h>

#define LOST_SECONDS 1 /* for an answer, once some rank was lost */

bool pool_find_silent(struct rank_pool *pool, const bool *asked, int ranks, bool *silent)
{
    struct text body = {0};
    struct extent nothing = {0};
    double deadline = clock_seconds() + LOST_SECONDS;
    bool any = true;
    extent_write(&body, &nothing);
    for (int rank = 0; rank < ranks; rank++) {
        pool->processes[rank].has_data = !asked[rank];
        if (asked[rank])
            pool_send(pool, rank, FRAME_READ, &body, NULL, 0);
    }
    text_free(&body);
    while (any && clock_seconds() < deadline) {
        pool_pump(pool, 20);
        any = false;
        for (int rank = 0; rank < ranks; rank++)
            any |= silent[rank] = !pool->processes[rank].has_data;
    }
    return any;
}

static int find_lost(const struct rank_pool *pool)
{
    for (int rank = 0; rank < pool->options.size; rank++)
        if (pool_has_lost(pool, rank))
            return rank;
    return -1;
}

/* The rank is not used for another run. One that does not answer may wait, within MPI, for one that
 * was lost. */
static bool fail_memory(const struct pool_memory *memory, const char *done, struct status *status)
{
    char how[900], stopped[100], whose[60] = "it", text[1000];
    struct rank_pool *pool = memory->pool;
    struct pool_process *process = &pool->processes[memory->rank];
    int cause = process->has_data ? memory->rank : pool_find_cause(pool, memory->rank);
    process->broken = true;
    pool_stopped_text(pool, cause, stopped, sizeof(stopped));
    if (pool_has_lost(pool, cause))
        pool_ending_text(pool, cause, how, sizeof(how));
    else if (process->has_data && process->has_failed) /* it said so before it answered */
        snprintf(how, sizeof(how), "has failed: %.880s", process->failure.reason);
    else if (process->has_data)
        snprintf(how, sizeof(how), "has failed to");
    else
        snprintf(how, sizeof(how), "does not answer%s", stopped);
    if (cause != memory->rank)
        snprintf(whose, sizeof(whose), "it waits for rank %d, which", cause);
    snprintf(text, sizeof(text), "the memory of rank %d cannot be %s: %s %s", memory->rank, done,
             whose, how);
    pool_add_last_words(pool, cause, text, sizeof(text));
    return status_fail(status, STATUS_IO, "%s", text);
}

/* Until the answer is there, or too late: false. */
static bool ask(const struct pool_memory *memory, enum frame_kind kind, const struct text *body)
{
    struct pool_process *process = &memory->pool->processes[memory->rank];
    double deadline = clock_seconds() + memory->pool->timeout;
    process->has_data = false;
    pool_send(memory->pool, memory->rank, kind, body, NULL, 0);
    while (!process->has_data && !pool_has_lost(memory->pool, memory->rank) &&
           clock_seconds() < deadline) {
        pool_pump(memory->pool, 100);
        if (find_lost(memory->pool) >= 0 && deadline > clock_seconds() + LOST_SECONDS)
            deadline = clock_seconds() + LOST_SECONDS;
    }
    return process->has_data;
}

bool pool_read_memory(void *context, const struct extent *extent, void *bytes,
                      struct status *status)
{
    const struct pool_memory *memory = context;
    struct pool_process *process = &memory->pool->processes[memory->rank];
    struct text body = {0};
    extent_write(&body, extent);
    bool answered = ask(memory, FRAME_READ, &body);
    text_free(&body);
    if (!answered || process->data.length != extent->bytes)
        return fail_memory(memory, "read", status);
    memcpy(bytes, process->data.data, (size_t)extent->bytes);
    text_free(&process->data);
    return true;
}

bool pool_ask(struct pool_memory *memory, const struct question *question, struct text *answer,
              struct status *status)
{
    struct pool_process *process = &memory->pool->processes[memory->rank];
    struct text body = {0};
    question_write(&body, question);
    bool answered = ask(memory, FRAME_ASK, &body);
    text_free(&body);
    if (!answered || process->data.length == 0)
        return fail_memory(memory, "read", status);
    *answer = process->data;
    process->data = (struct text){0};
    return true;
}

bool pool_write_memory(void *context, const struct extent *extent, const void *bytes,
                       struct status *status)
{
    const struct pool_memory *memory = context;
    struct text body = {0};
    extent_write(&body, extent);
    text_add_part(&body, bytes, (size_t)extent->bytes);
    pool_send(memory->pool, memory->rank, FRAME_WRITE, &body, NULL, 0);
    text_free(&body);
    return !pool_has_lost(memory->pool, memory->rank) || fail_memory(memory, "written", status);
}
