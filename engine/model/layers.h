/* The parts that layers are made of. Internal to engine/model. */
#ifndef ENGINE_MODEL_LAYERS_H
#define ENGINE_MODEL_LAYERS_H

#include "engine/model/model.h"

/* Declare parameters; names are relative to the layer's path. */
int declare_weight(struct builder *builder, const char *path, const char *name, struct shape shape,
                   double std, double lr_scale, struct source source);
/* A bias (initial 0) or norm weight (initial 1): no weight decay. */
int declare_vector(struct builder *builder, const char *path, const char *name, int64_t length,
                   double initial, double lr_scale, struct source source);
struct weights declare_norm(struct builder *builder, const char *path, const char *name,
                            const struct normalization_config *norm, int64_t length);
/* `lr_scale` multiplies the linear layer's own. */
struct weights declare_linear(struct builder *builder, const char *path, const char *name,
                              const struct linear_config *linear, struct shape weight,
                              int64_t outputs, double lr_scale);

void declare_attention(struct builder *builder, struct layer *layer);
void declare_mlp(struct builder *builder, struct layer *layer);

/* The value that computes with a declared parameter, -1 for none. */
int weight_value(const struct builder *builder, int parameter);

/* Emit; `part` is the part's name inside the layer ("norm_1", "mixer", "mlp"). */
int emit_norm(struct builder *builder, const struct normalization_config *norm,
              struct weights weights, int x, const char *part);
int emit_attention_mixer(struct builder *builder, const struct model *model,
                         const struct layer *layer, struct flow *flow, int x);
int emit_mlp(struct builder *builder, const struct model *model, const struct layer *layer, int x);
int emit_moe(struct builder *builder, const struct model *model, const struct layer *layer, int x);
void emit_head(struct builder *builder, const struct model *model, const struct layer *layer,
               struct flow *flow);

void mark_log_point(struct builder *builder, int value);

#endif
