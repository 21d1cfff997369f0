#include "engine/session/snapshot.h"

#include "engine/base/memory.h"
#include "engine/session/debugger.h"
#include "engine/session/ranks_motion.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct shared_snapshot {
    struct snapshot snapshot; /* first: pointers to it are pointers to this */
    atomic_int holders;
};

static char *place_text(const struct debugger *debugger)
{
    const struct run *run = debugger->target->pair->test;
    int step, next;
    debugger_place(debugger, &step, &next);
    if (next == run->program->instruction_count)
        return memory_format("end of step %d", step + 1);
    char text[512];
    return memory_string(
        origin_text(&run->program->instructions[next].origin, step, text, sizeof(text)));
}

static void fill_run(const struct debugger *debugger, struct snapshot *snapshot)
{
    const struct target *target = debugger->target;
    const struct run *run = target->pair->test;
    const struct memory_plan *plan = run->executor->plan;
    snapshot->step = run->step;
    snapshot->steps = run->steps;
    snapshot->next = run_next(run);
    snapshot->instructions = run->program->instruction_count;
    snapshot->compared = debugger->record.compared;
    snapshot->failed = debugger->record.failed;
    snapshot->memory_planned = memory_plan_total(plan);
    int at =
        snapshot->next < plan->instruction_count ? snapshot->next : plan->instruction_count - 1;
    snapshot->memory_live = plan->persistent_bytes + (at >= 0 ? plan->live[at] : 0);
    snapshot->seconds = run->seconds;
    for (int i = 0; i < run->step; i++)
        snapshot->seconds += run->reports[i].seconds;
}

struct snapshot *snapshot_create(const struct debugger *debugger)
{
    struct shared_snapshot *shared = memory_zeroed(1, sizeof(*shared));
    struct snapshot *snapshot = &shared->snapshot;
    const struct target *target = debugger->target;
    atomic_init(&shared->holders, 1);
    snapshot->version = debugger->version;
    snapshot->state = debugger->state;
    snapshot->waits = debugger->waits;
    snapshot->run = memory_string(target ? target->name : "");
    snapshot->reference =
        memory_string(target && target->reference_name ? target->reference_name : "");
    snapshot->stop_reason = memory_string(debugger->stop_reason ? debugger->stop_reason : "");
    snapshot->place = target ? place_text(debugger) : memory_string("");
    snapshot->rank = target ? debugger->rank : 0;
    snapshot->ranks = target ? ranks_count(debugger) : 0;
    snapshot->typing = hit_commands_are_typed(debugger);
    snapshot->confirm = !debugger->unasked;
    snapshot->exit_given = debugger->exit_given;
    snapshot->exit_code = debugger->exit_code;
    snapshot->breakpoints = debugger->breakpoints.count;
    if (target)
        fill_run(debugger, snapshot);
    return snapshot;
}

static char *or_empty(char *text)
{
    return text ? text : memory_string("");
}

struct snapshot *snapshot_of(const struct snapshot *facts)
{
    struct shared_snapshot *shared = memory_zeroed(1, sizeof(*shared));
    struct snapshot *snapshot = &shared->snapshot;
    atomic_init(&shared->holders, 1);
    *snapshot = *facts;
    snapshot->run = or_empty(snapshot->run);
    snapshot->reference = or_empty(snapshot->reference);
    snapshot->place = or_empty(snapshot->place);
    snapshot->stop_reason = or_empty(snapshot->stop_reason);
    return snapshot;
}

static struct shared_snapshot *shared_of(const struct snapshot *snapshot)
{
    return (struct shared_snapshot *)(uintptr_t)snapshot;
}

const struct snapshot *snapshot_hold(const struct snapshot *snapshot)
{
    if (snapshot)
        atomic_fetch_add(&shared_of(snapshot)->holders, 1);
    return snapshot;
}

void snapshot_release(const struct snapshot **snapshot)
{
    if (!*snapshot)
        return;
    struct shared_snapshot *shared = shared_of(*snapshot);
    *snapshot = NULL;
    if (atomic_fetch_sub(&shared->holders, 1) != 1)
        return;
    free(shared->snapshot.run);
    free(shared->snapshot.reference);
    free(shared->snapshot.place);
    free(shared->snapshot.stop_reason);
    free(shared);
}
