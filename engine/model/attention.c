/* Grouped-query attention. Facts, 2.4: project, rotate queries and keys, attend, project back. */
#include "engine/model/layers.h"

#include <math.h>

void declare_attention(struct builder *builder, struct layer *layer)
{
    const struct model_config *model = &builder->config->base_model;
    const struct attention_config *mixer = &model->block.mixer;
    int64_t hidden = model->hidden_size;
    int64_t queries = (int64_t)mixer->heads * mixer->head_size;
    int64_t keys_values = 2 * (int64_t)mixer->head_groups * mixer->head_size;
    struct tensor_cut query = {0, 1, true}, key_value = {0, 2, true}, dense = {1, 1, false};
    if (mixer->head_groups == 1) /* one group serves all heads: every tensor rank has it */
        key_value.parts = 0;
    layer->query = declare_linear(builder, layer->path, "mixer.query", &mixer->query,
                                  shape_of2(queries, hidden), queries, 1, &query);
    layer->key_value = declare_linear(builder, layer->path, "mixer.key_value", &mixer->key_value,
                                      shape_of2(keys_values, hidden), keys_values, 1, &key_value);
    layer->dense = declare_linear(builder, layer->path, "mixer.dense", &mixer->dense,
                                  shape_of2(hidden, queries), hidden, 1, &dense);
}

static int project(struct builder *builder, const struct linear_config *linear,
                   struct weights weights, int x, const char *part)
{
    builder_part(builder, part, linear->source);
    int weight = weight_value(builder, weights.weight), bias = weight_value(builder, weights.bias);
    return emit_linear(builder, x, weight, bias, false, part);
}

/* Keys and values of the micro-batch so far: those of all ranks that share the sequence; with
 * micro-sequences, this one's rows are written into the memory that the earlier ones filled. */
static int gather_key_values(struct builder *builder, const struct layer *layer, struct flow *flow,
                             int key_value)
{
    if (layout_is_cut(&builder_value(builder, key_value)->layout, COMM_SEQUENCE_DATA))
        key_value = emit_all_gather(builder, key_value, COMM_SEQUENCE_DATA, NULL);
    if (flow->tokens_count == flow->micro_batch_tokens)
        return key_value;
    int *history = &flow->key_values[layer->index];
    if (*history < 0) {
        struct shape shape = builder_value(builder, key_value)->shape;
        struct layout layout = builder_value(builder, key_value)->layout;
        shape.dims[0] = flow->micro_batch_tokens;
        *history = emit_fill(builder, 0, builder->dtype, shape);
        builder_set_layout(builder, *history, &layout);
    }
    *history =
        emit_write_rows(builder, *history, key_value, flow->first_token, "mixer.key_value_history");
    return *history;
}

int emit_attention_mixer(struct builder *builder, const struct model *model,
                         const struct layer *layer, struct flow *flow, int x)
{
    const struct attention_config *mixer = &model->config->base_model.block.mixer;
    int tensors = seat_size(&builder->program->seat, COMM_TENSOR);
    int heads = mixer->heads / tensors;
    int groups = mixer->head_groups == 1 ? 1 : mixer->head_groups / tensors;
    x = gather_tokens(builder, x);
    int64_t first_row =
        flow->first_token + shard_global_index(&builder_value(builder, x)->shard, 0, 0);
    int key_value = project(builder, &mixer->key_value, layer->key_value, x, "mixer.key_value");
    int query = project(builder, &mixer->query, layer->query, x, "mixer.query");
    if (model->rotary_table >= 0) {
        builder_part(builder, "mixer.rotary", mixer->rotary.source);
        query = emit_rotary(builder, query, model->rotary_table, heads, mixer->head_size, first_row,
                            "mixer.query_rotated");
        key_value = emit_rotary(builder, key_value, model->rotary_table, groups, mixer->head_size,
                                first_row, "mixer.key_value_rotated");
    }
    builder_part(builder, "mixer.attention", mixer->source);
    struct op_parameters parameters = {.heads = heads,
                                       .head_groups = groups,
                                       .head_size = mixer->head_size,
                                       .scale = pow(mixer->head_size, -mixer->softmax_scale_power),
                                       .window = mixer->window_size,
                                       .first_row = first_row,
                                       .causal = mixer->causal};
    int keys = gather_key_values(builder, layer, flow, key_value);
    int context =
        emit_attention(builder, query, keys, flow->document_start, &parameters, "mixer.context");
    builder_part(builder, "mixer.dense", mixer->dense.source);
    return emit_linear_reduced(builder, context, layer->dense, false, "mixer.output");
}
