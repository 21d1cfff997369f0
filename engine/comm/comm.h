/* Collectives between the ranks of one run: a table with one implementation per established
 * engine (MPI on CPUs, NCCL on GPUs), and `self` for a single rank. One thread per communicator. */
#ifndef ENGINE_COMM_COMM_H
#define ENGINE_COMM_COMM_H

#include "engine/base/status.h"
#include "engine/comm/mesh.h"
#include "engine/tensor/op.h"

struct comm;
struct comm_engine;

/* What members of a group must agree on before data moves. */
struct comm_descriptor {
    enum op op;
    enum comm_group group; /* not for SEND and RECEIVE */
    enum dtype dtype;
    bool average;
    int peer;         /* SEND, RECEIVE, BROADCAST: a global rank; else -1 */
    int64_t elements; /* of the input; of the output for BROADCAST and RECEIVE */
    uint32_t place;   /* in the program (program_place), where whoever meets knows it: two
                         collectives of the same kind and size are not the same one; else 0 */
};
/* Of a call by itself: the place is 0. */
struct comm_descriptor comm_describe(const struct op_call *call);
bool comm_descriptor_equal(const struct comm_descriptor *a, const struct comm_descriptor *b);
/* "all_reduce(tensor, 65536 x f32)", "receive(from rank 2, 16 x bf16)" into `buffer`, returned. */
const char *comm_descriptor_text(const struct comm_descriptor *descriptor, char *buffer, int size);
/* Whether the operands of a collective (not SEND, RECEIVE) fit a group of `count` members: sizes,
 * and dtypes that can be summed (combine.h). */
bool comm_call_fits(const struct op_call *call, const struct comm_descriptor *what, int count,
                    struct status *status);

/* A short word from one rank to another, apart from all data: whoever makes communicators of
 * another kind agrees by them on what is to move. */
struct comm_note {
    unsigned char bytes[192];
};

struct comm_ops {
    const char *name; /* "self", "mpi", "nccl" */
    void (*close)(void *context);
    int (*size)(void *context, enum comm_group group);
    int (*rank)(void *context, enum comm_group group);
    /* Runs one collective (op_is_collective) on device memory that the engine behind it can read.
     */
    bool (*run)(void *context, const struct op_call *call, struct status *status);
    /* What was sent and not received is void; all ranks say so with the same number, another one
     * than the last 2000. NULL: nothing is ever under way. */
    void (*begin_anew)(void *context, int generation);
    /* Carries on with what was sent and has not left yet: whoever waits outside of the
     * communicator calls it about every millisecond while it says true. NULL: there is none. */
    bool (*carry_on)(void *context);
    /* Tells another rank a note; never waits for it. NULL: there are no notes. */
    bool (*tell)(void *context, int rank, const struct comm_note *note, struct status *status);
    /* Takes the next note; those of one rank come in the order in which it told them. False: there
     * is none. Does not wait. */
    bool (*hear)(void *context, int *rank, struct comm_note *note);
};

/* How whoever owns the ranks takes part in what they do together. */
struct comm_hooks {
    /* Called before any data moves; returns true when all members (global ranks, in the order of
     * the group) have come for the same. False ends the collective with that status while nothing
     * has moved: STATUS_CANCELLED, or the members disagree. Not called for SEND and RECEIVE, nor
     * for a group of one. */
    bool (*meet)(void *context, const struct comm_descriptor *descriptor, const int *members,
                 int count, struct status *status);
    /* A message is about to leave for a rank, or has arrived from it. May be NULL. */
    void (*passed)(void *context, const struct comm_descriptor *descriptor);
    /* Looked at while waiting for data: true gives the collective up (STATUS_CANCELLED); the
     * communicator is of no use then. */
    bool (*cancelled)(void *context);
    void *context;
};

/* What a module (lockstep_<name>.so, symbol comm_<name>) implements. */
struct comm_module {
    const char *name;
    int kinds; /* OP_COUNT when it was built: one of another build would do something else */
    /* Joins the processes of the launch. */
    bool (*start)(void **context, struct status *status);
    void (*finish)(void *context);
    int (*rank)(const void *context);
    int (*size)(const void *context);
    /* Makes the groups of a mesh over the first mesh_size() ranks, all of which call it. */
    bool (*open)(void *context, const struct mesh *mesh, const struct comm_hooks *hooks,
                 void **comm, struct status *status);
    struct comm_ops ops;
};

/* What the collectives of a device are opened with. All ranks of the mesh do so together. */
struct comm_over {
    struct comm *messenger; /* borrowed: a communicator of the same mesh that has notes */
    struct comm *greeter;   /* borrowed during open: one without hooks->meet, as nobody meets yet */
    const struct mesh *mesh;
    const struct comm_hooks *hooks; /* borrowed; may be NULL */
    double limit; /* seconds that joining may take, or data may move, once all have come */
};

/* Collectives over a device's own memory: symbol comm_<name> of the device's module. */
struct comm_device_module {
    const char *name;
    int kinds; /* as above */
    /* Loads its library for a device, whose context it is given (device_handle). `shared`: another
     * rank uses the same device. STATUS_UNSUPPORTED: the library is missing, or too old. */
    bool (*start)(void **context, void *device, int rank, bool shared, struct status *status);
    void (*finish)(void *context);               /* before the device is closed */
    const char *(*version)(const void *context); /* "NCCL 2.28.9" */
    bool (*open)(void *context, const struct comm_over *over, void **comm, struct status *status);
    struct comm_ops ops;
};

/* Loads the module `name` ("mpi") and joins the other processes of this launch. NULL on failure
 * (STATUS_UNSUPPORTED: not in this build, or its libraries are missing). One for each process. */
struct comm_engine *comm_engine_start(const char *name, struct status *status);
/* Leaves; communicators must have been closed. NULL is fine. */
void comm_engine_finish(struct comm_engine *engine);
int comm_engine_rank(const struct comm_engine *engine); /* among all processes of the launch */
int comm_engine_size(const struct comm_engine *engine);

/* The communicator of this rank in a mesh of the first mesh_size() processes, which all open it.
 * `hooks` (borrowed) may be NULL. NULL on failure. */
struct comm *comm_open(struct comm_engine *engine, const struct mesh *mesh,
                       const struct comm_hooks *hooks, struct status *status);
/* The communicator of a run of one rank: every collective is a copy. Never fails. */
struct comm *comm_self(void);
/* A communicator of whoever has a table of his own; `context` is closed with it. */
struct comm *comm_wrap(const struct comm_ops *ops, void *context);
void comm_close(struct comm *comm);
const char *comm_name(const struct comm *comm);
/* 0: this rank is in no such group. */
int comm_size(const struct comm *comm, enum comm_group group);
int comm_rank(const struct comm *comm, enum comm_group group);
bool comm_run(struct comm *comm, const struct op_call *call, struct status *status);
/* Notes: see comm_ops. Only of communicators that have them. */
bool comm_tell(struct comm *comm, int rank, const struct comm_note *note, struct status *status);
bool comm_hear(struct comm *comm, int *rank, struct comm_note *note);
/* Forgets messages that were sent and not received, on all ranks: see comm_ops. */
void comm_begin_anew(struct comm *comm, int generation);
/* Whether messages have not left yet, after carrying on with them: see comm_ops. */
bool comm_carry_on(struct comm *comm);

#endif
