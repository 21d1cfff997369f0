#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/program/memory_plan.h"
#include "engine/session/debugger.h"
#include "engine/session/places.h"
#include "engine/session/ranks.h"
#include "engine/session/ranks_motion.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

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

static enum rank_situation situation_in_world(enum rank_state state)
{
    static const enum rank_situation situations[] = {
        [RANK_STARTING] = SITUATION_STARTING, [RANK_STOPPED] = SITUATION_STOPPED,
        [RANK_RUNNING] = SITUATION_RUNNING,   [RANK_WAITING] = SITUATION_WAITING,
        [RANK_FAILED] = SITUATION_FAILED,     [RANK_LOST] = SITUATION_LOST};
    return situations[state];
}

/* What a rank waits in, and for whom. */
static void fill_wait(const struct world *world, int index, struct rank_wait *wait)
{
    const struct world_rank *of = &world->ranks[index];
    const struct program *program = of->run->program;
    int next = run_next(of->run);
    struct op_call call;
    if (of->state != RANK_WAITING || next >= program->instruction_count)
        return;
    program_call(program, next, &call);
    const struct tensor *operand = call.input_count ? &call.inputs[0] : &call.outputs[0];
    wait->operation = op_name(call.op);
    if (call.op != OP_RECEIVE)
        wait->group = comm_group_name((enum comm_group)call.parameters.group);
    wait->elements = shape_elements(operand->shape);
    wait->dtype = operand->dtype;
    wait->seconds = clock_seconds() - of->waiting_since;
    bool *missing = memory_zeroed((size_t)world->size, sizeof(*missing));
    world_waits_for(world, index, missing);
    rank_wait_set_missing(wait, missing, world->size);
    free(missing);
}

static void fill_rank_of_world(const struct world *world, int index, struct rank_picture *rank)
{
    const struct world_rank *of = &world->ranks[index];
    *rank = (struct rank_picture){.situation = situation_in_world(of->state),
                                  .step = of->run->step,
                                  .next = run_next(of->run),
                                  .wait.seconds = NAN,
                                  .exit_status = -1,
                                  .signal = -1,
                                  .pid = -1,
                                  .memory_total = -1};
    fill_place(of->run, rank);
    fill_wait(world, index, &rank->wait);
    fill_memory(of->run, rank);
    if (of->reason[0])
        rank->reason = memory_string(of->reason);
}

/* What the pool knows of the rank's process. */
static void fill_process(const struct rank_pool *pool, int index, struct rank_picture *rank)
{
    struct rank_process_state process;
    rank_pool_describe(pool, index, &process);
    rank->pid = process.pid;
    rank->host = process.host && process.host[0] ? memory_string(process.host) : NULL;
    if (process.stopped_by && !process.ended && rank->situation < SITUATION_HALTED) {
        rank->situation = SITUATION_HALTED; /* whatever it says that it does */
        rank->signal = process.stopped_by;
    }
    if (!process.ended || process.wait_status == -1)
        return;
    if (WIFSIGNALED(process.wait_status)) {
        rank->situation = SITUATION_KILLED;
        rank->signal = WTERMSIG(process.wait_status);
    } else if (WIFEXITED(process.wait_status)) {
        rank->situation = SITUATION_EXITED;
        rank->exit_status = WEXITSTATUS(process.wait_status);
    }
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

static void fill_departure(const struct rank_seat *seat, struct rank_picture *rank)
{
    rank->departure = seat->departure;
    if (seat->departure.tensor)
        rank->departure.tensor = memory_string(seat->departure.tensor);
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
    const struct team *team = debugger->target->team;
    picture->rank_count = team ? team->world->size : 1;
    picture->ranks = memory_zeroed((size_t)picture->rank_count, sizeof(*picture->ranks));
    if (!team)
        fill_rank(debugger, &picture->ranks[0]);
    for (int rank = 0; team && rank < picture->rank_count; rank++) {
        fill_rank_of_world(team->world, rank, &picture->ranks[rank]);
        fill_departure(&debugger->seats[rank], &picture->ranks[rank]);
    }
    for (int rank = 0; debugger->pool && team && rank < picture->rank_count; rank++)
        fill_process(debugger->pool, rank, &picture->ranks[rank]);
    count_lines(debugger->sink.output, picture);
    return picture;
}
