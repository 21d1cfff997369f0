/* The mesh of ranks and its groups (facts, 5.3): rank = tensor + tensors * (data + datas *
 * pipeline), data = sequence_data + sequence_datas * batch_data. Pure functions; any thread. */
#ifndef ENGINE_COMM_MESH_H
#define ENGINE_COMM_MESH_H

#include <stdint.h>

/* The groups of ranks that collectives run over. */
enum comm_group {
    COMM_WORLD = 0,
    COMM_DATA, /* all data ranks, sequence-data included */
    COMM_SEQUENCE_DATA,
    COMM_TENSOR,
    COMM_PIPELINE,
    COMM_TIED, /* the pipeline ranks that hold copies of a tied weight */
    COMM_GROUP_COUNT,
};
const char *comm_group_name(enum comm_group group); /* "world", "data", ... static */

enum { MESH_MAX_RANKS = 4096, MESH_MAX_TIED = 64 };

/* How many ranks there are along each direction; 0 counts as 1. */
struct mesh {
    int tensors, sequence_datas;
    int datas; /* sequence-data ranks included: a multiple of sequence_datas */
    int pipelines;
    uint64_t tied; /* bit p: pipeline rank p holds a copy of the tied weights; 0: there are none */
};

int mesh_size(const struct mesh *mesh);
/* The global ranks of the group that `rank` belongs to, in their order: into `members`, which may
 * be NULL or has room for mesh_size(). Returns their number; 0: the rank is in no such group. */
int mesh_members(const struct mesh *mesh, int rank, enum comm_group group, int *members);
/* The lowest rank of that group: with `group` it names the group. -1: the rank is in no such. */
int mesh_first(const struct mesh *mesh, int rank, enum comm_group group);

#endif
