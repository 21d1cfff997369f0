/* What the actions do to one instruction: drop, repeat, scale, cast; and what all of them use. */
#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/program/faults_internal.h"

#include <stdlib.h>
#include <string.h>

struct instruction *fault_instruction(const struct fault_change *change)
{
    return &change->program->instructions[change->index];
}

bool fault_skip(struct fault_change *change, const char *why)
{
    change->skipped = true;
    change->why = why;
    return true;
}

static struct value *value_of(const struct fault_change *change, int value)
{
    return &change->program->values[value];
}

bool fault_operand(struct fault_change *change, const char *key, int missing, int *operand)
{
    const struct instruction *in = fault_instruction(change);
    bool output = strcmp(key, "output") == 0;
    int count = output ? in->output_count : in->input_count;
    if (!fault_integer(change->clause, key, missing, operand, change->status))
        return false;
    if (*operand >= 0 && *operand < count)
        return true;
    return status_fail(change->status, STATUS_INVALID, "%s=%d: %s has %d, from 0", key, *operand,
                       op_name(in->op), count);
}

/* Inserts an instruction before instruction `index`; its output is like `like` but of `dtype`. */
static int insert(struct fault_change *change, int index, enum op op,
                  const struct op_parameters *parameters, const int *inputs, int input_count,
                  int like, enum dtype dtype)
{
    int output = program_add_value_like(change->program, like, dtype);
    struct instruction instruction = {.op = op,
                                      .input_count = input_count,
                                      .outputs = {output},
                                      .output_count = 1,
                                      .origin = fault_instruction(change)->origin,
                                      .fault = change->mark};
    if (parameters)
        instruction.parameters = *parameters;
    for (int i = 0; i < input_count; i++)
        instruction.inputs[i] = inputs[i];
    value_of(change, output)->origin = instruction.origin;
    program_insert_instruction(change->program, index, &instruction);
    return output;
}

int fault_insert_before(struct fault_change *change, enum op op,
                        const struct op_parameters *parameters, const int *inputs, int input_count,
                        int like, enum dtype dtype)
{
    int output = insert(change, change->index, op, parameters, inputs, input_count, like, dtype);
    change->index++;
    return output;
}

int fault_insert_after(struct fault_change *change, enum op op,
                       const struct op_parameters *parameters, const int *inputs, int input_count,
                       int like, enum dtype dtype)
{
    change->after++;
    return insert(change, change->index + change->after, op, parameters, inputs, input_count, like,
                  dtype);
}

static bool unsuitable(const struct fault_change *change, const char *what)
{
    return status_fail(change->status, STATUS_INVALID, "%s does not fit %s: %s",
                       change->clause->action, op_name(fault_instruction(change)->op), what);
}

/* Kinds whose first output is their first input with something done to it. */
static bool passes_on(enum op op)
{
    switch (op) {
    case OP_SCALE:
    case OP_ADD:
    case OP_ACCUMULATE:
    case OP_WRITE_ROWS:
    case OP_ADD_BIAS:
    case OP_ROTARY:
    case OP_ACTIVATION:
    case OP_ACTIVATION_GRADIENT:
    case OP_SUM_SQUARES:
    case OP_ALL_REDUCE:
        return true;
    default:
        return false;
    }
}

static bool becomes(struct fault_change *change, enum op op, int input, double value)
{
    struct instruction *in = fault_instruction(change);
    in->op = op;
    in->parameters = (struct op_parameters){.value = value};
    in->input_count = op == OP_FILL ? 0 : 1;
    in->inputs[0] = input;
    return true;
}

/* Integers are indices: only 0 is one whatever they index. */
static bool fills(const struct fault_change *change, int value, double number)
{
    return number == 0 || dtype_is_float(value_of(change, value)->dtype) ||
           unsuitable(change, "what is left out holds integers, so value must be 0");
}

static bool drop_operand(struct fault_change *change, double value)
{
    int operand;
    if (!fault_operand(change, "input", 0, &operand))
        return false;
    struct instruction *in = fault_instruction(change);
    if (in->op == OP_ADD || in->op == OP_ACCUMULATE)
        return becomes(change, OP_COPY, in->inputs[1 - operand], 0);
    if (in->op == OP_MATMUL && operand == 2) {
        in->input_count = 2;
        return true;
    }
    int old = in->inputs[operand];
    if (!fills(change, old, value))
        return false;
    int constant = fault_insert_before(change, OP_FILL, &(struct op_parameters){.value = value},
                                       NULL, 0, old, value_of(change, old)->dtype);
    fault_instruction(change)->inputs[operand] = constant;
    return true;
}

/* Weight and moments stay as they are. */
static bool drop_update(struct fault_change *change)
{
    static const int kept[] = {0, 2, 3};
    const struct instruction update = *fault_instruction(change);
    struct instruction *in = fault_instruction(change);
    becomes(change, OP_COPY, update.inputs[0], 0);
    in->output_count = 1;
    for (int k = 2; k >= 1; k--) {
        struct instruction copy = {.op = OP_COPY,
                                   .inputs = {update.inputs[kept[k]]},
                                   .input_count = 1,
                                   .outputs = {update.outputs[k]},
                                   .output_count = 1,
                                   .origin = update.origin,
                                   .fault = change->mark};
        program_insert_instruction(change->program, change->index + 1, &copy);
    }
    return true;
}

static bool apply_drop(struct fault_change *change)
{
    const struct instruction *in = fault_instruction(change);
    double value;
    int output;
    if (!fault_number(change->clause, "value", 0, &value, change->status))
        return false;
    if (fault_text(change->clause, "input"))
        return drop_operand(change, value);
    if (in->op == OP_ADAMW)
        return drop_update(change);
    if (passes_on(in->op))
        return becomes(change, OP_COPY, in->inputs[0], 0);
    if (in->output_count == 0 || in->op == OP_OPTIMIZER_FACTORS)
        return unsuitable(change, "nothing can stand for its result");
    if (!fault_operand(change, "output", 0, &output))
        return false;
    int old = in->outputs[output];
    if (!fills(change, old, value))
        return false;
    if (in->output_count == 1)
        return becomes(change, OP_FILL, -1, value);
    int constant = fault_insert_after(change, OP_FILL, &(struct op_parameters){.value = value},
                                      NULL, 0, old, value_of(change, old)->dtype);
    program_take_over(change->program, old, constant);
    return true;
}

static bool can_repeat(enum op op)
{
    return (passes_on(op) && op != OP_WRITE_ROWS) || op == OP_RMS_NORM || op == OP_LAYER_NORM ||
           op == OP_ADAMW;
}

/* Which input of the second application is output `k` of the first; -1: none. */
static int fed_back(enum op op, int k)
{
    if (op == OP_ADAMW)
        return k == 0 ? 0 : k + 1;
    return k == 0 ? 0 : -1;
}

static bool apply_repeat(struct fault_change *change)
{
    struct instruction again = *fault_instruction(change);
    if (!can_repeat(again.op))
        return unsuitable(change, "its result is not an operand of the same kind again");
    int old[OP_MAX_OUTPUTS];
    for (int k = 0; k < again.output_count; k++) {
        int output = again.outputs[k], input = fed_back(again.op, k);
        old[k] = output;
        if (input >= 0)
            again.inputs[input] = output;
        again.outputs[k] =
            program_add_value_like(change->program, output, value_of(change, output)->dtype);
    }
    again.fault = change->mark;
    program_insert_instruction(change->program, change->index + 1, &again);
    for (int k = 0; k < again.output_count; k++)
        if (fed_back(again.op, k) >= 0)
            program_take_over(change->program, old[k], again.outputs[k]);
    return true;
}

/* Puts the results of `transform` in the place of an operand or of an output. */
static bool transform_value(struct fault_change *change,
                            int (*transform)(struct fault_change *change, bool before, int value))
{
    bool before = fault_text(change->clause, "input") != NULL;
    int operand;
    if (!fault_operand(change, before ? "input" : "output", 0, &operand))
        return false;
    const struct instruction *in = fault_instruction(change);
    int value = before ? in->inputs[operand] : in->outputs[operand];
    if (!dtype_is_float(value_of(change, value)->dtype))
        return unsuitable(change, "the operand holds integers");
    int result = transform(change, before, value);
    if (result < 0)
        return false;
    if (before)
        fault_instruction(change)->inputs[operand] = result;
    else
        program_take_over(change->program, value, result);
    return true;
}

static int insert_at(struct fault_change *change, bool before, enum op op,
                     const struct op_parameters *parameters, int value, enum dtype dtype)
{
    return before ? fault_insert_before(change, op, parameters, &value, 1, value, dtype)
                  : fault_insert_after(change, op, parameters, &value, 1, value, dtype);
}

static int scaled(struct fault_change *change, bool before, int value)
{
    double factor;
    if (!fault_number(change->clause, "factor", 2, &factor, change->status))
        return -1;
    if (factor == 1) {
        status_fail(change->status, STATUS_INVALID, "a factor of 1 changes nothing");
        return -1;
    }
    return insert_at(change, before, OP_SCALE, &(struct op_parameters){.factor = factor}, value,
                     value_of(change, value)->dtype);
}

static bool apply_scale(struct fault_change *change)
{
    return transform_value(change, scaled);
}

static int rounded(struct fault_change *change, bool before, int value)
{
    const char *name = fault_text(change->clause, "dtype");
    enum dtype narrow = DTYPE_BF16, wide = value_of(change, value)->dtype;
    if (name && (!dtype_find(name, &narrow) || !dtype_is_float(narrow))) {
        status_fail(change->status, STATUS_INVALID, "dtype=%s: expected bf16, f16 or f32", name);
        return -1;
    }
    if (narrow == wide) {
        status_fail(change->status, STATUS_INVALID, "the value is %s already", dtype_name(wide));
        return -1;
    }
    int copy = insert_at(change, before, OP_COPY, NULL, value, narrow);
    return insert_at(change, before, OP_COPY, NULL, copy, wide);
}

static bool apply_cast(struct fault_change *change)
{
    return transform_value(change, rounded);
}

static const struct fault_action actions[] = {
    {"drop", " input output value ", apply_drop},
    {"repeat", " ", apply_repeat},
    {"scale", " factor input output ", apply_scale},
    {"shift", " by input param ", fault_shift},
    {"stale", " input ", fault_stale},
    {"swap", " input with param ", fault_swap},
    {"cast", " dtype input output ", apply_cast},
    {"set", " param value ", fault_set},
};

const struct fault_action *fault_action_find(const char *name, struct status *status)
{
    struct text text = {0};
    const char *words[64];
    int count = 0, ready_count;
    for (int i = 0; i < ARRAY_LENGTH(actions); i++) {
        if (strcmp(actions[i].name, name) == 0) {
            text_free(&text);
            return &actions[i];
        }
        text_format(&text, "%s%s", i ? ", " : "", actions[i].name);
        words[count++] = actions[i].name;
    }
    const struct fault_ready *ready = faults_ready(&ready_count);
    for (int i = 0; i < ready_count && count < ARRAY_LENGTH(words); i++)
        words[count++] = ready[i].name;
    const char *closest = names_closest(name, words, count);
    status_fail(status, STATUS_INVALID, "\"%s\" is neither a ready fault nor an action (%s)%s%s%s",
                name, text.data, closest ? "; did you mean " : "", closest ? closest : "",
                closest ? "?" : "");
    text_free(&text);
    return NULL;
}
