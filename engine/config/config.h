/* The resolved configuration of one run: a model, a variant and the command line merged, checked
 * and in plain structs. Immutable after loading; owned by whoever loaded it; any thread may read.
 * The field comments give the YAML key. Numbers and names: the model tests' facts. */
#ifndef ENGINE_CONFIG_CONFIG_H
#define ENGINE_CONFIG_CONFIG_H

#include "engine/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum normalization_type {
    NORMALIZATION_NONE = 0,
    NORMALIZATION_LAYER_NORM,
    NORMALIZATION_RMS_NORM
};
enum rotary_type { ROTARY_NONE = 0, ROTARY_DEFAULT, ROTARY_LLAMA3, ROTARY_YARN };
enum mlp_type { MLP_DENSE = 0, MLP_MOE };
enum activation_type { /* same order as enum activation of the devices */
                       ACTIVATION_TYPE_GELU = 0,
                       ACTIVATION_TYPE_SILU,
                       ACTIVATION_TYPE_RELU,
                       ACTIVATION_TYPE_SIGMOID,
                       ACTIVATION_TYPE_SQUARED_RELU,
                       ACTIVATION_TYPE_IDENTITY,
};
enum precision { PRECISION_FP32 = 0, PRECISION_BF16, PRECISION_FP16 };
enum learning_rate_decay { DECAY_CONSTANT = 0, DECAY_LINEAR, DECAY_POWER, DECAY_COSINE };
enum data_type { DATA_TEXT = 0, DATA_TOKENS, DATA_RANDOM };
enum test_group {
    GROUP_BASIC = 0,
    GROUP_CHECKPOINT,
    GROUP_CONVERT,
    GROUP_GENERATE,
    GROUP_MEGATRON,
    GROUP_DISTRIBUTED,
    GROUP_STREAMING,
    GROUP_LM_EVAL,
    GROUP_COUNT,
};
enum test_action {
    ACTION_UNIMPORTANT = 0,
    ACTION_MAIN,
    ACTION_NORMAL,
    ACTION_BROKEN,
    ACTION_NOT_IMPLEMENTED
};

const char *test_group_name(enum test_group group);    /* "basic", ... static */
const char *test_action_name(enum test_action action); /* "main", ... static */
const char *precision_name(enum precision precision);  /* "fp32", ... static */

/* Where a value was written: for listings and messages. */
struct source {
    const char *file; /* borrowed from the configuration; NULL: built in or not set */
    int line, column; /* from 1 */
    const char
        *key; /* "base_model.decoder.block.mixer": whose value it is (static); NULL: not known */
};

struct normalization_config {
    enum normalization_type type; /* normalization.type */
    double epsilon;               /* normalization.epsilon */
    struct source source;
};

struct linear_config {
    double initialization_std; /* weight.initialization.std; < 0: the layer's default */
    bool bias;                 /* bias.enabled, or the parent's add_linear_biases */
    double lr_scale;           /* lr_scale, default 1; 0 = frozen */
    struct source source;
};

struct rotary_config {
    enum rotary_type type; /* rotary.type */
    double theta;          /* rotary.theta */
    double scale_factor, low_frequency_factor, high_frequency_factor;
    double beta_fast, beta_slow, attention_factor; /* attention_factor <= 0: 0.1 ln(scale)+1 */
    double original_context_length;
    struct source source;
};

struct attention_config {
    int heads, head_groups, head_size; /* mixer.heads ... */
    int64_t window_size;               /* mixer.window_size; 0 = none */
    bool causal;
    double softmax_scale_power;                   /* scale = head_size^-power, default 0.5 */
    struct linear_config query, key_value, dense; /* query_layer, key_layer (+value), dense_layer */
    struct rotary_config rotary;
    struct source source;
};

struct mlp_config {
    enum mlp_type type;
    int64_t intermediate_size;
    bool gated;
    enum activation_type activation;
    struct linear_config layer_1, layer_2;
    int experts, experts_per_token;    /* type moe */
    struct linear_config router;       /* no bias */
    double auxiliary_loss_coefficient; /* default 0.01 */
    double lr_scale;                   /* mlp.lr_scale: 0 freezes the whole MLP */
    struct source source;
};

struct block_config {
    struct normalization_config normalization; /* norm_1 and norm_2 */
    struct attention_config mixer;
    struct mlp_config mlp;
    struct source source;
};

struct model_config {
    int64_t hidden_size;
    int64_t vocab_size;              /* embeddings.vocab_size */
    double embedding_std;            /* embeddings.word_embeddings_layer.initialization.std */
    bool position_embeddings;        /* embeddings.position_embeddings.enabled */
    int64_t num_position_embeddings; /* embeddings.num_position_embeddings */
    double position_embedding_std;
    bool vocab_parallel; /* embeddings.vocab_parallel, default true */
    bool tied_embedding_weight;
    int num_blocks;                                 /* decoder.num_blocks */
    struct block_config block;                      /* decoder.block */
    struct normalization_config head_normalization; /* head.normalization */
    double output_weight_std;                       /* head.output_weight.initialization.std */
    double logits_scale_factor;
    int cross_entropy_splits; /* head.cross_entropy_splits, default 1 */
    int prediction_heads;     /* default 1 */
    struct source embeddings_source, head_source;
};

/* A stage of learning_rate.schedule: updates begin + 1 to end, rates from `first` to `last`. */
struct learning_rate_stage {
    enum learning_rate_decay type; /* constant, power or cosine */
    int begin, end;                /* INT_MAX: it never ends */
    double first, last, power;
};

enum { LEARNING_RATE_STAGES = 32 };

struct optimizer_config {
    double learning_rate, minimum_learning_rate, decay_power;
    enum learning_rate_decay decay;
    int warmup_iterations, decay_iterations;
    struct learning_rate_stage stages[LEARNING_RATE_STAGES];
    int stage_count; /* above 0: the stages are all there is, instead of what is above */
    double beta1, beta2, epsilon, weight_decay;
    double gradient_norm_clipping; /* 0 = off */
    double initial_loss_scale;     /* fp16: 65536 */
    int loss_scale_window;         /* 1000 */
    int loss_scale_hysteresis;     /* 2 */
};

struct data_config {
    enum data_type type;
    const char *path; /* text: a text file ("" = the built-in one); tokens: prefix.bin or .npy */
    uint64_t seed;    /* 784569 */
    int64_t micro_batch_size; /* tokens of one micro-batch */
    int64_t maximum_document_length;
    bool loss_masking_spans; /* generate masking spans as the model tests do (text) */
    bool shuffle;
};

struct schedule_config {
    int depth_first_micro_batches, breadth_first_micro_batches, micro_batch_splits; /* default 1 */
};

struct distributed_config {
    enum precision compute_dtype;
    uint64_t seed; /* 1234 */
    int world_size;
    int tensor_parallel, pipeline_parallel, sequence_data_parallel; /* default 1 */
    bool sequence_tensor_parallel;
    int zero_stage;       /* multi_stage.zero_stage: 0 (unset) to 3 */
    int layers_per_stage; /* multi_stage.layers_per_stage, default 1 */
};

struct config {
    char *name;    /* "llama" or "llama/bf4" */
    char *model;   /* "llama" */
    char *variant; /* "bf4", "simple" if none was named */
    struct model_config base_model;
    struct optimizer_config optimizer;
    struct data_config data;
    struct schedule_config schedule;
    struct distributed_config distributed;
    int train_iterations; /* training.train_iters */
    /* how the model is tested */
    enum test_action groups[GROUP_COUNT];
    double compare_factor, hf_compare_factor;
    char **skip_tests; /* regular expressions (POSIX extended) on variant names */
    int skip_test_count;
    char *checkpoint_format; /* NULL = none */
    bool requires_cuda;
    uint64_t hash;  /* of the resolved text without remarks, groups and the like: what runs */
    char *resolved; /* the merged YAML, one "key: value  # file:line" per line */
    void *storage;  /* owned by the loader */
};

/* A variant of the model tests: how to run, and with what to compare. */
struct variant_config {
    char *name;
    enum test_group group; /* basic or distributed */
    int ranks;
    char *compares_with;   /* variant name; NULL: a baseline itself */
    char *tolerances;      /* name of a tolerance table; NULL with no reference */
    double compare_factor; /* default 1 */
    bool requires_cuda;
    char *reference_place, *tolerances_place; /* "file:line:column" of these names; or NULL */
};

/* Where configurations are looked up, first match wins: `directories` (those of --config-dir), then
 * ./lockstep.d, then the copies of configs/ built into the program; the last two need not be
 * named. A NULL search has no directories and no overrides. */
struct config_search {
    const char *const *directories; /* borrowed */
    int directory_count;
    const char *const *overrides; /* "key.path=value" from --set, borrowed, applied last */
    int override_count;
};

/* Loads MODEL, MODEL/VARIANT, or a test's MODEL/GROUP/VARIANT. NULL with file:line:column in
 * `status` (STATUS_INVALID), or STATUS_NOT_FOUND with suggestions. Free with config_free (NULL is
 * fine). */
struct config *config_load(const struct config_search *search, const char *name,
                           struct status *status);
void config_free(struct config *config);

/* Names of all models, or all variants in their listed order. Arrays of owned strings, free with
 * config_names_free. Returns the count, -1 on failure. */
int config_list_models(const struct config_search *search, char ***names, struct status *status);
int config_list_variants(const struct config_search *search, char ***names, struct status *status);
void config_names_free(char **names, int count);

/* The description of one variant; free with variant_free. NULL on failure. */
struct variant_config *variant_load(const struct config_search *search, const char *name,
                                    struct status *status);
void variant_free(struct variant_config *variant);

/* Checks that the references of `variants` (NULL ones are left out) exist among them and do not go
 * in circles. Fails with all problems, one per line (STATUS_INVALID). */
bool variants_check(struct variant_config *const *variants, int count, struct status *status);

/* Whether skip_tests of the model matches the variant's name. */
bool config_skips_variant(const struct config *config, const char *variant);

/* Loads everything there is and reports every problem, one per line, into `report` (owned by the
 * caller, free()); returns the number of problems. */
int config_check_all(const struct config_search *search, char **report);

#endif
