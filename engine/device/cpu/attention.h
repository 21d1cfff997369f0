/* What the two attention kinds share: which keys a query sees, the cut into tiles, and the
 * packing of rows into dense float32 tiles.
 *
 * A tile of queries is `tokens` tokens times `heads` heads of one group (they read the same keys),
 * stacked as rows token*heads + head. Tiles of keys start at the first key that any row of the
 * query tile sees, so with short documents a query tile meets one or two key tiles. */
#ifndef ENGINE_DEVICE_CPU_ATTENTION_H
#define ENGINE_DEVICE_CPU_ATTENTION_H

#include "engine/device/cpu/cpu.h"

enum { ATTENTION_KEYS = 64, ATTENTION_ROWS = 64, ATTENTION_HEADS = 8 };

struct attention {
    const struct cpu_context *context;
    const struct op_call *call;
    const struct tensor *q, *kv, *document_start;
    int64_t tokens, keys;                /* T, S */
    int heads, groups, size;             /* h, g, d */
    int padded;                          /* d rounded up to 16: columns of packed tiles */
    int tile_heads, tile_tokens, chunks; /* heads of a group are cut into `chunks` tiles */
    float scale;
    int32_t *first, *end; /* [T]: keys first..end-1 are seen by each query */
};

/* Memory of one thread for one pair of tiles; gradients use all of it. */
struct attention_tiles {
    float *query, *output, *doutput;    /* [ROWS, padded] */
    float *key, *value;                 /* [KEYS, padded] */
    float *key_columns, *value_columns; /* [d, KEYS] */
    float *scores, *dscores;            /* [ROWS, KEYS] */
    float *dkey, *dvalue;               /* [KEYS, padded] */
    float *maximum, *sum;               /* [ROWS] */
};

/* Fails where parameters and shapes do not fit; q and kv are those of the call. */
bool attention_setup(struct attention *attention, const struct cpu_context *context,
                     const struct op_call *call, const struct tensor *q, const struct tensor *kv,
                     const struct tensor *document_start, struct status *status);
/* Fills first and end, for which the caller gave memory. */
bool attention_ranges(struct attention *attention, struct status *status);
/* With `key_tiles` tiles of keys, one after the other. */
void attention_carve_tiles(const struct attention *attention, struct workspace *memory,
                           struct attention_tiles *tiles, int key_tiles);

/* A query tile: token range and heads first_head..first_head+heads-1 of group `group`. */
struct attention_queries {
    int64_t token;
    int tokens, group, first_head, heads, rows;
    int64_t first_key, end_key; /* all keys that any of its tokens sees */
};
struct attention_queries attention_queries_at(const struct attention *attention, int group,
                                              int chunk, int64_t token, int64_t token_end);

/* Rows of `tensor` [T,h*d] of the tile into packed [rows, padded]. Returns whether all finite. */
bool attention_pack_queries(const struct attention *attention, const struct tensor *tensor,
                            const struct attention_queries *queries, float *packed);
void attention_unpack_queries(const struct attention *attention, const struct tensor *tensor,
                              const struct attention_queries *queries, const float *packed);
/* `count` keys (or values, if `values`) from `key` on: rows [KEYS, padded] and, unless NULL, the
 * transpose [d, KEYS]; beyond count zero. Returns whether all finite. */
bool attention_pack_keys(const struct attention *attention, int group, int64_t key, int count,
                         bool values, float *rows, float *columns);
/* Products of a tile of queries and `count` keys from `key` on, for those pairs of a few rows and a
 * few keys of which one sees the other at least: with short documents that is a small part.
 * Others' scores are not set; where probabilities or their gradients stand for them they are 0.
 *
 * scores [rows, KEYS] = rows [rows, padded] times columns [d, KEYS]. */
void attention_score(const struct attention *attention, const struct attention_queries *queries,
                     int64_t key, int count, const float *rows, const float *columns,
                     float *scores);
/* sums [rows, padded] += scores [rows, KEYS] times keys [KEYS, padded], which may be infinite or
 * NaN where `finite` is false: then they are 0 times a score of 0. */
void attention_add_keys(const struct attention *attention, const struct attention_queries *queries,
                        int64_t key, int count, const float *scores, const float *keys, bool finite,
                        float *sums);
/* sums [KEYS, padded] += the transpose of scores [rows, KEYS] times rows [rows, padded]. */
void attention_add_rows(const struct attention *attention, const struct attention_queries *queries,
                        int64_t key, int count, const float *scores, const float *rows, bool finite,
                        float *sums);
static inline int attention_round16(int count)
{
    return (count + 15) & ~15;
}

/* Keys of a tile that starts at `key` seen by a token, as a range inside the tile. */
static inline void attention_seen(const struct attention *attention, int64_t token, int64_t key,
                                  int count, int *first, int *end)
{
    int64_t low = attention->first[token] - key, high = attention->end[token] - key;
    *first = (int)(low < 0 ? 0 : low > count ? count : low);
    *end = (int)(high < *first ? *first : high > count ? count : high);
}

#endif
