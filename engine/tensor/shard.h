/* Where a local tensor lies in its global tensor: a chain of cuts. Each cut takes a dimension of
 * what the cuts before it left, sees it as `parts` equal blocks (keys and values, gate and up,
 * experts), and keeps piece `index` of `pieces` of every block, one after the other. So a weight
 * cut over tensor ranks and then over data ranks, and tokens cut over sequence-data and tensor
 * ranks, are the same thing. No cuts: it is the whole. */
#ifndef ENGINE_TENSOR_SHARD_H
#define ENGINE_TENSOR_SHARD_H

#include "engine/tensor/tensor.h"

/* The whole tensor of that shape. */
struct shard shard_whole(struct shape shape);
bool shard_is_whole(const struct shard *shard);
/* Adds a cut; pieces == 1 adds nothing. False if it does not divide evenly (nothing is added). */
bool shard_cut(struct shard *shard, int dimension, int parts, int pieces, int index);
struct shape shard_local_shape(const struct shard *shard);
/* The index in the global tensor of local index `index` of a dimension. */
int64_t shard_global_index(const struct shard *shard, int dimension, int64_t index);
/* How many local indices from `index` on are neighbours in the global tensor too: at least 1. */
int64_t shard_run_length(const struct shard *shard, int dimension, int64_t index);
/* The other way round; -1 if it is not in this part. */
int64_t shard_local_index(const struct shard *shard, int dimension, int64_t global);
/* The same for flat (row-major) indices of the whole tensors. */
int64_t shard_global_flat(const struct shard *shard, int64_t local);
int64_t shard_local_flat(const struct shard *shard, int64_t global);
bool shard_equal(const struct shard *a, const struct shard *b);

/* Host memory. Copies the local part out of the global tensor, or into it; dtypes are equal. */
void shard_copy_out(const struct shard *shard, const struct tensor *global, struct tensor *local);
void shard_copy_in(const struct shard *shard, const struct tensor *local, struct tensor *global);
/* A view of the local part inside the global tensor, when it is one block of rows and columns of a
 * matrix; false otherwise (then copy). */
bool shard_view(const struct shard *shard, const struct tensor *global, struct tensor *view);
/* "[0:128, 64:128] of [256,1024]" and the like into `buffer`, which is returned. */
const char *shard_text(const struct shard *shard, char buffer[160]);

#endif
