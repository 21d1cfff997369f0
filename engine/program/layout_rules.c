/* One function per family of kinds; `rules` maps the kind to it. In the comments m, n and k are the
 * dimensions of a product, k being summed over: a cut of k makes summands. */
#include "engine/program/layout.h"

/* The cuts of one dimension, in their order. */
struct side {
    int count;
    struct {
        int parts;
        enum comm_group group;
    } cuts[SHARD_MAX_CUTS];
};

/* An instruction with its outputs' layouts as they are derived. */
struct inference {
    const struct layout_call *call;
    struct layout *out;
    struct status *status;
};

static bool refuse(const struct inference *it, int a, int b, const char *why)
{
    const struct layout_call *call = it->call;
    char first[160], second[160];
    layout_text(&call->inputs[a], first);
    if (b < 0)
        return status_fail(it->status, STATUS_INTERNAL, "%s: operand %d is %s: %s",
                           op_name(call->op), a, first, why);
    return status_fail(it->status, STATUS_INTERNAL, "%s: operand %d is %s, operand %d is %s: %s",
                       op_name(call->op), a, first, b, layout_text(&call->inputs[b], second), why);
}

static struct side side_of(const struct layout *layout, int dimension)
{
    struct side side = {0};
    for (int i = 0; i < layout->cut_count; i++)
        if (layout->cuts[i].dimension == dimension) {
            side.cuts[side.count].parts = layout->cuts[i].parts;
            side.cuts[side.count++].group = layout->cuts[i].group;
        }
    return side;
}

static bool side_equal(const struct side *a, const struct side *b)
{
    bool equal = a->count == b->count;
    for (int i = 0; equal && i < a->count; i++)
        equal = a->cuts[i].parts == b->cuts[i].parts && a->cuts[i].group == b->cuts[i].group;
    return equal;
}

static unsigned side_groups(const struct side *side)
{
    unsigned groups = 0;
    for (int i = 0; i < side->count; i++)
        groups |= 1u << side->cuts[i].group;
    return groups;
}

/* Adds the cuts of a side as cuts of `dimension`, with their parts times `parts`. */
static void put(struct layout *layout, int dimension, const struct side *side, int parts)
{
    for (int i = 0; i < side->count && layout->cut_count < SHARD_MAX_CUTS; i++)
        layout->cuts[layout->cut_count++] =
            (struct layout_cut){dimension, side->cuts[i].parts * parts, side->cuts[i].group};
}

static bool same_cuts(const struct layout *a, const struct layout *b)
{
    struct side rows[] = {side_of(a, 0), side_of(b, 0)};
    struct side columns[] = {side_of(a, 1), side_of(b, 1)};
    return side_equal(&rows[0], &rows[1]) && side_equal(&columns[0], &columns[1]);
}

static bool same_side(const struct inference *it, int a, int dimension_a, int b, int dimension_b)
{
    struct side x = side_of(&it->call->inputs[a], dimension_a);
    struct side y = side_of(&it->call->inputs[b], dimension_b);
    return side_equal(&x, &y) || refuse(it, a, b, "they are not cut in the same way");
}

static bool complete(const struct inference *it, int input)
{
    return !it->call->inputs[input].partial ||
           refuse(it, input, -1, "a summand stands where the whole sum is needed");
}

/* Complete inputs first .. last. */
static bool all_complete(const struct inference *it, int first, int last)
{
    bool ok = true;
    for (int i = first; ok && i <= last; i++)
        ok = complete(it, i);
    return ok;
}

static bool whole(const struct inference *it, int input, int dimension)
{
    return side_of(&it->call->inputs[input], dimension).count == 0 ||
           refuse(it, input, -1,
                  dimension ? "its columns are cut, but all of a row are needed"
                            : "its rows are cut, but all of them are needed");
}

static struct layout rows_like(const struct layout *of, unsigned partial)
{
    struct layout layout = {.partial = partial};
    struct side rows = side_of(of, 0);
    put(&layout, 0, &rows, 1);
    return layout;
}

static bool infer_expected(struct inference *it)
{
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    return true;
}

/* Linear in the only operand. */
static bool infer_linear(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return true;
}

static bool infer_activation(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return complete(it, 0);
}

static bool infer_sum(struct inference *it)
{
    const struct layout *inputs = it->call->inputs;
    it->out[0] = inputs[0];
    if (!same_cuts(&inputs[0], &inputs[1]))
        return refuse(it, 0, 1, "they are not cut in the same way");
    return inputs[0].partial == inputs[1].partial ||
           refuse(it, 0, 1, "they are summands over different groups");
}

/* (gradient, forward operand) elementwise: linear in the gradient. */
static bool infer_elementwise_gradient(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return complete(it, 1) && same_side(it, 0, 0, 1, 0) && same_side(it, 0, 1, 1, 1);
}

static bool infer_embedding(struct inference *it)
{
    const struct layout *indices = &it->call->inputs[0], *weight = &it->call->inputs[1];
    struct side rows = side_of(weight, 0);
    it->out[0] = rows_like(indices, side_groups(&rows));
    for (int i = 0; i < rows.count; i++)
        if (layout_is_cut(indices, rows.cuts[i].group) || rows.cuts[i].parts > 1)
            return refuse(it, 0, 1, "both are cut over the same group");
    return all_complete(it, 0, 1) && whole(it, 1, 1);
}

static bool infer_embedding_gradient(struct inference *it)
{
    struct side rows = side_of(&it->call->inputs[0], 0);
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    it->out[0].partial = side_groups(&rows) | it->call->inputs[1].partial;
    return same_side(it, 0, 0, 1, 0) && whole(it, 1, 1);
}

static bool infer_add_bias(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return all_complete(it, 0, 1) && same_side(it, 0, 1, 1, 0);
}

static bool infer_bias_gradient(struct inference *it)
{
    struct side rows = side_of(&it->call->inputs[0], 0);
    struct side columns = side_of(&it->call->inputs[0], 1);
    it->out[0] = (struct layout){.partial = side_groups(&rows) | it->call->inputs[0].partial};
    put(&it->out[0], 0, &columns, 1);
    return true;
}

/* One operand of a product may be a summand, over groups that the other one does not know. */
static bool product(struct inference *it, int a, int b, unsigned summed)
{
    const struct layout *x = &it->call->inputs[a], *y = &it->call->inputs[b];
    if (x->partial && y->partial)
        return refuse(it, a, b, "a product of two summands is no summand of the product");
    it->out[0].partial = x->partial | y->partial | summed;
    return true;
}

static bool infer_matmul(struct inference *it)
{
    const struct op_parameters *parameters = it->call->parameters;
    const struct layout *a = &it->call->inputs[0], *b = &it->call->inputs[1];
    int m = parameters->transpose_a ? 1 : 0, n = parameters->transpose_b ? 0 : 1;
    struct side rows = side_of(a, m), columns = side_of(b, n), summed = side_of(a, 1 - m);
    it->out[0] = (struct layout){0};
    put(&it->out[0], 0, &rows, 1);
    put(&it->out[0], 1, &columns, 1);
    if (!same_side(it, 0, 1 - m, 1, 1 - n) || !product(it, 0, 1, side_groups(&summed)))
        return false;
    if (it->call->input_count == 2)
        return true;
    if (it->out[0].partial)
        return refuse(it, 0, 2, "the bias would be added once for each summand");
    return complete(it, 2) && same_side(it, 1, n, 2, 0);
}

static bool infer_norm(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    it->out[1] = it->out[2] = rows_like(&it->call->inputs[0], 0);
    return all_complete(it, 0, it->call->input_count - 1) && whole(it, 0, 1) && whole(it, 1, 0) &&
           (it->call->input_count < 3 || whole(it, 2, 0));
}

/* (dy, x, w, mean and / or inverse) */
static bool infer_norm_gradient(struct inference *it)
{
    struct side rows = side_of(&it->call->inputs[1], 0);
    unsigned partial = it->call->inputs[0].partial;
    it->out[0] = it->call->inputs[1];
    it->out[0].partial = partial;
    it->out[1] = it->out[2] = (struct layout){.partial = partial | side_groups(&rows)};
    return all_complete(it, 1, it->call->input_count - 1) && whole(it, 1, 1) &&
           same_side(it, 0, 0, 1, 0) && same_side(it, 0, 1, 1, 1);
}

static bool infer_rotary(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return whole(it, 1, 0) && whole(it, 1, 1);
}

/* Queries may be cut by rows and by heads; keys and values are whole, or cut by heads like the
 * queries, in two parts. One group of keys serves any heads. */
static bool heads_fit(struct inference *it, int q, int kv)
{
    struct side heads = side_of(&it->call->inputs[q], 1);
    struct side groups = side_of(&it->call->inputs[kv], 1);
    bool shared = groups.count == 0 && it->call->parameters->head_groups == 1;
    bool fit = heads.count == groups.count;
    for (int i = 0; fit && i < heads.count; i++)
        fit = heads.cuts[i].group == groups.cuts[i].group && heads.cuts[i].parts == 1 &&
              groups.cuts[i].parts == 2;
    return fit || shared || refuse(it, q, kv, "heads and their keys and values are on other ranks");
}

static bool infer_attention(struct inference *it)
{
    it->out[0] = it->out[1] = it->call->inputs[0];
    return all_complete(it, 0, 2) && whole(it, 1, 0) && whole(it, 2, 0) && heads_fit(it, 0, 1);
}

static bool infer_attention_gradient(struct inference *it)
{
    const struct layout *q = &it->call->inputs[1], *kv = &it->call->inputs[2];
    struct side rows = side_of(q, 0), heads = side_of(q, 1);
    it->out[0] = *q;
    it->out[1] = *kv;
    it->out[1].partial = side_groups(&rows);
    if (side_of(kv, 1).count == 0)
        it->out[1].partial |= side_groups(&heads);
    return all_complete(it, 0, 5) && same_side(it, 0, 0, 1, 0) && same_side(it, 0, 1, 1, 1) &&
           whole(it, 2, 0) && heads_fit(it, 1, 2);
}

/* Gate and up are two parts of the columns. */
static bool narrow(struct inference *it, const struct layout *wide, struct layout *layout)
{
    struct side columns = side_of(wide, 1);
    *layout = rows_like(wide, wide->partial);
    for (int i = 0; i < columns.count; i++) {
        if (columns.cuts[i].parts % 2)
            return refuse(it, it->call->op == OP_GATED_ACTIVATION ? 0 : 1, -1,
                          "gate and up are not cut in the same way");
        columns.cuts[i].parts /= 2;
    }
    put(layout, 1, &columns, 1);
    return true;
}

static bool infer_gated(struct inference *it)
{
    return complete(it, 0) && narrow(it, &it->call->inputs[0], &it->out[0]);
}

static bool infer_gated_gradient(struct inference *it)
{
    const struct layout *gradient = &it->call->inputs[0], *x = &it->call->inputs[1];
    struct layout expected;
    it->out[0] = *x;
    it->out[0].partial = gradient->partial;
    return complete(it, 1) && narrow(it, x, &expected) &&
           (same_cuts(&expected, gradient) || refuse(it, 0, 1, "they are not cut in the same way"));
}

static bool infer_cross_entropy(struct inference *it)
{
    struct side rows = side_of(&it->call->inputs[0], 0);
    it->out[0] = (struct layout){.partial = side_groups(&rows)};
    it->out[1] = rows_like(&it->call->inputs[0], 0);
    return all_complete(it, 0, 2) && whole(it, 0, 1) && same_side(it, 0, 0, 1, 0);
}

/* One row of log-sum-exps for each rank that has a part of the vocabulary, one column per token. */
static struct layout part_sums(const struct layout *logits, bool gathered)
{
    struct layout layout = {0};
    struct side rows = side_of(logits, 0), columns = side_of(logits, 1);
    if (!gathered)
        put(&layout, 0, &columns, 1);
    put(&layout, 1, &rows, 1);
    return layout;
}

static bool infer_cross_entropy_part(struct inference *it)
{
    const struct layout *logits = &it->call->inputs[0];
    struct side columns = side_of(logits, 1);
    it->out[0] = part_sums(logits, false);
    it->out[1] = rows_like(logits, side_groups(&columns));
    return all_complete(it, 0, 1) && same_side(it, 0, 0, 1, 0);
}

static bool infer_cross_entropy_parallel(struct inference *it)
{
    const struct layout *logits = &it->call->inputs[0];
    struct layout sums = part_sums(logits, true);
    struct side rows = side_of(logits, 0);
    it->out[0] = (struct layout){.partial = side_groups(&rows)};
    it->out[1] = rows_like(logits, 0);
    return all_complete(it, 0, 4) && same_side(it, 0, 0, 1, 0) && same_side(it, 0, 0, 4, 0) &&
           (same_cuts(&sums, &it->call->inputs[3]) ||
            refuse(it, 0, 3, "the sums of all parts of the vocabulary are needed"));
}

static bool infer_cross_entropy_gradient(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return all_complete(it, 0, 4) && same_side(it, 0, 0, 1, 0) && same_side(it, 0, 0, 3, 0) &&
           (it->call->parameters->window > 0 || whole(it, 0, 1));
}

static bool infer_top_k(struct inference *it)
{
    it->out[0] = it->out[1] = rows_like(&it->call->inputs[0], 0);
    return complete(it, 0) && whole(it, 0, 1);
}

static bool infer_top_k_gradient(struct inference *it)
{
    it->out[0] = rows_like(&it->call->inputs[0], it->call->inputs[0].partial);
    return all_complete(it, 1, 2) && same_side(it, 0, 0, 1, 0) && same_side(it, 0, 0, 2, 0);
}

/* Each call has a loss of its own (facts, 2.7): those of ranks with other tokens are summed. */
static bool infer_load_balance(struct inference *it)
{
    struct side rows = side_of(&it->call->inputs[0], 0);
    bool gradient = it->call->op == OP_LOAD_BALANCE_GRADIENT;
    it->out[0] = gradient ? it->call->inputs[0] : (struct layout){.partial = side_groups(&rows)};
    return all_complete(it, 0, it->call->input_count - 1) && whole(it, 0, 1) &&
           same_side(it, 0, 0, 1, 0);
}

/* Rows sorted by expert: where every token goes to every expert, each expert has a block of all
 * tokens, of which a rank has the tokens that it has. */
static bool infer_route(struct inference *it)
{
    struct side tokens = side_of(&it->call->inputs[0], 0);
    int experts = (int)it->call->output_shapes[1].dims[0];
    it->out[0] = it->out[1] = (struct layout){0};
    put(&it->out[0], 0, &tokens, experts);
    return true;
}

static bool infer_gather_rows(struct inference *it)
{
    struct side tokens = side_of(&it->call->inputs[0], 0), rows = side_of(&it->call->inputs[1], 0);
    struct side columns = side_of(&it->call->inputs[0], 1);
    it->out[0] = rows_like(&it->call->inputs[1], it->call->inputs[0].partial);
    put(&it->out[0], 1, &columns, 1);
    return side_groups(&tokens) == side_groups(&rows) ||
           refuse(it, 0, 1, "tokens and slots are on other ranks");
}

static bool infer_gather_rows_gradient(struct inference *it)
{
    if (it->call->expected[0])
        it->out[0] = *it->call->expected[0];
    struct side tokens = side_of(&it->out[0], 0), rows = side_of(&it->call->inputs[0], 0);
    it->out[0].partial = it->call->inputs[0].partial;
    return same_side(it, 0, 0, 1, 0) && (side_groups(&tokens) == side_groups(&rows) ||
                                         refuse(it, 0, 1, "tokens and slots are on other ranks"));
}

/* x [N,K] with a weight [E*M,K] (transpose_b) or [E*K,M]: the weight's rows have E times the parts
 * of the columns that they make or meet. */
static bool infer_grouped(struct inference *it)
{
    const struct layout *x = &it->call->inputs[0];
    int experts = (int)it->call->input_shapes[2].dims[0];
    struct side rows = side_of(x, 0), summed = side_of(x, 1);
    struct side blocks = side_of(&it->call->inputs[1], 0);
    struct side made = side_of(&it->call->inputs[1], 1), met = made;
    for (int i = 0; i < blocks.count; i++) {
        if (blocks.cuts[i].parts % experts)
            return refuse(it, 0, 1, "not every expert is cut in the same way");
        blocks.cuts[i].parts /= experts;
    }
    if (it->call->parameters->transpose_b)
        made = blocks;
    else
        met = blocks;
    it->out[0] = (struct layout){0};
    put(&it->out[0], 0, &rows, 1);
    put(&it->out[0], 1, &made, 1);
    return (side_equal(&summed, &met) || refuse(it, 0, 1, "they are not cut in the same way")) &&
           product(it, 0, 1, side_groups(&summed));
}

static bool infer_grouped_gradient(struct inference *it)
{
    int experts = (int)it->call->input_shapes[2].dims[0];
    struct side rows = side_of(&it->call->inputs[0], 0);
    struct side a = side_of(&it->call->inputs[0], 1), b = side_of(&it->call->inputs[1], 1);
    it->out[0] = (struct layout){0};
    put(&it->out[0], 0, &a, experts);
    put(&it->out[0], 1, &b, 1);
    return same_side(it, 0, 0, 1, 0) && product(it, 0, 1, side_groups(&rows));
}

static bool infer_combine(struct inference *it)
{
    const struct layout *y = &it->call->inputs[0], *scores = &it->call->inputs[1];
    struct side columns = side_of(y, 1);
    it->out[0] = rows_like(scores, y->partial);
    put(&it->out[0], 1, &columns, 1);
    return complete(it, 1) && same_side(it, 0, 0, 2, 0);
}

/* (dout, y, scores, rows) -> (dy, dscores): what y is a summand of, dscores is too. */
static bool infer_combine_gradient(struct inference *it)
{
    const struct layout *gradient = &it->call->inputs[0], *y = &it->call->inputs[1];
    it->out[0] = *y;
    it->out[0].partial = gradient->partial;
    it->out[1] = rows_like(&it->call->inputs[2], y->partial);
    return complete(it, 0) && complete(it, 2) && same_side(it, 0, 1, 1, 1) &&
           same_side(it, 0, 0, 2, 0) && same_side(it, 1, 0, 3, 0);
}

/* Ranks add up what they alone have; the total is one of the world's summands. */
static bool infer_sum_squares(struct inference *it)
{
    it->out[0] = it->call->inputs[0];
    return complete(it, 1);
}

static bool infer_factors(struct inference *it)
{
    it->out[0] = it->out[1] = it->out[2] = (struct layout){0};
    return all_complete(it, 0, 2);
}

static bool infer_adamw(struct inference *it)
{
    bool ok = all_complete(it, 0, 4);
    for (int i = 0; i < 3; i++)
        it->out[i] = it->call->inputs[0];
    for (int i = 1; ok && i < 4; i++)
        ok = same_side(it, 0, 0, i, 0) && same_side(it, 0, 1, i, 1);
    return ok;
}

static bool infer_reduction(struct inference *it)
{
    enum comm_group group = (enum comm_group)it->call->parameters->group;
    it->out[0] = it->call->inputs[0];
    if (!(it->out[0].partial >> group & 1))
        return refuse(it, 0, -1, "it is not a summand over that group");
    it->out[0].partial &= ~layout_covers(group);
    if (group == COMM_DATA || group == COMM_WORLD)
        it->out[0].batch = false;
    if (it->call->op == OP_REDUCE_SCATTER)
        layout_cut(&it->out[0], it->call->seat, 0, 1, group);
    return true;
}

/* Only what was cut last, in one part, lies side by side. */
static bool infer_all_gather(struct inference *it)
{
    struct layout *out = &it->out[0];
    int last = -1;
    *out = it->call->inputs[0];
    for (int i = 0; i < out->cut_count; i++)
        if (out->cuts[i].dimension == 0)
            last = i;
    if (last < 0 || out->cuts[last].parts != 1 ||
        out->cuts[last].group != (enum comm_group)it->call->parameters->group)
        return refuse(it, 0, -1, "its rows were not cut last over that group");
    for (int i = last; i + 1 < out->cut_count; i++)
        out->cuts[i] = out->cuts[i + 1];
    out->cut_count--;
    return true;
}

static bool infer_send(struct inference *it)
{
    return complete(it, 0);
}

typedef bool rule(struct inference *it);

static rule *const rules[OP_COUNT] = {
    [OP_FILL] = infer_expected,
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
    [OP_SUM_SQUARES] = infer_sum_squares,
    [OP_OPTIMIZER_FACTORS] = infer_factors,
    [OP_ADAMW] = infer_adamw,
    [OP_CROSS_ENTROPY_PART] = infer_cross_entropy_part,
    [OP_CROSS_ENTROPY_PARALLEL] = infer_cross_entropy_parallel,
    [OP_ALL_REDUCE] = infer_reduction,
    [OP_ALL_GATHER] = infer_all_gather,
    [OP_REDUCE_SCATTER] = infer_reduction,
    [OP_BROADCAST] = infer_linear,
    [OP_SEND] = infer_send,
    [OP_RECEIVE] = infer_expected,
};

/* A group knows a value once: as a cut, or as a summand. */
static bool check_groups(const struct inference *it, const struct layout *out)
{
    unsigned seen = out->partial;
    for (int i = 0; i < out->cut_count; i++) {
        unsigned group = layout_covers(out->cuts[i].group);
        char text[160];
        if (seen & group)
            return status_fail(it->status, STATUS_INTERNAL,
                               "%s: the result would be %s: one group twice", op_name(it->call->op),
                               layout_text(out, text));
        seen |= group;
    }
    return true;
}

static bool check_output(const struct inference *it, int output)
{
    const struct layout *expected = it->call->expected[output], *out = &it->out[output];
    char first[160], second[160];
    if (expected && !same_cuts(out, expected))
        return status_fail(
            it->status, STATUS_INTERNAL, "%s: result %d is %s, but what it belongs to is %s",
            op_name(it->call->op), output, layout_text(out, first), layout_text(expected, second));
    return check_groups(it, out);
}

bool layout_infer(const struct layout_call *call, struct layout outputs[OP_MAX_OUTPUTS],
                  struct status *status)
{
    struct inference it = {call, outputs, status};
    bool batch = false;
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        outputs[i] = (struct layout){0};
    for (int i = 0; i < call->input_count; i++)
        batch |= call->inputs[i].batch;
    if (rules[call->op] && !rules[call->op](&it))
        return false;
    bool ends = call->op == OP_ALL_REDUCE || call->op == OP_REDUCE_SCATTER;
    for (int i = 0; i < call->output_count; i++) {
        if (!ends)
            outputs[i].batch |= batch;
        if (!check_output(&it, i))
            return false;
    }
    return true;
}
