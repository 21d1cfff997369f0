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
    layer->query = declare_linear(builder, layer->path, "mixer.query", &mixer->query,
                                  shape_of2(queries, hidden), queries, 1);
    layer->key_value = declare_linear(builder, layer->path, "mixer.key_value", &mixer->key_value,
                                      shape_of2(keys_values, hidden), keys_values, 1);
    layer->dense = declare_linear(builder, layer->path, "mixer.dense", &mixer->dense,
                                  shape_of2(hidden, queries), hidden, 1);
}

static int project(struct builder *builder, const struct linear_config *linear,
                   struct weights weights, int x, const char *part)
{
    builder_part(builder, part, linear->source);
    return emit_linear(builder, x, weight_value(builder, weights.weight),
                       weight_value(builder, weights.bias), false, part);
}

/* Keys and values of the micro-batch so far: with micro-sequences, this one's rows are written
 * into the memory that the earlier ones filled. */
static int gather_key_values(struct builder *builder, const struct layer *layer, struct flow *flow,
                             int key_value)
{
    if (flow->tokens_count == flow->micro_batch_tokens)
        return key_value;
    int *history = &flow->key_values[layer->index];
    if (*history < 0) {
        struct shape shape = builder_value(builder, key_value)->shape;
        shape.dims[0] = flow->micro_batch_tokens;
        *history = emit_fill(builder, 0, builder->dtype, shape);
    }
    *history =
        emit_write_rows(builder, *history, key_value, flow->first_token, "mixer.key_value_history");
    return *history;
}

int emit_attention_mixer(struct builder *builder, const struct model *model,
                         const struct layer *layer, struct flow *flow, int x)
{
    const struct attention_config *mixer = &model->config->base_model.block.mixer;
    int key_value = project(builder, &mixer->key_value, layer->key_value, x, "mixer.key_value");
    int query = project(builder, &mixer->query, layer->query, x, "mixer.query");
    if (model->rotary_table >= 0) {
        builder_part(builder, "mixer.rotary", mixer->rotary.source);
        query = emit_rotary(builder, query, model->rotary_table, mixer->heads, mixer->head_size,
                            flow->first_token, "mixer.query_rotated");
        key_value = emit_rotary(builder, key_value, model->rotary_table, mixer->head_groups,
                                mixer->head_size, flow->first_token, "mixer.key_value_rotated");
    }
    builder_part(builder, "mixer.attention", mixer->source);
    struct op_parameters parameters = {.heads = mixer->heads,
                                       .head_groups = mixer->head_groups,
                                       .head_size = mixer->head_size,
                                       .scale = pow(mixer->head_size, -mixer->softmax_scale_power),
                                       .window = mixer->window_size,
                                       .first_row = flow->first_token,
                                       .causal = mixer->causal};
    int keys = gather_key_values(builder, layer, flow, key_value);
    int context =
        emit_attention(builder, query, keys, flow->document_start, &parameters, "mixer.context");
    builder_part(builder, "mixer.dense", mixer->dense.source);
    return emit_linear(builder, context, weight_value(builder, layer->dense.weight),
                       weight_value(builder, layer->dense.bias), false, "mixer.output");
}
