#include "engine/program/layout_internal.h"

bool layout_refuse(const struct layout_inference *it, int a, int b, const char *why)
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

bool layout_refuse_result(const struct layout_inference *it, int output, const char *why)
{
    char text[160];
    return status_fail(it->status, STATUS_INTERNAL, "%s: result %d would be %s: %s",
                       op_name(it->call->op), output, layout_text(&it->out[output], text), why);
}

struct layout_side layout_side(const struct layout *layout, int dimension)
{
    struct layout_side side = {0};
    for (int i = 0; i < layout->cut_count; i++)
        if (layout->cuts[i].dimension == dimension) {
            side.cuts[side.count].parts = layout->cuts[i].parts;
            side.cuts[side.count++].group = layout->cuts[i].group;
        }
    return side;
}

bool layout_side_equal(const struct layout_side *a, const struct layout_side *b)
{
    bool equal = a->count == b->count;
    for (int i = 0; equal && i < a->count; i++)
        equal = a->cuts[i].parts == b->cuts[i].parts && a->cuts[i].group == b->cuts[i].group;
    return equal;
}

unsigned layout_side_groups(const struct layout_side *side)
{
    unsigned groups = 0;
    for (int i = 0; i < side->count; i++)
        groups |= 1u << side->cuts[i].group;
    return groups;
}

void layout_put(struct layout *layout, int dimension, const struct layout_side *side, int parts)
{
    for (int i = 0; i < side->count && layout->cut_count < SHARD_MAX_CUTS; i++)
        layout->cuts[layout->cut_count++] =
            (struct layout_cut){dimension, side->cuts[i].parts * parts, side->cuts[i].group};
}

bool layout_same_cuts(const struct layout *a, const struct layout *b)
{
    struct layout_side rows[] = {layout_side(a, 0), layout_side(b, 0)};
    struct layout_side columns[] = {layout_side(a, 1), layout_side(b, 1)};
    return layout_side_equal(&rows[0], &rows[1]) && layout_side_equal(&columns[0], &columns[1]);
}

bool layout_same_side(const struct layout_inference *it, int a, int dimension_a, int b,
                      int dimension_b)
{
    struct layout_side x = layout_side(&it->call->inputs[a], dimension_a);
    struct layout_side y = layout_side(&it->call->inputs[b], dimension_b);
    return layout_side_equal(&x, &y) || layout_refuse(it, a, b, "they are not cut in the same way");
}

bool layout_complete(const struct layout_inference *it, int input)
{
    return !it->call->inputs[input].partial ||
           layout_refuse(it, input, -1, "a summand stands where the whole sum is needed");
}

/* Complete inputs first .. last. */
bool layout_all_complete(const struct layout_inference *it, int first, int last)
{
    bool ok = true;
    for (int i = first; ok && i <= last; i++)
        ok = layout_complete(it, i);
    return ok;
}

bool layout_whole(const struct layout_inference *it, int input, int dimension)
{
    return layout_side(&it->call->inputs[input], dimension).count == 0 ||
           layout_refuse(it, input, -1,
                         dimension ? "its columns are cut, but all of a row are needed"
                                   : "its rows are cut, but all of them are needed");
}

/* Pairs of groups; the world has all. */
unsigned layout_overlap(enum comm_group group)
{
    static const unsigned datas = 1u << COMM_DATA | 1u << COMM_SEQUENCE_DATA,
                          pipelines = 1u << COMM_PIPELINE | 1u << COMM_TIED;
    unsigned own = 1u << group, world = 1u << COMM_WORLD;
    if (group == COMM_WORLD)
        return ~0u;
    return own | world | (datas & own ? datas : 0) | (pipelines & own ? pipelines : 0);
}

unsigned layout_groups(const struct layout *layout)
{
    unsigned groups = layout->partial;
    for (int i = 0; i < layout->cut_count; i++)
        groups |= 1u << layout->cuts[i].group;
    return groups;
}

bool layout_in_one_piece(const struct layout_inference *it, int input, int dimension)
{
    struct layout_side side = layout_side(&it->call->inputs[input], dimension);
    for (int i = 0; i < side.count; i++)
        if (side.cuts[i].parts > 1)
            return layout_refuse(it, input, -1, "what a rank has is not in one piece");
    return true;
}

struct layout layout_rows_like(const struct layout *of, unsigned partial)
{
    struct layout layout = {.partial = partial};
    struct layout_side rows = layout_side(of, 0);
    layout_put(&layout, 0, &rows, 1);
    return layout;
}

bool layout_product(struct layout_inference *it, int a, int b, unsigned summed)
{
    const struct layout *x = &it->call->inputs[a], *y = &it->call->inputs[b];
    if (x->partial && y->partial)
        return layout_refuse(it, a, b, "a product of two summands is no summand of the product");
    it->out[0].partial = x->partial | y->partial | summed;
    return true;
}
