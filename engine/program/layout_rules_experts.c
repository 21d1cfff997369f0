/* Layout rules of mixtures of experts. */
#include "engine/program/layout_internal.h"

static bool infer_top_k(struct layout_inference *it)
{
    it->out[0] = it->out[1] = layout_rows_like(&it->call->inputs[0], 0);
    return layout_complete(it, 0) && layout_whole(it, 0, 1);
}

static bool infer_top_k_gradient(struct layout_inference *it)
{
    it->out[0] = layout_rows_like(&it->call->inputs[0], it->call->inputs[0].partial);
    return layout_all_complete(it, 1, 2) && layout_whole(it, 0, 1) && layout_whole(it, 1, 1) &&
           layout_whole(it, 2, 1) && layout_same_side(it, 0, 0, 1, 0) &&
           layout_same_side(it, 0, 0, 2, 0);
}

/* A product of means over tokens: what ranks with other tokens compute says nothing of all tokens,
 * unless each goes to all experts, where the loss is the same for any tokens, without a gradient.
 */
static bool balances_all(struct layout_inference *it)
{
    bool all = it->call->input_shapes[1].dims[1] == it->call->input_shapes[0].dims[1];
    return all || layout_side(&it->call->inputs[0], 0).count == 0 ||
           layout_refuse(it, 0, -1,
                         "its rows are cut, and a rank would balance its own tokens, not all "
                         "(auxiliary_loss_coefficient: 0 leaves the balance out)");
}

static bool infer_load_balance(struct layout_inference *it)
{
    struct layout_side rows = layout_side(&it->call->inputs[0], 0);
    bool gradient = it->call->op == OP_LOAD_BALANCE_GRADIENT;
    it->out[0] =
        gradient ? it->call->inputs[0] : (struct layout){.partial = layout_side_groups(&rows)};
    return layout_all_complete(it, 0, it->call->input_count - 1) && layout_whole(it, 0, 1) &&
           layout_whole(it, 1, 1) && layout_same_side(it, 0, 0, 1, 0) && balances_all(it);
}

/* Rows sorted by expert: where every token goes to every expert, each expert has a block of all
 * tokens, of which a rank has the tokens that it has. Else the blocks are as long as the tokens
 * make them: what is made of such rows alone is right on each rank, and sums over them are, too,
 * but the rows cannot be put together, and so have no name (emit_moe). */
static bool infer_route(struct layout_inference *it)
{
    struct layout_side tokens = layout_side(&it->call->inputs[0], 0);
    int experts = (int)it->call->output_shapes[1].dims[0];
    it->out[0] = it->out[1] = (struct layout){0};
    layout_put(&it->out[0], 0, &tokens, experts);
    return layout_complete(it, 0) && layout_whole(it, 0, 1) && layout_in_one_piece(it, 0, 0);
}

/* Slots of the tokens that a rank has, and of no others: each expert's block is cut as they are. */
static bool slots_fit(struct layout_inference *it, const struct layout *tokens, int input,
                      int input_slots)
{
    struct layout_side of = layout_side(tokens, 0);
    struct layout_side slots = layout_side(&it->call->inputs[input_slots], 0);
    bool fit = of.count == slots.count;
    for (int i = 0; fit && i < of.count; i++)
        fit = of.cuts[i].group == slots.cuts[i].group && of.cuts[i].parts == 1 &&
              slots.cuts[i].parts > 1;
    return layout_complete(it, input_slots) &&
           (fit || layout_refuse(it, input, input_slots, "tokens and slots are on other ranks"));
}

/* Rows of experts, of each of which a rank has the same part; where they end. */
static bool rows_end(struct layout_inference *it, int input, int input_ends)
{
    int experts = (int)it->call->input_shapes[input_ends].dims[0];
    struct layout_side rows = layout_side(&it->call->inputs[input], 0);
    for (int i = 0; i < rows.count; i++)
        if (rows.cuts[i].parts % experts)
            return layout_refuse(it, input, -1, "not every expert's rows are cut in the same way");
    return layout_complete(it, input_ends) && layout_whole(it, input_ends, 0);
}

static bool infer_gather_rows(struct layout_inference *it)
{
    struct layout_side columns = layout_side(&it->call->inputs[0], 1);
    it->out[0] = layout_rows_like(&it->call->inputs[1], it->call->inputs[0].partial);
    layout_put(&it->out[0], 1, &columns, 1);
    return slots_fit(it, &it->call->inputs[0], 0, 1);
}

static bool infer_gather_rows_gradient(struct layout_inference *it)
{
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    struct layout_side made = layout_side(&it->out[0], 1),
                       met = layout_side(&it->call->inputs[0], 1);
    it->out[0].partial = it->call->inputs[0].partial;
    if (!layout_side_equal(&made, &met))
        return layout_refuse_result(it, 0, "its columns are not cut as those of operand 0");
    return layout_same_side(it, 0, 0, 1, 0) && slots_fit(it, &it->out[0], 0, 1);
}

/* x [N,K] with a weight [E*M,K] (transpose_b) or [E*K,M]: the weight's rows have E times the parts
 * of the columns that they make or meet. */
static bool infer_grouped(struct layout_inference *it)
{
    const struct layout *x = &it->call->inputs[0];
    int experts = (int)it->call->input_shapes[2].dims[0];
    struct layout_side rows = layout_side(x, 0), summed = layout_side(x, 1);
    struct layout_side blocks = layout_side(&it->call->inputs[1], 0);
    struct layout_side made = layout_side(&it->call->inputs[1], 1), met = made;
    for (int i = 0; i < blocks.count; i++) {
        if (blocks.cuts[i].parts % experts)
            return layout_refuse(it, 0, 1, "not every expert is cut in the same way");
        blocks.cuts[i].parts /= experts;
    }
    if (it->call->parameters->transpose_b)
        made = blocks;
    else
        met = blocks;
    it->out[0] = (struct layout){0};
    layout_put(&it->out[0], 0, &rows, 1);
    layout_put(&it->out[0], 1, &made, 1);
    return rows_end(it, 0, 2) &&
           (layout_side_equal(&summed, &met) ||
            layout_refuse(it, 0, 1, "they are not cut in the same way")) &&
           layout_product(it, 0, 1, layout_side_groups(&summed));
}

static bool infer_grouped_gradient(struct layout_inference *it)
{
    int experts = (int)it->call->input_shapes[2].dims[0];
    struct layout_side rows = layout_side(&it->call->inputs[0], 0);
    struct layout_side a = layout_side(&it->call->inputs[0], 1),
                       b = layout_side(&it->call->inputs[1], 1);
    it->out[0] = (struct layout){0};
    layout_put(&it->out[0], 0, &a, experts);
    layout_put(&it->out[0], 1, &b, 1);
    return rows_end(it, 0, 2) && layout_same_side(it, 0, 0, 1, 0) &&
           layout_product(it, 0, 1, layout_side_groups(&rows));
}

static bool infer_combine(struct layout_inference *it)
{
    const struct layout *y = &it->call->inputs[0], *scores = &it->call->inputs[1];
    struct layout_side columns = layout_side(y, 1);
    it->out[0] = layout_rows_like(scores, y->partial);
    layout_put(&it->out[0], 1, &columns, 1);
    return layout_complete(it, 1) && layout_whole(it, 1, 1) && layout_same_side(it, 0, 0, 2, 0) &&
           slots_fit(it, scores, 1, 2);
}

/* (dout, y, scores, rows) -> (dy, dscores): what y is a summand of, dscores is too. */
static bool infer_combine_gradient(struct layout_inference *it)
{
    const struct layout *gradient = &it->call->inputs[0], *y = &it->call->inputs[1];
    it->out[0] = *y;
    it->out[0].partial = gradient->partial;
    struct layout_side summed = layout_side(y, 1);
    it->out[1] = layout_rows_like(&it->call->inputs[2], y->partial | layout_side_groups(&summed));
    return layout_complete(it, 0) && layout_complete(it, 2) && layout_same_side(it, 0, 1, 1, 1) &&
           layout_same_side(it, 0, 0, 2, 0) && layout_same_side(it, 1, 0, 3, 0) &&
           layout_whole(it, 2, 1) && slots_fit(it, &it->call->inputs[2], 2, 3);
}

static layout_rule *const rules[OP_COUNT] = {
    [OP_TOP_K] = infer_top_k,
    [OP_TOP_K_GRADIENT] = infer_top_k_gradient,
    [OP_LOAD_BALANCE] = infer_load_balance,
    [OP_LOAD_BALANCE_GRADIENT] = infer_load_balance,
    [OP_ROUTE_ROWS] = infer_route,
    [OP_GATHER_ROWS] = infer_gather_rows,
    [OP_GATHER_ROWS_GRADIENT] = infer_gather_rows_gradient,
    [OP_GROUPED_MATMUL] = infer_grouped,
    [OP_GROUPED_MATMUL_GRADIENT] = infer_grouped_gradient,
    [OP_COMBINE_ROWS] = infer_combine,
    [OP_COMBINE_ROWS_GRADIENT] = infer_combine_gradient,
};

layout_rule *layout_expert_rule_of(enum op op)
{
    return rules[op];
}
