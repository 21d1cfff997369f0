#include "engine/config/loader.h"
#include "engine/config/stages.h"

#include "engine/base/memory.h"

#include <math.h>
#include <string.h>

static const double UNSET = -1;

static double number_or(const double *number, double otherwise)
{
    return number ? *number : otherwise;
}

static struct normalization_config translate_normalization(const struct raw_normalization *raw,
                                                           const struct node *root,
                                                           const char *path)
{
    return (struct normalization_config){raw->type, raw->epsilon, node_source(root, path)};
}

static struct linear_config translate_linear(const struct raw_linear *raw, bool bias,
                                             const struct node *root, const char *path)
{
    return (struct linear_config){
        .initialization_std = number_or(raw->weight.initialization.std, UNSET),
        .bias = raw->bias.enabled ? *raw->bias.enabled : bias,
        .lr_scale = number_or(raw->lr_scale, 1),
        .source = node_source(root, path),
    };
}

static struct rotary_config translate_rotary(const struct raw_rotary *raw, const struct node *root)
{
    return (struct rotary_config){
        .type = raw->type,
        .theta = raw->theta,
        .scale_factor = raw->scale_factor,
        .low_frequency_factor = raw->low_frequency_factor,
        .high_frequency_factor = raw->high_frequency_factor,
        .beta_fast = raw->beta_fast,
        .beta_slow = raw->beta_slow,
        .attention_factor = number_or(raw->attention_factor, 0),
        .original_context_length = raw->original_context_length,
        .source = node_source(root, "base_model.decoder.block.mixer.rotary"),
    };
}

#define MIXER "base_model.decoder.block.mixer"
#define MLP "base_model.decoder.block.mlp"

static struct attention_config translate_mixer(const struct raw_mixer *raw, int64_t hidden_size,
                                               const struct node *root)
{
    bool bias = raw->add_linear_biases;
    return (struct attention_config){
        .heads = raw->heads,
        .head_groups = raw->head_groups,
        .head_size = raw->head_size   ? *raw->head_size
                     : raw->heads > 0 ? (int)(hidden_size / raw->heads)
                                      : 0,
        .window_size = raw->window_size ? *raw->window_size : 0,
        .causal = raw->causal,
        .softmax_scale_power = raw->softmax_scale_power,
        .query = translate_linear(&raw->query_layer, bias, root, MIXER ".query_layer"),
        .key_value = translate_linear(&raw->key_layer, bias, root, MIXER ".key_layer"),
        .dense = translate_linear(&raw->dense_layer, bias, root, MIXER ".dense_layer"),
        .rotary = translate_rotary(&raw->rotary, root),
        .source = node_source(root, MIXER),
    };
}

static struct mlp_config translate_mlp(const struct raw_mlp *raw, const struct node *root)
{
    bool moe = raw->type == MLP_MOE, bias = raw->add_linear_biases;
    enum activation_type unset = raw->gated ? ACTIVATION_TYPE_SILU : ACTIVATION_TYPE_GELU;
    return (struct mlp_config){
        .type = raw->type,
        .intermediate_size = raw->intermediate_size,
        .gated = raw->gated,
        .activation = raw->activation ? *raw->activation : unset,
        .layer_1 = translate_linear(&raw->layer_1, bias, root, MLP ".layer_1"),
        .layer_2 = translate_linear(&raw->layer_2, bias, root, MLP ".layer_2"),
        .experts = moe && raw->experts ? *raw->experts : 0,
        .experts_per_token = moe && raw->experts_per_token ? *raw->experts_per_token : 0,
        .router = translate_linear(&raw->router, false, root, MLP ".router"),
        .auxiliary_loss_coefficient = raw->auxiliary_loss_coefficient,
        .lr_scale = number_or(raw->lr_scale, 1),
        .source = node_source(root, MLP),
    };
}

static struct model_config translate_model(const struct raw_base_model *raw,
                                           const struct node *root)
{
    const struct raw_embeddings *embeddings = &raw->embeddings;
    const struct raw_block *block = &raw->decoder.block;
    /* Embeddings and output weights without a deviation of their own have hidden_size^-0.5. */
    double std = raw->hidden_size > 0 ? 1 / sqrt((double)raw->hidden_size) : 0;
    return (struct model_config){
        .hidden_size = raw->hidden_size,
        .vocab_size = embeddings->vocab_size,
        .embedding_std = number_or(embeddings->word_embeddings_layer.initialization.std, std),
        .position_embeddings = embeddings->position_embeddings.enabled,
        .num_position_embeddings = embeddings->num_position_embeddings,
        .position_embedding_std =
            number_or(embeddings->position_embeddings.initialization.std, std),
        .vocab_parallel = embeddings->vocab_parallel,
        .tied_embedding_weight = raw->tied_embedding_weight,
        .num_blocks = raw->decoder.num_blocks,
        .block = {.normalization = translate_normalization(
                      &block->normalization, root, "base_model.decoder.block.normalization"),
                  .mixer = translate_mixer(&block->mixer, raw->hidden_size, root),
                  .mlp = translate_mlp(&block->mlp, root),
                  .source = node_source(root, "base_model.decoder.block")},
        .head_normalization = translate_normalization(&raw->head.normalization, root,
                                                      "base_model.head.normalization"),
        .output_weight_std = number_or(raw->head.output_weight.initialization.std, std),
        .logits_scale_factor = raw->head.logits_scale_factor,
        .cross_entropy_splits = raw->head.cross_entropy_splits,
        .prediction_heads = raw->head.prediction_heads,
        .embeddings_source = node_source(root, "base_model.embeddings"),
        .head_source = node_source(root, "base_model.head"),
    };
}

static struct optimizer_config translate_optimizer(const struct raw_optimizer *raw)
{
    struct optimizer_config optimizer = {
        .learning_rate = raw->learning_rate.base,
        .minimum_learning_rate = raw->learning_rate.minimum,
        .decay_power = raw->learning_rate.decay_power,
        .decay = raw->learning_rate.decay_style,
        .warmup_iterations = raw->learning_rate.warmup_iterations,
        .decay_iterations = raw->learning_rate.decay_iterations,
        .beta1 = raw->beta_1,
        .beta2 = raw->beta_2,
        .epsilon = raw->epsilon,
        .weight_decay = raw->weight_decay,
        .gradient_norm_clipping = raw->gradient_norm_clipping,
        .initial_loss_scale = raw->gradient_scaler.initial,
        .loss_scale_window = raw->gradient_scaler.window,
        .loss_scale_hysteresis = raw->gradient_scaler.hysteresis,
    };
    char why[STAGES_WHY_SIZE]; /* told when the meaning is checked */
    if (raw->learning_rate.schedule)
        stages_parse(raw->learning_rate.schedule, &optimizer, why);
    return optimizer;
}

static struct distributed_config translate_distributed(const struct raw_distributed *raw,
                                                       const struct raw_multi_stage *stages)
{
    return (struct distributed_config){
        .compute_dtype = raw->compute_dtype,
        .seed = raw->seed,
        .world_size = raw->world_size,
        .tensor_parallel = raw->tensor_parallel,
        .pipeline_parallel = raw->pipeline_parallel,
        .sequence_data_parallel = raw->sequence_data_parallel,
        /* As in the original: with one tensor rank there is no sequence to split. */
        .sequence_tensor_parallel = raw->sequence_tensor_parallel && raw->tensor_parallel > 1,
        .zero_stage = stages->zero_stage,
        .layers_per_stage = stages->layers_per_stage,
    };
}

static void translate_tests(const struct raw_config *raw, struct config *config)
{
    for (int i = 0; i < GROUP_COUNT; i++)
        config->groups[i] = raw->groups.actions[i] ? *raw->groups.actions[i] : ACTION_UNIMPORTANT;
    config->compare_factor = raw->compare_factor;
    config->hf_compare_factor = raw->hf_compare_factor;
    config->skip_test_count = (int)raw->skip_tests_count;
    config->skip_tests = memory_zeroed(raw->skip_tests_count, sizeof(*config->skip_tests));
    for (uint32_t i = 0; i < raw->skip_tests_count; i++)
        config->skip_tests[i] = memory_string(raw->skip_tests[i]);
    config->checkpoint_format = memory_string(raw->checkpoint_format);
    config->requires_cuda = raw->requires_cuda;
}

void translate_config(const struct raw_config *raw, const struct node *root, struct tree_pool *pool,
                      struct config *config)
{
    config->base_model = translate_model(&raw->base_model, root);
    config->optimizer = translate_optimizer(&raw->optimizer);
    config->data = (struct data_config){
        .type = raw->data.type,
        .path = pool_string(pool, raw->data.path ? raw->data.path : ""),
        .seed = raw->data.seed,
        .micro_batch_size = raw->data.micro_batch_size,
        .maximum_document_length = raw->data.maximum_document_length,
        .loss_masking_spans = raw->data.loss_masking_spans,
        .shuffle = raw->data.shuffle,
    };
    config->schedule = (struct schedule_config){
        .depth_first_micro_batches = raw->schedule.depth_first_micro_batches,
        .breadth_first_micro_batches = raw->schedule.breadth_first_micro_batches,
        .micro_batch_splits = raw->schedule.micro_batch_splits,
    };
    config->distributed = translate_distributed(&raw->distributed, &raw->multi_stage);
    config->train_iterations = raw->training.train_iters;
    translate_tests(raw, config);
}
