/* What holds for the outputs of every kind. */
#include "engine/program/layout_internal.h"

static bool see(unsigned *seen, enum comm_group group)
{
    bool again = *seen & layout_overlap(group);
    *seen |= 1u << group;
    return !again;
}

/* A group knows a value once: as a cut, or as a summand. So do those that it consists of. */
static bool check_groups(const struct layout_inference *it, int output)
{
    const struct layout *out = &it->out[output];
    unsigned seen = 0;
    bool once = true;
    for (int group = 0; group < COMM_GROUP_COUNT; group++)
        if (out->partial >> group & 1)
            once = see(&seen, (enum comm_group)group) && once;
    for (int i = 0; i < out->cut_count; i++)
        once = see(&seen, out->cuts[i].group) && once;
    return once || layout_refuse_result(it, output, "one group twice");
}

static bool check_output(const struct layout_inference *it, int output)
{
    const struct layout *expected = it->call->expected[output], *out = &it->out[output];
    char first[160], second[160];
    if (expected && !layout_same_cuts(out, expected))
        return status_fail(
            it->status, STATUS_INTERNAL, "%s: result %d is %s, but what it belongs to is %s",
            op_name(it->call->op), output, layout_text(out, first), layout_text(expected, second));
    return check_groups(it, output);
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
