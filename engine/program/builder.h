/* Emits instructions into a program. Layers call emit_*(); each gives the id of the value that the
 * instruction computes. A shape that does not fit is an internal error kept in builder->status:
 * emitting goes on with well-formed values, and the schedule reports the first such error.
 *
 * Shapes are those of this rank's parts, and the layouts of outputs follow from the operands'
 * (layout.h).
 * `name` is the value's path inside the layer ("mixer.query"); NULL leaves it unnamed. */
#ifndef ENGINE_PROGRAM_BUILDER_H
#define ENGINE_PROGRAM_BUILDER_H

#include "engine/program/program.h"

struct builder {
    struct program *program;
    const struct config *config;
    enum dtype dtype;     /* compute dtype: activations and the weights that layers use */
    struct origin origin; /* of what is emitted now */
    int *gradient;        /* per value: the gradient gathered so far, or -1 */
    int gradient_count;
    int *parameter_of;    /* per value: index of the parameter that it is (a copy of), or -1 */
    int scaler;           /* VALUE_STATE f64 [SCALER_SIZE] of OPTIMIZER_FACTORS */
    int loss_scale;       /* f64 [1]: gradient of the loss */
    struct status status; /* the first error */
};

void builder_start(struct builder *builder, struct program *program, const struct config *config);
void builder_finish(struct builder *builder); /* frees what the builder (not the program) owns */

/* Sets the origin's part and source until the next call ("mixer.query", llama.yaml:31). */
void builder_part(struct builder *builder, const char *part, struct source source);

/* A value that no instruction writes. */
int builder_input(struct builder *builder, const char *path, enum dtype dtype, struct shape shape);
int builder_constant(struct builder *builder, enum dtype dtype, struct shape shape,
                     const void *data);
/* Says how a value is spread over ranks; its shape is that of this rank's part. */
void builder_set_layout(struct builder *builder, int value, const struct layout *layout);

/* How a parameter starts and is trained. */
struct parameter_options {
    double initial_std; /* normal(0, std) if > 0, else constant initial_value */
    double initial_value;
    bool weight_decay;
    double lr_scale;
    bool tied;            /* other pipeline ranks have copies */
    struct layout layout; /* how layers want it: whole, or cut over the tensor ranks */
    struct source source;
};
/* Declares a parameter of that global shape (f32 master weight, moments, the 16-bit copy when
 * computing in 16 bit) and returns its index in program->parameters. `path` is its canonical path.
 * Master weight and moments are cut over the data ranks too, where the rows divide evenly. */
int builder_parameter(struct builder *builder, const char *path, struct shape shape,
                      const struct parameter_options *options);
/* The value that layers use for a parameter. With ZeRO 3 it is gathered from the data ranks here if
 * builder_forget_weights was called since. */
int builder_weight(struct builder *builder, int parameter);
/* ZeRO 3: what was gathered is not kept for what comes next. */
void builder_forget_weights(struct builder *builder);

/* Appends an instruction with up to 3 outputs; returns its index. */
struct output_spec {
    const char *name; /* path inside the layer, NULL = unnamed; a summand stays unnamed */
    enum dtype dtype;
    struct shape shape;
    const struct layout *layout; /* what is expected (layout.h); NULL: what follows */
};
int builder_emit(struct builder *builder, enum op op, const struct op_parameters *parameters,
                 const int *inputs, int input_count, const struct output_spec *outputs,
                 int output_count);

/* Shorthands: one instruction, the first output's id. Shapes follow from the operands. */
int emit_copy(struct builder *builder, int x, enum dtype dtype, const char *name);
int emit_add(struct builder *builder, int a, int b, const char *name);
int emit_slice_rows(struct builder *builder, int x, int64_t first, int64_t rows, const char *name);
int emit_write_rows(struct builder *builder, int base, int x, int64_t first, const char *name);
int emit_fill(struct builder *builder, double value, enum dtype dtype, struct shape shape);
/* A weight whose rows are cut makes summands. */
int emit_embedding(struct builder *builder, int indices, int weight, const char *name);
/* y = x W^T + bias (W [out,in]) or, `transposed`, x W + bias (W [in,out]); bias -1 = none. */
int emit_linear(struct builder *builder, int x, int weight, int bias, bool transposed,
                const char *name);
int emit_add_bias(struct builder *builder, int x, int bias, const char *name);
int emit_layer_norm(struct builder *builder, int x, int weight, int bias, double epsilon,
                    const char *name);
int emit_rms_norm(struct builder *builder, int x, int weight, double epsilon, const char *name);
int emit_rotary(struct builder *builder, int x, int table, int heads, int head_size,
                int64_t first_row, const char *name);
int emit_attention(struct builder *builder, int q, int kv, int document_start,
                   const struct op_parameters *parameters, const char *name);
int emit_activation(struct builder *builder, int x, enum activation kind, bool gated,
                    const char *name);
/* The loss of one chunk of logits, f32 [1]. */
int emit_cross_entropy(struct builder *builder, int logits, int labels, int count, double factor,
                       const char *name);
/* The same of logits whose columns are cut over the tensor ranks, which meet for it. */
int emit_cross_entropy_parallel(struct builder *builder, int logits, int labels, int count,
                                double factor, const char *name);
/* Mixture of experts. */
void emit_top_k(struct builder *builder, int logits, int experts_per_token, int *experts,
                int *scores);
int emit_load_balance(struct builder *builder, int logits, int experts, double coefficient,
                      const char *name);
void emit_route_rows(struct builder *builder, int experts, int expert_count, int *rows, int *ends);
int emit_gather_rows(struct builder *builder, int x, int rows, const char *name);
int emit_grouped_matmul(struct builder *builder, int x, int weight, int ends, bool transposed,
                        const char *name);
int emit_combine_rows(struct builder *builder, int y, int scores, int rows, const char *name);

/* Collectives of this rank's group. With one rank in it: `x` itself, unnamed as it is. */
int emit_all_reduce(struct builder *builder, int x, enum comm_group group, const char *name);
int emit_all_gather(struct builder *builder, int x, enum comm_group group, const char *name);
int emit_reduce_scatter(struct builder *builder, int x, enum comm_group group, const char *name);
/* The rows of a whole tensor that a cut over `group` leaves this rank. */
int emit_own_rows(struct builder *builder, int x, enum comm_group group, const char *name);
/* Adds up a summand over all its groups; `x` itself if it is complete. */
int emit_complete(struct builder *builder, int x, const char *name);
/* Adds up the groups of `groups` (bits) only. */
int emit_complete_over(struct builder *builder, int x, unsigned groups, const char *name);
void emit_send(struct builder *builder, int x, int rank);
int emit_receive(struct builder *builder, int rank, enum dtype dtype, struct shape shape,
                 const struct layout *layout, const char *name);

const struct value *builder_value(const struct builder *builder, int value);
/* Remembers the first error. */
void builder_error(struct builder *builder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
