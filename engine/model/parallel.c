/* Where the tensor ranks meet. Facts, 2.1: a layer that makes its outputs in pieces needs all
 * tokens; one that takes its input in pieces makes summands. */
#include "engine/model/layers.h"

int gather_tokens(struct builder *builder, int x)
{
    if (!layout_is_cut(&builder_value(builder, x)->layout, COMM_TENSOR))
        return x;
    return emit_all_gather(builder, x, COMM_TENSOR, NULL);
}

int reduce_tokens(struct builder *builder, int x, const char *name)
{
    if (!(builder_value(builder, x)->layout.partial >> COMM_TENSOR & 1))
        return x;
    if (builder->config->distributed.sequence_tensor_parallel)
        return emit_reduce_scatter(builder, x, COMM_TENSOR, name);
    return emit_all_reduce(builder, x, COMM_TENSOR, name);
}

int emit_linear_reduced(struct builder *builder, int x, struct weights weights, bool transposed,
                        const char *name)
{
    int weight = weight_value(builder, weights.weight), bias = weight_value(builder, weights.bias);
    if (seat_size(&builder->program->seat, COMM_TENSOR) == 1)
        return emit_linear(builder, x, weight, bias, transposed, name);
    int y = emit_linear(builder, x, weight, -1, transposed, NULL);
    y = reduce_tokens(builder, y, bias < 0 ? name : NULL);
    return bias < 0 ? y : emit_add_bias(builder, y, bias, name);
}
