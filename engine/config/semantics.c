/* What holds between values, checked on the resolved configuration; the document says where each
 * value was written. */
#include "engine/config/loader.h"
#include "engine/config/stages.h"

#include "engine/base/expression.h"
#include "engine/base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct semantics {
    const struct node *root;
    const struct config *config;
    struct problems *problems;
};

#define MIXER "base_model.decoder.block.mixer"
#define MLP "base_model.decoder.block.mlp"

#define PROBLEM(semantics, path, ...)                                                              \
    problem_add((semantics)->problems, node_source((semantics)->root, path), __VA_ARGS__)

/* A problem of two values that do not fit together: where `other` was written, too, when that is
 * another file, as either of them may be the mistake. */
__attribute__((format(printf, 4, 5))) static void problem_of_two(const struct semantics *semantics,
                                                                 const char *path,
                                                                 const char *other,
                                                                 const char *format, ...)
{
    struct source at = node_source(semantics->root, path);
    const struct node *node = other ? node_find(semantics->root, other) : NULL;
    char what[500], where[200] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    if (node && at.file && node->source.file && strcmp(at.file, node->source.file))
        snprintf(where, sizeof(where), " (%s: %s:%d:%d)", strrchr(other, '.') + 1,
                 node->source.file, node->source.line, node->source.column);
    problem_add(semantics->problems, at, "%s%s", what, where);
}

/* Limits of a single number. The upper ones keep products of sizes within 64 bits. */
struct range {
    const char *path;
    double minimum, maximum;
    bool open; /* the minimum itself is excluded */
};

static const struct range ranges[] = {
    {"base_model.hidden_size", 1, 1 << 20, false},
    {"base_model.embeddings.vocab_size", 2, INT32_MAX, false},
    {"base_model.embeddings.num_position_embeddings", 1, INT32_MAX, false},
    {"base_model.embeddings.word_embeddings_layer.initialization.std", 0, 1e6, false},
    {"base_model.embeddings.position_embeddings.initialization.std", 0, 1e6, false},
    {"base_model.decoder.num_blocks", 1, 100000, false},
    {"base_model.decoder.block.normalization.epsilon", 0, 1, true},
    {MIXER ".heads", 1, 65536, false},
    {MIXER ".head_groups", 1, 65536, false},
    {MIXER ".head_size", 1, 65536, false},
    {MIXER ".window_size", 0, INT32_MAX, false},
    {MIXER ".softmax_scale_power", 0, 10, false},
    {MIXER ".rotary.theta", 0, 1e15, true},
    {MIXER ".rotary.scale_factor", 0, 1e9, true},
    {MIXER ".rotary.low_frequency_factor", 0, 1e9, true},
    {MIXER ".rotary.high_frequency_factor", 0, 1e9, true},
    {MIXER ".rotary.beta_fast", 0, 1e9, true},
    {MIXER ".rotary.beta_slow", 0, 1e9, true},
    {MIXER ".rotary.original_context_length", 1, 1e12, false},
    {MIXER ".rotary.attention_factor", 0, 1e6, true},
    {MLP ".intermediate_size", 1, 1 << 24, false},
    {MLP ".experts", 1, 65536, false},
    {MLP ".experts_per_token", 1, 65536, false},
    {MLP ".auxiliary_loss_coefficient", 0, 1e6, false},
    {MLP ".lr_scale", 0, 1e6, false},
    {"base_model.head.normalization.epsilon", 0, 1, true},
    {"base_model.head.output_weight.initialization.std", 0, 1e6, false},
    {"base_model.head.logits_scale_factor", 0, 1e6, true},
    {"base_model.head.cross_entropy_splits", 1, 65536, false},
    {"base_model.head.prediction_heads", 1, 64, false},
    {"optimizer.learning_rate.base", 0, 1e6, false},
    {"optimizer.learning_rate.minimum", 0, 1e6, false},
    {"optimizer.learning_rate.decay_power", 0, 1e3, true},
    {"optimizer.learning_rate.warmup_iterations", 0, INT32_MAX, false},
    {"optimizer.learning_rate.decay_iterations", 0, INT32_MAX, false},
    {"optimizer.gradient_scaler.initial", 0, 1e18, true},
    {"optimizer.gradient_scaler.window", 1, INT32_MAX, false},
    {"optimizer.gradient_scaler.hysteresis", 1, INT32_MAX, false},
    {"optimizer.beta_1", 0, 1, false},
    {"optimizer.beta_2", 0, 1, false},
    {"optimizer.epsilon", 0, 1, true},
    {"optimizer.weight_decay", 0, 1e3, false},
    {"optimizer.gradient_norm_clipping", 0, 1e9, false},
    {"data.micro_batch_size", 1, 1 << 24, false},
    {"data.maximum_document_length", 1, INT32_MAX, false},
    {"schedule.depth_first_micro_batches", 1, 65536, false},
    {"schedule.breadth_first_micro_batches", 1, 65536, false},
    {"schedule.micro_batch_splits", 1, 65536, false},
    {"distributed.world_size", 1, 65536, false},
    {"distributed.tensor_parallel", 1, 65536, false},
    {"distributed.pipeline_parallel", 1, 65536, false},
    {"distributed.sequence_data_parallel", 1, 65536, false},
    {"multi_stage.zero_stage", 0, 3, false},
    {"multi_stage.layers_per_stage", 1, 100000, false},
    {"training.train_iters", 1, INT32_MAX, false},
    {"compare_factor", 0, 1e9, true},
    {"hf_compare_factor", 0, 1e9, true},
};

static void check_range(const struct node *root, const struct range *range,
                        struct problems *problems)
{
    const struct node *node = node_find(root, range->path);
    double value;
    if (!node || node->kind != NODE_SCALAR || !check_number(node->text, &value))
        return;
    bool low = range->open ? value <= range->minimum : value < range->minimum;
    if (low || value > range->maximum)
        problem_add(problems, node->source, "%s is %s; expected %s %.10g and at most %.10g",
                    range->path, node->text, range->open ? "more than" : "at least", range->minimum,
                    range->maximum);
}

/* The ten linear layers of a block have the same two numbers each. */
static void check_linear_ranges(const struct node *root, struct problems *problems)
{
    static const char *const layers[] = {
        "mixer.query_layer", "mixer.key_layer", "mixer.value_layer", "mixer.dense_layer",
        "mlp.layer_1",       "mlp.layer_2",     "mlp.router"};
    static const char *const keys[] = {"weight.initialization.std", "lr_scale"};
    for (int i = 0; i < ARRAY_LENGTH(layers) * ARRAY_LENGTH(keys); i++) {
        struct text path = {0};
        text_format(&path, "base_model.decoder.block.%s.%s", layers[i / 2], keys[i % 2]);
        struct range range = {path.data, 0, 1e6, false};
        check_range(root, &range, problems);
        text_free(&path);
    }
}

void check_ranges(const struct node *root, struct problems *problems)
{
    for (int i = 0; i < ARRAY_LENGTH(ranges); i++)
        check_range(root, &ranges[i], problems);
    check_linear_ranges(root, problems);
}

static void check_heads(const struct semantics *semantics)
{
    const struct model_config *model = &semantics->config->base_model;
    const struct attention_config *mixer = &model->block.mixer;
    if (mixer->heads % mixer->head_groups)
        problem_of_two(semantics, MIXER ".head_groups", MIXER ".heads",
                       "head_groups is %d; expected a divisor of heads, which is %d",
                       mixer->head_groups, mixer->heads);
    if (!node_find(semantics->root, MIXER ".head_size") && model->hidden_size % mixer->heads)
        problem_of_two(
            semantics, MIXER ".heads", "base_model.hidden_size",
            "heads is %d, and without a head_size that must divide hidden_size, which is "
            "%" PRId64 "; expected a divisor or a head_size",
            mixer->heads, model->hidden_size);
    else if (mixer->rotary.type != ROTARY_NONE && mixer->head_size % 2)
        PROBLEM(semantics, MIXER ".head_size",
                "head_size is %d; expected an even number, as rotary embeddings turn pairs",
                mixer->head_size);
    if (mixer->window_size && !mixer->causal)
        problem_of_two(semantics, MIXER ".window_size", MIXER ".causal",
                       "window_size needs causal attention; expected causal: true or no window");
}

static void check_rotary(const struct semantics *semantics)
{
    const struct rotary_config *rotary = &semantics->config->base_model.block.mixer.rotary;
    if (rotary->type == ROTARY_LLAMA3 &&
        rotary->high_frequency_factor <= rotary->low_frequency_factor)
        problem_of_two(
            semantics, MIXER ".rotary.high_frequency_factor", MIXER ".rotary.low_frequency_factor",
            "high_frequency_factor is %g; expected more than low_frequency_factor, which is %g",
            rotary->high_frequency_factor, rotary->low_frequency_factor);
    if (rotary->type == ROTARY_YARN && rotary->beta_fast <= rotary->beta_slow)
        problem_of_two(semantics, MIXER ".rotary.beta_fast", MIXER ".rotary.beta_slow",
                       "beta_fast is %g; expected more than beta_slow, which is %g",
                       rotary->beta_fast, rotary->beta_slow);
    if (rotary->type != ROTARY_NONE && rotary->theta <= 1)
        PROBLEM(semantics, MIXER ".rotary.theta", "theta is %g; expected more than 1",
                rotary->theta);
}

/* Keys and values are one layer, which takes the settings of key_layer. */
static void check_key_value(const struct semantics *semantics)
{
    static const char *const keys[] = {"weight.initialization.std", "bias.enabled", "lr_scale"};
    const struct node *key = node_find(semantics->root, MIXER ".key_layer");
    const struct node *value = node_find(semantics->root, MIXER ".value_layer");
    for (int i = 0; value && i < ARRAY_LENGTH(keys); i++) {
        const struct node *of_value = node_find(value, keys[i]);
        const struct node *of_key = key ? node_find(key, keys[i]) : NULL;
        if (of_value && (!of_key || strcmp(of_value->text, of_key->text)))
            problem_add(semantics->problems, of_value->source,
                        "value_layer.%s is %s; expected the same as key_layer has (%s), as both "
                        "are one layer",
                        keys[i], of_value->text, of_key ? of_key->text : "nothing");
    }
}

/* Experts and their router have no biases, whether all layers or this one would get them. */
static void check_expert_biases(const struct semantics *semantics)
{
    static const char *const keys[] = {MLP ".layer_1.bias.enabled", MLP ".layer_2.bias.enabled",
                                       MLP ".router.bias.enabled"};
    const struct mlp_config *mlp = &semantics->config->base_model.block.mlp;
    const bool biases[] = {mlp->layer_1.bias, mlp->layer_2.bias, mlp->router.bias};
    bool all = false;
    for (int i = 0; i < ARRAY_LENGTH(keys); i++) {
        bool own = node_find(semantics->root, keys[i]) != NULL;
        if (biases[i] && own)
            PROBLEM(semantics, keys[i], "experts and their router have no biases; expected false");
        all |= biases[i] && !own;
    }
    if (all)
        PROBLEM(semantics, MLP ".add_linear_biases",
                "experts have no biases; expected add_linear_biases: false");
}

static void check_mlp(const struct semantics *semantics)
{
    const struct mlp_config *mlp = &semantics->config->base_model.block.mlp;
    const char *experts = MLP ".experts", *per_token = MLP ".experts_per_token";
    if (mlp->type != MLP_MOE) {
        for (int i = 0; i < 2; i++)
            if (node_find(semantics->root, i ? per_token : experts))
                problem_of_two(semantics, i ? per_token : experts, MLP ".type",
                               "%s without type: moe; expected none",
                               i ? "experts_per_token" : "experts");
        return;
    }
    if (!mlp->experts || !mlp->experts_per_token)
        PROBLEM(semantics, mlp->experts ? per_token : experts,
                "mlp type moe without %s; expected a positive number",
                mlp->experts ? "experts_per_token" : "experts");
    else if (mlp->experts_per_token > mlp->experts)
        problem_of_two(semantics, per_token, experts,
                       "experts_per_token is %d; expected at most experts, "
                       "which is %d",
                       mlp->experts_per_token, mlp->experts);
    check_expert_biases(semantics);
}

static void check_positions(const struct semantics *semantics)
{
    const struct config *config = semantics->config;
    if (config->base_model.position_embeddings &&
        config->data.maximum_document_length > config->base_model.num_position_embeddings)
        problem_of_two(
            semantics, "data.maximum_document_length",
            "base_model.embeddings.num_position_embeddings",
            "maximum_document_length is %" PRId64 "; expected at most num_position_embeddings, "
            "which is %" PRId64,
            config->data.maximum_document_length, config->base_model.num_position_embeddings);
    if (config->data.type == DATA_TOKENS && !config->data.path[0])
        PROBLEM(semantics, "data.type", "data type tokens without data.path; expected a file");
}

/* `other`: the key of `number`; NULL: of none alone. */
static void check_divides(const struct semantics *semantics, const char *path, int64_t divisor,
                          const char *other, const char *what, int64_t number)
{
    if (divisor > 0 && number % divisor)
        problem_of_two(semantics, path, other,
                       "%s is %" PRId64 "; expected a divisor of %s, which is %" PRId64,
                       strrchr(path, '.') + 1, divisor, what, number);
}

/* A size of the model that `ranks` cannot share. */
static void check_shares(const struct semantics *semantics, const char *path, int64_t ranks,
                         const char *what, int64_t number)
{
    int before = semantics->problems->count;
    check_divides(semantics, path, ranks, NULL, what, number);
    semantics->problems->layout += semantics->problems->count - before;
}

static void check_parallel(const struct semantics *semantics)
{
    const struct config *config = semantics->config;
    const struct distributed_config *distributed = &config->distributed;
    const struct model_config *model = &config->base_model;
    int64_t tensor = distributed->tensor_parallel, pipeline = distributed->pipeline_parallel;
    const char *path = "distributed.tensor_parallel";
    const char *world = "distributed.world_size";
    check_divides(semantics, path, tensor, world, "world_size", distributed->world_size);
    check_divides(semantics, "distributed.pipeline_parallel", pipeline, world,
                  "the ranks left by tensor_parallel", distributed->world_size / tensor);
    check_divides(semantics, "distributed.sequence_data_parallel",
                  distributed->sequence_data_parallel, world, "the number of data ranks",
                  distributed->world_size / (tensor * pipeline));
    const struct attention_config *mixer = &model->block.mixer;
    if (mixer->head_groups > 1)
        check_shares(semantics, path, tensor, "head_groups", mixer->head_groups);
    else
        check_shares(semantics, path, tensor, "heads", mixer->heads);
    check_shares(semantics, path, tensor, "intermediate_size", model->block.mlp.intermediate_size);
    if (model->vocab_parallel)
        check_shares(semantics, path, tensor, "vocab_size", model->vocab_size);
}

/* Layers are the embeddings, which are a stage of their own, the blocks and the heads; each
 * further prediction head has a block. */
static void check_stages(const struct semantics *semantics)
{
    const struct config *config = semantics->config;
    int64_t per_stage = config->distributed.layers_per_stage;
    int64_t layers = config->base_model.num_blocks + 2 * config->base_model.prediction_heads - 1;
    int64_t stages = 1 + (layers + per_stage - 1) / per_stage;
    if (config->distributed.pipeline_parallel <= stages)
        return;
    PROBLEM(semantics, "distributed.pipeline_parallel",
            "pipeline_parallel is %d; expected at most the number of stages, which is %" PRId64,
            config->distributed.pipeline_parallel, stages);
    semantics->problems->layout++;
}

static void check_micro_batch(const struct semantics *semantics)
{
    const struct config *config = semantics->config;
    const struct distributed_config *distributed = &config->distributed;
    int64_t splits = config->schedule.micro_batch_splits;
    int64_t tokens = config->data.micro_batch_size;
    check_divides(semantics, "schedule.micro_batch_splits", splits, "data.micro_batch_size",
                  "micro_batch_size", tokens);
    if (splits > 1 && !config->base_model.block.mixer.causal) {
        problem_of_two(semantics, "schedule.micro_batch_splits", MIXER ".causal",
                       "micro_batch_splits is %" PRId64 "; expected 1 without causal attention, as "
                       "a micro-sequence does not see the keys of later ones",
                       splits);
        semantics->problems->layout++;
    }
    tokens /= splits;
    check_shares(semantics, "distributed.sequence_data_parallel",
                 distributed->sequence_data_parallel, "the tokens of a split", tokens);
    tokens /= distributed->sequence_data_parallel;
    if (distributed->sequence_tensor_parallel) {
        check_shares(semantics, "distributed.tensor_parallel", distributed->tensor_parallel,
                     "the tokens of a rank", tokens);
        if (!config->base_model.vocab_parallel)
            tokens /= distributed->tensor_parallel;
    }
    check_divides(semantics, "base_model.head.cross_entropy_splits",
                  config->base_model.cross_entropy_splits, NULL, "the tokens of the head", tokens);
}

/* Each size is within its limits, but products of them must be, too: bytes, and offsets in arenas,
 * are counted in 64 bits. Factors of two and of dtypes are left to the distance from 2^63. */
static void check_size(const struct semantics *semantics)
{
    const double limit = 0x1p50;
    const struct model_config *model = &semantics->config->base_model;
    const struct attention_config *mixer = &model->block.mixer;
    const struct mlp_config *mlp = &model->block.mlp;
    double hidden = (double)model->hidden_size, heads = (double)mixer->heads * mixer->head_size;
    double experts = mlp->type == MLP_MOE ? mlp->experts : 1;
    double block = hidden * (4 * heads + 3 * experts * (double)mlp->intermediate_size + experts);
    double parameters = 2 * hidden * (double)model->vocab_size +
                        hidden * (double)model->num_position_embeddings +
                        block * ((double)model->num_blocks + model->prediction_heads - 1);
    double chosen = mlp->type == MLP_MOE ? mlp->experts_per_token : 1;
    double token = 4 * hidden + 4 * heads + 2 * (double)model->vocab_size + experts +
                   4 * chosen * ((double)mlp->intermediate_size + hidden);
    double values = token * (double)semantics->config->data.micro_batch_size;
    if (parameters > limit)
        PROBLEM(semantics, "base_model",
                "about %.1e parameters; expected sizes that make at most %.1e", parameters, limit);
    else if (values > limit)
        PROBLEM(semantics, "base_model",
                "about %.1e values in each block for a micro-batch; expected sizes that make at "
                "most %.1e",
                values, limit);
}

static void check_optimizer(const struct semantics *semantics)
{
    const struct optimizer_config *optimizer = &semantics->config->optimizer;
    const struct node *schedule = node_find(semantics->root, "optimizer.learning_rate.schedule");
    char why[STAGES_WHY_SIZE];
    if (schedule && !stages_parse(schedule->text, &(struct optimizer_config){0}, why))
        PROBLEM(semantics, "optimizer.learning_rate.schedule", "%s", why);
    if (optimizer->beta1 >= 1 || optimizer->beta2 >= 1)
        PROBLEM(semantics, optimizer->beta1 >= 1 ? "optimizer.beta_1" : "optimizer.beta_2",
                "a moment that never changes; expected less than 1");
    if (!schedule && optimizer->decay != DECAY_CONSTANT &&
        optimizer->decay_iterations <= optimizer->warmup_iterations)
        PROBLEM(semantics,
                optimizer->decay_iterations > 0 ? "optimizer.learning_rate.decay_iterations"
                                                : "optimizer.learning_rate.decay_style",
                "a rate that decays needs decay_iterations, which is %d; expected more than "
                "warmup_iterations, which is %d",
                optimizer->decay_iterations, optimizer->warmup_iterations);
}

static void check_skip_tests(const struct semantics *semantics)
{
    const struct node *list = node_find(semantics->root, "skip_tests");
    for (int i = 0; list && i < list->count; i++) {
        const struct node *item = list->entries[i].value;
        regex_t expression;
        char why[EXPRESSION_WHY_SIZE];
        if (expression_compile(item->text, &expression, why)) {
            regfree(&expression);
            continue;
        }
        problem_add(semantics->problems, item->source,
                    "skip_tests: '%.60s' is not a regular expression: %s; expected a POSIX "
                    "extended one",
                    item->text, why);
    }
}

void check_semantics(const struct node *root, const struct config *config,
                     struct problems *problems)
{
    struct semantics semantics = {root, config, problems};
    int before = problems->count;
    check_ranges(root, problems);
    check_skip_tests(&semantics);
    if (problems->count > before)
        return; /* the rest divides by these numbers */
    check_heads(&semantics);
    check_rotary(&semantics);
    check_key_value(&semantics);
    check_mlp(&semantics);
    check_positions(&semantics);
    check_optimizer(&semantics);
    check_parallel(&semantics);
    check_stages(&semantics);
    check_micro_batch(&semantics);
    check_size(&semantics);
}
