#include "engine/program/program.h"

#include "engine/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *what_name(enum what what)
{
    static const char *const names[WHAT_COUNT] = {"",         "param", "fw",   "bw",
                                                  "gradient", "state", "input"};
    return names[what];
}

const char *phase_name(enum phase phase)
{
    static const char *const names[PHASE_COUNT] = {"restore", "forward", "backward", "reduce",
                                                   "update"};
    return names[phase];
}

const char *origin_path(const struct origin *origin, char *buffer, int size)
{
    const char *layer = origin->layer ? origin->layer : "";
    const char *part = origin->part ? origin->part : "";
    snprintf(buffer, (size_t)size, "%s%s%s", layer, *layer && *part ? "." : "", part);
    return buffer;
}

static void add_count(char *buffer, size_t size, const char *word, int index, int count)
{
    size_t length = strlen(buffer);
    if (count > 1 && index >= 0) /* a step's last phases are in no micro-batch */
        snprintf(buffer + length, size - length, ", %s %d/%d", word, index + 1, count);
}

const char *origin_visit(const struct origin *origin, char *buffer, int size)
{
    snprintf(buffer, (size_t)size, "%s", phase_name(origin->phase));
    add_count(buffer, (size_t)size, "micro-batch", origin->micro_batch, origin->micro_batches);
    add_count(buffer, (size_t)size, "micro-sequence", origin->micro_sequence,
              origin->micro_sequences);
    add_count(buffer, (size_t)size, "chunk", origin->chunk, origin->chunks);
    return buffer;
}

struct program *program_create(void)
{
    struct program *program = memory_zeroed(1, sizeof(*program));
    program->inputs.learning_rate = -1;
    program->outputs.gradient_norm = -1;
    program->outputs.scaler = -1;
    return program;
}

void program_free(struct program *program)
{
    if (!program)
        return;
    for (int i = 0; i < program->value_count; i++) {
        free(program->values[i].path);
        free(program->values[i].name);
        free(program->constants[i]);
    }
    for (int i = 0; i < program->string_count; i++)
        free(program->strings[i]);
    free(program->strings);
    free(program->constants);
    free(program->values);
    free(program->instructions);
    free(program->parameters);
    free(program->inputs.tokens);
    free(program->inputs.labels);
    free(program->inputs.document_starts);
    free(program->inputs.positions);
    free(program->inputs.label_counts);
    free(program->outputs.losses);
    names_free(&program->by_name);
    free(program);
}

const char *program_intern(struct program *program, const char *text)
{
    if (!text)
        return NULL;
    for (int i = program->string_count - 1; i >= 0; i--)
        if (strcmp(program->strings[i], text) == 0)
            return program->strings[i];
    ARRAY_PUSH(program->strings, program->string_count, program->string_capacity,
               memory_string(text));
    return program->strings[program->string_count - 1];
}

static char *canonical_name(enum what what, const char *path, const struct origin *origin)
{
    char batch[32] = "", sequence[32] = "";
    if (origin->micro_batches > 1 && origin->micro_batch >= 0)
        snprintf(batch, sizeof(batch), " mb=%d/%d", origin->micro_batch, origin->micro_batches);
    if (origin->micro_sequences > 1 && origin->micro_sequence >= 0)
        snprintf(sequence, sizeof(sequence), " ms=%d/%d", origin->micro_sequence,
                 origin->micro_sequences);
    return memory_format("%s %s%s%s", what_name(what), path, batch, sequence);
}

int program_find_named(const struct program *program, enum what what, const char *path,
                       const struct origin *origin)
{
    char *name = canonical_name(what, path, origin);
    int value = names_find(&program->by_name, name);
    free(name);
    return value;
}

void program_name_value(struct program *program, int id, enum what what, const char *path,
                        const struct origin *origin)
{
    struct value *value = &program->values[id];
    free(value->path);
    free(value->name);
    value->what = what;
    value->path = memory_string(path);
    value->name = canonical_name(what, path, origin);
    names_set(&program->by_name, value->name, id);
}

int program_add_value(struct program *program, const struct value *template)
{
    int id = program->value_count, count = id, capacity = program->value_capacity;
    ARRAY_PUSH(program->values, program->value_count, program->value_capacity, *template);
    ARRAY_PUSH(program->constants, count, capacity, NULL);
    struct value *value = &program->values[id];
    value->id = id;
    value->producer = -1;
    value->path = value->name = NULL;
    if (template->path && template->what != WHAT_NONE) {
        program_name_value(program, id, template->what, template->path, &template->origin);
    } else {
        value->path = memory_string("");
        value->name = memory_string("");
    }
    return id;
}

int program_add_instruction(struct program *program, const struct instruction *instruction)
{
    int index = program->instruction_count;
    ARRAY_PUSH(program->instructions, program->instruction_count, program->instruction_capacity,
               *instruction);
    for (int i = 0; i < instruction->output_count; i++)
        program->values[instruction->outputs[i]].producer = index;
    return index;
}

void program_set_constant(struct program *program, int value, const void *data, size_t bytes)
{
    free(program->constants[value]);
    program->constants[value] = memory_zeroed(bytes, 1);
    memcpy(program->constants[value], data, bytes);
}

int program_add_parameter(struct program *program, const struct parameter *parameter)
{
    ARRAY_PUSH(program->parameters, program->parameter_count, program->parameter_capacity,
               *parameter);
    return program->parameter_count - 1;
}

int program_find(const struct program *program, const char *name)
{
    return names_find(&program->by_name, name);
}

size_t value_bytes(const struct value *value)
{
    return (size_t)shape_elements(value->shape) * dtype_size(value->dtype);
}

static struct tensor value_tensor(const struct program *program, int id)
{
    return tensor_of(NULL, program->values[id].dtype, program->values[id].shape);
}

void program_call(const struct program *program, int index, struct op_call *call)
{
    const struct instruction *instruction = &program->instructions[index];
    *call = (struct op_call){.op = instruction->op,
                             .input_count = instruction->input_count,
                             .output_count = instruction->output_count,
                             .parameters = instruction->parameters};
    for (int i = 0; i < call->input_count; i++)
        call->inputs[i] = value_tensor(program, instruction->inputs[i]);
    for (int i = 0; i < call->output_count; i++)
        call->outputs[i] = value_tensor(program, instruction->outputs[i]);
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t length)
{
    return hash * 0x9e3779b97f4a7c15u + hash_bytes(bytes, length);
}

uint32_t program_place(const struct program *program, int instruction)
{
    const struct origin *origin = &program->instructions[instruction].origin;
    /* micro-batches of different batch-data ranks are at the same place */
    const int numbers[] = {(int)origin->phase, origin->micro_batch / seat_batches(&program->seat),
                           origin->micro_sequence, origin->chunk};
    uint64_t hash = mix(1, origin->layer, strlen(origin->layer));
    hash = mix(hash, origin->part, strlen(origin->part));
    hash = mix(hash, numbers, sizeof(numbers));
    uint32_t place = (uint32_t)(hash ^ hash >> 32);
    return place ? place : 1;
}

uint64_t program_hash(const struct program *program)
{
    uint64_t hash = 1;
    for (int i = 0; i < program->value_count; i++) {
        const struct value *value = &program->values[i];
        hash = mix(hash, value->name, strlen(value->name));
        hash = mix(hash, &value->dtype, sizeof(value->dtype));
        hash = mix(hash, value->shape.dims, (size_t)value->shape.rank * sizeof(int64_t));
    }
    for (int i = 0; i < program->instruction_count; i++) {
        const struct instruction *in = &program->instructions[i];
        hash = mix(hash, &in->op, sizeof(in->op));
        hash = mix(hash, in->inputs, (size_t)in->input_count * sizeof(int));
        hash = mix(hash, in->outputs, (size_t)in->output_count * sizeof(int));
        const struct op_parameters *p = &in->parameters;
        const double numbers[] = {
            p->value,       p->factor,    p->epsilon,           p->scale,          p->beta1,
            p->beta2,       p->decay,     (double)p->first_row, (double)p->window, p->heads,
            p->head_groups, p->head_size, p->activation,        p->causal,         p->transpose_a,
            p->transpose_b, p->inverse,   p->dynamic,           p->average,        p->group,
            p->peer,        p->hysteresis};
        hash = mix(hash, numbers, sizeof(numbers));
    }
    return hash;
}

const char *program_value_text(const struct program *program, int value, char *buffer, int size)
{
    if (program->values[value].name[0])
        snprintf(buffer, (size_t)size, "%s", program->values[value].name);
    else
        snprintf(buffer, (size_t)size, "%%%d", value);
    return buffer;
}

static int add_text(char *buffer, int size, int length, const char *text)
{
    int written = snprintf(buffer + length, (size_t)(size - length), "%s", text);
    length += written;
    return length < size ? length : size - 1;
}

const char *program_instruction_text(const struct program *program, int index, char *buffer,
                                     int size)
{
    const struct instruction *in = &program->instructions[index];
    char name[256];
    int length = snprintf(buffer, (size_t)size, "%4d  %-12s ", index, op_name(in->op));
    int first = 0;
    if (in->output_count > 0) {
        program_value_text(program, in->outputs[0], name, sizeof(name));
        length = add_text(buffer, size, length, name);
        length = add_text(buffer, size, length, in->op == OP_ACCUMULATE ? " += " : " = ");
        first = in->op == OP_ACCUMULATE;
    }
    for (int i = first; i < in->input_count; i++) {
        program_value_text(program, in->inputs[i], name, sizeof(name));
        length = add_text(buffer, size, length, name);
        length = add_text(buffer, size, length, i + 1 < in->input_count ? ", " : "");
    }
    return buffer;
}
