/* What the YAML files may hold: raw structs as libcyaml fills them, and the tables that describe
 * them. The same tables drive the strict check (check.h), which runs first, because libcyaml
 * takes "12abc" for 12, any unknown word for true, and names the wrong line.
 *
 * A pointer member is NULL when the key was not set; everything else has a default in
 * configs/base.yaml or must be given. Internal to engine/config. */
#ifndef ENGINE_CONFIG_SCHEMA_H
#define ENGINE_CONFIG_SCHEMA_H

#include "engine/config/tolerances.h"

#include <cyaml/cyaml.h>

struct raw_initialization {
    int *type;
    double *std;
};

struct raw_weight {
    struct raw_initialization initialization;
};

struct raw_bias {
    bool *enabled;
};

struct raw_linear {
    struct raw_weight weight;
    struct raw_bias bias;
    double *lr_scale;
};

struct raw_normalization {
    enum normalization_type type;
    double epsilon;
};

struct raw_rotary {
    enum rotary_type type;
    double theta, scale_factor, low_frequency_factor, high_frequency_factor;
    double beta_fast, beta_slow, original_context_length;
    double *attention_factor;
};

struct raw_mixer {
    int *type;
    int32_t heads, head_groups;
    int32_t *head_size;
    int64_t *window_size;
    bool causal, add_linear_biases;
    double softmax_scale_power;
    struct raw_linear query_layer, key_layer, value_layer, dense_layer;
    struct raw_rotary rotary;
};

struct raw_mlp {
    enum mlp_type type;
    int64_t intermediate_size;
    bool gated, add_linear_biases;
    enum activation_type *activation;
    struct raw_linear layer_1, layer_2, router;
    int32_t *experts, *experts_per_token;
    double auxiliary_loss_coefficient;
    double *lr_scale;
};

struct raw_block {
    struct raw_normalization normalization;
    struct raw_mixer mixer;
    struct raw_mlp mlp;
};

struct raw_decoder {
    int *type;
    int32_t num_blocks;
    struct raw_block block;
};

struct raw_word_embeddings {
    struct raw_initialization initialization;
};

struct raw_position_embeddings {
    bool enabled;
    struct raw_initialization initialization;
};

struct raw_embeddings {
    int64_t vocab_size;
    bool vocab_parallel;
    int64_t num_position_embeddings;
    struct raw_word_embeddings word_embeddings_layer;
    struct raw_position_embeddings position_embeddings;
};

struct raw_head {
    struct raw_normalization normalization;
    struct raw_weight output_weight;
    double logits_scale_factor;
    int32_t cross_entropy_splits, prediction_heads;
};

struct raw_base_model {
    int64_t hidden_size;
    bool tied_embedding_weight;
    struct raw_embeddings embeddings;
    struct raw_decoder decoder;
    struct raw_head head;
};

struct raw_learning_rate {
    double base, minimum, decay_power;
    enum learning_rate_decay decay_style;
    int32_t warmup_iterations, decay_iterations;
    char *schedule;
};

struct raw_gradient_scaler {
    double initial;
    int32_t window, hysteresis;
};

struct raw_optimizer {
    struct raw_learning_rate learning_rate;
    struct raw_gradient_scaler gradient_scaler;
    double beta_1, beta_2, epsilon, weight_decay, gradient_norm_clipping;
};

struct raw_data {
    enum data_type type;
    char *path;
    uint64_t seed;
    int64_t micro_batch_size, maximum_document_length;
    bool loss_masking_spans, shuffle;
};

struct raw_schedule {
    int32_t depth_first_micro_batches, breadth_first_micro_batches, micro_batch_splits;
};

struct raw_distributed {
    enum precision compute_dtype;
    uint64_t seed;
    int32_t world_size, tensor_parallel, pipeline_parallel, sequence_data_parallel;
    bool sequence_tensor_parallel;
};

struct raw_multi_stage {
    int32_t zero_stage, layers_per_stage;
};

struct raw_training {
    int32_t train_iters;
};

struct raw_groups {
    enum test_action *actions[GROUP_COUNT];
};

struct raw_config {
    struct raw_base_model base_model;
    struct raw_optimizer optimizer;
    struct raw_data data;
    struct raw_schedule schedule;
    struct raw_distributed distributed;
    struct raw_multi_stage multi_stage;
    struct raw_training training;
    struct raw_groups groups;
    double compare_factor, hf_compare_factor;
    char **skip_tests;
    uint32_t skip_tests_count;
    char *checkpoint_format;
    char **megatron_args;
    uint32_t megatron_args_count;
    bool requires_cuda;
    int32_t *order;
};

struct raw_variant {
    char *name;
    int32_t *order;
    enum test_group group;
    int32_t ranks;
    char *compares_with, *tolerances;
    double *compare_factor;
    bool *requires_cuda;
};

/* Limits as written: `relative` and `absolute` are shorthands for the four tolerances. */
struct raw_limits {
    double *relative, *absolute;
    double *rms_relative, *rms_absolute, *max_relative, *max_absolute, *rms_epsilon;
    double *scale;
    bool *ignore, *ignore_duplicates;
};

struct raw_rule {
    char *step, *name;
    struct raw_limits limits;      /* on every device */
    struct raw_limits *cpu, *cuda; /* columns: refine, or alone make the rule exist there only */
};

struct raw_tolerances {
    char *name;
    struct raw_rule *rules;
    uint32_t rules_count;
    struct raw_limits otherwise;
};

extern const cyaml_schema_value_t schema_config;     /* struct raw_config * */
extern const cyaml_schema_value_t schema_overrides;  /* the part of it that a variant may set */
extern const cyaml_schema_value_t schema_variant;    /* struct raw_variant * */
extern const cyaml_schema_value_t schema_tolerances; /* struct raw_tolerances * */

#endif
