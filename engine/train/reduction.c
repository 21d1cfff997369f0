#include "engine/train/reduction.h"

#include "engine/base/memory.h"
#include "engine/train/schedule.h"

#include <stdlib.h>

/* For each parameter the stage that its gradient comes from, -1 if there are several. */
static void find_stages(const struct program *program, int *stages)
{
    for (int p = 0; p < program->parameter_count; p++)
        stages[p] = -2;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        if (value->gradient_of < 0 || value->origin.phase != PHASE_BACKWARD)
            continue;
        int *stage = &stages[value->gradient_of];
        *stage = *stage == -2 || *stage == value->origin.stage ? value->origin.stage : -1;
    }
}

/* The last micro-batch of a sum that ends with `micro_batch`, if it is a sum over the first ones;
 * else -1. Order of the schedule: depth 0 of all breadths, then depth 1. */
static int last_of_sum(const struct reduction *reduction, int micro_batch)
{
    int depth = reduction->builder->config->schedule.depth_first_micro_batches;
    int breadth = reduction->builder->config->schedule.breadth_first_micro_batches;
    int before = micro_batch % depth * breadth + micro_batch / depth, last = 0;
    for (int i = 0; i <= before; i++) {
        int other = i % breadth * depth + i / breadth;
        last = other > last ? other : last;
    }
    return last == before ? last : -1;
}

/* Names a partial sum after its micro-batch, so that it meets the same sum of another schedule. A
 * sum over micro-batches that are not the first ones meets nothing. */
static void name_partial_sum(const struct reduction *reduction, int v)
{
    struct program *program = reduction->builder->program;
    struct origin origin = program->values[v].origin;
    origin.micro_sequences = 1;
    origin.micro_batch = last_of_sum(reduction, origin.micro_batch);
    const struct parameter *parameter = &program->parameters[program->values[v].gradient_of];
    if (origin.micro_batch >= 0)
        program_name_value(program, v, WHAT_GRADIENT, program->values[parameter->value].path,
                           &origin);
}

/* The last partial sum of each parameter and micro-batch is named: there are several where a
 * parameter is used more than once (tied weights, chunks of the loss, micro-sequences). What is a
 * summand over ranks too meets nothing, nor does a tied weight's sum over all micro-batches of one
 * stage and some of another. */
static void name_partial_gradients(struct reduction *reduction)
{
    struct program *program = reduction->builder->program;
    int micro_batches = schedule_micro_batches(reduction->builder->config);
    if (micro_batches == 1 || reduction->builder->config->distributed.zero_stage >= 2)
        return;
    bool breadth = reduction->builder->config->schedule.breadth_first_micro_batches > 1;
    int *stages = memory_zeroed((size_t)program->parameter_count, sizeof(int));
    size_t of_step = (size_t)micro_batches * (size_t)seat_batches(&program->seat);
    bool *seen = memory_zeroed((size_t)program->parameter_count * of_step, 1);
    find_stages(program, stages);
    for (int v = program->value_count - 1; v >= 0; v--) {
        const struct value *value = &program->values[v];
        int p = value->gradient_of;
        if (p < 0 || value->origin.phase != PHASE_BACKWARD)
            continue;
        bool *later = &seen[(size_t)p * of_step + (size_t)value->origin.micro_batch];
        if (*later)
            continue;
        *later = true;
        if (!value->layout.partial && !(breadth && stages[p] < 0))
            name_partial_sum(reduction, v);
    }
    free(seen);
    free(stages);
}

/* The sum over the micro-batches so far, when the reductions are one for each. */
static void name_running_total(struct reduction *reduction, int parameter, int depth)
{
    const struct schedule_config *schedule = &reduction->builder->config->schedule;
    struct program *program = reduction->builder->program;
    if (reduction->builder->config->distributed.zero_stage < 2 ||
        schedule->breadth_first_micro_batches > 1 ||
        program->values[reduction->reduced[parameter]].layout.partial)
        return;
    int batches = seat_batches(&program->seat);
    struct origin origin = {.micro_batch = depth * batches + batches - 1,
                            .micro_batches =
                                schedule_micro_batches(reduction->builder->config) * batches,
                            .micro_sequence = -1};
    program_name_value(program, reduction->reduced[parameter], WHAT_GRADIENT,
                       program->values[program->parameters[parameter].value].path, &origin);
}

/* The sum of the data ranks' summands: each has the rows of it whose master weights it has (facts,
 * 5.6). What differs between tensor ranks (gradients of what all have, from different tokens) is
 * summed before. */
static int emit_reduction(struct reduction *reduction, int parameter, int gradient)
{
    struct builder *builder = reduction->builder;
    const struct value *master =
        builder_value(builder, reduction->builder->program->parameters[parameter].value);
    bool cut = layout_is_cut(&master->layout, COMM_DATA);
    gradient = emit_complete_over(builder, gradient, 1u << COMM_TENSOR, NULL);
    return cut ? emit_reduce_scatter(builder, gradient, COMM_DATA, NULL)
               : emit_complete_over(builder, gradient, 1u << COMM_DATA, NULL);
}

static void mark_gradient(struct reduction *reduction, int parameter, int value)
{
    reduction->builder->program->values[value].gradient_of = parameter;
    reduction->builder->program->values[value].memory_class = MEMORY_GRADIENTS;
    reduction->builder->program->values[value].needs_gradient = false;
}

static void reduce_parameter(struct reduction *reduction, int p, int gathered)
{
    struct builder *builder = reduction->builder;
    struct program *program = reduction->builder->program;
    int total = reduction->reduced[p];
    builder->origin.layer = "";
    builder->origin.part =
        program_intern(program, program->values[program->parameters[p].value].path);
    gathered = emit_reduction(reduction, p, gathered);
    mark_gradient(reduction, p, gathered);
    if (total >= 0) {
        struct output_spec output = {NULL, DTYPE_F32, builder_value(builder, total)->shape, NULL};
        int index =
            builder_emit(builder, OP_ACCUMULATE, NULL, (int[]){total, gathered}, 2, &output, 1);
        gathered = program->instructions[index].outputs[0];
        mark_gradient(reduction, p, gathered);
    }
    reduction->reduced[p] = gathered;
}

void reduction_run(struct reduction *reduction, int depth)
{
    struct builder *builder = reduction->builder;
    struct program *program = reduction->builder->program;
    builder->origin.phase = PHASE_REDUCE;
    builder->origin.micro_batch = builder->origin.micro_sequence = -1;
    for (int p = 0; p < program->parameter_count; p++) {
        int gathered = builder->gradient[program->parameters[p].value];
        if (gathered < 0)
            continue;
        reduce_parameter(reduction, p, gathered);
        builder->gradient[program->parameters[p].value] = -1;
        name_running_total(reduction, p, depth);
    }
}

/* Copies of a tied weight on several pipeline ranks have a summand each (facts, 5.8). */
static void reduce_tied(struct reduction *reduction)
{
    for (int p = 0; p < reduction->builder->program->parameter_count; p++) {
        if (reduction->reduced[p] < 0)
            continue;
        reduction->builder->origin.part = program_intern(
            reduction->builder->program,
            builder_value(reduction->builder, reduction->builder->program->parameters[p].value)
                ->path);
        reduction->reduced[p] =
            emit_complete_over(reduction->builder, reduction->reduced[p], 1u << COMM_TIED, NULL);
        mark_gradient(reduction, p, reduction->reduced[p]);
    }
}

void reduction_finish(struct reduction *reduction)
{
    struct program *program = reduction->builder->program;
    struct origin origin = {.micro_batch = -1, .micro_sequence = -1};
    reduce_tied(reduction);
    name_partial_gradients(reduction);
    for (int p = 0; p < program->parameter_count; p++) {
        struct parameter *parameter = &program->parameters[p];
        parameter->gradient = reduction->reduced[p];
        if (parameter->gradient < 0)
            continue;
        program_name_value(program, parameter->gradient, WHAT_GRADIENT,
                           program->values[parameter->value].path, &origin);
        program->values[parameter->gradient].log_point = true;
    }
}
