/* Declaration of parameters: names, shapes, initialisation and decay as the facts, 2.1 to 2.6. */
#include "engine/model/layers.h"

#include <math.h>
#include <stdio.h>

struct layout tensor_layout(const struct builder *builder, int dimension, int parts)
{
    struct layout layout = {0};
    layout_cut(&layout, &builder->program->seat, dimension, parts, COMM_TENSOR);
    return layout;
}

static int declare(struct builder *builder, const char *path, const char *name, struct shape shape,
                   const struct parameter_options *options)
{
    char full[192];
    snprintf(full, sizeof(full), "%s.%s", path, name);
    return builder_parameter(builder, full, shape, options);
}

int declare_weight(struct builder *builder, const char *path, const char *name, struct shape shape,
                   double std, double lr_scale, struct layout layout, struct source source)
{
    double fallback = 1.0 / sqrt((double)builder->config->base_model.hidden_size);
    return declare(builder, path, name, shape,
                   &(struct parameter_options){.initial_std = std < 0 ? fallback : std,
                                               .weight_decay = true,
                                               .lr_scale = lr_scale,
                                               .layout = layout,
                                               .source = source});
}

/* A bias (initial 0) or norm weight (initial 1): no weight decay. */
static int declare_vector(struct builder *builder, const char *path, const char *name,
                          int64_t length, double initial, double lr_scale, struct layout layout,
                          struct source source)
{
    return declare(
        builder, path, name, shape_of1(length),
        &(struct parameter_options){
            .initial_value = initial, .lr_scale = lr_scale, .layout = layout, .source = source});
}

struct weights declare_norm(struct builder *builder, const char *path, const char *name,
                            const struct normalization_config *norm, int64_t length)
{
    struct weights weights = {-1, -1};
    struct layout whole = {0};
    char full[64];
    if (norm->type == NORMALIZATION_NONE)
        return weights;
    snprintf(full, sizeof(full), "%s.weight", name);
    weights.weight = declare_vector(builder, path, full, length, 1, 1, whole, norm->source);
    snprintf(full, sizeof(full), "%s.bias", name);
    if (norm->type == NORMALIZATION_LAYER_NORM)
        weights.bias = declare_vector(builder, path, full, length, 0, 1, whole, norm->source);
    return weights;
}

struct weights declare_linear(struct builder *builder, const char *path, const char *name,
                              const struct linear_config *linear, struct shape weight,
                              int64_t outputs, double lr_scale, const struct tensor_cut *cut)
{
    struct weights weights = {-1, -1};
    struct layout layout = {0}, bias = {0};
    if (cut && cut->parts > 0)
        layout = tensor_layout(builder, cut->dimension, cut->parts);
    if (cut && cut->parts > 0 && cut->bias)
        bias = tensor_layout(builder, 0, cut->parts);
    double scale = linear->lr_scale * lr_scale;
    char full[64];
    snprintf(full, sizeof(full), "%s.weight", name);
    weights.weight = declare_weight(builder, path, full, weight, linear->initialization_std, scale,
                                    layout, linear->source);
    snprintf(full, sizeof(full), "%s.bias", name);
    if (linear->bias)
        weights.bias = declare_vector(builder, path, full, outputs, 0, scale, bias, linear->source);
    return weights;
}

int weight_value(struct builder *builder, int parameter)
{
    return parameter < 0 ? -1 : builder_weight(builder, parameter);
}

void mark_log_point(struct builder *builder, int value)
{
    builder->program->values[value].log_point = true;
}
