/* Collectives over MPI: the module lockstep_mpi.so. Everything is non-blocking and polled with
 * back-off: a rank that waits burns no core, and can be told to give up. Sums are made here, in
 * rank order (combine.h), and MPI only carries data: so the bits do not depend on the number of
 * nodes, the message sizes or the MPI library. Internal to engine/comm/mpi. */
#ifndef ENGINE_COMM_MPI_INTERNAL_H
#define ENGINE_COMM_MPI_INTERNAL_H

#include "engine/comm/backoff.h"
#include "engine/comm/comm.h"

#include <mpi.h>

/* Groups with the same members share a communicator, for as long as the process lives: freeing one
 * is a collective of its own. */
struct team {
    int *members, count; /* global ranks */
    MPI_Comm comm;
};

struct posted {
    MPI_Request request;
    void *copy; /* of what is being sent */
};

struct processes {
    int rank, size;
    struct team *teams;
    int team_count, team_capacity;
    MPI_Comm messages;     /* SEND and RECEIVE of all meshes, apart from everybody else's */
    MPI_Comm notes;        /* and their notes */
    struct posted *posted; /* sends under way; they may outlive the mesh that began them */
    int posted_count, posted_capacity;
};

struct mesh_comm {
    struct processes *processes;
    const struct comm_hooks *hooks; /* may be NULL */
    struct group {
        int *members, count, rank; /* rank: this one's place among the members */
        MPI_Comm comm;
    } groups[COMM_GROUP_COUNT];
    int generation; /* of messages: those of another one are dropped */
    void *scratch;
    size_t scratch_bytes;
};

/* Fails with MPI's text for `code`. Returns false. */
bool mpi_failed(int code, const char *what, struct status *status);
/* Whether so many elements for each member can be counted by MPI's ints. */
bool mpi_fits(const struct group *group, size_t elements, struct status *status);
/* The MPI type that moves elements of that size. */
MPI_Datatype mpi_type(enum dtype dtype);
/* The place of a global rank in the group, -1. */
int mpi_place(const struct group *group, int global);

bool mpi_cancelled(const struct mesh_comm *mesh);
/* Until the request is done; or cancelled, unless it is `patient`. */
bool mpi_wait(struct mesh_comm *mesh, MPI_Request *request, bool patient, struct status *status);

/* One collective of more than one member, whose operands were checked. */
bool mpi_collective(struct mesh_comm *mesh, const struct op_call *call,
                    const struct comm_descriptor *what, struct status *status);
/* SEND or RECEIVE. */
bool mpi_message(struct mesh_comm *mesh, const struct op_call *call,
                 const struct comm_descriptor *what, struct status *status);
/* struct comm_ops.tell and hear. */
bool mpi_tell(struct processes *processes, int rank, const struct comm_note *note,
              struct status *status);
bool mpi_hear(struct processes *processes, int *rank, struct comm_note *note);
/* Frees the copies of what has left. */
void mpi_collect_posted(struct processes *processes);

#endif
