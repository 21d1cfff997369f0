#include "engine/config/schema.h"

#include "engine/base/memory.h"

#include <stddef.h>

#define REQUIRED CYAML_FLAG_DEFAULT
#define OPTIONAL CYAML_FLAG_OPTIONAL
#define STRICT CYAML_FLAG_STRICT
#define OPTIONAL_POINTER (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)
#define FIELD_ENUM(key, structure, member, strings)                                                \
    CYAML_FIELD_ENUM(key, STRICT, structure, member, strings, ARRAY_LENGTH(strings))
#define FIELD_ENUM_PTR(key, structure, member, strings)                                            \
    CYAML_FIELD_ENUM_PTR(key, OPTIONAL | STRICT, structure, member, strings, ARRAY_LENGTH(strings))

static const cyaml_strval_t initialization_types[] = {{"normal", 0}};
static const cyaml_strval_t decoder_types[] = {{"fixed", 0}};
static const cyaml_strval_t mixer_types[] = {{"attention", 0}};

static const cyaml_strval_t normalization_types[] = {
    {"none", NORMALIZATION_NONE},
    {"layer_norm", NORMALIZATION_LAYER_NORM},
    {"rms_norm", NORMALIZATION_RMS_NORM},
};

static const cyaml_strval_t rotary_types[] = {
    {"none", ROTARY_NONE},
    {"default", ROTARY_DEFAULT},
    {"llama3", ROTARY_LLAMA3},
    {"yarn", ROTARY_YARN},
};

static const cyaml_strval_t mlp_types[] = {{"mlp", MLP_DENSE}, {"moe", MLP_MOE}};

static const cyaml_strval_t activations[] = {
    {"gelu", ACTIVATION_TYPE_GELU},         {"silu", ACTIVATION_TYPE_SILU},
    {"relu", ACTIVATION_TYPE_RELU},         {"sigmoid", ACTIVATION_TYPE_SIGMOID},
    {"identity", ACTIVATION_TYPE_IDENTITY}, {"squared_relu", ACTIVATION_TYPE_SQUARED_RELU},
};

static const cyaml_strval_t precisions[] = {
    {"fp32", PRECISION_FP32},    {"bf16", PRECISION_BF16},     {"fp16", PRECISION_FP16},
    {"float32", PRECISION_FP32}, {"bfloat16", PRECISION_BF16}, {"float16", PRECISION_FP16},
};

static const cyaml_strval_t decay_styles[] = {
    {"constant", DECAY_CONSTANT},
    {"linear", DECAY_LINEAR},
    {"power", DECAY_POWER},
    {"cosine", DECAY_COSINE},
};

static const cyaml_strval_t data_types[] = {
    {"text", DATA_TEXT},
    {"tokens", DATA_TOKENS},
    {"random", DATA_RANDOM},
};

static const cyaml_strval_t actions[] = {
    {"main", ACTION_MAIN},
    {"normal", ACTION_NORMAL},
    {"unimportant", ACTION_UNIMPORTANT},
    {"broken", ACTION_BROKEN},
    {"not_implemented", ACTION_NOT_IMPLEMENTED},
};

static const cyaml_schema_field_t initialization_fields[] = {
    FIELD_ENUM_PTR("type", struct raw_initialization, type, initialization_types),
    CYAML_FIELD_FLOAT_PTR("std", OPTIONAL, struct raw_initialization, std),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t weight_fields[] = {
    CYAML_FIELD_MAPPING("initialization", OPTIONAL, struct raw_weight, initialization,
                        initialization_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t bias_fields[] = {
    CYAML_FIELD_BOOL_PTR("enabled", OPTIONAL, struct raw_bias, enabled),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t linear_fields[] = {
    CYAML_FIELD_MAPPING("weight", OPTIONAL, struct raw_linear, weight, weight_fields),
    CYAML_FIELD_MAPPING("bias", OPTIONAL, struct raw_linear, bias, bias_fields),
    CYAML_FIELD_FLOAT_PTR("lr_scale", OPTIONAL, struct raw_linear, lr_scale),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t normalization_fields[] = {
    FIELD_ENUM("type", struct raw_normalization, type, normalization_types),
    CYAML_FIELD_FLOAT("epsilon", REQUIRED, struct raw_normalization, epsilon),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t rotary_fields[] = {
    FIELD_ENUM("type", struct raw_rotary, type, rotary_types),
    CYAML_FIELD_FLOAT("theta", REQUIRED, struct raw_rotary, theta),
    CYAML_FIELD_FLOAT("scale_factor", REQUIRED, struct raw_rotary, scale_factor),
    CYAML_FIELD_FLOAT("low_frequency_factor", REQUIRED, struct raw_rotary, low_frequency_factor),
    CYAML_FIELD_FLOAT("high_frequency_factor", REQUIRED, struct raw_rotary, high_frequency_factor),
    CYAML_FIELD_FLOAT("beta_fast", REQUIRED, struct raw_rotary, beta_fast),
    CYAML_FIELD_FLOAT("beta_slow", REQUIRED, struct raw_rotary, beta_slow),
    CYAML_FIELD_FLOAT("original_context_length", REQUIRED, struct raw_rotary,
                      original_context_length),
    CYAML_FIELD_FLOAT_PTR("attention_factor", OPTIONAL, struct raw_rotary, attention_factor),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t mixer_fields[] = {
    FIELD_ENUM_PTR("type", struct raw_mixer, type, mixer_types),
    CYAML_FIELD_INT("heads", REQUIRED, struct raw_mixer, heads),
    CYAML_FIELD_INT("head_groups", REQUIRED, struct raw_mixer, head_groups),
    CYAML_FIELD_INT_PTR("head_size", OPTIONAL, struct raw_mixer, head_size),
    CYAML_FIELD_INT_PTR("window_size", OPTIONAL, struct raw_mixer, window_size),
    CYAML_FIELD_BOOL("causal", REQUIRED, struct raw_mixer, causal),
    CYAML_FIELD_BOOL("add_linear_biases", REQUIRED, struct raw_mixer, add_linear_biases),
    CYAML_FIELD_FLOAT("softmax_scale_power", REQUIRED, struct raw_mixer, softmax_scale_power),
    CYAML_FIELD_MAPPING("query_layer", OPTIONAL, struct raw_mixer, query_layer, linear_fields),
    CYAML_FIELD_MAPPING("key_layer", OPTIONAL, struct raw_mixer, key_layer, linear_fields),
    CYAML_FIELD_MAPPING("value_layer", OPTIONAL, struct raw_mixer, value_layer, linear_fields),
    CYAML_FIELD_MAPPING("dense_layer", OPTIONAL, struct raw_mixer, dense_layer, linear_fields),
    CYAML_FIELD_MAPPING("rotary", REQUIRED, struct raw_mixer, rotary, rotary_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t mlp_fields[] = {
    FIELD_ENUM("type", struct raw_mlp, type, mlp_types),
    CYAML_FIELD_INT("intermediate_size", REQUIRED, struct raw_mlp, intermediate_size),
    CYAML_FIELD_BOOL("gated", REQUIRED, struct raw_mlp, gated),
    FIELD_ENUM_PTR("activation", struct raw_mlp, activation, activations),
    CYAML_FIELD_BOOL("add_linear_biases", REQUIRED, struct raw_mlp, add_linear_biases),
    CYAML_FIELD_MAPPING("layer_1", OPTIONAL, struct raw_mlp, layer_1, linear_fields),
    CYAML_FIELD_MAPPING("layer_2", OPTIONAL, struct raw_mlp, layer_2, linear_fields),
    CYAML_FIELD_INT_PTR("experts", OPTIONAL, struct raw_mlp, experts),
    CYAML_FIELD_INT_PTR("experts_per_token", OPTIONAL, struct raw_mlp, experts_per_token),
    CYAML_FIELD_MAPPING("router", OPTIONAL, struct raw_mlp, router, linear_fields),
    CYAML_FIELD_FLOAT("auxiliary_loss_coefficient", REQUIRED, struct raw_mlp,
                      auxiliary_loss_coefficient),
    CYAML_FIELD_FLOAT_PTR("lr_scale", OPTIONAL, struct raw_mlp, lr_scale),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t block_fields[] = {
    CYAML_FIELD_MAPPING("normalization", REQUIRED, struct raw_block, normalization,
                        normalization_fields),
    CYAML_FIELD_MAPPING("mixer", REQUIRED, struct raw_block, mixer, mixer_fields),
    CYAML_FIELD_MAPPING("mlp", REQUIRED, struct raw_block, mlp, mlp_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t decoder_fields[] = {
    FIELD_ENUM_PTR("type", struct raw_decoder, type, decoder_types),
    CYAML_FIELD_INT("num_blocks", REQUIRED, struct raw_decoder, num_blocks),
    CYAML_FIELD_MAPPING("block", REQUIRED, struct raw_decoder, block, block_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t word_embeddings_fields[] = {
    CYAML_FIELD_MAPPING("initialization", OPTIONAL, struct raw_word_embeddings, initialization,
                        initialization_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t position_embeddings_fields[] = {
    CYAML_FIELD_BOOL("enabled", REQUIRED, struct raw_position_embeddings, enabled),
    CYAML_FIELD_MAPPING("initialization", OPTIONAL, struct raw_position_embeddings, initialization,
                        initialization_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t embeddings_fields[] = {
    CYAML_FIELD_INT("vocab_size", REQUIRED, struct raw_embeddings, vocab_size),
    CYAML_FIELD_BOOL("vocab_parallel", REQUIRED, struct raw_embeddings, vocab_parallel),
    CYAML_FIELD_INT("num_position_embeddings", REQUIRED, struct raw_embeddings,
                    num_position_embeddings),
    CYAML_FIELD_MAPPING("word_embeddings_layer", OPTIONAL, struct raw_embeddings,
                        word_embeddings_layer, word_embeddings_fields),
    CYAML_FIELD_MAPPING("position_embeddings", REQUIRED, struct raw_embeddings, position_embeddings,
                        position_embeddings_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t head_fields[] = {
    CYAML_FIELD_MAPPING("normalization", REQUIRED, struct raw_head, normalization,
                        normalization_fields),
    CYAML_FIELD_MAPPING("output_weight", OPTIONAL, struct raw_head, output_weight, weight_fields),
    CYAML_FIELD_FLOAT("logits_scale_factor", REQUIRED, struct raw_head, logits_scale_factor),
    CYAML_FIELD_INT("cross_entropy_splits", REQUIRED, struct raw_head, cross_entropy_splits),
    CYAML_FIELD_INT("prediction_heads", REQUIRED, struct raw_head, prediction_heads),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t base_model_fields[] = {
    CYAML_FIELD_INT("hidden_size", REQUIRED, struct raw_base_model, hidden_size),
    CYAML_FIELD_BOOL("tied_embedding_weight", REQUIRED, struct raw_base_model,
                     tied_embedding_weight),
    CYAML_FIELD_MAPPING("embeddings", REQUIRED, struct raw_base_model, embeddings,
                        embeddings_fields),
    CYAML_FIELD_MAPPING("decoder", REQUIRED, struct raw_base_model, decoder, decoder_fields),
    CYAML_FIELD_MAPPING("head", REQUIRED, struct raw_base_model, head, head_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t learning_rate_fields[] = {
    CYAML_FIELD_FLOAT("base", REQUIRED, struct raw_learning_rate, base),
    CYAML_FIELD_FLOAT("minimum", REQUIRED, struct raw_learning_rate, minimum),
    FIELD_ENUM("decay_style", struct raw_learning_rate, decay_style, decay_styles),
    CYAML_FIELD_FLOAT("decay_power", REQUIRED, struct raw_learning_rate, decay_power),
    CYAML_FIELD_INT("warmup_iterations", REQUIRED, struct raw_learning_rate, warmup_iterations),
    CYAML_FIELD_INT("decay_iterations", REQUIRED, struct raw_learning_rate, decay_iterations),
    CYAML_FIELD_STRING_PTR("schedule", OPTIONAL_POINTER, struct raw_learning_rate, schedule, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t gradient_scaler_fields[] = {
    CYAML_FIELD_FLOAT("initial", REQUIRED, struct raw_gradient_scaler, initial),
    CYAML_FIELD_INT("window", REQUIRED, struct raw_gradient_scaler, window),
    CYAML_FIELD_INT("hysteresis", REQUIRED, struct raw_gradient_scaler, hysteresis),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t optimizer_fields[] = {
    CYAML_FIELD_MAPPING("learning_rate", REQUIRED, struct raw_optimizer, learning_rate,
                        learning_rate_fields),
    CYAML_FIELD_MAPPING("gradient_scaler", REQUIRED, struct raw_optimizer, gradient_scaler,
                        gradient_scaler_fields),
    CYAML_FIELD_FLOAT("beta_1", REQUIRED, struct raw_optimizer, beta_1),
    CYAML_FIELD_FLOAT("beta_2", REQUIRED, struct raw_optimizer, beta_2),
    CYAML_FIELD_FLOAT("epsilon", REQUIRED, struct raw_optimizer, epsilon),
    CYAML_FIELD_FLOAT("weight_decay", REQUIRED, struct raw_optimizer, weight_decay),
    CYAML_FIELD_FLOAT("gradient_norm_clipping", REQUIRED, struct raw_optimizer,
                      gradient_norm_clipping),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t data_fields[] = {
    FIELD_ENUM("type", struct raw_data, type, data_types),
    CYAML_FIELD_STRING_PTR("path", OPTIONAL_POINTER, struct raw_data, path, 0, CYAML_UNLIMITED),
    CYAML_FIELD_UINT("seed", REQUIRED, struct raw_data, seed),
    CYAML_FIELD_INT("micro_batch_size", REQUIRED, struct raw_data, micro_batch_size),
    CYAML_FIELD_INT("maximum_document_length", REQUIRED, struct raw_data, maximum_document_length),
    CYAML_FIELD_BOOL("loss_masking_spans", REQUIRED, struct raw_data, loss_masking_spans),
    CYAML_FIELD_BOOL("shuffle", REQUIRED, struct raw_data, shuffle),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t schedule_fields[] = {
    CYAML_FIELD_INT("depth_first_micro_batches", REQUIRED, struct raw_schedule,
                    depth_first_micro_batches),
    CYAML_FIELD_INT("breadth_first_micro_batches", REQUIRED, struct raw_schedule,
                    breadth_first_micro_batches),
    CYAML_FIELD_INT("micro_batch_splits", REQUIRED, struct raw_schedule, micro_batch_splits),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t distributed_fields[] = {
    FIELD_ENUM("compute_dtype", struct raw_distributed, compute_dtype, precisions),
    CYAML_FIELD_UINT("seed", REQUIRED, struct raw_distributed, seed),
    CYAML_FIELD_INT("world_size", REQUIRED, struct raw_distributed, world_size),
    CYAML_FIELD_INT("tensor_parallel", REQUIRED, struct raw_distributed, tensor_parallel),
    CYAML_FIELD_INT("pipeline_parallel", REQUIRED, struct raw_distributed, pipeline_parallel),
    CYAML_FIELD_INT("sequence_data_parallel", REQUIRED, struct raw_distributed,
                    sequence_data_parallel),
    CYAML_FIELD_BOOL("sequence_tensor_parallel", REQUIRED, struct raw_distributed,
                     sequence_tensor_parallel),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t multi_stage_fields[] = {
    CYAML_FIELD_INT("zero_stage", REQUIRED, struct raw_multi_stage, zero_stage),
    CYAML_FIELD_INT("layers_per_stage", REQUIRED, struct raw_multi_stage, layers_per_stage),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t training_fields[] = {
    CYAML_FIELD_INT("train_iters", REQUIRED, struct raw_training, train_iters),
    CYAML_FIELD_END,
};

#define GROUP_FIELD(key, group) FIELD_ENUM_PTR(key, struct raw_groups, actions[group], actions)

static const cyaml_schema_field_t groups_fields[] = {
    GROUP_FIELD("basic", GROUP_BASIC),
    GROUP_FIELD("checkpoint", GROUP_CHECKPOINT),
    GROUP_FIELD("convert", GROUP_CONVERT),
    GROUP_FIELD("generate", GROUP_GENERATE),
    GROUP_FIELD("megatron", GROUP_MEGATRON),
    GROUP_FIELD("distributed", GROUP_DISTRIBUTED),
    GROUP_FIELD("streaming", GROUP_STREAMING),
    GROUP_FIELD("lm_eval", GROUP_LM_EVAL),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t word = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED),
};

/* What a run is made of: models and variants may set it. */
#define RUN_FIELDS                                                                                 \
    CYAML_FIELD_MAPPING("base_model", REQUIRED, struct raw_config, base_model, base_model_fields), \
        CYAML_FIELD_MAPPING("optimizer", REQUIRED, struct raw_config, optimizer,                   \
                            optimizer_fields),                                                     \
        CYAML_FIELD_MAPPING("data", REQUIRED, struct raw_config, data, data_fields),               \
        CYAML_FIELD_MAPPING("schedule", REQUIRED, struct raw_config, schedule, schedule_fields),   \
        CYAML_FIELD_MAPPING("distributed", REQUIRED, struct raw_config, distributed,               \
                            distributed_fields),                                                   \
        CYAML_FIELD_MAPPING("multi_stage", REQUIRED, struct raw_config, multi_stage,               \
                            multi_stage_fields),                                                   \
        CYAML_FIELD_MAPPING("training", REQUIRED, struct raw_config, training, training_fields)

static const cyaml_schema_field_t override_fields[] = {RUN_FIELDS, CYAML_FIELD_END};

static const cyaml_schema_field_t config_fields[] = {
    CYAML_FIELD_INT_PTR("order", OPTIONAL, struct raw_config, order),
    RUN_FIELDS,
    CYAML_FIELD_MAPPING("groups", OPTIONAL, struct raw_config, groups, groups_fields),
    CYAML_FIELD_FLOAT("compare_factor", REQUIRED, struct raw_config, compare_factor),
    CYAML_FIELD_FLOAT("hf_compare_factor", REQUIRED, struct raw_config, hf_compare_factor),
    CYAML_FIELD_SEQUENCE("skip_tests", OPTIONAL_POINTER, struct raw_config, skip_tests, &word, 0,
                         CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("checkpoint_format", OPTIONAL_POINTER, struct raw_config,
                           checkpoint_format, 0, CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE("megatron_args", OPTIONAL_POINTER, struct raw_config, megatron_args, &word,
                         0, CYAML_UNLIMITED),
    CYAML_FIELD_BOOL("requires_cuda", REQUIRED, struct raw_config, requires_cuda),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t schema_config = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, config_fields),
};

const cyaml_schema_value_t schema_overrides = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, override_fields),
};
