/* The data of a training run: documents, packed into micro-batches. Deterministic: the same
 * configuration gives the same tokens. Facts, sections 5.5 and 5.9. One thread. */
#ifndef ENGINE_TRAIN_DATA_H
#define ENGINE_TRAIN_DATA_H

#include "engine/config/config.h"

struct data;

/* Tokens and labels of one micro-batch of `tokens` tokens; owned by the caller, see
 * micro_batch_free. labels[d] belong to prediction distance d + 1; -100 = masked (masking span,
 * first d + 1 tokens of each document, end of the sample). */
struct micro_batch {
    int64_t tokens;
    int heads;
    int32_t *ids;            /* [tokens] */
    int32_t **labels;        /* [heads][tokens] */
    int32_t *document_start; /* [tokens]: index of the first token of the token's document */
    int32_t *position;       /* [tokens]: index inside the document */
    int64_t documents;       /* document pieces in the micro-batch */
};

/* Opens the data of a configuration (text, tokens or random) for `config->train_iterations` or
 * more steps. NULL on failure (a missing file, tokens outside the vocabulary). */
struct data *data_open(const struct config *config, struct status *status);
void data_close(struct data *data);

/* Micro-batch `index` of `count` sequential ones of step `step` (from 0): sample step*count +
 * index of the packed sequence. Samples past the end start a new epoch (new permutation). */
bool data_read(struct data *data, int step, int index, int count, struct micro_batch *batch,
               struct status *status);
void micro_batch_free(struct micro_batch *batch);

/* Number of unmasked labels of `head` in the micro-batch. */
int64_t micro_batch_label_count(const struct micro_batch *batch, int head);

#endif
