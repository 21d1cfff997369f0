/* The layers of a model. A layer knows its configuration and its parameters; asked to emit, it
 * appends the forward instructions of one micro-batch (or one micro-sequence of it). It knows no
 * device, no schedule and no screen. Engine thread. */
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include "engine/program/builder.h"

enum layer_kind { LAYER_EMBEDDINGS = 0, LAYER_BLOCK, LAYER_HEAD };

/* Parameters of a linear layer or a norm, as indices into program->parameters; -1 = none. */
struct weights {
    int weight, bias;
};

struct layer {
    enum layer_kind kind;
    char path[64]; /* "decoder.1", "multi_token_prediction.heads.0" */
    int index;     /* among the blocks of the model, for their key/value history */
    int distance;  /* heads: 0 predicts the next token, 1 the one after it, ... */
    int input;     /* the layer whose output it takes, -1 for embeddings: the one before that has
                      one, but extra blocks start where the last decoder block does */
    bool present;  /* on this rank: its parameters are declared, and it can be emitted */
    struct weights norm_1, norm_2, query, key_value, dense, layer_1, layer_2, router; /* blocks */
    int word_embeddings, position_embeddings; /* embeddings */
    struct weights final_norm;                /* heads */
    int output_weights;
};

struct model {
    const struct config *config;
    struct layer *layers; /* in model order */
    int layer_count;
    int block_count;  /* decoder and extra blocks */
    int last_output;  /* while layers are added: the last one that has an output */
    int rotary_table; /* VALUE_CONSTANT f32 [positions, head size], -1 without rotary */
};

/* What flows through the layers for one micro-sequence. Value ids. */
struct flow {
    int tokens, positions, document_start; /* inputs; positions -1 if the model needs none */
    const int *labels;                     /* [heads] */
    const int *label_counts;               /* [heads] */
    int *outputs;    /* [layers]: the output of each layer (heads have none), or -1 */
    int *key_values; /* [blocks]: keys and values of this micro-batch so far, or -1; shared by
                        its micro-sequences */
    int64_t micro_batch_tokens, tokens_count, first_token; /* of the micro-sequence */
    int losses[8];                                         /* loss terms that the heads added */
    int loss_count;
};

int model_layer_count(const struct config *config);
/* Declares all parameters and constants of the layers that `present` names ([layers]; the others
 * are on other pipeline ranks). Free with model_free. */
struct model *model_create(struct builder *builder, const bool *present);
void model_free(struct model *model);

/* Emits the forward instructions of one layer; reads and updates `flow`. */
void layer_emit(struct builder *builder, const struct model *model, int layer, struct flow *flow);

/* The rotary table of a configuration: [positions][head_size], cosines then sines, times the
 * attention factor. Facts, 2.5. `table` has positions * head_size floats. */
void rotary_table(const struct rotary_config *rotary, int head_size, int64_t positions,
                  float *table);

#endif
