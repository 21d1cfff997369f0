/* The reference keeps up with the test, whatever the order in which the two compute. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"

#include <stdlib.h>

/* Whether the test has still to compute, from its instruction `from` on, what is compared with
 * `other`. Micro-sequences are parts of a value: its last one may be past, others to come. */
static bool is_awaited(const struct pair *pair, int other, int from)
{
    int value = pair->test_value[other];
    return value >= 0 && pair_is_compared(pair, value) &&
           (pair->reference_row[value] >= 0 || pair->test->program->values[value].producer >= from);
}

static bool hold(struct pair *pair, int other, bool may_give_up, struct status *status)
{
    struct run *reference = pair->reference;
    const struct value *value = &reference->program->values[other];
    void *copy = memory_try(value_bytes(value), 1);
    if (!copy)
        return status_fail(status, STATUS_MEMORY, "no memory to hold %s", value->name);
    pair_listen(pair, reference, may_give_up);
    bool ok = executor_try_read(reference->executor, other, copy, status);
    pair_listen(pair, reference, false);
    if (ok)
        pair->held[other].data = copy;
    else
        free(copy);
    return ok;
}

/* What the reference computed last is in memory that it may use again as it goes on. Nearly always
 * the test has computed it by then; what has yet to be compared is held. */
static bool hold_awaited(struct pair *pair, int from, bool may_give_up, struct status *status)
{
    const struct run *reference = pair->reference;
    int next = run_next(reference);
    if (pair->keep || reference->step != pair->test->step || next == 0)
        return true;
    const struct instruction *last = &reference->program->instructions[next - 1];
    for (int k = 0; k < last->output_count; k++) {
        int other = last->outputs[k];
        if (!pair->held[other].data && is_awaited(pair, other, from) &&
            !hold(pair, other, may_give_up, status))
            return false;
    }
    return true;
}

bool pair_reference_run_one(struct pair *pair, struct status *status)
{
    struct run *reference = pair->reference;
    return run_one(reference, status) ||
           status_context(status, "reference %s", reference->config->name);
}

bool pair_bring_reference(struct pair *pair, int other, struct status *status)
{
    const struct run *reference = pair->reference;
    int producer = reference->program->values[other].producer;
    while (reference->step < pair->test->step || run_next(reference) <= producer)
        if (!hold_awaited(pair, run_next(pair->test) - 1, false, status) ||
            !pair_reference_run_one(pair, status))
            return false;
    return true;
}

/* An interrupt ends it. */
static bool try_one(struct pair *pair, struct status *status)
{
    struct run *reference = pair->reference;
    if (interrupt_asked(pair->interrupt))
        return interrupt_fail(status);
    if (!hold_awaited(pair, run_next(pair->test), true, status))
        return false;
    return pair_try(pair, reference, run_one, status) ||
           status_context(status, "reference %s", reference->config->name);
}

bool pair_catch_up(struct pair *pair, struct status *status)
{
    struct run *test = pair->test, *reference = pair->reference;
    int next = run_next(test);
    if (!reference || !pair->interrupt || pair->entered_step != test->step)
        return true;
    if (next >= test->program->instruction_count) { /* whatever is left of the step */
        while (reference->step == test->step &&
               run_next(reference) < reference->program->instruction_count)
            if (!try_one(pair, status))
                return false;
        /* of the next step, whose first instruction does not wait for it then */
        return pair_try(pair, reference, run_keep_point, status);
    }
    const struct instruction *in = &test->program->instructions[next];
    for (int k = 0; k < in->output_count; k++) {
        int other = pair->reference_value[in->outputs[k]];
        if (other < 0 || !pair_is_compared(pair, in->outputs[k]))
            continue;
        int producer = reference->program->values[other].producer;
        while (reference->step < test->step || run_next(reference) <= producer)
            if (!try_one(pair, status))
                return false;
    }
    return true;
}

void pair_release_held(struct pair *pair, const struct instruction *done)
{
    for (int k = 0; pair->held && k < done->output_count; k++) {
        int value = done->outputs[k], other = pair->reference_value[value];
        if (other < 0 || pair->reference_row[value] >= 0 || !pair_is_compared(pair, value))
            continue;
        free(pair->held[other].data);
        pair->held[other].data = NULL;
    }
}

void pair_drop_held(struct pair *pair)
{
    for (int v = 0; pair->held && v < pair->reference->program->value_count; v++) {
        free(pair->held[v].data);
        pair->held[v].data = NULL;
    }
}
