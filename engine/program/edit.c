#include "engine/program/edit.h"

#include "engine/base/memory.h"

#include <string.h>

int program_insert_instruction(struct program *program, int index,
                               const struct instruction *instruction)
{
    struct instruction copy = *instruction; /* may be an element of the array that moves */
    ARRAY_PUSH(program->instructions, program->instruction_count, program->instruction_capacity,
               copy);
    struct instruction *at = &program->instructions[index];
    memmove(at + 1, at, (size_t)(program->instruction_count - 1 - index) * sizeof(*at));
    *at = copy;
    for (int v = 0; v < program->value_count; v++)
        program->values[v].producer += program->values[v].producer >= index;
    for (int i = 0; i < copy.output_count; i++)
        program->values[copy.outputs[i]].producer = index;
    return index;
}

int program_add_value_like(struct program *program, int like, enum dtype dtype)
{
    struct value value = program->values[like];
    if (value.kind != VALUE_COMPUTED)
        value.memory_class = MEMORY_ACTIVATIONS;
    value.kind = VALUE_COMPUTED;
    value.what = WHAT_NONE;
    value.path = value.name = NULL;
    value.log_point = false;
    value.dtype = dtype;
    value.state = value.gradient_of = -1;
    value.starts_as = 0;
    return program_add_value(program, &value);
}

static void replace(int *ids, int count, int value, int heir)
{
    for (int i = 0; i < count; i++)
        if (ids[i] == value)
            ids[i] = heir;
}

static void move_identity(struct value *from, struct value *to)
{
    char *path = to->path, *name = to->name;
    to->path = from->path;
    to->name = from->name;
    from->path = path;
    from->name = name;
    to->what = from->what;
    to->log_point = from->log_point;
    to->state = from->state;
    to->gradient_of = from->gradient_of;
    to->memory_class = from->memory_class;
    from->what = WHAT_NONE;
    from->log_point = false;
    from->state = from->gradient_of = -1;
}

void program_take_over(struct program *program, int value, int heir)
{
    move_identity(&program->values[value], &program->values[heir]);
    replace(program->by_name.values, program->by_name.count, value, heir);
    struct program_outputs *outputs = &program->outputs;
    replace(outputs->losses, outputs->loss_count, value, heir);
    replace(&outputs->gradient_norm, 1, value, heir);
    for (int p = 0; p < program->parameter_count; p++) {
        replace(&program->parameters[p].gradient, 1, value, heir);
        replace(&program->parameters[p].compute, 1, value, heir);
    }
    for (int i = program->values[heir].producer + 1; i < program->instruction_count; i++)
        replace(program->instructions[i].inputs, program->instructions[i].input_count, value, heir);
}
