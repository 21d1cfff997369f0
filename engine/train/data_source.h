/* Where documents come from: one function for each type of data. What the files of data.h share;
 * the parsers of untrusted files are here for the fuzzer as well. */
#ifndef ENGINE_TRAIN_DATA_SOURCE_H
#define ENGINE_TRAIN_DATA_SOURCE_H

#include "engine/base/status.h"
#include "engine/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MASKED_LABEL = -100 };

struct document {
    size_t offset;  /* byte of the first token in `tokens` */
    int64_t length; /* tokens; > 0 */
};

struct token_source {
    char *path; /* for messages */
    struct document *documents;
    int64_t document_count, token_count; /* tokens of all documents */
    const unsigned char *tokens;         /* little-endian integers, not necessarily aligned */
    int width;                           /* bytes of one token: 1, 2, 4 or 8 */
    bool is_signed;
    unsigned char *masked; /* [bytes / width]: 1 = in a masking span; NULL = none */
    void *owned;           /* tokens that were made here */
    void *map;             /* or the mapped file that holds them */
    size_t map_size;
};

/* Each fills a zeroed source; free with token_source_free, also after a failure. */
bool text_source_open(struct token_source *source, const struct config *config,
                      struct status *status);
bool tokens_source_open(struct token_source *source, const struct config *config,
                        struct status *status);
bool random_source_open(struct token_source *source, const struct config *config,
                        struct status *status);
void token_source_free(struct token_source *source);

/* Adds a document; empty ones are left out. False when there is no memory or no end of tokens. */
bool token_source_add(struct token_source *source, int64_t *capacity, size_t offset, int64_t length,
                      struct status *status);
/* The token at byte `offset`; 64-bit values above the signed range come out negative. */
int64_t token_source_load(const struct token_source *source, size_t offset);

/* Megatron's index: fills documents, width and signedness for a file of data_size bytes. */
bool megatron_index_parse(struct token_source *source, const unsigned char *bytes, size_t size,
                          size_t data_size, struct status *status);
/* A whole .npy file of integers: fills everything but `map`. */
bool npy_parse(struct token_source *source, const unsigned char *bytes, size_t size,
               struct status *status);

#endif
