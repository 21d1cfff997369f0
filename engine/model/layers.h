/* The parts that layers are made of. Internal to engine/model. */
#ifndef ENGINE_MODEL_LAYERS_H
#define ENGINE_MODEL_LAYERS_H

#include "engine/model/model.h"

/* How the tensor ranks share a weight: `dimension` of it is cut in `parts` blocks over them. A
 * linear layer that makes its outputs in pieces (dimension 0) has its bias cut too; one that takes
 * its input in pieces makes summands, to which the bias is added once, after they are summed. */
struct tensor_cut {
    int dimension, parts; /* parts 0: every rank has the whole weight */
    bool bias;
};
struct layout tensor_layout(const struct builder *builder, int dimension, int parts);

/* Declare parameters; names are relative to the layer's path, shapes are global. */
int declare_weight(struct builder *builder, const char *path, const char *name, struct shape shape,
                   double std, double lr_scale, struct layout layout, struct source source);
struct weights declare_norm(struct builder *builder, const char *path, const char *name,
                            const struct normalization_config *norm, int64_t length);
/* `lr_scale` multiplies the linear layer's own; `cut` may be NULL. */
struct weights declare_linear(struct builder *builder, const char *path, const char *name,
                              const struct linear_config *linear, struct shape weight,
                              int64_t outputs, double lr_scale, const struct tensor_cut *cut);

void declare_attention(struct builder *builder, struct layer *layer);
void declare_mlp(struct builder *builder, struct layer *layer);

/* The value that computes with a declared parameter, -1 for none. */
int weight_value(struct builder *builder, int parameter);

/* All tokens of those that the tensor ranks share (sequence-tensor-parallel); `x` if they do not.
 */
int gather_tokens(struct builder *builder, int x);
/* The sum of the tensor ranks' summands: each has all of it, or its own tokens
 * (sequence-tensor-parallel). `x` if it is complete; then it must have its name. */
int reduce_tokens(struct builder *builder, int x, const char *name);
/* A linear layer with its input in pieces: its sum and bias. */
int emit_linear_reduced(struct builder *builder, int x, struct weights weights, bool transposed,
                        const char *name);

/* Emit; `part` is the part's name inside the layer ("norm_1", "mixer", "mlp"). */
int emit_norm(struct builder *builder, const struct normalization_config *norm,
              struct weights weights, int x, const char *part);
int emit_attention_mixer(struct builder *builder, const struct model *model,
                         const struct layer *layer, struct flow *flow, int x);
/* `x` has all tokens of the tensor ranks, the result those of this one. */
int emit_mlp(struct builder *builder, const struct model *model, const struct layer *layer, int x);
int emit_moe(struct builder *builder, const struct model *model, const struct layer *layer, int x);
void emit_head(struct builder *builder, const struct model *model, const struct layer *layer,
               struct flow *flow);

void mark_log_point(struct builder *builder, int value);

#endif
