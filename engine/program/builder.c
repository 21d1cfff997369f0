#include "engine/program/builder.h"

#include "engine/base/memory.h"
#include "engine/program/rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum dtype compute_dtype(enum precision precision)
{
    switch (precision) {
    case PRECISION_BF16:
        return DTYPE_BF16;
    case PRECISION_FP16:
        return DTYPE_F16;
    default:
        return DTYPE_F32;
    }
}

void builder_start(struct builder *builder, struct program *program, const struct config *config)
{
    *builder = (struct builder){.program = program,
                                .config = config,
                                .dtype = compute_dtype(config->distributed.compute_dtype),
                                .scaler = -1,
                                .loss_scale = -1};
    builder->origin =
        (struct origin){.micro_batch = -1, .micro_sequence = -1, .layer = "", .part = ""};
}

void builder_finish(struct builder *builder)
{
    free(builder->gradient);
    free(builder->parameter_of);
    builder->gradient = builder->parameter_of = NULL;
}

void builder_error(struct builder *builder, const char *format, ...)
{
    if (builder->status.code != STATUS_OK)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    status_fail(&builder->status, STATUS_INTERNAL, "%s %s: %s", builder->origin.layer,
                builder->origin.part, text);
}

const struct value *builder_value(const struct builder *builder, int value)
{
    return &builder->program->values[value];
}

void builder_part(struct builder *builder, const char *part, struct source source)
{
    builder->origin.part = program_intern(builder->program, part);
    builder->origin.source = source;
}

/* Keeps the per-value tables as long as the program's values. */
static void grow_tables(struct builder *builder)
{
    int needed = builder->program->value_capacity;
    if (builder->gradient_count >= needed)
        return;
    builder->gradient = memory_resize(builder->gradient, (size_t)needed, sizeof(int));
    builder->parameter_of = memory_resize(builder->parameter_of, (size_t)needed, sizeof(int));
    for (int i = builder->gradient_count; i < needed; i++)
        builder->gradient[i] = builder->parameter_of[i] = -1;
    builder->gradient_count = needed;
}

static int add_value(struct builder *builder, const struct value *value)
{
    int id = program_add_value(builder->program, value);
    grow_tables(builder);
    return id;
}

/* A value that no instruction writes. */
static int add_given(struct builder *builder, enum value_kind kind, enum what what,
                     const char *path, enum dtype dtype, struct shape shape,
                     enum memory_class memory_class)
{
    return add_value(builder, &(struct value){.kind = kind,
                                              .what = what,
                                              .path = (char *)path,
                                              .dtype = dtype,
                                              .shape = shape,
                                              .memory_class = memory_class,
                                              .state = -1,
                                              .gradient_of = -1,
                                              .origin = builder->origin});
}

int builder_input(struct builder *builder, const char *path, enum dtype dtype, struct shape shape)
{
    return add_given(builder, VALUE_INPUT, WHAT_INPUT, path, dtype, shape, MEMORY_INPUTS);
}

int builder_constant(struct builder *builder, enum dtype dtype, struct shape shape,
                     const void *data)
{
    int id = add_given(builder, VALUE_CONSTANT, WHAT_NONE, NULL, dtype, shape, MEMORY_INPUTS);
    program_set_constant(builder->program, id, data, value_bytes(builder_value(builder, id)));
    return id;
}

static int add_state(struct builder *builder, enum what what, const char *path, struct shape shape,
                     enum memory_class memory_class)
{
    return add_given(builder, VALUE_STATE, what, path, DTYPE_F32, shape, memory_class);
}

static int add_moment(struct builder *builder, const char *path, const char *suffix,
                      struct shape shape)
{
    char *name = memory_format("%s.%s", path, suffix);
    int id = add_state(builder, WHAT_STATE, name, shape, MEMORY_OPTIMIZER);
    free(name);
    return id;
}

int builder_parameter(struct builder *builder, const char *path, struct shape shape,
                      const struct parameter_options *options)
{
    struct origin saved = builder->origin;
    builder->origin.phase = PHASE_RESTORE;
    builder->origin.micro_batch = builder->origin.micro_sequence = -1;
    builder->origin.part = program_intern(builder->program, path);
    builder->origin.source = options->source;
    bool trained = options->lr_scale > 0;
    struct parameter parameter = {.initial_std = options->initial_std,
                                  .initial_value = options->initial_value,
                                  .weight_decay = options->weight_decay,
                                  .lr_scale = options->lr_scale,
                                  .gradient = -1,
                                  .first_moment = -1,
                                  .second_moment = -1};
    parameter.value = add_state(builder, WHAT_PARAM, path, shape, MEMORY_PARAMETERS);
    builder->program->values[parameter.value].needs_gradient = trained;
    builder->program->values[parameter.value].log_point = true;
    if (trained) {
        parameter.first_moment = add_moment(builder, path, "first_moment", shape);
        parameter.second_moment = add_moment(builder, path, "second_moment", shape);
    }
    int index = builder->program->parameter_count;
    builder->parameter_of[parameter.value] = index;
    parameter.compute = parameter.value;
    if (builder->dtype != DTYPE_F32) {
        parameter.compute = emit_copy(builder, parameter.value, builder->dtype, NULL);
        builder->program->values[parameter.compute].memory_class = MEMORY_PARAMETERS;
        builder->parameter_of[parameter.compute] = index;
    }
    builder->origin = saved;
    return program_add_parameter(builder->program, &parameter);
}

int builder_weight(const struct builder *builder, int parameter)
{
    return builder->program->parameters[parameter].compute;
}

static int add_output(struct builder *builder, const struct output_spec *spec, bool needs_gradient)
{
    char path[192] = "";
    if (spec->name)
        snprintf(path, sizeof(path), "%s%s%s", builder->origin.layer,
                 builder->origin.layer[0] ? "." : "", spec->name);
    bool forward = builder->origin.phase == PHASE_FORWARD;
    return add_value(builder, &(struct value){.kind = VALUE_COMPUTED,
                                              .what = spec->name && forward ? WHAT_FW : WHAT_NONE,
                                              .path = spec->name ? path : NULL,
                                              .dtype = spec->dtype,
                                              .shape = spec->shape,
                                              .memory_class = MEMORY_ACTIVATIONS,
                                              .state = -1,
                                              .gradient_of = -1,
                                              .needs_gradient = needs_gradient,
                                              .origin = builder->origin});
}

int builder_emit(struct builder *builder, enum op op, const struct op_parameters *parameters,
                 const int *inputs, int input_count, const struct output_spec *outputs,
                 int output_count)
{
    struct instruction instruction = {.op = op,
                                      .input_count = input_count,
                                      .output_count = output_count,
                                      .origin = builder->origin};
    if (parameters)
        instruction.parameters = *parameters;
    bool needs_gradient = false;
    for (int i = 0; i < input_count; i++) {
        instruction.inputs[i] = inputs[i];
        needs_gradient |= builder->program->values[inputs[i]].needs_gradient;
    }
    for (int i = 0; i < output_count; i++)
        instruction.outputs[i] =
            add_output(builder, &outputs[i], needs_gradient && dtype_is_float(outputs[i].dtype));
    int index = program_add_instruction(builder->program, &instruction);
    struct op_call call;
    struct status status = STATUS_NONE;
    program_call(builder->program, index, &call);
    if (!rules_check(&call, &status))
        builder_error(builder, "%s", status.text);
    return index;
}
