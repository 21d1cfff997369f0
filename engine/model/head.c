/* The head: final norm, logits, cross entropy (in chunks of tokens when split). Facts, 2.14. */
#include "engine/model/layers.h"

/* The loss of rows first .. first+rows-1. */
static int emit_chunk(struct builder *builder, const struct model *model, const struct layer *layer,
                      const struct flow *flow, int normed, int chunk, int chunks,
                      const char *loss_name)
{
    const struct model_config *config = &model->config->base_model;
    int labels = flow->labels[layer->distance];
    builder->origin.chunk = chunk;
    builder->origin.chunks = chunks;
    if (chunks > 1) {
        int64_t rows = builder_value(builder, labels)->shape.dims[0] / chunks;
        normed = emit_slice_rows(builder, normed, chunk * rows, rows, NULL);
        labels = emit_slice_rows(builder, labels, chunk * rows, rows, NULL);
    }
    builder_part(builder, "output_weights", config->head_source);
    int logits = emit_linear(builder, normed, weight_value(builder, layer->output_weights), -1,
                             false, chunks > 1 ? NULL : "logits");
    builder_part(builder, "loss", config->head_source);
    int count = flow->label_counts[layer->distance];
    if (layout_is_cut(&builder_value(builder, logits)->layout, COMM_TENSOR) &&
        config->vocab_parallel)
        return emit_cross_entropy_parallel(builder, logits, labels, count,
                                           config->logits_scale_factor, loss_name);
    return emit_cross_entropy(builder, logits, labels, count, config->logits_scale_factor,
                              loss_name);
}

void emit_head(struct builder *builder, const struct model *model, const struct layer *layer,
               struct flow *flow)
{
    const struct model_config *config = &model->config->base_model;
    int chunks = config->cross_entropy_splits;
    int normed = emit_norm(builder, &config->head_normalization, layer->final_norm,
                           flow->outputs[layer->input], "final_norm");
    if (config->vocab_parallel)
        normed = gather_tokens(builder, normed);
    int loss =
        emit_chunk(builder, model, layer, flow, normed, 0, chunks, chunks > 1 ? NULL : "loss");
    for (int chunk = 1; chunk < chunks; chunk++) {
        int more = emit_chunk(builder, model, layer, flow, normed, chunk, chunks, NULL);
        loss = emit_add(builder, loss, more, chunk + 1 == chunks ? "loss" : NULL);
    }
    builder->origin.chunk = builder->origin.chunks = 0;
    loss = emit_complete(builder, loss, "loss");
    mark_log_point(builder, loss);
    flow->losses[flow->loss_count++] = loss;
}
