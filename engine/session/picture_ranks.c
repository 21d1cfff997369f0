#include "engine/base/memory.h"
#include "engine/program/memory_plan.h"
#include "engine/session/debugger.h"
#include "engine/session/places.h"
#include "engine/session/ranks.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static enum rank_situation situation_of(enum run_state state)
{
    static const enum rank_situation situations[] = {SITUATION_STARTING, SITUATION_STOPPED,
                                                     SITUATION_RUNNING, SITUATION_STOPPED,
                                                     SITUATION_FAILED};
    return situations[state];
}

static void fill_memory(const struct run *run, struct rank_picture *rank)
{
    const struct memory_plan *plan = run->executor->plan;
    int last = plan->instruction_count - 1, at = run_next(run);
    if (last < 0)
        return;
    memory_plan_classes(plan, run->program, at < last ? at : last, rank->memory);
    rank->memory_total = 0;
    for (int i = 0; i < MEMORY_CLASS_COUNT; i++)
        rank->memory_total += rank->memory[i];
}

static void fill_place(const struct run *run, struct rank_picture *rank)
{
    char text[600], path[256];
    const struct program *program = run->program;
    rank->instructions = program->instruction_count;
    if (rank->next >= program->instruction_count)
        return;
    const char *from = program_instruction_text(program, rank->next, text, sizeof(text));
    from += strspn(from, " ");
    from += strspn(from, "0123456789");
    rank->text = memory_string(from + strspn(from, " "));
    rank->place =
        memory_string(origin_path(&program->instructions[rank->next].origin, path, sizeof(path)));
}

/* A run in this process: its rank has no process of its own, and it waits for nobody. */
static void fill_rank(const struct debugger *debugger, struct rank_picture *rank)
{
    *rank = (struct rank_picture){.situation = situation_of(debugger->state),
                                  .wait.seconds = NAN,
                                  .exit_status = -1,
                                  .signal = -1,
                                  .pid = -1,
                                  .memory_total = -1};
    debugger_place(debugger, &rank->step, &rank->next);
    fill_place(debugger->target->pair->test, rank);
    fill_memory(debugger->target->pair->test, rank);
    if (debugger->state == RUN_FAILED)
        rank->reason = memory_string(debugger->stop_reason);
}

static void count_lines(struct rank_output *output, struct ranks_picture *picture)
{
    struct rank_output_counts counts;
    for (int i = 0; output && i < picture->rank_count; i++) {
        rank_output_count(output, i, &counts);
        memcpy(picture->ranks[i].lines, counts.lines, sizeof(counts.lines));
    }
}

struct ranks_picture *picture_of_ranks(const struct debugger *debugger)
{
    struct ranks_picture *picture = memory_zeroed(1, sizeof(*picture));
    if (!debugger->target)
        return picture;
    picture->rank_count = 1;
    picture->ranks = memory_zeroed(1, sizeof(*picture->ranks));
    fill_rank(debugger, &picture->ranks[0]);
    count_lines(debugger->sink.output, picture);
    return picture;
}
