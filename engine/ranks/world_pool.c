/* A world of rank processes: twins in this process stand where the ranks stand. */
#include "engine/ranks/world_pool.h"

#include "engine/base/clock.h"
#include "engine/base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool_world *world_pool_context(const struct world *world)
{
    return world->context;
}

struct board_rank *world_pool_page(const struct world *world, int rank)
{
    return &world_pool_context(world)->pool->board.page->ranks[rank];
}

/* How many instructions of its present step the rank has run. */
static int done_by(const struct world *world, int rank)
{
    uint64_t position = atomic_load(&world_pool_page(world, rank)->position);
    return board_epoch(position) == world_pool_context(world)->ranks[rank].epoch
               ? board_number(position)
               : 0;
}

void world_pool_command(struct world *world, int rank, int limit)
{
    struct pool_world *context = world_pool_context(world);
    atomic_store(&world_pool_page(world, rank)->command,
                 board_pair(context->ranks[rank].epoch, (uint32_t)limit));
    world_pool_touch(world, rank);
    pool_tell(context->pool, rank);
}

void world_pool_begin_epoch(struct world *world, int rank)
{
    struct pool_world *context = world_pool_context(world);
    struct board_rank *page = world_pool_page(world, rank);
    context->ranks[rank].epoch = ++context->pool->epoch;
    context->ranks[rank].busy = 0;
    context->ranks[rank].moved = clock_seconds();
    atomic_store(&page->step, (uint32_t)world->ranks[rank].run->step);
    atomic_store(&page->cancelled, 0);
}

static bool pool_allow(struct world *world, int index, int limit, struct status *status)
{
    struct world_rank *rank = &world->ranks[index];
    if (world_has_ended(world, index))
        return status_fail(status, STATUS_INVALID, "rank %d %s: %s", index,
                           rank->state == RANK_LOST ? "was lost" : "failed", rank->reason);
    bool next_step = world_run_at_end(rank->run);
    if (!run_prepare(rank->run, status))
        return false;
    if (next_step)
        world_pool_begin_epoch(world, index);
    rank->allowed = limit;
    world_pool_context(world)->ranks[index].moved = clock_seconds();
    world_pool_command(world, index, limit);
    return true;
}

static void pool_hold(struct world *world, int index)
{
    struct world_rank *rank = &world->ranks[index];
    if (world_has_ended(world, index) || world_run_at_end(rank->run))
        return;
    /* nothing that has begun can be taken back: the rank looks before its next instruction */
    int next = done_by(world, index);
    bool waits = atomic_load(&world_pool_page(world, index)->state) == BOARD_WAITING;
    rank->allowed = next + waits;
    world_pool_command(world, index, rank->allowed);
}

/* ---- what the ranks have done ---- */

static void count_sent(const struct program *program, int from, int to, enum op op, int peer,
                       int *count)
{
    for (int i = from; i < to; i++)
        *count +=
            program->instructions[i].op == op && program->instructions[i].parameters.peer == peer;
}

/* Messages between two ranks are received in the order in which they were sent, within the step. */
static bool pool_has_message(const struct world *world, int index)
{
    const struct run *run = world->ranks[index].run;
    int peer = world_standing(world, index)->parameters.peer, sent = 0, received = 0;
    const struct run *other = world->ranks[peer].run;
    if (world_pool_context(world)->ranks[index].held_up)
        return false; /* it had not left yet when its rank was lost */
    if (other->step != run->step)
        return other->step > run->step;
    count_sent(other->program, 0, other->executor->next, OP_SEND, index, &sent);
    count_sent(run->program, 0, run->executor->next, OP_RECEIVE, peer, &received);
    return sent > received;
}

/* The state of a rank whose twin stands where it stands. A rank that has arrived and moves data is
 * running: others may be through already, and wait in the next collective. */
void world_pool_settle(struct world *world, int index)
{
    struct world_rank *rank = &world->ranks[index];
    struct board_rank *page = world_pool_page(world, index);
    if (world_has_ended(world, index)) {
        world_note(world, index);
        return;
    }
    enum board_state state = (enum board_state)atomic_load(&page->state);
    if (done_by(world, index) > rank->run->executor->next)
        state = BOARD_RUNNING; /* what was just read is of a later instruction */
    else if (world_run_at_end(rank->run))
        state = BOARD_IDLE; /* whatever it still says */
    bool may = !world_run_at_end(rank->run) && rank->run->executor->next < rank->allowed;
    if (world_pool_context(world)->ranks[index].held_up)
        state = BOARD_WAITING;
    switch (state) {
    case BOARD_WAITING:
        rank->state = RANK_WAITING;
        rank->waiting_since = (double)atomic_load(&page->waiting_since) * 1e-9;
        break;
    case BOARD_RUNNING:
    case BOARD_MOVING:
        rank->state = RANK_RUNNING;
        break;
    default:
        rank->state = may ? RANK_RUNNING : RANK_STOPPED;
    }
    world_note(world, index);
}

void world_pool_give(const struct world *world, int index, enum world_event_kind kind,
                     struct world_event *event)
{
    const struct run *run = world->ranks[index].run;
    *event = (struct world_event){kind, index, run->step, run->executor->next};
}

/* Moves the twin on by one instruction that the rank has run. */
static void count_one(struct world *world, int index, struct world_event *event)
{
    struct world_rank *rank = &world->ranks[index];
    struct pool_rank_run *own = &world_pool_context(world)->ranks[index];
    struct status status = STATUS_NONE;
    uint64_t busy = atomic_load(&world_pool_page(world, index)->busy);
    world_pool_give(world, index, WORLD_DONE, event);
    if (!run_complete(rank->run, (double)(busy - own->busy) * 1e-9, &status)) {
        event->kind = WORLD_FAILED;
        rank->state = RANK_FAILED;
        snprintf(rank->reason, sizeof(rank->reason), "%s", status.text);
    }
    own->busy = busy;
}

/* ---- who has done something ---- */

static bool comes_before(const struct pool_news *a, const struct pool_news *b)
{
    if (a->step != b->step)
        return a->step < b->step;
    return a->next != b->next ? a->next < b->next : a->rank < b->rank;
}

static void push(struct pool_queue *queue, struct pool_news news)
{
    int i = queue->count++;
    for (; i > 0 && comes_before(&news, &queue->news[(i - 1) / 2]); i = (i - 1) / 2)
        queue->news[i] = queue->news[(i - 1) / 2];
    queue->news[i] = news;
    queue->has[news.rank] = true;
}

static int pop(struct pool_queue *queue)
{
    int rank = queue->news[0].rank, i = 0, count = --queue->count;
    struct pool_news last = queue->news[count];
    for (int child; (child = 2 * i + 1) < count; i = child) {
        child += child + 1 < count && comes_before(&queue->news[child + 1], &queue->news[child]);
        if (!comes_before(&queue->news[child], &last))
            break;
        queue->news[i] = queue->news[child];
    }
    queue->news[i] = last;
    queue->has[rank] = false;
    return rank;
}

static void look_at(struct world *world, int rank)
{
    struct pool_queue *queue = &world_pool_context(world)->queue;
    const struct run *run = world->ranks[rank].run;
    if (!queue->has[rank] && !world_has_ended(world, rank) &&
        done_by(world, rank) > run->executor->next)
        push(queue, (struct pool_news){run->step, run->executor->next, rank});
    world_pool_settle(world, rank);
}

/* Looks at the ranks that have changed their words, and at those that the engine has moved. */
static void look_at_news(struct world *world)
{
    struct pool_world *context = world_pool_context(world);
    for (int word = 0; word * 64 < context->pool->board.size; word++)
        for (uint64_t bits = board_take_news(&context->pool->board, word); bits; bits &= bits - 1) {
            int rank = word * 64 + __builtin_ctzll(bits);
            if (rank < world->size)
                look_at(world, rank);
        }
    for (int rank = 0; context->any_dirty && rank < world->size; rank++)
        if (context->dirty[rank]) {
            context->dirty[rank] = false;
            look_at(world, rank);
        }
    context->any_dirty = false;
}

void world_pool_touch(struct world *world, int rank)
{
    struct pool_world *context = world_pool_context(world);
    context->dirty[rank] = context->any_dirty = true;
}

void world_pool_forget_news(struct world *world)
{
    struct pool_world *context = world_pool_context(world);
    while (context->queue.count > 0)
        pop(&context->queue);
    for (int rank = 0; rank < world->size; rank++)
        world_pool_touch(world, rank);
}

static bool take_done(struct world *world, struct world_event *event)
{
    struct pool_queue *queue = &world_pool_context(world)->queue;
    look_at_news(world);
    while (queue->count > 0) {
        int rank = pop(queue);
        if (world_has_ended(world, rank) ||
            done_by(world, rank) <= world->ranks[rank].run->executor->next)
            continue;
        count_one(world, rank, event);
        look_at(world, rank);
        return true;
    }
    return false;
}

/* ---- ends ---- */

/* Whether the instruction that it stands before may have been begun. */
static void mark_torn(struct world *world, int index)
{
    struct run *run = world->ranks[index].run;
    run->executor->torn = !world_run_at_end(run);
}

/* The rank counts as lost: its process "was killed by ...". The reason also has where it stood and
 * what it printed last. */
static void world_pool_lose(struct world *world, int index, const char *what)
{
    struct world_rank *rank = &world->ranks[index];
    struct rank_pool *pool = world_pool_context(world)->pool;
    char place[160] = "the end of its step";
    if (!world_run_at_end(rank->run))
        program_instruction_text(rank->run->program, rank->run->executor->next, place,
                                 sizeof(place));
    snprintf(rank->reason, sizeof(rank->reason), "process %lld of rank %d %s, at %s",
             (long long)pool->processes[index].pid, index, what, place);
    pool_add_last_words(pool, index, rank->reason, sizeof(rank->reason));
    rank->state = RANK_LOST;
    world_note(world, index);
    pool->processes[index].broken = true;
    mark_torn(world, index);
}

static int find_cause(const struct world *world, int index)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    int cause = pool_find_cause(pool, index);
    bool known =
        cause < world->size && !world_has_ended(world, cause) && pool_has_lost(pool, cause);
    return known ? cause : index;
}

int world_pool_lose_cause(struct world *world, int index)
{
    char text[160];
    int cause = find_cause(world, index);
    pool_ending_text(world_pool_context(world)->pool, cause, text, sizeof(text));
    world_pool_lose(world, cause, text);
    return cause;
}

void world_pool_lose_silent(struct world *world, int index)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    char what[160], stopped[100];
    pool_stopped_text(pool, index, stopped, sizeof(stopped));
    snprintf(what, sizeof(what), "does not answer for %g s%s", pool->timeout, stopped);
    world_pool_lose(world, index, what);
}

static bool take_lost(struct world *world, struct world_event *event)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    char text[160];
    for (int rank = 0; rank < world->size; rank++) {
        if (world_has_ended(world, rank) || !pool_has_lost(pool, rank))
            continue;
        int cause = find_cause(world, rank);
        pool_ending_text(pool, cause, text, sizeof(text));
        if (done_by(world, cause) > world->ranks[cause].run->executor->next)
            return take_done(world, event); /* what it did before comes first */
        world_pool_lose(world, cause, text);
        world_pool_give(world, cause, WORLD_LOST, event);
        return true;
    }
    return false;
}

static bool take_failed(struct world *world, struct world_event *event)
{
    struct pool_world *context = world_pool_context(world);
    for (int index = 0; index < world->size; index++) {
        struct pool_process *process = &context->pool->processes[index];
        if (!process->has_failed || world_has_ended(world, index))
            continue;
        bool past = process->failure.epoch != context->ranks[index].epoch;
        if (!past && find_cause(world, index) != index)
            return take_lost(world, event);
        process->has_failed = false;
        if (past)
            continue;
        struct world_rank *rank = &world->ranks[index];
        snprintf(rank->reason, sizeof(rank->reason), "%.*s", (int)sizeof(rank->reason) - 1,
                 process->failure.reason);
        rank->state = RANK_FAILED;
        world_note(world, index);
        mark_torn(world, index);
        world_pool_give(world, index, WORLD_FAILED, event);
        return true;
    }
    return false;
}

static bool take_mismatch(struct world *world, struct world_event *event)
{
    struct pool_world *context = world_pool_context(world);
    if (!world_has_disagreement(world) && !context->any_mismatch)
        return false;
    context->any_mismatch = false;
    for (int rank = 0; rank < world->size; rank++) {
        struct pool_rank_run *own = &context->ranks[rank];
        bool differs = world->ranks[rank].state == RANK_WAITING && world_disagrees(world, rank);
        bool news = differs && !own->told_mismatch;
        own->told_mismatch = differs;
        context->any_mismatch |= differs;
        if (news) {
            world_pool_give(world, rank, WORLD_MISMATCH, event);
            return true;
        }
    }
    return false;
}

/* ---- events ---- */

static bool take_event(struct world *world, struct world_event *event)
{
    return take_done(world, event) || take_failed(world, event) || take_lost(world, event) ||
           take_mismatch(world, event) || world_pool_take_stuck(world, event);
}

/* Whether the rank may still move by itself. At the end of its step it cannot, whatever its page
 * says while it comes to rest. */
static bool is_restless(const struct world *world, int rank)
{
    const struct rank_pool *pool = world_pool_context(world)->pool;
    const struct run *run = world->ranks[rank].run;
    if (done_by(world, rank) > run->executor->next || pool_has_lost(pool, rank))
        return true; /* there is something to tell */
    if (world_run_at_end(run))
        return false;
    if (world_pool_context(world)->ranks[rank].held_up)
        return false;
    if (!board_has_seen(&pool->board, rank))
        return true;
    if (atomic_load(&world_pool_page(world, rank)->state) != BOARD_WAITING)
        return world_pool_should_move(world, rank);
    return world->ranks[rank].state != RANK_WAITING ||
           (world_is_complete(world, rank) && !world_disagrees(world, rank));
}

static bool pool_is_quiet(const struct world *world)
{
    struct pool_world *context = world_pool_context(world);
    if (context->queue.count > 0)
        return false;
    for (int i = 0; i < world->size; i++) {
        int rank = (context->restless + i) % world->size;
        if (!world_has_ended(world, rank) && is_restless(world, rank)) {
            context->restless = rank;
            return false;
        }
    }
    return true;
}

static bool pool_next(struct world *world, double seconds, struct world_event *event)
{
    struct rank_pool *pool = world_pool_context(world)->pool;
    double deadline = clock_seconds() + seconds;
    if (take_done(world, event))
        return true;
    for (;;) {
        pool_pump(pool, 0);
        if (take_event(world, event))
            return true;
        double left = deadline - clock_seconds();
        if (left <= 0 || pool_is_quiet(world))
            return false;
        /* said before the last look, so that nothing done meanwhile is slept over */
        atomic_store(&pool->board.page->engine_sleeps, 1);
        bool got = take_event(world, event);
        if (!got)
            pool_pump(pool, left < 0.25 ? (int)ceil(left * 1000) : 250);
        atomic_store(&pool->board.page->engine_sleeps, 0);
        if (got)
            return true;
    }
}

static void pool_world_free(struct world *world)
{
    world_pool_release(world);
}

static bool ask_rank(struct world *world, int rank, const struct question *question,
                     struct text *answer, struct status *status)
{
    return pool_ask(&world_pool_context(world)->ranks[rank].link, question, answer, status);
}

const struct world_ops world_pool_ops = {
    .name = "processes",
    .free = pool_world_free,
    .allow = pool_allow,
    .hold = pool_hold,
    .next = pool_next,
    .is_quiet = pool_is_quiet,
    .go_to_step = world_pool_go_to_step,
    .has_message = pool_has_message,
    .ask = ask_rank,
};
