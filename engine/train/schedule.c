#include "engine/train/schedule.h"

#include "engine/base/memory.h"
#include "engine/model/model.h"
#include "engine/program/backward.h"
#include "engine/train/pipeline.h"
#include "engine/train/reduction.h"
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
    struct pipeline pipeline;
    struct flow *flows; /* [micro_batches * splits] */
    int *outputs;       /* [micro_batches * splits][layers] */
    int *key_values;    /* [micro_batches][blocks] */
    struct unit *units; /* [stages][micro_batches * splits] */
    struct reduction reduction;
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

/* The number of a micro-batch of this rank among all of the step. */
static int step_micro_batch(const struct scheduler *scheduler, int micro_batch)
{
    const struct seat *seat = &scheduler->program->seat;
    return micro_batch * seat_batches(seat) + seat_batch(seat);
}

static int step_micro_batches(const struct scheduler *scheduler)
{
    return scheduler->micro_batches * seat_batches(&scheduler->program->seat);
}

static void set_micro_sequence(struct scheduler *scheduler, int micro_batch, int split)
{
    struct origin *origin = &scheduler->builder.origin;
    origin->micro_batch = micro_batch < 0 ? -1 : step_micro_batch(scheduler, micro_batch);
    origin->micro_batches = step_micro_batches(scheduler);
    origin->micro_sequence = split;
    origin->micro_sequences = scheduler->splits;
}

/* Tokens and labels, or what goes with the hidden state between blocks (positions): the rows of
 * the ranks that share a sequence. */
static struct layout rows_layout(const struct scheduler *scheduler, bool hidden)
{
    const struct seat *seat = &scheduler->program->seat;
    const struct config *config = scheduler->config;
    struct layout layout = {.batch = seat_batches(seat) > 1};
    layout_cut(&layout, seat, 0, 1, COMM_SEQUENCE_DATA);
    if (config->distributed.sequence_tensor_parallel &&
        (hidden || !config->base_model.vocab_parallel))
        layout_cut(&layout, seat, 0, 1, COMM_TENSOR);
    return layout;
}

static int add_rows_input(struct scheduler *scheduler, const char *name, int64_t rows, bool hidden)
{
    struct builder *builder = &scheduler->builder;
    struct layout layout = rows_layout(scheduler, hidden);
    struct shape shape = shape_of1(rows);
    if (!layout_local_shape(&layout, &scheduler->program->seat, &shape))
        builder_error(builder, "%lld rows of %s cannot be shared by the ranks", (long long)rows,
                      name);
    int input = builder_input(builder, name, DTYPE_I32, shape);
    builder_set_layout(builder, input, &layout);
    return input;
}

static void add_flow_inputs(struct scheduler *scheduler, int index)
{
    struct program_inputs *inputs = &scheduler->program->inputs;
    const struct model_config *model = &scheduler->config->base_model;
    struct flow *flow = &scheduler->flows[index];
    int micro_batch = index / scheduler->splits, split = index % scheduler->splits;
    set_micro_sequence(scheduler, micro_batch, split);
    flow->micro_batch_tokens = scheduler->config->data.micro_batch_size;
    flow->tokens_count = flow->micro_batch_tokens / scheduler->splits;
    flow->first_token = split * flow->tokens_count;
    int64_t rows = flow->tokens_count;
    inputs->tokens[index] = flow->tokens = add_rows_input(scheduler, "tokens", rows, false);
    inputs->positions[index] = flow->positions =
        model->position_embeddings ? add_rows_input(scheduler, "positions", rows, true) : -1;
    int *labels = &inputs->labels[index * scheduler->heads];
    for (int head = 0; head < scheduler->heads; head++) {
        char name[32];
        snprintf(name, sizeof(name), head ? "labels_%d" : "labels", head + 1);
        labels[head] = add_rows_input(scheduler, name, rows, false);
    }
    flow->labels = labels;
    flow->label_counts = inputs->label_counts;
    flow->document_start = inputs->document_starts[micro_batch];
    flow->key_values = &scheduler->key_values[micro_batch * scheduler->model->block_count];
    flow->outputs = &scheduler->outputs[index * scheduler->model->layer_count];
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
    struct layout own = {.batch = seat_batches(&scheduler->program->seat) > 1};
    for (int i = 0; i < scheduler->micro_batches; i++) {
        set_micro_sequence(scheduler, i, -1);
        inputs->document_starts[i] =
            builder_input(builder, "document_start", DTYPE_I32,
                          shape_of1(scheduler->config->data.micro_batch_size));
        builder_set_layout(builder, inputs->document_starts[i], &own);
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

/* The micro-sequences' losses are parts of a sum, which a run that does not split has under the
 * name that it gets here: without it they would be compared with nothing. `first` is the first of
 * the stage's losses, one for each prediction head. */
static void add_up_losses(struct scheduler *scheduler, int micro_batch, int first)
{
    struct builder *builder = &scheduler->builder;
    const struct flow *flows = &scheduler->flows[micro_batch * scheduler->splits];
    struct origin saved = builder->origin;
    for (int k = first; k < flows[0].loss_count; k++) {
        int sum = flows[0].losses[k];
        builder->origin = builder_value(builder, sum)->origin;
        builder->origin.micro_sequence = -1;
        for (int m = 1; m < scheduler->splits; m++)
            sum = emit_add(builder, sum, flows[m].losses[k],
                           m + 1 == scheduler->splits ? "loss" : NULL);
        builder->program->values[sum].log_point = true;
    }
    builder->origin = saved;
}

static void forward(struct scheduler *scheduler, int stage, int micro_batch, int split)
{
    struct unit *unit = unit_of(scheduler, stage, micro_batch, split);
    struct flow *flow = &scheduler->flows[micro_batch * scheduler->splits + split];
    const struct layout hidden = rows_layout(scheduler, true);
    int losses_before = flow->loss_count;
    scheduler->builder.origin.phase = PHASE_FORWARD;
    scheduler->builder.origin.stage = stage;
    set_micro_sequence(scheduler, micro_batch, split);
    unit->first = scheduler->program->instruction_count;
    pipeline_receive(&scheduler->pipeline, &scheduler->builder, stage, flow, &hidden);
    for (int layer = stage ? scheduler->stage_end[stage - 1] : 0;
         layer < scheduler->stage_end[stage]; layer++)
        layer_emit(&scheduler->builder, scheduler->model, layer, flow);
    pipeline_send(&scheduler->pipeline, &scheduler->builder, stage, flow);
    unit->last = scheduler->program->instruction_count;
    if (scheduler->splits > 1 && split + 1 == scheduler->splits)
        add_up_losses(scheduler, micro_batch, losses_before);
}

static void backward(struct scheduler *scheduler, int stage, int micro_batch, int split)
{
    const struct unit *unit = unit_of(scheduler, stage, micro_batch, split);
    scheduler->builder.origin.stage = stage;
    set_micro_sequence(scheduler, micro_batch, split);
    backward_emit(&scheduler->builder, unit->first, unit->last);
}

/* What one stage does in one direction, for the micro-batches that go through it together. */
static void emit_pass(struct scheduler *scheduler, int stage, int depth, bool forwards)
{
    const struct schedule_config *schedule = &scheduler->config->schedule;
    int splits = scheduler->splits;
    if (!pipeline_is_mine(&scheduler->pipeline, stage))
        return;
    builder_forget_weights(&scheduler->builder);
    for (int b = 0; b < schedule->breadth_first_micro_batches; b++)
        for (int m = 0; m < splits; m++) {
            int micro_batch = b * schedule->depth_first_micro_batches + depth;
            if (forwards)
                forward(scheduler, stage, micro_batch, m);
            else
                backward(scheduler, stage, micro_batch, splits - 1 - m);
        }
}

static void emit_steps(struct scheduler *scheduler)
{
    int depth = scheduler->config->schedule.depth_first_micro_batches;
    for (int d = 0; d < depth; d++) {
        for (int stage = 0; stage < scheduler->stage_count; stage++)
            emit_pass(scheduler, stage, d, true);
        for (int stage = scheduler->stage_count - 1; stage >= 0; stage--)
            emit_pass(scheduler, stage, d, false);
        if (scheduler->config->distributed.zero_stage >= 2)
            reduction_run(&scheduler->reduction, d);
    }
    if (scheduler->config->distributed.zero_stage < 2)
        reduction_run(&scheduler->reduction, depth - 1);
    reduction_finish(&scheduler->reduction);
}

/* Tensor and sequence-data ranks have the same losses: the first of them reports. */
static void gather_losses(struct scheduler *scheduler)
{
    struct program_outputs *outputs = &scheduler->program->outputs;
    const struct seat *seat = &scheduler->program->seat;
    int count = scheduler->micro_batches * scheduler->splits;
    outputs->losses = memory_zeroed((size_t)(count * scheduler->heads), sizeof(int));
    if (seat_index(seat, COMM_TENSOR) || seat_index(seat, COMM_SEQUENCE_DATA))
        return;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < scheduler->flows[i].loss_count; k++)
            outputs->losses[outputs->loss_count++] = scheduler->flows[i].losses[k];
}

static int *indices(size_t count)
{
    int *table = memory_zeroed(count, sizeof(int));
    for (size_t i = 0; i < count; i++)
        table[i] = -1;
    return table;
}

static void allocate_tables(struct scheduler *scheduler)
{
    size_t sequences = (size_t)(scheduler->micro_batches * scheduler->splits);
    scheduler->flows = memory_zeroed(sequences, sizeof(struct flow));
    scheduler->outputs = indices(sequences * (size_t)scheduler->model->layer_count);
    scheduler->units =
        memory_zeroed(sequences * (size_t)scheduler->stage_count, sizeof(struct unit));
    scheduler->key_values =
        indices((size_t)(scheduler->micro_batches * scheduler->model->block_count));
    scheduler->reduction = (struct reduction){&scheduler->builder,
                                              indices((size_t)scheduler->program->parameter_count)};
}

static void free_tables(struct scheduler *scheduler)
{
    free(scheduler->flows);
    free(scheduler->outputs);
    free(scheduler->stage_end);
    free(scheduler->units);
    free(scheduler->key_values);
    free(scheduler->reduction.reduced);
    model_free(scheduler->model);
    builder_finish(&scheduler->builder);
}

static bool check_rank(const struct config *config, const struct seat *seat, struct status *status)
{
    const struct distributed_config *distributed = &config->distributed;
    int world = distributed->world_size;
    int plane = distributed->tensor_parallel * distributed->pipeline_parallel;
    if (distributed->pipeline_parallel > MESH_MAX_TIED || world > MESH_MAX_RANKS)
        return status_fail(status, STATUS_UNSUPPORTED,
                           "%s: at most %d ranks, and pipeline_parallel at most %d", config->name,
                           MESH_MAX_RANKS, MESH_MAX_TIED);
    if (mesh_size(&seat->mesh) != world || world / plane % distributed->sequence_data_parallel)
        return status_fail(status, STATUS_INVALID,
                           "%s: world_size %d is not a multiple of tensor_parallel %d x "
                           "pipeline_parallel %d x sequence_data_parallel %d",
                           config->name, world, distributed->tensor_parallel,
                           distributed->pipeline_parallel, distributed->sequence_data_parallel);
    return (seat->rank >= 0 && seat->rank < world) ||
           status_fail(status, STATUS_INVALID, "%s has no rank %d: world_size is %d", config->name,
                       seat->rank, world);
}

struct mesh schedule_mesh(const struct config *config)
{
    const struct distributed_config *distributed = &config->distributed;
    int plane = distributed->tensor_parallel * distributed->pipeline_parallel;
    return (struct mesh){.tensors = distributed->tensor_parallel,
                         .sequence_datas = distributed->sequence_data_parallel,
                         .datas = distributed->world_size / (plane > 0 ? plane : 1),
                         .pipelines = distributed->pipeline_parallel,
                         .tied = pipeline_tied(config)};
}

/* Which layers this rank has parameters of. */
static struct model *create_model(struct scheduler *scheduler)
{
    int layers = model_layer_count(scheduler->config);
    bool *present = memory_zeroed((size_t)layers, sizeof(bool));
    scheduler->stage_end = memory_zeroed((size_t)layers, sizeof(int));
    scheduler->stage_count = schedule_stages(
        layers, scheduler->config->distributed.layers_per_stage, scheduler->stage_end);
    scheduler->pipeline = (struct pipeline){scheduler->stage_end, scheduler->stage_count, NULL,
                                            scheduler->program->seat};
    for (int layer = 0; layer < layers; layer++)
        present[layer] =
            pipeline_is_mine(&scheduler->pipeline, pipeline_stage(&scheduler->pipeline, layer));
    struct model *model = model_create(&scheduler->builder, present);
    scheduler->pipeline.model = model;
    free(present);
    return model;
}

struct program *schedule_compile(const struct config *config, struct status *status)
{
    return schedule_compile_rank(config, 0, status);
}

struct program *schedule_compile_rank(const struct config *config, int rank, struct status *status)
{
    struct seat seat = {schedule_mesh(config), rank};
    if (!check_rank(config, &seat, status))
        return NULL;
    struct scheduler scheduler = {.config = config,
                                  .program = program_create(),
                                  .micro_batches = schedule_micro_batches(config),
                                  .splits = config->schedule.micro_batch_splits,
                                  .heads = config->base_model.prediction_heads};
    struct builder *builder = &scheduler.builder;
    scheduler.program->seat = seat;
    builder_start(builder, scheduler.program, config);
    update_declare(builder);
    scheduler.model = create_model(&scheduler);
    allocate_tables(&scheduler);
    add_inputs(&scheduler);
    emit_steps(&scheduler);
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
