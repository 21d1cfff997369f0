/* Values that share memory (views made by slice_rows, in-place updates, states and their next
 * version) form a group with one place; its life is the union of theirs. Groups are placed in
 * order of birth into the lowest gap that is free (first fit over the free list), which keeps
 * the arena near the peak of live bytes. */
#include "engine/program/memory_plan.h"

#include "engine/base/memory.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

struct planner {
    const struct program *program;
    struct memory_plan *plan;
    int *group_last; /* by value id of a group's root: last use of any member */
};

static int root_of(const struct memory_plan *plan, int value)
{
    while (plan->placements[value].shares >= 0)
        value = plan->placements[value].shares;
    return value;
}

static void find_lives(struct planner *planner)
{
    const struct program *program = planner->program;
    struct placement *placements = planner->plan->placements;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        placements[v] = (struct placement){.persistent = value->kind != VALUE_COMPUTED,
                                           .bytes = (int64_t)value_bytes(value),
                                           .first = value->producer,
                                           .last = value->producer,
                                           .overwritten = INT_MAX,
                                           .shares = -1};
    }
    for (int i = 0; i < program->instruction_count; i++)
        for (int k = 0; k < program->instructions[i].input_count; k++)
            placements[program->instructions[i].inputs[k]].last = i;
    /* What the step reports is read after its last instruction. */
    int end = program->instruction_count;
    for (int i = 0; i < program->outputs.loss_count; i++)
        placements[program->outputs.losses[i]].last = end;
    if (program->outputs.gradient_norm >= 0)
        placements[program->outputs.gradient_norm].last = end;
}

static void join(struct planner *planner, int value, int into)
{
    struct memory_plan *plan = planner->plan;
    int root = root_of(plan, into);
    plan->placements[value].shares = into;
    plan->placements[value].persistent = plan->placements[root].persistent;
    if (planner->group_last[root] < plan->placements[value].last)
        planner->group_last[root] = plan->placements[value].last;
}

/* Whether instruction `i` may write output `out` over the memory of `input`. */
static bool may_overwrite(const struct planner *planner, int i, int input, int out)
{
    const struct memory_plan *plan = planner->plan;
    const struct value *values = planner->program->values;
    int root = root_of(plan, input);
    return plan->mode == PLAN_REUSE && !plan->placements[root].persistent &&
           planner->group_last[root] <= i && values[input].dtype == values[out].dtype &&
           plan->placements[input].bytes == plan->placements[out].bytes &&
           plan->placements[root].bytes == plan->placements[out].bytes;
}

static void share_outputs(struct planner *planner, int i)
{
    const struct instruction *in = &planner->program->instructions[i];
    for (int k = 0; k < in->output_count; k++) {
        int out = in->outputs[k];
        int state = planner->program->values[out].state;
        int source = op_in_place(in->op, k);
        if (state >= 0)
            join(planner, out, state);
        else if (in->op == OP_SLICE_ROWS)
            join(planner, out, in->inputs[0]);
        else if (source >= 0 && may_overwrite(planner, i, in->inputs[source], out))
            join(planner, out, in->inputs[source]);
    }
}

/* In reverse order for views: a view lengthens the life of what it looks into, which must be known
 * before anything is allowed to overwrite it. */
static void share_all(struct planner *planner)
{
    const struct program *program = planner->program;
    for (int v = 0; v < program->value_count; v++)
        planner->group_last[v] = planner->plan->placements[v].last;
    for (int i = program->instruction_count - 1; i >= 0; i--) {
        const struct instruction *in = &program->instructions[i];
        if (in->op == OP_SLICE_ROWS &&
            planner->group_last[in->inputs[0]] < planner->group_last[in->outputs[0]])
            planner->group_last[in->inputs[0]] = planner->group_last[in->outputs[0]];
    }
    for (int i = 0; i < program->instruction_count; i++)
        share_outputs(planner, i);
}

static void place_persistent(struct planner *planner)
{
    struct memory_plan *plan = planner->plan;
    for (int v = 0; v < plan->value_count; v++) {
        struct placement *place = &plan->placements[v];
        if (!place->persistent || place->shares >= 0)
            continue;
        place->offset = plan->persistent_bytes;
        plan->persistent_bytes += aligned(place->bytes);
        plan->class_bytes[planner->program->values[v].memory_class] += aligned(place->bytes);
    }
}

/* The free list: gaps sorted by offset; the last one reaches to infinity. */
struct gap {
    int64_t offset, bytes;
};

struct free_list {
    struct gap *gaps;
    int count, capacity;
};

static int64_t take(struct free_list *list, int64_t bytes)
{
    for (int i = 0; i < list->count; i++) {
        if (list->gaps[i].bytes < bytes)
            continue;
        int64_t offset = list->gaps[i].offset;
        list->gaps[i].offset += bytes;
        list->gaps[i].bytes -= bytes;
        if (list->gaps[i].bytes == 0) {
            memmove(&list->gaps[i], &list->gaps[i + 1],
                    (size_t)(list->count - i - 1) * sizeof(*list->gaps));
            list->count--;
        }
        return offset;
    }
    return -1; /* not reached: the last gap is endless */
}

static void give_back(struct free_list *list, int64_t offset, int64_t bytes)
{
    int i = 0;
    while (i < list->count && list->gaps[i].offset < offset)
        i++;
    ARRAY_PUSH(list->gaps, list->count, list->capacity, ((struct gap){0, 0}));
    memmove(&list->gaps[i + 1], &list->gaps[i],
            (size_t)(list->count - i - 1) * sizeof(*list->gaps));
    list->gaps[i] = (struct gap){offset, bytes};
    if (i + 1 < list->count && offset + bytes == list->gaps[i + 1].offset) {
        list->gaps[i].bytes += list->gaps[i + 1].bytes;
        memmove(&list->gaps[i + 1], &list->gaps[i + 2],
                (size_t)(list->count - i - 2) * sizeof(*list->gaps));
        list->count--;
    }
    if (i > 0 && list->gaps[i - 1].offset + list->gaps[i - 1].bytes == offset) {
        list->gaps[i - 1].bytes += list->gaps[i].bytes;
        memmove(&list->gaps[i], &list->gaps[i + 1],
                (size_t)(list->count - i - 1) * sizeof(*list->gaps));
        list->count--;
    }
}

/* For each instruction, the roots whose group dies with it, as linked lists. */
struct deaths {
    int *head, *next;
};

static void place_outputs(struct planner *planner, struct free_list *list, int i, int64_t *live)
{
    struct memory_plan *plan = planner->plan;
    const struct instruction *in = &planner->program->instructions[i];
    for (int k = 0; k < in->output_count; k++) {
        struct placement *place = &plan->placements[in->outputs[k]];
        if (place->persistent || place->shares >= 0)
            continue;
        place->offset = take(list, aligned(place->bytes));
        *live += aligned(place->bytes);
        if (place->offset + aligned(place->bytes) > plan->step_bytes)
            plan->step_bytes = place->offset + aligned(place->bytes);
    }
}

static struct deaths find_deaths(const struct planner *planner)
{
    const struct memory_plan *plan = planner->plan;
    struct deaths deaths = {
        memory_zeroed((size_t)plan->instruction_count + 1, sizeof(int)),
        memory_zeroed((size_t)plan->value_count, sizeof(int)),
    };
    for (int i = 0; i <= plan->instruction_count; i++)
        deaths.head[i] = -1;
    for (int v = 0; v < plan->value_count; v++) {
        const struct placement *place = &plan->placements[v];
        if (place->persistent || place->shares >= 0 || place->first < 0)
            continue;
        int last = planner->group_last[v];
        deaths.next[v] = deaths.head[last];
        deaths.head[last] = v;
    }
    return deaths;
}

static void place_step(struct planner *planner)
{
    struct memory_plan *plan = planner->plan;
    struct deaths deaths = find_deaths(planner);
    struct free_list list = {0};
    int64_t live = 0;
    give_back(&list, 0, INT64_MAX / 2);
    for (int i = 0; i < plan->instruction_count; i++) {
        place_outputs(planner, &list, i, &live);
        plan->live[i] = live;
        if (live > plan->live[plan->peak])
            plan->peak = i;
        if (plan->mode == PLAN_KEEP)
            continue;
        for (int v = deaths.head[i]; v >= 0; v = deaths.next[v]) {
            give_back(&list, plan->placements[v].offset, aligned(plan->placements[v].bytes));
            live -= aligned(plan->placements[v].bytes);
        }
    }
    free(list.gaps);
    free(deaths.head);
    free(deaths.next);
}

static void place_member(struct planner *planner, int v)
{
    struct memory_plan *plan = planner->plan;
    struct placement *place = &plan->placements[v];
    const struct value *value = &planner->program->values[v];
    place->offset = plan->placements[place->shares].offset;
    const struct instruction *producer = &planner->program->instructions[value->producer];
    if (producer->op != OP_SLICE_ROWS)
        plan->placements[place->shares].overwritten = value->producer;
    else
        place->offset += producer->parameters.first_row * shape_columns(value->shape) *
                         (int64_t)dtype_size(value->dtype);
}

/* Members of a group get the root's place; a slice lies inside of it. In program order, so that
 * the member that another one shares with has its place already. */
static void place_members(struct planner *planner)
{
    for (int i = 0; i < planner->program->instruction_count; i++) {
        const struct instruction *in = &planner->program->instructions[i];
        for (int k = 0; k < in->output_count; k++)
            if (planner->plan->placements[in->outputs[k]].shares >= 0)
                place_member(planner, in->outputs[k]);
    }
}

static bool check_states(const struct program *program, const struct memory_plan *plan,
                         struct status *status)
{
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        if (value->state >= 0 && plan->placements[value->state].last > value->producer)
            return status_fail(status, STATUS_INTERNAL,
                               "%s is read by instruction %d after instruction %d updated it",
                               program->values[value->state].name,
                               plan->placements[value->state].last, value->producer);
    }
    return true;
}

static void plan_workspace(struct memory_plan *plan, const struct program *program,
                           struct device *device)
{
    for (int i = 0; i < program->instruction_count; i++) {
        struct op_call call;
        program_call(program, i, &call);
        int64_t bytes = op_is_collective(call.op) ? 0 : (int64_t)device_workspace(device, &call);
        if (bytes > plan->workspace_bytes)
            plan->workspace_bytes = aligned(bytes);
    }
}

struct memory_plan *memory_plan_create(const struct program *program, struct device *device,
                                       enum plan_mode mode, struct status *status)
{
    struct memory_plan *plan = memory_zeroed(1, sizeof(*plan));
    plan->mode = mode;
    plan->value_count = program->value_count;
    plan->instruction_count = program->instruction_count;
    plan->placements = memory_zeroed((size_t)program->value_count, sizeof(*plan->placements));
    plan->live = memory_zeroed((size_t)program->instruction_count, sizeof(*plan->live));
    struct planner planner = {program, plan,
                              memory_zeroed((size_t)program->value_count, sizeof(int))};
    find_lives(&planner);
    bool ok = check_states(program, plan, status);
    share_all(&planner);
    place_persistent(&planner);
    place_step(&planner);
    place_members(&planner);
    plan_workspace(plan, program, device);
    for (int v = 0; v < plan->value_count; v++)
        if (plan->placements[v].shares < 0)
            plan->placements[v].last = planner.group_last[v];
    free(planner.group_last);
    if (ok)
        return plan;
    memory_plan_free(plan);
    return NULL;
}

void memory_plan_free(struct memory_plan *plan)
{
    if (!plan)
        return;
    free(plan->placements);
    free(plan->live);
    free(plan);
}

int64_t memory_plan_total(const struct memory_plan *plan)
{
    return plan->persistent_bytes + plan->step_bytes + plan->workspace_bytes;
}

void memory_plan_classes(const struct memory_plan *plan, const struct program *program, int index,
                         int64_t classes[MEMORY_CLASS_COUNT])
{
    memcpy(classes, plan->class_bytes, sizeof(plan->class_bytes));
    classes[MEMORY_WORKSPACE] += plan->workspace_bytes;
    for (int v = 0; v < plan->value_count; v++) {
        const struct placement *place = &plan->placements[v];
        if (place->persistent || place->shares >= 0 || place->first > index)
            continue;
        if (plan->mode == PLAN_KEEP || place->last >= index)
            classes[program->values[v].memory_class] += aligned(place->bytes);
    }
}

bool memory_plan_holds(const struct memory_plan *plan, const struct program *program, int value,
                       int next)
{
    const struct placement *place = &plan->placements[value];
    if (program->values[value].producer >= next)
        return false;
    if (place->overwritten < next)
        return false;
    if (place->persistent || plan->mode == PLAN_KEEP)
        return true;
    return plan->placements[root_of(plan, value)].last >= next - 1;
}
