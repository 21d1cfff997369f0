#include "engine/train/update.h"

#include <stdio.h>

bool update_may_skip(const struct config *config)
{
    return config->distributed.compute_dtype == PRECISION_FP16;
}

void update_initial_scaler(const struct config *config, double scaler[SCALER_SIZE])
{
    scaler[SCALER_LOSS_SCALE] = update_may_skip(config) ? config->optimizer.initial_loss_scale : 1;
    scaler[SCALER_GOOD_STEPS] = 0;
    scaler[SCALER_HYSTERESIS] = config->optimizer.loss_scale_hysteresis;
    scaler[SCALER_STEP] = 0;
}

void update_declare(struct builder *builder)
{
    struct program *program = builder->program;
    builder->origin.phase = PHASE_RESTORE;
    builder->origin.part = "loss_scale";
    builder->scaler = program_add_value(program, &(struct value){.kind = VALUE_STATE,
                                                                 .what = WHAT_STATE,
                                                                 .path = (char *)"scaler",
                                                                 .dtype = DTYPE_F64,
                                                                 .shape = shape_of1(SCALER_SIZE),
                                                                 .memory_class = MEMORY_OPTIMIZER,
                                                                 .state = -1,
                                                                 .gradient_of = -1,
                                                                 .origin = builder->origin});
    program->outputs.scaler = builder->scaler;
    builder->loss_scale = emit_slice_rows(builder, builder->scaler, SCALER_LOSS_SCALE, 1, NULL);
}

static int first_output(const struct builder *builder, int instruction, int output)
{
    return builder->program->instructions[instruction].outputs[output];
}

/* Ranks that have the same gradient count it once (facts, 5.7): the first of each group over which
 * it is not cut. */
static bool counts_in_norm(const struct program *program, const struct parameter *parameter)
{
    const struct layout *layout = &program->values[parameter->gradient].layout;
    const struct seat *seat = &program->seat;
    return (layout_is_cut(layout, COMM_TENSOR) || seat_index(seat, COMM_TENSOR) == 0) &&
           (layout_is_cut(layout, COMM_DATA) || seat_index(seat, COMM_DATA) == 0) &&
           (!parameter->tied || seat_index(seat, COMM_TIED) == 0);
}

/* sum of squares of all gradients, one instruction for each parameter, and of all ranks. */
static int emit_norm_squared(struct builder *builder)
{
    struct program *program = builder->program;
    struct layout summand = {.partial = 1u << COMM_WORLD};
    int total = emit_fill(builder, 0, DTYPE_F64, shape_of1(1));
    if (seat_size(&program->seat, COMM_WORLD) > 1)
        builder_set_layout(builder, total, &summand);
    for (int p = 0; p < program->parameter_count; p++) {
        int gradient = program->parameters[p].gradient;
        if (gradient < 0 || !counts_in_norm(program, &program->parameters[p]))
            continue;
        builder->origin.part =
            program_intern(program, program->values[program->parameters[p].value].path);
        struct output_spec output = {NULL, DTYPE_F64, shape_of1(1), NULL};
        int index =
            builder_emit(builder, OP_SUM_SQUARES, NULL, (int[]){total, gradient}, 2, &output, 1);
        total = first_output(builder, index, 0);
    }
    builder->origin.part = "norm";
    return emit_complete(builder, total, NULL);
}

static int emit_factors(struct builder *builder, int norm_squared)
{
    struct program *program = builder->program;
    const struct optimizer_config *optimizer = &builder->config->optimizer;
    struct op_parameters parameters = {.factor = optimizer->gradient_norm_clipping,
                                       .beta1 = optimizer->beta1,
                                       .beta2 = optimizer->beta2,
                                       .window = optimizer->loss_scale_window,
                                       .hysteresis = optimizer->loss_scale_hysteresis,
                                       .dynamic = update_may_skip(builder->config)};
    struct output_spec outputs[] = {{NULL, DTYPE_F64, shape_of1(5), NULL},
                                    {NULL, DTYPE_F64, shape_of1(SCALER_SIZE), NULL},
                                    {NULL, DTYPE_F32, shape_of1(1), NULL}};
    int inputs[] = {norm_squared, program->inputs.learning_rate, builder->scaler};
    builder->origin.part = "factors";
    int index = builder_emit(builder, OP_OPTIMIZER_FACTORS, &parameters, inputs, 3, outputs, 3);
    program->values[first_output(builder, index, 1)].state = builder->scaler;
    int norm = first_output(builder, index, 2);
    program_name_value(program, norm, WHAT_STATE, "gradient_norm", &builder->origin);
    program->outputs.gradient_norm = norm;
    return first_output(builder, index, 0);
}

static void emit_adamw(struct builder *builder, int p, int factors)
{
    struct program *program = builder->program;
    const struct parameter parameter = program->parameters[p];
    const struct optimizer_config *optimizer = &builder->config->optimizer;
    const struct value *master = &program->values[parameter.value];
    struct op_parameters parameters = {.factor = parameter.lr_scale,
                                       .beta1 = optimizer->beta1,
                                       .beta2 = optimizer->beta2,
                                       .epsilon = optimizer->epsilon,
                                       .decay =
                                           parameter.weight_decay ? optimizer->weight_decay : 0};
    struct shape shape = master->shape;
    struct output_spec outputs[] = {{NULL, DTYPE_F32, shape, NULL},
                                    {NULL, DTYPE_F32, shape, NULL},
                                    {NULL, DTYPE_F32, shape, NULL}};
    int states[] = {parameter.value, parameter.first_moment, parameter.second_moment};
    int inputs[] = {states[0], parameter.gradient, states[1], states[2], factors};
    builder->origin.part = program_intern(program, master->path);
    builder->origin.source = master->origin.source;
    int index = builder_emit(builder, OP_ADAMW, &parameters, inputs, 5, outputs, 3);
    static const char *const suffixes[] = {"updated", "updated_first_moment",
                                           "updated_second_moment"};
    for (int k = 0; k < 3; k++) {
        int out = first_output(builder, index, k);
        char path[192];
        snprintf(path, sizeof(path), "%s.%s", program->values[parameter.value].path, suffixes[k]);
        program->values[out].state = states[k];
        program_name_value(program, out, WHAT_STATE, path, &builder->origin);
    }
}

void update_emit(struct builder *builder)
{
    builder->origin = (struct origin){.phase = PHASE_UPDATE,
                                      .micro_batch = -1,
                                      .micro_sequence = -1,
                                      .layer = "optimizer",
                                      .part = ""};
    int factors = emit_factors(builder, emit_norm_squared(builder));
    for (int p = 0; p < builder->program->parameter_count; p++)
        if (builder->program->parameters[p].gradient >= 0)
            emit_adamw(builder, p, factors);
}
