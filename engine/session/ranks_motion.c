#include "engine/session/ranks_motion.h"

#include "engine/base/memory.h"
#include "engine/session/motion.h"
#include "engine/session/output.h"

#include <stdlib.h>
#include <string.h>

static const double poll_seconds = 0.01; /* between looks at an interrupt while ranks work */

static struct team *team_of(const struct debugger *debugger)
{
    return debugger->target->team;
}

static struct run *run_of(const struct debugger *debugger, int rank)
{
    return team_of(debugger)->world->ranks[rank].run;
}

int ranks_count(const struct debugger *debugger)
{
    return debugger->target && team_of(debugger) ? team_of(debugger)->world->size : 1;
}

void ranks_start(struct debugger *debugger)
{
    debugger->rank = 0;
    debugger->all_ranks = true;
    if (!team_of(debugger))
        return;
    int count = ranks_count(debugger);
    debugger->seats = memory_zeroed((size_t)count, sizeof(*debugger->seats));
    for (int rank = 1; rank < count; rank++)
        record_start(&debugger->seats[rank].record, team_of(debugger)->pairs[rank]);
    record_start_of(&debugger->whole, run_of(debugger, 0)->steps, team_of(debugger)->tensor_count);
}

void ranks_free(struct debugger *debugger)
{
    for (int rank = 0; debugger->seats && rank < ranks_count(debugger); rank++) {
        record_free(&debugger->seats[rank].record);
        breakpoints_clear(&debugger->seats[rank].breakpoints);
    }
    if (debugger->seats)
        ranks_forget_desync(debugger, 0);
    record_free(&debugger->whole);
    free(debugger->seats);
    debugger->seats = NULL;
}

static void take_output(void *context, int rank, int stream, const char *bytes, size_t length,
                        int64_t nanoseconds)
{
    struct debugger *debugger = context;
    if (debugger->sink.output)
        rank_output_append(debugger->sink.output, rank, stream ? RANK_STDERR : RANK_STDOUT, bytes,
                           length, nanoseconds);
}

/* A pool runs one world at a time: the run that is there gives way. */
static void give_way(struct debugger *debugger)
{
    if (!debugger->target || !debugger->target->team)
        return;
    ranks_free(debugger);
    target_free(debugger->target);
    debugger->target = NULL;
}

bool ranks_processes(void *context, int ranks, struct rank_pool **pool, struct status *status)
{
    struct debugger *debugger = context;
    const struct rank_launch *launch = &debugger->launch;
    bool chosen = rank_launch_is_chosen(launch);
    struct rank_pool_options options = {.size = ranks,
                                        .launch = *launch,
                                        .threads = debugger->threads,
                                        .on_output = take_output,
                                        .output_context = debugger};
    *pool = NULL;
    if (debugger->sink.output)
        rank_output_finish(debugger->sink.output);
    if (launch->in_process)
        return true;
    give_way(debugger);
    if (debugger->pool && rank_pool_size(debugger->pool) < ranks) {
        rank_pool_free(debugger->pool);
        debugger->pool = NULL;
    }
    if (!debugger->pool)
        debugger->pool = rank_pool_create(&options, status);
    *pool = debugger->pool;
    if (!*pool && !chosen) {
        say(debugger, "Ranks run inside of this process: %s\n", status->text);
        *status = STATUS_NONE;
        return true;
    }
    return *pool != NULL;
}

static void swap_record(struct debugger *debugger, int rank)
{
    struct record record = debugger->record;
    debugger->record = debugger->seats[rank].record;
    debugger->seats[rank].record = record;
}

void ranks_select(struct debugger *debugger, int rank)
{
    if (rank == debugger->rank)
        return;
    swap_record(debugger, debugger->rank); /* away */
    swap_record(debugger, rank);
    debugger->rank = rank;
    debugger->target->pair = team_of(debugger)->pairs[rank];
    debugger->target->identity = 0; /* another program */
    breakpoints_rebind(&debugger->breakpoints, debugger_program(debugger),
                       debugger_steps(debugger));
    debugger->last_value = debugger->list_first = debugger->list_next = -1;
}

enum { UNTIL = 0 }; /* the number of a breakpoint that is in no list: those count from 1 */

void ranks_bind(struct debugger *debugger, const struct breakpoint *until)
{
    for (int rank = 0; rank < ranks_count(debugger) && team_of(debugger); rank++) {
        struct breakpoints *bound = &debugger->seats[rank].breakpoints;
        breakpoints_clear(bound);
        for (int i = 0; i < debugger->breakpoints.count; i++)
            breakpoints_copy(bound, &debugger->breakpoints.list[i], run_of(debugger, rank)->program,
                             debugger_steps(debugger));
        if (until)
            breakpoints_copy(bound, until, run_of(debugger, rank)->program,
                             debugger_steps(debugger));
        team_of(debugger)->pairs[rank]->watch_not_finite = debugger->stop_on_not_finite;
    }
}

/* Whether a rank stops for a breakpoint, after what it did or before what it comes to. */
static bool stops_for(const struct breakpoint *bound, struct pair *pair,
                      const struct pair_event *event, int *value)
{
    const struct run *run = pair->test;
    return breakpoint_stops_after(bound, pair, event, value) ||
           (run_next(run) < run->program->instruction_count &&
            breakpoint_stops_before(bound, pair, run->step, run_next(run)));
}

bool ranks_until(const struct debugger *debugger, const struct pair_event *event, int *value)
{
    const struct breakpoints *bound = &debugger->seats[debugger->rank].breakpoints;
    for (int i = 0; i < bound->count; i++)
        if (bound->list[i].number == UNTIL &&
            stops_for(&bound->list[i], debugger->target->pair, event, value))
            return true;
    return false;
}

/* Whether what another rank did, or comes to, stops all. */
static bool stops_all(struct debugger *debugger, int rank, const struct pair_event *event)
{
    struct pair *pair = team_of(debugger)->pairs[rank];
    const struct breakpoints *bound = &debugger->seats[rank].breakpoints;
    int value;
    if (debugger->passing)
        return false;
    if (debugger->stop_on_divergence && event->failed >= 0)
        return true;
    if (debugger->stop_on_not_finite && event->not_finite >= 0)
        return true;
    for (int i = 0; i < bound->count; i++)
        if (stops_for(&bound->list[i], pair, event, &value))
            return true;
    return false;
}

/* Lets a rank run one instruction further than it may. */
static bool allow_one(struct debugger *debugger, int rank, struct status *status)
{
    const struct run *run = run_of(debugger, rank);
    int next = run_next(run);
    bool at_end = next >= run->program->instruction_count;
    return team_allow(team_of(debugger), rank, at_end ? 1 : next + 1, status);
}

/* The selected rank stands at the end of its step and the others do not: they come first. */
static bool bring_to_end(struct debugger *debugger, struct status *status)
{
    const struct run *selected = run_of(debugger, debugger->rank);
    if (run_next(selected) < selected->program->instruction_count)
        return true;
    for (int rank = 0; rank < ranks_count(debugger); rank++) {
        const struct run *run = run_of(debugger, rank);
        if (run->step == selected->step && run_next(run) < run->program->instruction_count &&
            !team_allow(team_of(debugger), rank, run->program->instruction_count, status))
            return false;
    }
    return true;
}

/* Moves whom the rank waits for by one instruction; those may wait for others in turn. *moved if
 * anyone was allowed to. */
static bool help(struct debugger *debugger, int rank, bool *seen, bool *moved,
                 struct status *status)
{
    int count = ranks_count(debugger);
    bool *missing = memory_zeroed((size_t)count, sizeof(*missing));
    bool ok = true;
    world_waits_for(team_of(debugger)->world, rank, missing);
    for (int other = 0; ok && other < count; other++) {
        if (!missing[other] || seen[other])
            continue;
        seen[other] = true;
        if (team_of(debugger)->world->ranks[other].state == RANK_WAITING) {
            ok = help(debugger, other, seen, moved, status);
        } else {
            ok = allow_one(debugger, other, status);
            *moved = true;
        }
    }
    free(missing);
    return ok;
}

/* The ranks are quiet and the selected one has not moved: it waits. */
static bool unblock(struct debugger *debugger, bool *interrupted, struct status *status)
{
    char text[600];
    struct world *world = team_of(debugger)->world;
    const struct world_rank *selected = &world->ranks[debugger->rank];
    bool moved = false;
    bool *seen = memory_zeroed((size_t)world->size, sizeof(*seen));
    seen[debugger->rank] = true;
    bool ok = true;
    if (!debugger->locked && selected->state == RANK_WAITING)
        ok = help(debugger, debugger->rank, seen, &moved, status);
    else if (!debugger->locked)
        ok = bring_to_end(debugger, status) && allow_one(debugger, debugger->rank, status);
    free(seen);
    if (!ok || moved || (!debugger->locked && selected->state != RANK_WAITING))
        return ok;
    world_waiting_text(world, debugger->rank, text, sizeof(text));
    if (!debugger->locked)
        return status_fail(status, STATUS_IO, "%s; nobody can move", text);
    say(debugger, "%s\nOnly rank %d may move: 'set scheduler-locking off' lets the others come.\n",
        text, debugger->rank);
    *interrupted = debugger->must_wait = true;
    return true;
}

/* Once, however often the event is given. */
static void note(struct debugger *debugger, struct team_event *event)
{
    if (event->again)
        return;
    if (event->desynchronised_count > 0)
        ranks_note_desync(debugger, event);
    struct record *record =
        event->rank == debugger->rank ? &debugger->record : &debugger->seats[event->rank].record;
    record_note(record, team_of(debugger)->pairs[event->rank], &event->pair);
    for (int i = 0; i < event->completed_count; i++) {
        const struct team_tensor *tensor = &team_of(debugger)->tensors[event->completed[i]];
        struct pair_result whole = {.compared = true,
                                    .metrics = tensor->metrics,
                                    .verdict = tensor->verdict,
                                    .limits = tensor->limits};
        record_note_result(&debugger->whole, event->pair.step, event->completed[i], &whole,
                           tensor->parts > 1 ? tensor->worst_rank + 1 : 0);
    }
}

static void hold_all(struct debugger *debugger)
{
    for (int rank = 0; rank < ranks_count(debugger); rank++)
        world_hold(team_of(debugger)->world, rank);
}

/* What ranks have begun is finished before the run is shown; they do not begin anything else. A
 * loss is told once: nothing that follows from it. A rank that hangs is not waited for. Here,
 * unlike in ranks_note_late, what would stop all is only noted: it belongs to the stop at hand,
 * and is shown with it. Most often it is the same divergence in the next rank, for which the next
 * command would stop where the run stands already, and so once for each rank. What comes later
 * was not there when the stop was shown. */
static void come_to_rest(struct debugger *debugger)
{
    struct team *team = team_of(debugger);
    struct team_event event;
    struct status ignored = STATUS_NONE;
    bool got = true;
    int patience = 50, most = patience + 2 * ranks_count(debugger);
    while (patience > 0 && most > 0 && (got || !world_is_quiet(team->world))) {
        if (!team_next(team, poll_seconds, &event, &got, &ignored))
            return;
        patience -= !got;
        most -= got;
        if (got && event.kind == TEAM_DONE)
            note(debugger, &event);
    }
    hold_all(debugger);
}

void ranks_note_late(struct debugger *debugger, struct team_event *event)
{
    note(debugger, event);
    if (stops_all(debugger, event->rank, &event->pair))
        team_give_again(team_of(debugger), event);
}

static bool fail(struct debugger *debugger, const struct team_event *event, struct status *status)
{
    hold_all(debugger);
    come_to_rest(debugger);
    ranks_say_last_lines(debugger, event->rank);
    return status_fail(status, STATUS_IO, "%s", event->text);
}

/* Waits for the next thing that happens to any rank. */
static bool take(struct debugger *debugger, struct team_event *event, bool *got, bool *interrupted,
                 struct status *status)
{
    *interrupted = debugger_cancelled(debugger);
    *got = false;
    if (*interrupted) {
        hold_all(debugger);
        return true;
    }
    double seconds = world_is_quiet(team_of(debugger)->world) ? 0 : poll_seconds;
    if (!team_next(team_of(debugger), seconds, event, got, status))
        return false;
    if (*got && event->kind == TEAM_FAILED)
        return fail(debugger, event, status);
    if (*got)
        note(debugger, event);
    else if (seconds > 0)
        debugger_publish_waiting(debugger);
    return true;
}

/* Takes what the others do until they are quiet; stops early where one of them must be looked at.
 */
static bool settle(struct debugger *debugger, struct pair_event *event, bool *stopped,
                   struct status *status)
{
    struct team_event other;
    bool got, interrupted;
    while (!*stopped) {
        if (!take(debugger, &other, &got, &interrupted, status))
            return false;
        if (interrupted || (!got && world_is_quiet(team_of(debugger)->world)))
            return true;
        if (!got || !stops_all(debugger, other.rank, &other.pair))
            continue;
        ranks_select(debugger, other.rank);
        say(debugger, "[Switching to rank %d]\n", other.rank);
        *event = other.pair;
        *stopped = true;
        come_to_rest(debugger);
    }
    return true;
}

/* Whether a rank may follow, by one instruction: to the same share of its step as the selected one,
 * which with equal programs is the same instruction. A step that it has begun is begun by all, so
 * that the way there makes no difference. */
static bool is_behind(const struct debugger *debugger, int rank)
{
    const struct run *selected = run_of(debugger, debugger->rank), *run = run_of(debugger, rank);
    int64_t next = run_next(selected), count = selected->program->instruction_count;
    if (rank == debugger->rank || team_of(debugger)->world->ranks[rank].state != RANK_STOPPED)
        return false;
    if (run->step < selected->step)
        return true;
    int64_t share = next * run->program->instruction_count / count;
    if (share == 0 && next > 0)
        share = 1;
    return run->step == selected->step && run_next(run) < share;
}

static bool let_others_follow(struct debugger *debugger, struct pair_event *event,
                              struct status *status)
{
    bool moved = !debugger->locked, stopped = false;
    if (moved && !settle(debugger, event, &stopped, status)) /* some may be on the way */
        return false;
    while (moved && !stopped) {
        moved = false;
        for (int rank = 0; rank < ranks_count(debugger); rank++) {
            if (!is_behind(debugger, rank))
                continue;
            if (!allow_one(debugger, rank, status))
                return false;
            moved = true;
        }
        if (moved && !settle(debugger, event, &stopped, status))
            return false;
        if (debugger_cancelled(debugger)) /* seen again before the next instruction */
            return true;
    }
    return true;
}

bool ranks_run_one(struct debugger *debugger, struct pair_event *event, bool *interrupted,
                   struct status *status)
{
    struct team_event done;
    bool got;
    *interrupted = false;
    bool has_done = team_gives_again(team_of(debugger), debugger->rank); /* that one already */
    if (!has_done &&
        (!bring_to_end(debugger, status) || !allow_one(debugger, debugger->rank, status)))
        return false;
    for (;;) {
        if (!take(debugger, &done, &got, interrupted, status))
            return false;
        if (*interrupted)
            return true;
        if (!got && world_is_quiet(team_of(debugger)->world) &&
            (!unblock(debugger, interrupted, status) || *interrupted))
            return *interrupted;
        if (got && done.rank == debugger->rank)
            break;
        if (got && stops_all(debugger, done.rank, &done.pair)) {
            ranks_select(debugger, done.rank);
            say(debugger, "[Switching to rank %d]\n", done.rank);
            *event = done.pair;
            come_to_rest(debugger);
            return true;
        }
    }
    *event = done.pair;
    if (event->failed >= 0 && debugger->stop_on_divergence && !debugger->passing) {
        come_to_rest(debugger);
        return true;
    }
    return let_others_follow(debugger, event, status);
}

bool ranks_go_to_step(struct debugger *debugger, int step, struct status *status)
{
    if (!team_go_to_step(team_of(debugger), step, status))
        return false;
    for (int rank = 0; rank < ranks_count(debugger); rank++)
        if (rank != debugger->rank)
            record_forget(&debugger->seats[rank].record, team_of(debugger)->pairs[rank], step, 0);
    record_forget_steps(&debugger->whole, step);
    ranks_forget_desync(debugger, step);
    return true;
}
