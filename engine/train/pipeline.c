#include "engine/train/pipeline.h"

#include "engine/base/memory.h"
#include "engine/train/schedule.h"

#include <stdlib.h>

int pipeline_stage(const struct pipeline *pipeline, int layer)
{
    int stage = 0;
    while (pipeline->stage_end[stage] <= layer)
        stage++;
    return stage;
}

static int rank_of_stage(const struct pipeline *pipeline, int stage)
{
    return stage % seat_size(&pipeline->seat, COMM_PIPELINE);
}

bool pipeline_is_mine(const struct pipeline *pipeline, int stage)
{
    return rank_of_stage(pipeline, stage) == seat_pipeline(&pipeline->seat);
}

static int first_layer(const struct pipeline *pipeline, int stage)
{
    return stage ? pipeline->stage_end[stage - 1] : 0;
}

static void set_origin(struct builder *builder, const struct layer *layer, const char *part)
{
    builder->origin.layer = program_intern(builder->program, layer->path);
    builder_part(builder, part, (struct source){0});
}

/* Whether a layer of the stage takes the output of `from`. */
static bool takes(const struct pipeline *pipeline, int stage, int from)
{
    for (int i = first_layer(pipeline, stage); i < pipeline->stage_end[stage]; i++)
        if (pipeline->model->layers[i].input == from)
            return true;
    return false;
}

/* In the order of the layers that are received, which is the order in which they are sent. */
void pipeline_receive(const struct pipeline *pipeline, struct builder *builder, int stage,
                      struct flow *flow, const struct layout *hidden)
{
    for (int from = 0; from < first_layer(pipeline, stage); from++) {
        if (flow->outputs[from] >= 0 || !takes(pipeline, stage, from))
            continue;
        int rank = rank_of_stage(pipeline, pipeline_stage(pipeline, from));
        struct shape shape = shape_of2(flow->tokens_count, builder->config->base_model.hidden_size);
        if (!layout_local_shape(hidden, &pipeline->seat, &shape))
            builder_error(builder, "the tokens cannot be shared by the ranks");
        set_origin(builder, &pipeline->model->layers[from], "receive");
        int value = emit_receive(builder, seat_on_pipeline(&pipeline->seat, rank), builder->dtype,
                                 shape, hidden, "output");
        builder->program->values[value].needs_gradient = true;
        builder->program->values[value].log_point = true;
        flow->outputs[from] = value;
    }
}

/* Whether a pipeline rank needs the output of a layer. */
static bool needs(const struct pipeline *pipeline, int rank, int layer)
{
    for (int stage = 0; stage < pipeline->stage_count; stage++)
        if (rank_of_stage(pipeline, stage) == rank && takes(pipeline, stage, layer))
            return true;
    return false;
}

void pipeline_send(const struct pipeline *pipeline, struct builder *builder, int stage,
                   const struct flow *flow)
{
    int ranks = seat_size(&pipeline->seat, COMM_PIPELINE);
    for (int i = first_layer(pipeline, stage); i < pipeline->stage_end[stage]; i++)
        for (int rank = 0; rank < ranks; rank++) {
            if (rank == seat_pipeline(&pipeline->seat) || !needs(pipeline, rank, i))
                continue;
            set_origin(builder, &pipeline->model->layers[i], "send");
            emit_send(builder, flow->outputs[i], seat_on_pipeline(&pipeline->seat, rank));
        }
}

uint64_t pipeline_tied(const struct config *config)
{
    int layers = model_layer_count(config), stages, stage = 0;
    int ranks = config->distributed.pipeline_parallel;
    int *stage_end = memory_zeroed((size_t)layers, sizeof(int));
    uint64_t tied = 0;
    stages = schedule_stages(layers, config->distributed.layers_per_stage, stage_end);
    for (int layer = 0; layer < layers && ranks > 1 && ranks <= MESH_MAX_TIED; layer++) {
        /* embeddings, blocks, then head, block, head, block, ... */
        int after = layer - 1 - config->base_model.num_blocks;
        bool shares = (layer == 0 && config->base_model.tied_embedding_weight) ||
                      (after >= 0 && after % 2 == 0);
        while (stage + 1 < stages && stage_end[stage] <= layer)
            stage++;
        if (shares)
            tied |= (uint64_t)1 << stage % ranks;
    }
    free(stage_end);
    return tied & (tied - 1) ? tied : 0;
}
