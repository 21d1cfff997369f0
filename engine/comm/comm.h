/* Collectives between the ranks of one run: a table with one implementation per established
 * engine (MPI on CPUs, NCCL on GPUs), and `self` for a single rank. One thread per communicator. */
#ifndef ENGINE_COMM_COMM_H
#define ENGINE_COMM_COMM_H

#include "engine/base/status.h"
#include "engine/tensor/op.h"

struct comm;

/* The groups of ranks that collectives run over (facts, 5.3). */
enum comm_group {
    COMM_WORLD = 0,
    COMM_DATA, /* all data ranks, sequence-data included */
    COMM_SEQUENCE_DATA,
    COMM_TENSOR,
    COMM_PIPELINE,
    COMM_GROUP_COUNT,
};
const char *comm_group_name(enum comm_group group); /* "world", "data", ... static */

struct comm_ops {
    const char *name; /* "self", "mpi", "nccl" */
    void (*close)(void *context);
    int (*size)(void *context, enum comm_group group);
    int (*rank)(void *context, enum comm_group group);
    /* Runs one collective (op_is_collective) on device memory that the engine behind it can read.
     */
    bool (*run)(void *context, const struct op_call *call, struct status *status);
};

/* The communicator of a run of one rank: every collective is a copy. Never fails. */
struct comm *comm_self(void);
void comm_close(struct comm *comm);
const char *comm_name(const struct comm *comm);
int comm_size(const struct comm *comm, enum comm_group group);
int comm_rank(const struct comm *comm, enum comm_group group);
bool comm_run(struct comm *comm, const struct op_call *call, struct status *status);

#endif
