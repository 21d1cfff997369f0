/* What holds for the outputs of every kind. */
#include "engine/program/layout_internal.h"

/* A group knows a value once: as a cut, or as a summand. */
static bool check_groups(const struct layout_inference *it, const struct layout *out)
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

static bool check_output(const struct layout_inference *it, int output)
{
    const struct layout *expected = it->call->expected[output], *out = &it->out[output];
    char first[160], second[160];
    if (expected && !layout_same_cuts(out, expected))
        return status_fail(
            it->status, STATUS_INTERNAL, "%s: result %d is %s, but what it belongs to is %s",
            op_name(it->call->op), output, layout_text(out, first), layout_text(expected, second));
    return check_groups(it, out);
}

bool layout_infer(const struct layout_call *call, struct layout outputs[OP_MAX_OUTPUTS],
                  struct status *status)
{
    struct layout_inference it = {call, outputs, status};
    bool batch = false;
    for (int i = 0; i < OP_MAX_OUTPUTS; i++)
        outputs[i] = (struct layout){0};
    for (int i = 0; i < call->input_count; i++)
        batch |= call->inputs[i].batch;
    layout_rule *rule = layout_rule_of(call->op);
    if (rule && !rule(&it))
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
