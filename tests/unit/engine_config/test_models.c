/* The tested models and variants have exactly the numbers of the original. */
#include "helper_config.h"

#include "engine/base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parameters of a linear layer, of a norm, of a block, of a model. */
static int64_t linear(const struct linear_config *layer, int64_t out, int64_t in)
{
    return out * in + (layer->bias ? out : 0);
}

static int64_t norm(const struct normalization_config *layer, int64_t size)
{
    return layer->type == NORMALIZATION_LAYER_NORM ? 2 * size
           : layer->type == NORMALIZATION_RMS_NORM ? size
                                                   : 0;
}

static int64_t block_parameters(const struct model_config *model)
{
    const struct attention_config *mixer = &model->block.mixer;
    const struct mlp_config *mlp = &model->block.mlp;
    int64_t hidden = model->hidden_size, inner = (int64_t)mixer->heads * mixer->head_size;
    int64_t experts = mlp->type == MLP_MOE ? mlp->experts : 1;
    int64_t wide = mlp->intermediate_size * (mlp->gated ? 2 : 1);
    return 2 * norm(&model->block.normalization, hidden) + linear(&mixer->query, inner, hidden) +
           linear(&mixer->key_value, 2 * (int64_t)mixer->head_groups * mixer->head_size, hidden) +
           linear(&mixer->dense, hidden, inner) + linear(&mlp->layer_1, experts * wide, hidden) +
           experts * hidden * mlp->intermediate_size + (mlp->layer_2.bias ? hidden : 0) +
           (mlp->type == MLP_MOE ? experts * hidden : 0);
}

static int64_t parameters(const struct model_config *model)
{
    int64_t words = model->vocab_size * model->hidden_size;
    int64_t blocks = model->num_blocks + model->prediction_heads - 1;
    return words * (model->tied_embedding_weight ? 1 : 2) + blocks * block_parameters(model) +
           (model->position_embeddings ? model->num_position_embeddings * model->hidden_size : 0) +
           model->prediction_heads * norm(&model->head_normalization, model->hidden_size);
}

struct expected_model {
    const char *name;
    int64_t parameters;
    double compare_factor, hf_compare_factor;
    const char *format;
    const char *groups; /* basic, checkpoint, convert, generate, megatron, distributed, streaming */
};

static const struct expected_model expected_models[] = {
    {"gpt_2", 1809408, 1.5, 1, NULL, "NNB-NNU"},
    {"starcoder", 1579136, 1.5, 1, NULL, "NN--UUU"},
    {"starcoder_2", 1546752, 1, 1, NULL, "NNU-UUU"},
    {"llama", 2163968, 1, 1, "llama", "MMMNNNN"},
    {"llama_3", 2163968, 1, 1, "llama", "NNUU-UU"},
    {"llama_yarn", 2163968, 1, 1, "llama", "NNUU-UU"},
    {"mtp_llama", 3147776, 2, 1, "mtp_llama", "NNNN-UU"},
    {"qwen_2", 2164992, 1, 1, "qwen2", "NNNB-UU"},
    {"mistral", 2163968, 1, 1, "mistral", "NNNN-UU"},
    {"mixtral", 6884608, 2, 4, "mixtral", "NNNNNNU"},
    {"smollm_135m", 134515008, 1, 1, "llama", "UUUU--U"},
    {"gpt_2_124m", 124439808, 1.5, 1, NULL, "UU----U"},
};

static void test_counts_and_groups(void **state)
{
    (void)state;
    for (int i = 0; i < ARRAY_LENGTH(expected_models); i++) {
        const struct expected_model *expected = &expected_models[i];
        struct config *config = load_fine(NULL, expected->name);
        char groups[GROUP_COUNT] = "";
        for (int j = 0; j < GROUP_COUNT - 1; j++)
            groups[j] = "UMNB-"[config->groups[j]];
        assert_string_equal(config->name, expected->name);
        assert_string_equal(config->variant, "simple");
        assert_int_equal(parameters(&config->base_model), expected->parameters);
        assert_true(config->compare_factor == expected->compare_factor);
        assert_true(config->hf_compare_factor == expected->hf_compare_factor);
        assert_string_equal(groups, expected->groups);
        assert_int_equal(config->groups[GROUP_LM_EVAL], ACTION_UNIMPORTANT);
        assert_int_equal(!config->checkpoint_format, !expected->format);
        if (expected->format)
            assert_string_equal(config->checkpoint_format, expected->format);
        assert_false(config->requires_cuda);
        config_free(config);
    }
}

/* What all ten have in common, at any depth of inheritance. */
static void test_common_numbers(void **state)
{
    (void)state;
    const double init_1 = 0.02209708691207961, init_2 = 0.011048543456039806;
    for (int i = 0; i < 10; i++) {
        struct config *config = load_fine(NULL, expected_models[i].name);
        const struct model_config *model = &config->base_model;
        const struct attention_config *mixer = &model->block.mixer;
        assert_int_equal(model->hidden_size, 256);
        assert_int_equal(model->vocab_size, 384);
        assert_int_equal(model->num_blocks, 2);
        assert_int_equal(mixer->heads, 8);
        assert_int_equal(mixer->head_size, 32);
        assert_true(mixer->causal && mixer->softmax_scale_power == 0.5);
        assert_int_equal(model->block.mlp.intermediate_size, 1024);
        assert_true(model->embedding_std == init_1 && model->output_weight_std == init_1);
        assert_true(mixer->query.initialization_std == init_1);
        assert_true(mixer->key_value.initialization_std == init_1);
        assert_true(mixer->dense.initialization_std == init_2);
        assert_true(model->block.mlp.layer_1.initialization_std == init_1);
        assert_true(model->block.mlp.layer_2.initialization_std == init_2);
        assert_true(model->block.normalization.epsilon == 1e-5);
        assert_true(mixer->rotary.theta == 10000);
        assert_true(config->optimizer.learning_rate == 1e-4);
        assert_true(config->optimizer.beta2 == 0.999 && config->optimizer.weight_decay == 0.01);
        assert_true(config->optimizer.initial_loss_scale == 65536);
        assert_int_equal(config->data.seed, 784569);
        assert_int_equal(config->data.micro_batch_size, 4096);
        assert_int_equal(config->data.maximum_document_length, 512);
        assert_true(config->data.loss_masking_spans);
        assert_int_equal(config->distributed.seed, 1234);
        assert_int_equal(config->train_iterations, 2);
        config_free(config);
    }
}

static void test_what_each_adds(void **state)
{
    (void)state;
    struct config *config = load_fine(NULL, "gpt_2");
    assert_int_equal(config->base_model.block.mlp.activation, ACTIVATION_TYPE_GELU);
    assert_int_equal(config->base_model.num_position_embeddings, 512);
    assert_int_equal(config->base_model.block.mixer.rotary.type, ROTARY_NONE);
    config_free(config);
    config = load_fine(NULL, "llama_3");
    const struct rotary_config *rotary = &config->base_model.block.mixer.rotary;
    assert_int_equal(rotary->type, ROTARY_LLAMA3);
    assert_true(rotary->scale_factor == 8 && rotary->low_frequency_factor == 1);
    assert_true(rotary->high_frequency_factor == 4 && rotary->original_context_length == 8192);
    assert_int_equal(config->base_model.block.mlp.activation, ACTIVATION_TYPE_SILU);
    config_free(config);
    config = load_fine(NULL, "llama_yarn");
    rotary = &config->base_model.block.mixer.rotary;
    assert_int_equal(rotary->type, ROTARY_YARN);
    assert_true(rotary->beta_fast == 32 && rotary->beta_slow == 1);
    config_free(config);
    config = load_fine(NULL, "mistral");
    assert_int_equal(config->base_model.block.mixer.window_size, 128);
    config_free(config);
    config = load_fine(NULL, "mixtral");
    assert_int_equal(config->base_model.block.mlp.experts, 4);
    assert_int_equal(config->base_model.block.mlp.experts_per_token, 4);
    assert_true(config->base_model.block.mlp.auxiliary_loss_coefficient == 0.01);
    assert_false(config->base_model.block.mlp.router.bias);
    config_free(config);
    config = load_fine(NULL, "qwen_2");
    assert_true(config->base_model.block.mixer.query.bias);
    assert_true(config->base_model.block.mixer.key_value.bias);
    assert_false(config->base_model.block.mixer.dense.bias);
    config_free(config);
}

static void test_skips(void **state)
{
    (void)state;
    static const char *const skipped[] = {"ce4", "ms4", "stp2_ce4", "pp2s2_ms4",
                                          "sdp2_stp2_pp2s2_ms4"};
    struct config *config = load_fine(NULL, "mtp_llama");
    char **names = NULL;
    int count = config_list_variants(NULL, &names, NULL), skips = 0;
    for (int i = 0; i < count; i++)
        skips += config_skips_variant(config, names[i]);
    for (int i = 0; i < ARRAY_LENGTH(skipped); i++)
        assert_true(config_skips_variant(config, skipped[i]));
    assert_int_equal(skips, ARRAY_LENGTH(skipped));
    config_names_free(names, count);
    config_free(config);
}

struct expected_variant {
    const char *name;
    int ranks;
    int64_t micro_batch_size;
    int depth, breadth, splits;
    int tensor, sequence_tensor, sequence_data, pipeline, zero, layers;
    const char *reference, *tolerances;
};

static const struct expected_variant expected_variants[] = {
    {"simple", 1, 4096, 1, 1, 1, 1, 0, 1, 1, 0, 1, NULL, NULL},
    {"bf16", 1, 4096, 1, 1, 1, 1, 0, 1, 1, 0, 1, "simple", "bf16"},
    {"fp16", 1, 4096, 1, 1, 1, 1, 0, 1, 1, 0, 1, "simple", "fp16"},
    {"ce4", 1, 4096, 1, 1, 1, 1, 0, 1, 1, 0, 1, "simple", "layer_mismatch"},
    {"ms4", 1, 4096, 1, 1, 4, 1, 0, 1, 1, 0, 1, "simple", "layer_mismatch"},
    {"df2", 1, 2048, 2, 1, 1, 1, 0, 1, 1, 0, 1, NULL, NULL},
    {"df4", 1, 1024, 4, 1, 1, 1, 0, 1, 1, 0, 1, NULL, NULL},
    {"df8", 1, 512, 8, 1, 1, 1, 0, 1, 1, 0, 1, NULL, NULL},
    {"bf4", 1, 1024, 1, 4, 1, 1, 0, 1, 1, 0, 1, "df4", "layer_match"},
    {"bf2_df2", 1, 1024, 2, 2, 1, 1, 0, 1, 1, 0, 1, "df4", "layer_match"},
    {"df4_z2", 1, 1024, 4, 1, 1, 1, 0, 1, 1, 2, 1, "df4", "match_duplicate_gradients"},
    {"dp2", 2, 2048, 1, 1, 1, 1, 0, 1, 1, 0, 1, "df2", "layer_mismatch"},
    {"dp2_z2", 2, 2048, 1, 1, 1, 1, 0, 1, 1, 2, 1, "dp2", "layer_match"},
    {"dp2_z3", 2, 2048, 1, 1, 1, 1, 0, 1, 1, 3, 1, "dp2", "layer_match"},
    {"dp2_z2_df4", 2, 512, 4, 1, 1, 1, 0, 1, 1, 2, 1, "df8", "mismatch_duplicate_gradients"},
    {"sdp2", 2, 4096, 1, 1, 1, 1, 0, 2, 1, 0, 1, "simple", "layer_match"},
    {"tp2", 2, 4096, 1, 1, 1, 2, 0, 1, 1, 0, 1, "simple", "layer_match"},
    {"stp2", 2, 4096, 1, 1, 1, 2, 1, 1, 1, 0, 1, "simple", "layer_match"},
    {"tp2_df4", 2, 1024, 4, 1, 1, 2, 0, 1, 1, 0, 1, "df4", "layer_match"},
    {"stp2_ce4", 2, 4096, 1, 1, 1, 2, 1, 1, 1, 0, 1, "simple", "layer_match"},
    {"dp2_stp2", 4, 2048, 1, 1, 1, 2, 1, 1, 1, 0, 1, "dp2", "layer_match"},
    {"sdp2_stp2_bf4", 4, 1024, 1, 4, 1, 2, 1, 2, 1, 0, 1, "df4", "layer_mismatch"},
    {"sdp2_stp2", 4, 4096, 1, 1, 1, 2, 1, 2, 1, 0, 1, "simple", "layer_match"},
    {"pp2s2_bf4", 2, 1024, 1, 4, 1, 1, 0, 1, 2, 0, 2, "df4", "layer_match"},
    {"pp2s1_bf4", 2, 1024, 1, 4, 1, 1, 0, 1, 2, 0, 1, "df4", "pp_tied_weight"},
    {"pp2s2_ms4", 2, 4096, 1, 1, 4, 1, 0, 1, 2, 0, 2, "ms4", "layer_match"},
    {"dp2_pp2s2_bf4", 4, 512, 1, 4, 1, 1, 0, 1, 2, 0, 2, "dp2_z2_df4", "match_duplicate_gradients"},
    {"stp2_pp2s1_bf4", 4, 1024, 1, 4, 1, 2, 1, 1, 2, 0, 1, "df4", "pp_tied_weight"},
    {"dp2_stp2_pp2s2_bf4", 8, 512, 1, 4, 1, 2, 1, 1, 2, 0, 2, "df8", "layer_mismatch"},
    {"dp2_tp2_pp2s1_bf4", 8, 512, 1, 4, 1, 2, 1, 1, 2, 0, 1, "dp2_z2_df4", "pp_tied_weight"},
    {"sdp2_stp2_pp2s2_ms4", 8, 4096, 1, 1, 4, 2, 1, 2, 2, 0, 2, "simple", "layer_mismatch"},
};

static void check_layout(const struct expected_variant *expected, const struct config *config)
{
    const struct distributed_config *distributed = &config->distributed;
    bool split = strstr(expected->name, "ce4") != NULL;
    assert_int_equal(distributed->world_size, expected->ranks);
    assert_int_equal(distributed->tensor_parallel, expected->tensor);
    assert_int_equal(distributed->sequence_tensor_parallel, expected->sequence_tensor);
    assert_int_equal(distributed->sequence_data_parallel, expected->sequence_data);
    assert_int_equal(distributed->pipeline_parallel, expected->pipeline);
    assert_int_equal(distributed->zero_stage, expected->zero);
    assert_int_equal(distributed->layers_per_stage, expected->layers);
    assert_int_equal(config->data.micro_batch_size, expected->micro_batch_size);
    assert_int_equal(config->schedule.depth_first_micro_batches, expected->depth);
    assert_int_equal(config->schedule.breadth_first_micro_batches, expected->breadth);
    assert_int_equal(config->schedule.micro_batch_splits, expected->splits);
    assert_int_equal(config->base_model.cross_entropy_splits, split ? 4 : 1);
    assert_int_equal(config->base_model.vocab_parallel, strcmp(expected->name, "stp2_ce4") != 0);
    assert_int_equal(distributed->compute_dtype, !strcmp(expected->name, "bf16") ? PRECISION_BF16
                                                 : !strcmp(expected->name, "fp16")
                                                     ? PRECISION_FP16
                                                     : PRECISION_FP32);
}

/* Every variant of every one of the ten models loads, with the listed order and numbers. */
static void test_variants(void **state)
{
    (void)state;
    char **names = NULL;
    int count = config_list_variants(NULL, &names, NULL);
    assert_int_equal(count, ARRAY_LENGTH(expected_variants));
    for (int i = 0; i < count; i++) {
        const struct expected_variant *expected = &expected_variants[i];
        assert_string_equal(names[i], expected->name);
        struct variant_config *variant = variant_load(NULL, names[i], NULL);
        assert_non_null(variant);
        assert_int_equal(variant->group, i < 11 ? GROUP_BASIC : GROUP_DISTRIBUTED);
        assert_int_equal(variant->ranks, expected->ranks);
        assert_true(variant->compare_factor == 1 && !variant->requires_cuda);
        assert_int_equal(!variant->compares_with, !expected->reference);
        if (expected->reference) {
            assert_string_equal(variant->compares_with, expected->reference);
            assert_string_equal(variant->tolerances, expected->tolerances);
        }
        variant_free(variant);
        for (int j = 0; j < 10; j++) {
            char *name = memory_format("%s/%s", expected_models[j].name, names[i]);
            struct config *config = load_fine(NULL, name);
            assert_string_equal(config->name, name);
            check_layout(expected, config);
            config_free(config);
            free(name);
        }
    }
    config_names_free(names, count);
}

static void test_model_order(void **state)
{
    (void)state;
    char **names = NULL;
    int count = config_list_models(NULL, &names, NULL), found = 0;
    for (int i = 0; i < count && found < ARRAY_LENGTH(expected_models); i++)
        found += strcmp(names[i], expected_models[found].name) == 0;
    assert_int_equal(found, ARRAY_LENGTH(expected_models)); /* others may lie between them */
    config_names_free(names, count);
}

static void test_built_in_is_valid(void **state)
{
    (void)state;
    char *report = NULL;
    int problems = config_check_all(NULL, &report);
    assert_string_equal(report, "");
    assert_int_equal(problems, 0);
    free(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_and_groups), cmocka_unit_test(test_common_numbers),
        cmocka_unit_test(test_what_each_adds),    cmocka_unit_test(test_skips),
        cmocka_unit_test(test_variants),          cmocka_unit_test(test_model_order),
        cmocka_unit_test(test_built_in_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
