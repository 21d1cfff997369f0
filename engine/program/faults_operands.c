/* Actions that give an instruction another operand: shift, stale, swap. */
#include "engine/base/memory.h"
#include "engine/program/faults_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct value *input_value(const struct fault_change *change, int input)
{
    return &change->program->values[fault_instruction(change)->inputs[input]];
}

static int insert_slice(struct fault_change *change, int value, int64_t first, int64_t rows)
{
    enum dtype dtype = change->program->values[value].dtype;
    int slice =
        fault_insert_before(change, OP_SLICE_ROWS, &(struct op_parameters){.first_row = first},
                            &value, 1, value, dtype);
    change->program->values[slice].shape.dims[0] = rows;
    return slice;
}

/* Replaces an operand by a copy whose row t is row t + by of the original, in a circle. */
static bool rotate_operand(struct fault_change *change, int input, int64_t by)
{
    int value = fault_instruction(change)->inputs[input];
    enum dtype dtype = change->program->values[value].dtype;
    int64_t rows = change->program->values[value].shape.dims[0];
    by = ((by % rows) + rows) % rows;
    if (by == 0)
        return status_fail(change->status, STATUS_INVALID,
                           "input %d of %s has %lld rows: they would be where they are", input,
                           op_name(fault_instruction(change)->op), (long long)rows);
    int head = insert_slice(change, value, by, rows - by);
    int tail = insert_slice(change, value, 0, by);
    int base = fault_insert_before(change, OP_FILL, NULL, NULL, 0, value, dtype);
    int half =
        fault_insert_before(change, OP_WRITE_ROWS, NULL, (int[]){base, head}, 2, value, dtype);
    int whole =
        fault_insert_before(change, OP_WRITE_ROWS, &(struct op_parameters){.first_row = rows - by},
                            (int[]){half, tail}, 2, value, dtype);
    fault_instruction(change)->inputs[input] = whole;
    return true;
}

/* The operand whose rows are positions. -1: the kind has none. */
static int positions_input(enum op op)
{
    switch (op) {
    case OP_ATTENTION:
    case OP_ROTARY:
    case OP_CROSS_ENTROPY:
    case OP_CROSS_ENTROPY_GRADIENT:
        return 1;
    case OP_ATTENTION_GRADIENT:
        return 2;
    default:
        return -1;
    }
}

static bool has_first_row(enum op op)
{
    return op == OP_SLICE_ROWS || op == OP_WRITE_ROWS || op == OP_EMBEDDING ||
           op == OP_EMBEDDING_GRADIENT;
}

/* The distance: rows, or "half" of those of the operand. */
static bool read_distance(struct fault_change *change, int64_t rows, double *by)
{
    const char *text = fault_text(change->clause, "by");
    if (text && strcmp(text, "half") == 0) {
        *by = (double)(rows / 2);
        return true;
    }
    int whole;
    bool ok = fault_integer(change->clause, "by", 1, &whole, change->status);
    *by = ok ? whole : 0;
    return ok;
}

bool fault_shift(struct fault_change *change)
{
    enum op op = fault_instruction(change)->op;
    const char *parameter = fault_text(change->clause, "param");
    int input = positions_input(op);
    double by;
    if (!parameter && !fault_text(change->clause, "input") && input < 0 && has_first_row(op))
        parameter = "first_row";
    if (parameter)
        return read_distance(change, 0, &by) && fault_add_to_parameter(change, parameter, by);
    if (input < 0 && !fault_text(change->clause, "input"))
        return status_fail(change->status, STATUS_INVALID,
                           "shift needs input=N or param=KEY for %s", op_name(op));
    return fault_operand(change, "input", input, &input) &&
           read_distance(change, input_value(change, input)->shape.dims[0], &by) &&
           rotate_operand(change, input, (int64_t)by);
}

static int parameter_of(const struct program *program, int value)
{
    for (int p = 0; p < program->parameter_count; p++)
        if (program->parameters[p].value == value || program->parameters[p].compute == value)
            return p;
    return -1;
}

static int find_old_state(const struct program *program, int master)
{
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].starts_as == master + 1)
            return v;
    return -1;
}

/* The instruction that updates a state; -1 if none does. */
static int find_update(const struct program *program, int state)
{
    for (int v = 0; v < program->value_count; v++)
        if (program->values[v].state == state)
            return program->values[v].producer;
    return -1;
}

/* A state that holds the parameter of the step before: written anew just before its update. */
static int old_state_of(struct fault_change *change, int master)
{
    struct program *program = change->program;
    int old = find_old_state(program, master), update = find_update(program, master);
    if (old >= 0 || update < 0)
        return old;
    struct value value = program->values[master];
    value.what = WHAT_NONE;
    value.path = value.name = NULL;
    value.log_point = value.needs_gradient = false;
    value.starts_as = master + 1;
    old = program_add_value(program, &value);
    int next = program_add_value_like(program, master, program->values[master].dtype);
    program->values[next].state = old;
    struct instruction keep = {.op = OP_COPY,
                               .inputs = {master},
                               .input_count = 1,
                               .outputs = {next},
                               .output_count = 1,
                               .origin = program->instructions[update].origin,
                               .fault = change->mark};
    program_insert_instruction(program, update, &keep);
    return old;
}

static bool use_old_weight(struct fault_change *change, int input, int parameter)
{
    struct program *program = change->program;
    int used = fault_instruction(change)->inputs[input];
    int master = program->parameters[parameter].value;
    if (find_update(program, master) <= change->index)
        return fault_skip(change, "the weight is frozen, or this is its update");
    if (!shape_equal(program->values[master].shape, program->values[used].shape))
        return fault_skip(change, "the weight is gathered from other ranks: let op=all_gather of "
                                  "phase=restore be stale");
    int old = old_state_of(change, master);
    enum dtype dtype = program->values[used].dtype;
    if (dtype != program->values[old].dtype)
        old = fault_insert_before(change, OP_COPY, NULL, &old, 1, used, dtype);
    fault_instruction(change)->inputs[input] = old;
    return true;
}

/* The value of the same path of the micro-batch before; -1 if there is none yet. */
static int earlier_value(const struct fault_change *change, const struct value *value)
{
    const struct program *program = change->program;
    for (int v = 0; v < program->value_count; v++) {
        const struct value *other = &program->values[v];
        if (other->what == value->what && value->path[0] && strcmp(other->path, value->path) == 0 &&
            other->origin.micro_batch == value->origin.micro_batch - 1 &&
            other->origin.micro_sequence == value->origin.micro_sequence &&
            other->producer < change->index && shape_equal(other->shape, value->shape))
            return v;
    }
    return -1;
}

static bool make_stale(struct fault_change *change, int input)
{
    const struct value *value = input_value(change, input);
    int parameter = parameter_of(change->program, value->id);
    if (parameter >= 0)
        return use_old_weight(change, input, parameter);
    int earlier = value->origin.micro_batch > 0 ? earlier_value(change, value) : -1;
    if (earlier < 0)
        return fault_skip(change, "no operand is a weight, or was computed by an earlier "
                                  "micro-batch as well");
    fault_instruction(change)->inputs[input] = earlier;
    return true;
}

bool fault_stale(struct fault_change *change)
{
    int input;
    if (fault_text(change->clause, "input"))
        return fault_operand(change, "input", 0, &input) && make_stale(change, input);
    for (input = 0; input < fault_instruction(change)->input_count; input++)
        if (parameter_of(change->program, input_value(change, input)->id) >= 0)
            return make_stale(change, input);
    return make_stale(change, 0);
}

static int find_parameter(const struct program *program, const char *path)
{
    for (int p = 0; p < program->parameter_count; p++)
        if (strcmp(program->values[program->parameters[p].value].path, path) == 0)
            return p;
    return -1;
}

static bool use_other_weight(struct fault_change *change, int input, const char *path)
{
    const struct program *program = change->program;
    const struct value *value = input_value(change, input);
    int parameter = find_parameter(program, path);
    if (parameter < 0)
        return status_fail(change->status, STATUS_NOT_FOUND, "with=%s: there is no such parameter",
                           path);
    int other = program->parameters[parameter].compute;
    if (!shape_equal(program->values[other].shape, value->shape))
        return status_fail(change->status, STATUS_INVALID,
                           "with=%s: its shape is not that of input %d", path, input);
    if (other == value->id)
        return fault_skip(change, "it is that parameter already");
    fault_instruction(change)->inputs[input] = other;
    return true;
}

static bool exchange(struct fault_change *change, int a, int b)
{
    struct instruction *in = fault_instruction(change);
    const struct value *x = input_value(change, a), *y = input_value(change, b);
    if (x->id == y->id)
        return fault_skip(change, "the two operands are the same");
    if (x->dtype != y->dtype || !shape_equal(x->shape, y->shape))
        return status_fail(change->status, STATUS_INVALID,
                           "inputs %d and %d of %s differ in shape or dtype", a, b,
                           op_name(in->op));
    in->inputs[a] = y->id;
    in->inputs[b] = x->id;
    return true;
}

bool fault_swap(struct fault_change *change)
{
    const char *with = fault_text(change->clause, "with");
    int input, other;
    if (fault_text(change->clause, "param"))
        return fault_set(change);
    if (!fault_operand(change, "input", 0, &input))
        return false;
    if (with && strspn(with, "0123456789") != strlen(with))
        return use_other_weight(change, input, with);
    return fault_operand(change, "with", 1, &other) && exchange(change, input, other);
}
