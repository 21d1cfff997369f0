#include "engine/model/layers.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int emit_norm(struct builder *builder, const struct normalization_config *norm,
              struct weights weights, int x, const char *part)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.output", part);
    builder_part(builder, part, norm->source);
    int weight = weight_value(builder, weights.weight), bias = weight_value(builder, weights.bias);
    if (norm->type == NORMALIZATION_LAYER_NORM)
        return emit_layer_norm(builder, x, weight, bias, norm->epsilon, name);
    if (norm->type == NORMALIZATION_RMS_NORM)
        return emit_rms_norm(builder, x, weight, norm->epsilon, name);
    return x;
}

/* Embeddings and logits: each tensor rank has a part of the vocabulary. */
static struct layout vocabulary_layout(const struct builder *builder)
{
    bool parallel = builder->config->base_model.vocab_parallel;
    return parallel ? tensor_layout(builder, 0, 1) : (struct layout){0};
}

static int declare_word_embeddings(struct builder *builder, struct layer *layer)
{
    const struct model_config *config = &builder->config->base_model;
    return declare_weight(builder, layer->path, "word_embeddings_weight",
                          shape_of2(config->vocab_size, config->hidden_size), config->embedding_std,
                          1, vocabulary_layout(builder), config->embeddings_source);
}

static void declare_embeddings(struct builder *builder, struct layer *layer)
{
    const struct model_config *config = &builder->config->base_model;
    layer->word_embeddings = declare_word_embeddings(builder, layer);
    if (config->position_embeddings)
        layer->position_embeddings = declare_weight(
            builder, layer->path, "position_embeddings_weight",
            shape_of2(config->num_position_embeddings, config->hidden_size),
            config->position_embedding_std, 1, (struct layout){0}, config->embeddings_source);
}

static void declare_block(struct builder *builder, struct layer *layer)
{
    const struct model_config *config = &builder->config->base_model;
    layer->norm_1 = declare_norm(builder, layer->path, "norm_1", &config->block.normalization,
                                 config->hidden_size);
    declare_attention(builder, layer);
    layer->norm_2 = declare_norm(builder, layer->path, "norm_2", &config->block.normalization,
                                 config->hidden_size);
    declare_mlp(builder, layer);
}

/* All heads share one output weight, which is the word embedding if tied (facts, 2.14). A rank
 * that has heads but not the layer that the weight belongs to has a copy (5.8). */
static void declare_head(struct builder *builder, struct model *model, struct layer *layer)
{
    const struct model_config *config = &builder->config->base_model;
    layer->final_norm = declare_norm(builder, layer->path, "final_norm",
                                     &config->head_normalization, config->hidden_size);
    struct layer *embeddings = &model->layers[0], *head = model->layers + 1 + config->num_blocks;
    if (config->tied_embedding_weight) {
        if (embeddings->word_embeddings < 0)
            embeddings->word_embeddings = declare_word_embeddings(builder, embeddings);
        layer->output_weights = embeddings->word_embeddings;
        return;
    }
    if (head->output_weights < 0)
        head->output_weights = declare_weight(builder, head->path, "output_weights",
                                              shape_of2(config->vocab_size, config->hidden_size),
                                              config->output_weight_std, 1,
                                              vocabulary_layout(builder), config->head_source);
    layer->output_weights = head->output_weights;
}

/* Tied weights have copies where several pipeline ranks need them. */
static void mark_tied(struct builder *builder, const struct model *model)
{
    bool tied = builder->config->base_model.tied_embedding_weight;
    int weight = -1;
    for (int i = 0; i < model->layer_count; i++) {
        const struct layer *layer = &model->layers[i];
        if (layer->kind == LAYER_HEAD && layer->output_weights >= 0)
            weight = layer->output_weights;
        if (tied && i == 0 && layer->word_embeddings >= 0)
            weight = layer->word_embeddings;
    }
    if (weight >= 0)
        builder->program->parameters[weight].tied =
            seat_size(&builder->program->seat, COMM_TIED) > 1;
}

static struct layer *add_layer(struct model *model, enum layer_kind kind, const char *format,
                               int number)
{
    struct layer *layer = &model->layers[model->layer_count++];
    layer->kind = kind;
    layer->word_embeddings = layer->position_embeddings = layer->output_weights = -1;
    layer->input = model->last_output;
    if (kind != LAYER_HEAD)
        model->last_output = model->layer_count - 1;
    if (kind == LAYER_BLOCK)
        layer->index = model->block_count++;
    /* the formats below hold at most one %d */
    const char *mark = strstr(format, "%d");
    if (mark)
        snprintf(layer->path, sizeof(layer->path), "%.*s%d", (int)(mark - format), format, number);
    else
        snprintf(layer->path, sizeof(layer->path), "%s", format);
    return layer;
}

int model_layer_count(const struct config *config)
{
    return 2 + config->base_model.num_blocks + 2 * (config->base_model.prediction_heads - 1);
}

/* Model order: embeddings, decoder blocks, head, then block and head of each further distance. */
static void add_layers(struct model *model)
{
    const struct model_config *config = &model->config->base_model;
    size_t count = (size_t)model_layer_count(model->config);
    model->layers = memory_zeroed(count, sizeof(*model->layers));
    model->last_output = -1;
    add_layer(model, LAYER_EMBEDDINGS, "embeddings", 0);
    for (int i = 0; i < config->num_blocks; i++)
        add_layer(model, LAYER_BLOCK, "decoder.%d", i);
    int trunk = model->layers[config->num_blocks].input;
    add_layer(model, LAYER_HEAD, "head", 0);
    for (int i = 0; i + 1 < config->prediction_heads; i++) {
        add_layer(model, LAYER_BLOCK, "multi_token_prediction.blocks.%d", i)->input = trunk;
        struct layer *head = add_layer(model, LAYER_HEAD, "multi_token_prediction.heads.%d", i);
        head->distance = i + 1;
    }
}

static int make_rotary_table(struct builder *builder, const struct config *config)
{
    const struct attention_config *mixer = &config->base_model.block.mixer;
    if (mixer->rotary.type == ROTARY_NONE)
        return -1;
    int64_t positions = config->data.micro_batch_size;
    float *table = memory_zeroed((size_t)positions * (size_t)mixer->head_size, sizeof(*table));
    rotary_table(&mixer->rotary, mixer->head_size, positions, table);
    int value = builder_constant(builder, DTYPE_F32, shape_of2(positions, mixer->head_size), table);
    free(table);
    return value;
}

struct model *model_create(struct builder *builder, const bool *present)
{
    struct model *model = memory_zeroed(1, sizeof(*model));
    model->config = builder->config;
    add_layers(model);
    for (int i = 0; i < model->layer_count; i++) {
        struct layer *layer = &model->layers[i];
        layer->present = present[i];
        if (!layer->present)
            continue;
        builder->origin.layer = program_intern(builder->program, layer->path);
        if (layer->kind == LAYER_EMBEDDINGS)
            declare_embeddings(builder, layer);
        else if (layer->kind == LAYER_BLOCK)
            declare_block(builder, layer);
        else
            declare_head(builder, model, layer);
    }
    builder->origin.layer = "";
    mark_tied(builder, model);
    model->rotary_table = make_rotary_table(builder, builder->config);
    return model;
}

void model_free(struct model *model)
{
    if (!model)
        return;
    free(model->layers);
    free(model);
}

static int emit_embeddings(struct builder *builder, const struct model *model,
                           const struct layer *layer, struct flow *flow)
{
    const struct model_config *config = &model->config->base_model;
    bool positions = layer->position_embeddings >= 0;
    const char *name = positions ? "word" : "output";
    builder_part(builder, "word", config->embeddings_source);
    int word =
        emit_embedding(builder, flow->tokens, weight_value(builder, layer->word_embeddings), name);
    word = reduce_tokens(builder, word, name);
    if (!positions)
        return word;
    builder_part(builder, "position", config->embeddings_source);
    int position = emit_embedding(builder, flow->positions,
                                  weight_value(builder, layer->position_embeddings), "position");
    return emit_add(builder, word, position, "output");
}

/* Facts, 2.13: x + mixer(norm_1(x)), then x + mlp(norm_2(x)). */
static int emit_block(struct builder *builder, const struct model *model, const struct layer *layer,
                      struct flow *flow)
{
    const struct block_config *block = &model->config->base_model.block;
    int x = flow->outputs[layer->input];
    int normed = emit_norm(builder, &block->normalization, layer->norm_1, x, "norm_1");
    int mixed = emit_attention_mixer(builder, model, layer, flow, normed);
    builder_part(builder, "mixer", block->source);
    x = emit_add(builder, x, mixed, "mixer_residual");
    normed = emit_norm(builder, &block->normalization, layer->norm_2, x, "norm_2");
    normed = gather_tokens(builder, normed);
    int fed = block->mlp.type == MLP_MOE ? emit_moe(builder, model, layer, normed)
                                         : emit_mlp(builder, model, layer, normed);
    builder_part(builder, "mlp", block->source);
    return emit_add(builder, x, fed, "output");
}

void layer_emit(struct builder *builder, const struct model *model, int index, struct flow *flow)
{
    const struct layer *layer = &model->layers[index];
    builder->origin.layer = program_intern(builder->program, layer->path);
    if (layer->kind == LAYER_HEAD) {
        emit_head(builder, model, layer, flow);
        return;
    }
    int output = layer->kind == LAYER_EMBEDDINGS ? emit_embeddings(builder, model, layer, flow)
                                                 : emit_block(builder, model, layer, flow);
    mark_log_point(builder, output);
    flow->outputs[index] = output;
}
