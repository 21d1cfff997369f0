/* How a value is spread over ranks, as part of its type: which dimensions are cut over which group
 * of ranks, and over which groups it is a summand, so that the tensor is the sum of what the ranks
 * hold. One rule for each kind of instruction derives the layouts of the outputs from those of the
 * inputs, and refuses what would compute something else than one rank alone does.
 * Cuts over a group of one rank are never noted: with one rank every layout is empty. */
#ifndef ENGINE_PROGRAM_LAYOUT_H
#define ENGINE_PROGRAM_LAYOUT_H

#include "engine/base/status.h"
#include "engine/comm/mesh.h"
#include "engine/tensor/op.h"
#include "engine/tensor/shard.h"

struct layout {
    int cut_count;
    struct layout_cut {
        int dimension, parts; /* as in struct shard_cut; dimension 0 or 1 */
        enum comm_group group;
    } cuts[SHARD_MAX_CUTS]; /* a chain: each cuts what those before it left */
    unsigned partial;       /* bits 1 << group: it is one summand of the tensor over the group */
    bool batch;             /* computed from the micro-batch of one batch-data rank */
};

/* One rank's place among all. */
struct seat {
    struct mesh mesh;
    int rank;
};

/* Ranks in the group that this rank belongs to (1 if it is in no such group), and its number
 * among them. */
int seat_size(const struct seat *seat, enum comm_group group);
int seat_index(const struct seat *seat, enum comm_group group);
/* Coordinates: rank = tensor + tensors * (sequence data + sequence datas * (batch data + ...)). */
int seat_batches(const struct seat *seat); /* batch-data ranks */
int seat_batch(const struct seat *seat);   /* which of them this one is */
int seat_pipeline(const struct seat *seat);
/* The global rank at the same place of another pipeline rank. */
int seat_on_pipeline(const struct seat *seat, int pipeline);

/* Adds a cut; nothing if the group has one rank. */
void layout_cut(struct layout *layout, const struct seat *seat, int dimension, int parts,
                enum comm_group group);
bool layout_is_cut(const struct layout *layout, enum comm_group group);
/* The groups of a set of bits that a reduction over `group` completes: data ranks include the
 * sequence-data ranks, the world includes all. */
unsigned layout_covers(enum comm_group group);
/* The local shape of a whole one; false where a dimension does not divide evenly. */
bool layout_local_shape(const struct layout *layout, const struct seat *seat, struct shape *shape);
/* Where the local tensor of that shape lies; no cuts and no global shape when it is the whole. */
struct shard layout_shard(const struct layout *layout, const struct seat *seat, struct shape local);
/* "rows / tensor, partial over data" into `buffer`, which is returned. */
const char *layout_text(const struct layout *layout, char buffer[160]);

/* The operands of one instruction. */
struct layout_call {
    enum op op;
    const struct op_parameters *parameters;
    const struct seat *seat;
    int input_count, output_count;
    struct layout inputs[OP_MAX_INPUTS];
    struct shape input_shapes[OP_MAX_INPUTS], output_shapes[OP_MAX_OUTPUTS];
    /* Expected layouts (gradients have the cuts of what they are gradients of), or NULL. Needed
     * where the operands do not tell: fill, receive, embedding_gradient, gather_rows_gradient. */
    const struct layout *expected[OP_MAX_OUTPUTS];
};

/* Derives the layouts of the outputs. False (STATUS_INTERNAL, with the kind, the operand and both
 * layouts in the text) if the ranks together would not compute what one rank computes. */
bool layout_infer(const struct layout_call *call, struct layout outputs[OP_MAX_OUTPUTS],
                  struct status *status);

#endif
