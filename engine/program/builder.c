#include "engine/program/builder.h"

#include "engine/base/memory.h"
#include "engine/base/text.h"
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

void builder_set_layout(struct builder *builder, int id, const struct layout *layout)
{
    struct value *value = &builder->program->values[id];
    value->layout = *layout;
    value->shard = layout_shard(layout, &builder->program->seat, value->shape);
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

static int add_moment(struct builder *builder, const char *path, const char *suffix, int master)
{
    char *name = memory_format("%s.%s", path, suffix);
    struct layout layout = builder_value(builder, master)->layout;
    int id = add_state(builder, WHAT_STATE, name, builder_value(builder, master)->shape,
                       MEMORY_OPTIMIZER);
    builder_set_layout(builder, id, &layout);
    free(name);
    return id;
}

static bool gathers_late(const struct builder *builder)
{
    return builder->config->distributed.zero_stage >= 3;
}

/* The copy that layers use: in the compute dtype, gathered from the data ranks. */
static int restore(struct builder *builder, int index)
{
    const struct parameter *parameter = &builder->program->parameters[index];
    int value = parameter->value;
    struct origin saved = builder->origin;
    builder->origin.phase = PHASE_RESTORE;
    builder->origin.part = program_intern(builder->program, builder_value(builder, value)->path);
    builder->origin.source = builder_value(builder, value)->origin.source;
    if (builder->dtype != DTYPE_F32)
        value = emit_copy(builder, value, builder->dtype, NULL);
    if (layout_is_cut(&builder_value(builder, value)->layout, COMM_DATA))
        value = emit_all_gather(builder, value, COMM_DATA, NULL);
    if (value != builder->program->parameters[index].value)
        builder->program->values[value].memory_class = MEMORY_PARAMETERS;
    builder->parameter_of[value] = index;
    builder->origin = saved;
    return value;
}

/* The shape and layout of the master weight: that of the layers, cut over the data ranks. */
static struct shape master_shape(struct builder *builder, const char *path, struct shape shape,
                                 struct layout *layout)
{
    const struct seat *seat = &builder->program->seat;
    struct layout cut = *layout;
    if (!layout_local_shape(layout, seat, &shape))
        builder_error(builder, "%s cannot be cut in equal parts over %d tensor ranks", path,
                      seat_size(seat, COMM_TENSOR));
    struct shape local = shape;
    layout_cut(&cut, seat, 0, 1, COMM_DATA);
    if (local.dims[0] % seat_size(seat, COMM_DATA) == 0) {
        local.dims[0] /= seat_size(seat, COMM_DATA);
        *layout = cut;
    }
    return local;
}

static void add_states(struct builder *builder, const char *path, struct shape shape,
                       const struct parameter_options *options, struct parameter *parameter)
{
    struct layout layout = options->layout;
    bool trained = options->lr_scale > 0;
    shape = master_shape(builder, path, shape, &layout);
    parameter->value = add_state(builder, WHAT_PARAM, path, shape, MEMORY_PARAMETERS);
    builder_set_layout(builder, parameter->value, &layout);
    builder->program->values[parameter->value].needs_gradient = trained;
    builder->program->values[parameter->value].log_point = true;
    if (!trained)
        return;
    parameter->first_moment = add_moment(builder, path, "first_moment", parameter->value);
    parameter->second_moment = add_moment(builder, path, "second_moment", parameter->value);
}

int builder_parameter(struct builder *builder, const char *path, struct shape shape,
                      const struct parameter_options *options)
{
    struct origin saved = builder->origin;
    builder->origin.phase = PHASE_RESTORE;
    builder->origin.micro_batch = builder->origin.micro_sequence = -1;
    builder->origin.part = program_intern(builder->program, path);
    builder->origin.source = options->source;
    struct parameter parameter = {.initial_std = options->initial_std,
                                  .initial_value = options->initial_value,
                                  .weight_decay = options->weight_decay,
                                  .lr_scale = options->lr_scale,
                                  .tied = options->tied,
                                  .compute = -1,
                                  .gradient = -1,
                                  .first_moment = -1,
                                  .second_moment = -1};
    add_states(builder, path, shape, options, &parameter);
    int index = program_add_parameter(builder->program, &parameter);
    builder->parameter_of[parameter.value] = index;
    bool late = gathers_late(builder) &&
                layout_is_cut(&builder_value(builder, parameter.value)->layout, COMM_DATA);
    if (!late)
        builder->program->parameters[index].compute = restore(builder, index);
    builder->origin = saved;
    return index;
}

int builder_weight(struct builder *builder, int index)
{
    if (builder->program->parameters[index].compute < 0) {
        int value = restore(builder, index);
        builder->program->parameters[index].compute = value;
    }
    return builder->program->parameters[index].compute;
}

void builder_forget_weights(struct builder *builder)
{
    struct program *program = builder->program;
    for (int p = 0; p < program->parameter_count && gathers_late(builder); p++)
        if (layout_is_cut(&program->values[program->parameters[p].value].layout, COMM_DATA))
            program->parameters[p].compute = -1;
}

static int add_output(struct builder *builder, const struct output_spec *spec,
                      const struct layout *layout, bool needs_gradient)
{
    char path[192] = "";
    /* Only what is complete may be met by name. */
    bool named = spec->name && !layout->partial;
    if (named)
        snprintf(path, sizeof(path), "%s%s%s", builder->origin.layer,
                 builder->origin.layer[0] ? "." : "", spec->name);
    bool forward = builder->origin.phase == PHASE_FORWARD;
    int id = add_value(builder, &(struct value){.kind = VALUE_COMPUTED,
                                                .what = named && forward ? WHAT_FW : WHAT_NONE,
                                                .path = named ? path : NULL,
                                                .dtype = spec->dtype,
                                                .shape = spec->shape,
                                                .memory_class = MEMORY_ACTIVATIONS,
                                                .state = -1,
                                                .gradient_of = -1,
                                                .needs_gradient = needs_gradient,
                                                .origin = builder->origin});
    builder_set_layout(builder, id, layout);
    return id;
}

static void infer_layouts(struct builder *builder, const struct instruction *instruction,
                          const struct output_spec *outputs, struct layout *layouts)
{
    const struct value *values = builder->program->values;
    struct status status = STATUS_NONE;
    struct layout_call call = {.op = instruction->op,
                               .parameters = &instruction->parameters,
                               .seat = &builder->program->seat,
                               .input_count = instruction->input_count,
                               .output_count = instruction->output_count};
    for (int i = 0; i < call.input_count; i++) {
        call.inputs[i] = values[instruction->inputs[i]].layout;
        call.input_shapes[i] = values[instruction->inputs[i]].shape;
    }
    for (int i = 0; i < call.output_count; i++) {
        call.output_shapes[i] = outputs[i].shape;
        call.expected[i] = outputs[i].layout;
    }
    if (layout_infer(&call, layouts, &status))
        return;
    struct text names = {0};
    for (int i = 0; i < call.input_count; i++)
        if (values[instruction->inputs[i]].name[0])
            text_format(&names, "%soperand %d is %s", names.length ? ", " : " (", i,
                        values[instruction->inputs[i]].name);
    builder_error(builder, "%s%s%s", status.text, names.length ? names.data : "",
                  names.length ? ")" : "");
    text_free(&names);
}

int builder_emit(struct builder *builder, enum op op, const struct op_parameters *parameters,
                 const int *inputs, int input_count, const struct output_spec *outputs,
                 int output_count)
{
    struct instruction instruction = {.op = op,
                                      .input_count = input_count,
                                      .output_count = output_count,
                                      .origin = builder->origin};
    struct layout layouts[OP_MAX_OUTPUTS];
    if (parameters)
        instruction.parameters = *parameters;
    bool needs_gradient = false;
    for (int i = 0; i < input_count; i++) {
        instruction.inputs[i] = inputs[i];
        needs_gradient |= builder->program->values[inputs[i]].needs_gradient;
    }
    infer_layouts(builder, &instruction, outputs, layouts);
    for (int i = 0; i < output_count; i++)
        instruction.outputs[i] = add_output(builder, &outputs[i], &layouts[i],
                                            needs_gradient && dtype_is_float(outputs[i].dtype));
    int index = program_add_instruction(builder->program, &instruction);
    struct op_call call;
    struct status status = STATUS_NONE;
    program_call(builder->program, index, &call);
    if (!rules_check(&call, &status))
        builder_error(builder, "%s", status.text);
    return index;
}
