/* One function per family of kinds; `rules` maps the kind to it. In the comments m, n and k are the
 * dimensions of a product, k being summed over: a cut of k makes summands. */
#include "engine/program/layout_internal.h"

static bool infer_expected(struct layout_inference *it)
{
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    return true;
}

/* Summands of nothing but 0 are 0 each. */
static bool infer_fill(struct layout_inference *it)
{
    infer_expected(it);
    return !it->out[0].partial || it->call->parameters->value == 0 ||
           layout_refuse_result(it, 0, "each rank would add the number");
}

/* Linear in the only operand. */
static bool infer_linear(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return true;
}

static bool infer_activation(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_complete(it, 0);
}

static bool infer_sum(struct layout_inference *it)
{
    const struct layout *inputs = it->call->inputs;
    it->out[0] = inputs[0];
    if (!layout_same_cuts(&inputs[0], &inputs[1]))
        return layout_refuse(it, 0, 1, "they are not cut in the same way");
    return inputs[0].partial == inputs[1].partial ||
           layout_refuse(it, 0, 1, "they are summands over different groups");
}

static bool same_cuts(struct layout_inference *it, int a, int b)
{
    return layout_same_side(it, a, 0, b, 0) && layout_same_side(it, a, 1, b, 1);
}

/* (gradient, forward operand) elementwise: linear in the gradient. */
static bool infer_elementwise_gradient(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_complete(it, 1) && layout_same_side(it, 0, 0, 1, 0) &&
           layout_same_side(it, 0, 1, 1, 1);
}

static bool infer_embedding(struct layout_inference *it)
{
    const struct layout *indices = &it->call->inputs[0], *weight = &it->call->inputs[1];
    struct layout_side rows = layout_side(weight, 0);
    it->out[0] = layout_rows_like(indices, layout_side_groups(&rows));
    for (int i = 0; i < rows.count; i++)
        if (layout_is_cut(indices, rows.cuts[i].group) || rows.cuts[i].parts > 1)
            return layout_refuse(it, 0, 1, "both are cut over the same group");
    return layout_all_complete(it, 0, 1) && layout_whole(it, 1, 1);
}

static bool infer_embedding_gradient(struct layout_inference *it)
{
    struct layout_side rows = layout_side(&it->call->inputs[0], 0);
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    it->out[0].partial = layout_side_groups(&rows) | it->call->inputs[1].partial;
    for (int i = 0; i < it->out[0].cut_count; i++)
        if (it->out[0].cuts[i].dimension == 1 || it->out[0].cuts[i].parts > 1)
            return layout_refuse_result(it, 0, "what a rank has is not one piece of the rows");
    return layout_complete(it, 0) && layout_same_side(it, 0, 0, 1, 0) && layout_whole(it, 1, 1);
}

static bool infer_add_bias(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_all_complete(it, 0, 1) && layout_same_side(it, 0, 1, 1, 0);
}

static bool infer_bias_gradient(struct layout_inference *it)
{
    struct layout_side rows = layout_side(&it->call->inputs[0], 0);
    struct layout_side columns = layout_side(&it->call->inputs[0], 1);
    it->out[0] =
        (struct layout){.partial = layout_side_groups(&rows) | it->call->inputs[0].partial};
    layout_put(&it->out[0], 0, &columns, 1);
    return true;
}

static bool infer_matmul(struct layout_inference *it)
{
    const struct op_parameters *parameters = it->call->parameters;
    const struct layout *a = &it->call->inputs[0], *b = &it->call->inputs[1];
    int m = parameters->transpose_a ? 1 : 0, n = parameters->transpose_b ? 0 : 1;
    struct layout_side rows = layout_side(a, m), columns = layout_side(b, n),
                       summed = layout_side(a, 1 - m);
    it->out[0] = (struct layout){0};
    layout_put(&it->out[0], 0, &rows, 1);
    layout_put(&it->out[0], 1, &columns, 1);
    if (!layout_same_side(it, 0, 1 - m, 1, 1 - n) ||
        !layout_product(it, 0, 1, layout_side_groups(&summed)))
        return false;
    if (it->call->input_count == 2)
        return true;
    if (it->out[0].partial)
        return layout_refuse(it, 0, 2, "the bias would be added once for each summand");
    return layout_complete(it, 2) && layout_same_side(it, 1, n, 2, 0);
}

static bool infer_norm(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    it->out[1] = it->out[2] = layout_rows_like(&it->call->inputs[0], 0);
    return layout_all_complete(it, 0, it->call->input_count - 1) && layout_whole(it, 0, 1) &&
           layout_whole(it, 1, 0) && (it->call->input_count < 3 || layout_whole(it, 2, 0));
}

/* (dy, x, w, mean and / or inverse) */
static bool infer_norm_gradient(struct layout_inference *it)
{
    struct layout_side rows = layout_side(&it->call->inputs[1], 0);
    unsigned partial = it->call->inputs[0].partial;
    it->out[0] = it->call->inputs[1];
    it->out[0].partial = partial;
    it->out[1] = it->out[2] = (struct layout){.partial = partial | layout_side_groups(&rows)};
    bool ok = layout_all_complete(it, 1, it->call->input_count - 1) && layout_whole(it, 1, 1) &&
              layout_whole(it, 2, 0) && layout_same_side(it, 0, 0, 1, 0) &&
              layout_same_side(it, 0, 1, 1, 1);
    for (int i = 3; ok && i < it->call->input_count; i++)
        ok = layout_same_side(it, 1, 0, i, 0);
    return ok;
}

/* No cut goes through a head. */
static bool heads_are_whole(struct layout_inference *it, int input)
{
    struct layout_side columns = layout_side(&it->call->inputs[input], 1);
    int64_t width = shape_columns(it->call->input_shapes[input]);
    for (int i = 0; i < columns.count; i++)
        width /= columns.cuts[i].parts;
    return columns.count == 0 || width % it->call->parameters->head_size == 0 ||
           layout_refuse(it, input, -1, "its columns are cut inside of a head");
}

static bool infer_rotary(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_in_one_piece(it, 0, 0) && heads_are_whole(it, 0) && layout_complete(it, 1) &&
           layout_whole(it, 1, 0) && layout_whole(it, 1, 1);
}

/* Queries may be cut by rows and by heads; keys and values are whole, or cut by heads like the
 * queries, in two parts. One group of keys serves any heads. */
static bool heads_fit(struct layout_inference *it, int q, int kv)
{
    struct layout_side heads = layout_side(&it->call->inputs[q], 1);
    struct layout_side groups = layout_side(&it->call->inputs[kv], 1);
    bool shared = groups.count == 0 && it->call->parameters->head_groups == 1;
    bool fit = heads.count == groups.count;
    for (int i = 0; fit && i < heads.count; i++)
        fit = heads.cuts[i].group == groups.cuts[i].group && heads.cuts[i].parts == 1 &&
              groups.cuts[i].parts == 2;
    return fit || shared ||
           layout_refuse(it, q, kv, "heads and their keys and values are on other ranks");
}

static bool infer_attention(struct layout_inference *it)
{
    it->out[0] = it->out[1] = it->call->inputs[0];
    return layout_all_complete(it, 0, 2) && layout_in_one_piece(it, 0, 0) &&
           heads_are_whole(it, 0) && heads_are_whole(it, 1) && layout_whole(it, 1, 0) &&
           layout_whole(it, 2, 0) && heads_fit(it, 0, 1);
}

static bool infer_attention_gradient(struct layout_inference *it)
{
    const struct layout *q = &it->call->inputs[1], *kv = &it->call->inputs[2];
    struct layout_side rows = layout_side(q, 0), heads = layout_side(q, 1);
    it->out[0] = *q;
    it->out[1] = *kv;
    it->out[1].partial = layout_side_groups(&rows);
    if (layout_side(kv, 1).count == 0)
        it->out[1].partial |= layout_side_groups(&heads);
    return layout_all_complete(it, 0, 5) && layout_in_one_piece(it, 1, 0) &&
           heads_are_whole(it, 1) && heads_are_whole(it, 2) && same_cuts(it, 1, 0) &&
           same_cuts(it, 1, 4) && same_cuts(it, 1, 5) && layout_whole(it, 2, 0) &&
           layout_whole(it, 3, 0) && heads_fit(it, 1, 2);
}

/* Gate and up are two parts of the columns. */
static bool narrow(struct layout_inference *it, const struct layout *wide, struct layout *layout)
{
    struct layout_side columns = layout_side(wide, 1);
    *layout = layout_rows_like(wide, wide->partial);
    for (int i = 0; i < columns.count; i++) {
        if (columns.cuts[i].parts % 2)
            return layout_refuse(it, it->call->op == OP_GATED_ACTIVATION ? 0 : 1, -1,
                                 "gate and up are not cut in the same way");
        columns.cuts[i].parts /= 2;
    }
    layout_put(layout, 1, &columns, 1);
    return true;
}

static bool infer_gated(struct layout_inference *it)
{
    return layout_complete(it, 0) && narrow(it, &it->call->inputs[0], &it->out[0]);
}

static bool infer_gated_gradient(struct layout_inference *it)
{
    const struct layout *gradient = &it->call->inputs[0], *x = &it->call->inputs[1];
    struct layout expected;
    it->out[0] = *x;
    it->out[0].partial = gradient->partial;
    return layout_complete(it, 1) && narrow(it, x, &expected) &&
           (layout_same_cuts(&expected, gradient) ||
            layout_refuse(it, 0, 1, "they are not cut in the same way"));
}

static bool infer_cross_entropy(struct layout_inference *it)
{
    struct layout_side rows = layout_side(&it->call->inputs[0], 0);
    it->out[0] = (struct layout){.partial = layout_side_groups(&rows)};
    it->out[1] = layout_rows_like(&it->call->inputs[0], 0);
    return layout_all_complete(it, 0, 2) && layout_whole(it, 0, 1) &&
           layout_same_side(it, 0, 0, 1, 0);
}

/* One row of log-sum-exps for each rank that has a part of the vocabulary, one column per token. */
static struct layout part_sums(const struct layout *logits, bool gathered)
{
    struct layout layout = {0};
    struct layout_side rows = layout_side(logits, 0), columns = layout_side(logits, 1);
    if (!gathered)
        layout_put(&layout, 0, &columns, 1);
    layout_put(&layout, 1, &rows, 1);
    return layout;
}

static bool infer_cross_entropy_part(struct layout_inference *it)
{
    const struct layout *logits = &it->call->inputs[0];
    struct layout_side columns = layout_side(logits, 1);
    it->out[0] = part_sums(logits, false);
    it->out[1] = layout_rows_like(logits, layout_side_groups(&columns));
    return layout_all_complete(it, 0, 1) && layout_in_one_piece(it, 0, 1) &&
           layout_same_side(it, 0, 0, 1, 0);
}

static bool infer_cross_entropy_parallel(struct layout_inference *it)
{
    const struct layout *logits = &it->call->inputs[0];
    struct layout sums = part_sums(logits, true);
    struct layout_side rows = layout_side(logits, 0);
    it->out[0] = (struct layout){.partial = layout_side_groups(&rows)};
    it->out[1] = layout_rows_like(logits, 0);
    return layout_all_complete(it, 0, 4) && layout_same_side(it, 0, 0, 1, 0) &&
           layout_same_side(it, 0, 0, 4, 0) &&
           (layout_same_cuts(&sums, &it->call->inputs[3]) ||
            layout_refuse(it, 0, 3, "the sums of all parts of the vocabulary are needed"));
}

static bool infer_cross_entropy_gradient(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_all_complete(it, 0, 4) && layout_same_side(it, 0, 0, 1, 0) &&
           layout_same_side(it, 0, 0, 3, 0) &&
           (it->call->parameters->window > 0 ? layout_in_one_piece(it, 0, 1)
                                             : layout_whole(it, 0, 1));
}

/* Ranks add up what they alone have; the total is one of the world's summands. */
static bool infer_sum_squares(struct layout_inference *it)
{
    it->out[0] = it->call->inputs[0];
    return layout_complete(it, 1);
}

static bool infer_factors(struct layout_inference *it)
{
    it->out[0] = it->out[1] = it->out[2] = (struct layout){0};
    return layout_all_complete(it, 0, 2) && layout_whole(it, 0, 0) && layout_whole(it, 1, 0) &&
           layout_whole(it, 2, 0);
}

static bool infer_adamw(struct layout_inference *it)
{
    bool ok = layout_all_complete(it, 0, 4) && layout_whole(it, 4, 0);
    for (int i = 0; i < 3; i++)
        it->out[i] = it->call->inputs[0];
    for (int i = 1; ok && i < 4; i++)
        ok = layout_same_side(it, 0, 0, i, 0) && layout_same_side(it, 0, 1, i, 1);
    return ok;
}

static bool infer_reduction(struct layout_inference *it)
{
    enum comm_group group = (enum comm_group)it->call->parameters->group;
    it->out[0] = it->call->inputs[0];
    if (!(it->out[0].partial >> group & 1))
        return layout_refuse(it, 0, -1, "it is not a summand over that group");
    if (it->call->parameters->average)
        return layout_refuse(it, 0, -1, "the average of summands is not their sum");
    it->out[0].partial &= ~layout_covers(group);
    if (group == COMM_DATA || group == COMM_WORLD)
        it->out[0].batch = false;
    if (it->call->op == OP_REDUCE_SCATTER)
        layout_cut(&it->out[0], it->call->seat, 0, 1, group);
    return true;
}

/* Only what was cut last, in one part, lies side by side. */
static bool infer_all_gather(struct layout_inference *it)
{
    struct layout *out = &it->out[0];
    int last = -1;
    *out = it->call->inputs[0];
    for (int i = 0; i < out->cut_count; i++)
        if (out->cuts[i].dimension == 0)
            last = i;
    if (last < 0 || out->cuts[last].parts != 1 ||
        out->cuts[last].group != (enum comm_group)it->call->parameters->group)
        return layout_refuse(it, 0, -1, "its rows were not cut last over that group");
    for (int i = last; i + 1 < out->cut_count; i++)
        out->cuts[i] = out->cuts[i + 1];
    out->cut_count--;
    return true;
}

/* All members have what one of them has: so what they have must be the same already. */
static bool infer_broadcast(struct layout_inference *it)
{
    enum comm_group group = (enum comm_group)it->call->parameters->group;
    const struct layout *x = &it->call->inputs[0];
    it->out[0] = *x;
    if (layout_groups(x) & layout_overlap(group))
        return layout_refuse(it, 0, -1, "ranks of that group have other parts of it");
    return true;
}

static bool infer_send(struct layout_inference *it)
{
    return layout_complete(it, 0);
}

static layout_rule *const rules[OP_COUNT] = {
    [OP_FILL] = infer_fill,
    [OP_COPY] = infer_linear,
    [OP_SCALE] = infer_linear,
    [OP_ADD] = infer_sum,
    [OP_ACCUMULATE] = infer_sum,
    [OP_SLICE_ROWS] = infer_linear,
    [OP_WRITE_ROWS] = infer_sum,
    [OP_EMBEDDING] = infer_embedding,
    [OP_EMBEDDING_GRADIENT] = infer_embedding_gradient,
    [OP_ADD_BIAS] = infer_add_bias,
    [OP_BIAS_GRADIENT] = infer_bias_gradient,
    [OP_MATMUL] = infer_matmul,
    [OP_LAYER_NORM] = infer_norm,
    [OP_LAYER_NORM_GRADIENT] = infer_norm_gradient,
    [OP_RMS_NORM] = infer_norm,
    [OP_RMS_NORM_GRADIENT] = infer_norm_gradient,
    [OP_ROTARY] = infer_rotary,
    [OP_ATTENTION] = infer_attention,
    [OP_ATTENTION_GRADIENT] = infer_attention_gradient,
    [OP_ACTIVATION] = infer_activation,
    [OP_ACTIVATION_GRADIENT] = infer_elementwise_gradient,
    [OP_GATED_ACTIVATION] = infer_gated,
    [OP_GATED_ACTIVATION_GRADIENT] = infer_gated_gradient,
    [OP_CROSS_ENTROPY] = infer_cross_entropy,
    [OP_CROSS_ENTROPY_GRADIENT] = infer_cross_entropy_gradient,
    [OP_SUM_SQUARES] = infer_sum_squares,
    [OP_OPTIMIZER_FACTORS] = infer_factors,
    [OP_ADAMW] = infer_adamw,
    [OP_CROSS_ENTROPY_PART] = infer_cross_entropy_part,
    [OP_CROSS_ENTROPY_PARALLEL] = infer_cross_entropy_parallel,
    [OP_ALL_REDUCE] = infer_reduction,
    [OP_ALL_GATHER] = infer_all_gather,
    [OP_REDUCE_SCATTER] = infer_reduction,
    [OP_BROADCAST] = infer_broadcast,
    [OP_SEND] = infer_send,
    [OP_RECEIVE] = infer_expected,
};

layout_rule *layout_rule_of(enum op op)
{
    return rules[op] ? rules[op] : layout_expert_rule_of(op);
}
