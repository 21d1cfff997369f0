/* Feed-forward layers, gated or not, dense or a mixture of experts. Facts, 2.6 and 2.7.
 * layer_2 is stored transposed, [intermediate, hidden]. */
#include "engine/model/layers.h"

void declare_mlp(struct builder *builder, struct layer *layer)
{
    const struct mlp_config *mlp = &builder->config->base_model.block.mlp;
    int64_t hidden = builder->config->base_model.hidden_size;
    int64_t inner = mlp->intermediate_size, wide = inner * (mlp->gated ? 2 : 1);
    int64_t experts = mlp->type == MLP_MOE ? mlp->experts : 1;
    struct tensor_cut layer_1 = {0, (int)(experts * (mlp->gated ? 2 : 1)), true};
    struct tensor_cut layer_2 = {0, (int)experts, false};
    layer->router = (struct weights){-1, -1};
    if (mlp->type == MLP_MOE)
        layer->router = declare_linear(builder, layer->path, "mlp.router", &mlp->router,
                                       shape_of2(experts, hidden), experts, mlp->lr_scale, NULL);
    layer->layer_1 =
        declare_linear(builder, layer->path, "mlp.layer_1", &mlp->layer_1,
                       shape_of2(experts * wide, hidden), wide, mlp->lr_scale, &layer_1);
    layer->layer_2 =
        declare_linear(builder, layer->path, "mlp.layer_2", &mlp->layer_2,
                       shape_of2(experts * inner, hidden), hidden, mlp->lr_scale, &layer_2);
}

int emit_mlp(struct builder *builder, const struct model *model, const struct layer *layer, int x)
{
    const struct mlp_config *mlp = &model->config->base_model.block.mlp;
    builder_part(builder, "mlp.layer_1", mlp->layer_1.source);
    int weight = weight_value(builder, layer->layer_1.weight);
    int bias = weight_value(builder, layer->layer_1.bias);
    int hidden = emit_linear(builder, x, weight, bias, false, "mlp.hidden");
    builder_part(builder, "mlp.activation", mlp->source);
    int activated = emit_activation(builder, hidden, (enum activation)mlp->activation, mlp->gated,
                                    "mlp.activated");
    builder_part(builder, "mlp.layer_2", mlp->layer_2.source);
    return emit_linear_reduced(builder, activated, layer->layer_2, true, "mlp.output");
}

/* Tokens are copied once for each chosen expert, sorted by expert, and combined by score. */
int emit_moe(struct builder *builder, const struct model *model, const struct layer *layer, int x)
{
    const struct mlp_config *mlp = &model->config->base_model.block.mlp;
    int experts, scores, rows, ends;
    bool split = layout_is_cut(&builder_value(builder, x)->layout, COMM_SEQUENCE_DATA);
    /* With fewer experts for each token than there are, which rows of the whole a part of the
     * tokens fills depends on the data: those have no name. */
    bool known = !split || mlp->experts_per_token == mlp->experts;
    builder_part(builder, "mlp.router", mlp->router.source);
    int logits = emit_linear(builder, x, weight_value(builder, layer->router.weight), -1, false,
                             "mlp.router.logits");
    emit_top_k(builder, logits, mlp->experts_per_token, &experts, &scores);
    if (mlp->auxiliary_loss_coefficient > 0)
        emit_load_balance(builder, logits, experts, mlp->experts * mlp->auxiliary_loss_coefficient,
                          split ? NULL : "mlp.load_balancing_loss");
    emit_route_rows(builder, experts, mlp->experts, &rows, &ends);
    int routed = emit_gather_rows(builder, x, rows, known ? "mlp.routed" : NULL);
    builder_part(builder, "mlp.layer_1", mlp->layer_1.source);
    int hidden = emit_grouped_matmul(builder, routed, weight_value(builder, layer->layer_1.weight),
                                     ends, false, known ? "mlp.hidden" : NULL);
    builder_part(builder, "mlp.activation", mlp->source);
    int activated = emit_activation(builder, hidden, (enum activation)mlp->activation, mlp->gated,
                                    known ? "mlp.activated" : NULL);
    builder_part(builder, "mlp.layer_2", mlp->layer_2.source);
    int expert_outputs =
        emit_grouped_matmul(builder, activated, weight_value(builder, layer->layer_2.weight), ends,
                            true, known ? "mlp.expert_outputs" : NULL);
    int combined = emit_combine_rows(builder, expert_outputs, scores, rows, "mlp.output");
    return reduce_tokens(builder, combined, "mlp.output");
}
