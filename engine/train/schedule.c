#include "engine/train/schedule.h"

#include "engine/base/memory.h"
#include "engine/model/model.h"
#include "engine/program/backward.h"
#include "engine/train/update.h"

#include <stdio.h>
#include <stdlib.h>

/* One forward pass of a stage over one micro-sequence: the instructions to derive backward. */
struct unit {
    int first, last;
};

struct scheduler {
    const struct config *config;
    struct program *program;
    struct builder builder;
    struct model *model;
    int micro_batches, splits, heads;
    int *stage_end, stage_count;
    struct flow *flows; /* [micro_batches * splits] */
    int *key_values;    /* [micro_batches][blocks] */
    struct unit *units; /* [stages][micro_batches * splits] */
    int *reduced;       /* per parameter: gradient of earlier reductions (ZeRO 2), or -1 */
};

int schedule_micro_batches(const struct config *config)
{
    return config->schedule.depth_first_micro_batches *
           config->schedule.breadth_first_micro_batches;
}

/* A stage closes when it has gathered layers_per_stage layers; the embedding counts so much that
 * it always closes its own. */
int schedule_stages(int layer_count, int layers_per_stage, int *stage_end)
{
    enum { EMBEDDING_COUNT = 1000 };
    int stages = 0, count = 0;
    for (int layer = 0; layer < layer_count; layer++) {
        count += layer == 0 ? EMBEDDING_COUNT : 1;
        if (count >= layers_per_stage || layer + 1 == layer_count) {
            stage_end[stages++] = layer + 1;
            count = 0;
        }
    }
    return stages;
}

static void set_micro_sequence(struct scheduler *scheduler, int micro_batch, int split)
{
    struct origin *origin = &scheduler->builder.origin;
    origin->micro_batch = micro_batch;
    origin->micro_batches = scheduler->micro_batches;
    origin->micro_sequence = split;
    origin->micro_sequences = scheduler->splits;
}

static void add_flow_inputs(struct scheduler *scheduler, int index)
{
    struct builder *builder = &scheduler->builder;
    struct program_inputs *inputs = &scheduler->program->inputs;
    const struct model_config *model = &scheduler->config->base_model;
    struct flow *flow = &scheduler->flows[index];
    int micro_batch = index / scheduler->splits, split = index % scheduler->splits;
    set_micro_sequence(scheduler, micro_batch, split);
    flow->micro_batch_tokens = scheduler->config->data.micro_batch_size;
    flow->tokens_count = flow->micro_batch_tokens / scheduler->splits;
    flow->first_token = split * flow->tokens_count;
    struct shape shape = shape_of1(flow->tokens_count);
    inputs->tokens[index] = flow->tokens = builder_input(builder, "tokens", DTYPE_I32, shape);
    inputs->positions[index] = flow->positions =
        model->position_embeddings ? builder_input(builder, "positions", DTYPE_I32, shape) : -1;
    int *labels = &inputs->labels[index * scheduler->heads];
    for (int head = 0; head < scheduler->heads; head++) {
        char name[32];
        snprintf(name, sizeof(name), head ? "labels_%d" : "labels", head + 1);
        labels[head] = builder_input(builder, name, DTYPE_I32, shape);
    }
    flow->labels = labels;
    flow->label_counts = inputs->label_counts;
    flow->document_start = inputs->document_starts[micro_batch];
    flow->key_values = &scheduler->key_values[micro_batch * scheduler->model->block_count];
}

static void add_inputs(struct scheduler *scheduler)
{
    struct builder *builder = &scheduler->builder;
    struct program_inputs *inputs = &scheduler->program->inputs;
    int count = scheduler->micro_batches * scheduler->splits;
    inputs->count = count;
    inputs->tokens = memory_zeroed((size_t)count, sizeof(int));
    inputs->positions = memory_zeroed((size_t)count, sizeof(int));
    inputs->labels = memory_zeroed((size_t)(count * scheduler->heads), sizeof(int));
    inputs->document_starts = memory_zeroed((size_t)scheduler->micro_batches, sizeof(int));
    inputs->label_counts = memory_zeroed((size_t)scheduler->heads, sizeof(int));
    builder->origin.layer = "";
    inputs->learning_rate = builder_input(builder, "learning_rate", DTYPE_F64, shape_of1(1));
    for (int head = 0; head < scheduler->heads; head++) {
        char name[32];
        snprintf(name, sizeof(name), head ? "label_count_%d" : "label_count", head + 1);
        inputs->label_counts[head] = builder_input(builder, name, DTYPE_F64, shape_of1(1));
    }
    for (int i = 0; i < scheduler->micro_batches; i++) {
        set_micro_sequence(scheduler, i, -1);
        inputs->document_starts[i] =
            builder_input(builder, "document_start", DTYPE_I32,
                          shape_of1(scheduler->config->data.micro_batch_size));
    }
    for (int i = 0; i < count; i++)
        add_flow_inputs(scheduler, i);
    set_micro_sequence(scheduler, -1, -1);
}

static struct unit *unit_of(struct scheduler *scheduler, int stage, int micro_batch, int split)
{
    int index = micro_batch * scheduler->splits + split;
    return &scheduler->units[stage * scheduler->micro_batches * scheduler->splits + index];
}

static void forward(struct scheduler *scheduler, int stage, int micro_batch, int split)
{
    struct unit *unit = unit_of(scheduler, stage, micro_batch, split);
    struct flow *flow = &scheduler->flows[micro_batch * scheduler->splits + split];
    scheduler->builder.origin.phase = PHASE_FORWARD;
    scheduler->builder.origin.stage = stage;
    set_micro_sequence(scheduler, micro_batch, split);
    unit->first = scheduler->program->instruction_count;
    for (int layer = stage ? scheduler->stage_end[stage - 1] : 0;
         layer < scheduler->stage_end[stage]; layer++)
        layer_emit(&scheduler->builder, scheduler->model, layer, flow);
    unit->last = scheduler->program->instruction_count;
}

static void backward(struct scheduler *scheduler, int stage, int micro_batch, int split)
{
    const struct unit *unit = unit_of(scheduler, stage, micro_batch, split);
    scheduler->builder.origin.stage = stage;
    set_micro_sequence(scheduler, micro_batch, split);
    backward_emit(&scheduler->builder, unit->first, unit->last);
}

/* The last partial sum of each parameter and micro-batch is named after the micro-batch, so that
 * it meets the same sum of another schedule. */
static void name_partial_gradients(struct scheduler *scheduler)
{
    struct program *program = scheduler->program;
    if (scheduler->micro_batches == 1 || scheduler->config->distributed.zero_stage >= 2)
        return;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *value = &program->values[v];
        if (value->gradient_of < 0 || value->origin.phase != PHASE_BACKWARD)
            continue;
        struct origin origin = value->origin;
        origin.micro_sequences = 1;
        const struct parameter *parameter = &program->parameters[value->gradient_of];
        program_name_value(program, v, WHAT_GRADIENT, program->values[parameter->value].path,
                           &origin);
    }
}

/* The sum over the micro-batches so far, when the reductions are one for each. */
static void name_running_total(struct scheduler *scheduler, int parameter, int depth)
{
    const struct schedule_config *schedule = &scheduler->config->schedule;
    struct program *program = scheduler->program;
    if (scheduler->config->distributed.zero_stage < 2 || schedule->breadth_first_micro_batches > 1)
        return;
    struct origin origin = {
        .micro_batch = depth, .micro_batches = scheduler->micro_batches, .micro_sequence = -1};
    program_name_value(program, scheduler->reduced[parameter], WHAT_GRADIENT,
                       program->values[program->parameters[parameter].value].path, &origin);
}

/* ZeRO 2 and 3 share gradient buffers between stages: before the buffer is used again, what it
 * holds is added to the shard that the rank owns (facts, 5.6). */
static void reduce(struct scheduler *scheduler, int depth)
{
    struct builder *builder = &scheduler->builder;
    struct program *program = scheduler->program;
    builder->origin.phase = PHASE_REDUCE;
    set_micro_sequence(scheduler, -1, -1);
    for (int p = 0; p < program->parameter_count; p++) {
        int *gathered = &builder->gradient[program->parameters[p].value];
        if (*gathered < 0)
            continue;
        int total = scheduler->reduced[p];
        if (total >= 0) {
            const struct value *of = &program->values[program->parameters[p].value];
            struct output_spec output = {NULL, DTYPE_F32, of->shape};
            builder->origin.layer = "";
            builder->origin.part = program_intern(program, of->path);
            int index = builder_emit(builder, OP_ACCUMULATE, NULL, (int[]){total, *gathered}, 2,
                                     &output, 1);
            total = program->instructions[index].outputs[0];
            program->values[total].gradient_of = p;
            program->values[total].memory_class = MEMORY_GRADIENTS;
        } else {
            total = *gathered;
        }
        scheduler->reduced[p] = total;
        builder->gradient[program->parameters[p].value] = -1;
        name_running_total(scheduler, p, depth);
    }
}

static void emit_steps(struct scheduler *scheduler)
{
    const struct schedule_config *schedule = &scheduler->config->schedule;
    int depth = schedule->depth_first_micro_batches;
    int breadth = schedule->breadth_first_micro_batches;
    for (int d = 0; d < depth; d++) {
        for (int stage = 0; stage < scheduler->stage_count; stage++)
            for (int b = 0; b < breadth; b++)
                for (int m = 0; m < scheduler->splits; m++)
                    forward(scheduler, stage, b * depth + d, m);
        for (int stage = scheduler->stage_count - 1; stage >= 0; stage--)
            for (int b = 0; b < breadth; b++)
                for (int m = scheduler->splits - 1; m >= 0; m--)
                    backward(scheduler, stage, b * depth + d, m);
        if (scheduler->config->distributed.zero_stage >= 2)
            reduce(scheduler, d);
    }
    if (scheduler->config->distributed.zero_stage < 2)
        reduce(scheduler, depth - 1);
}

static void name_gradients(struct scheduler *scheduler)
{
    struct program *program = scheduler->program;
    struct origin origin = {.micro_batch = -1, .micro_sequence = -1};
    name_partial_gradients(scheduler);
    for (int p = 0; p < program->parameter_count; p++) {
        struct parameter *parameter = &program->parameters[p];
        parameter->gradient = scheduler->reduced[p];
        if (parameter->gradient < 0)
            continue;
        program_name_value(program, parameter->gradient, WHAT_GRADIENT,
                           program->values[parameter->value].path, &origin);
        program->values[parameter->gradient].log_point = true;
    }
}

static void gather_losses(struct scheduler *scheduler)
{
    struct program_outputs *outputs = &scheduler->program->outputs;
    int count = scheduler->micro_batches * scheduler->splits;
    outputs->losses = memory_zeroed((size_t)(count * scheduler->heads), sizeof(int));
    for (int i = 0; i < count; i++)
        for (int k = 0; k < scheduler->flows[i].loss_count; k++)
            outputs->losses[outputs->loss_count++] = scheduler->flows[i].losses[k];
}

static void allocate_tables(struct scheduler *scheduler)
{
    size_t sequences = (size_t)(scheduler->micro_batches * scheduler->splits);
    size_t layers = (size_t)scheduler->model->layer_count;
    scheduler->flows = memory_zeroed(sequences, sizeof(struct flow));
    scheduler->stage_end = memory_zeroed(layers, sizeof(int));
    scheduler->stage_count =
        schedule_stages(scheduler->model->layer_count,
                        scheduler->config->distributed.layers_per_stage, scheduler->stage_end);
    scheduler->units =
        memory_zeroed(sequences * (size_t)scheduler->stage_count, sizeof(struct unit));
    int histories = scheduler->micro_batches * scheduler->model->block_count;
    scheduler->key_values = memory_zeroed((size_t)histories, sizeof(int));
    for (int i = 0; i < histories; i++)
        scheduler->key_values[i] = -1;
    int parameters = scheduler->program->parameter_count;
    scheduler->reduced = memory_zeroed((size_t)parameters, sizeof(int));
    for (int p = 0; p < parameters; p++)
        scheduler->reduced[p] = -1;
}

static void free_tables(struct scheduler *scheduler)
{
    free(scheduler->flows);
    free(scheduler->stage_end);
    free(scheduler->units);
    free(scheduler->key_values);
    free(scheduler->reduced);
    model_free(scheduler->model);
    builder_finish(&scheduler->builder);
}

static bool check_layout(const struct config *config, struct status *status)
{
    const struct distributed_config *distributed = &config->distributed;
    if (distributed->world_size > 1 || distributed->tensor_parallel > 1 ||
        distributed->pipeline_parallel > 1 || distributed->sequence_data_parallel > 1)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s needs %d ranks; runs of more than one rank are not built yet",
                           config->name, distributed->world_size);
    return true;
}

struct program *schedule_compile(const struct config *config, struct status *status)
{
    if (!check_layout(config, status))
        return NULL;
    struct scheduler scheduler = {.config = config,
                                  .program = program_create(),
                                  .micro_batches = schedule_micro_batches(config),
                                  .splits = config->schedule.micro_batch_splits,
                                  .heads = config->base_model.prediction_heads};
    struct builder *builder = &scheduler.builder;
    builder_start(builder, scheduler.program, config);
    update_declare(builder);
    scheduler.model = model_create(builder);
    allocate_tables(&scheduler);
    add_inputs(&scheduler);
    emit_steps(&scheduler);
    name_gradients(&scheduler);
    gather_losses(&scheduler);
    update_emit(builder);
    struct status first = builder->status;
    free_tables(&scheduler);
    if (first.code == STATUS_OK)
        return scheduler.program;
    program_free(scheduler.program);
    *status = first;
    status_context(status, "%s", config->name);
    return NULL;
}
