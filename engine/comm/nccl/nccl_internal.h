/* Collectives over NCCL, part of the CUDA device's module: data move on the device's own stream,
 * between the memories of GPUs. NCCL itself is loaded when it is asked for.
 *
 * Every communicator is non-blocking, and everything is polled with a limit: what does not come to
 * its end within it is given up, with a text that says what it was. Then all communicators are
 * aborted, as none of them can be trusted: the ranks are started anew for the next run.
 *
 * One thread makes all calls, as NCCL demands of the calls on one communicator; only an abort,
 * which may come from any thread, gets one of its own, because it may hang. Internal to
 * engine/comm/nccl.
 */
#ifndef ENGINE_COMM_NCCL_INTERNAL_H
#define ENGINE_COMM_NCCL_INTERNAL_H

#include "engine/comm/backoff.h"
#include "engine/comm/comm.h"
#include "engine/device/cuda/cuda.h"
#include "engine/device/cuda/toolkit.h"

#ifdef LOCKSTEP_CUDA_EMULATED
#include "tests/nccl_double/nccl.h"
#else
#include <nccl.h>
#endif

/* What is used of the library. */
#define NCCL_FUNCTIONS(DO)                                                                         \
    DO(GetVersion)                                                                                 \
    DO(GetUniqueId)                                                                                \
    DO(CommInitRankConfig)                                                                         \
    DO(CommSplit)                                                                                  \
    DO(CommAbort)                                                                                  \
    DO(CommGetAsyncError)                                                                          \
    DO(GetErrorString)                                                                             \
    DO(GetLastError)                                                                               \
    DO(AllReduce)                                                                                  \
    DO(AllGather)                                                                                  \
    DO(ReduceScatter)                                                                              \
    DO(Broadcast)                                                                                  \
    DO(Send)                                                                                       \
    DO(Recv)                                                                                       \
    DO(GroupStart)                                                                                 \
    DO(GroupEnd)

#define NCCL_FIELD(name) __typeof__(nccl##name) *name;

struct nccl_library {
    void *handle;
    int code;         /* 22809 */
    char version[32]; /* "NCCL 2.28.9" */
    NCCL_FUNCTIONS(NCCL_FIELD)
};

/* Communicators of one mesh: kept from run to run, as making them takes long. */
struct nccl_set {
    struct mesh mesh;
    uint64_t name;                      /* the same in all ranks that made it together; 0: none */
    ncclComm_t comms[COMM_GROUP_COUNT]; /* NULL: no such group, or a group of one; tensor groups
                                           that are the world have the world's */
    struct nccl_pair *pairs;
    bool broken; /* was aborted */
};

/* A communicator of two ranks for the messages from one to the other: messages of other directions
 * neither wait for it nor it for them. */
struct nccl_pair {
    struct nccl_pair *next;
    int peer;
    bool sends; /* from here */
    ncclUniqueId id;
    ncclComm_t comm;     /* NULL: not begun */
    bool joined;         /* and ready */
    cudaStream_t stream; /* of a pair that sends: it must not hold up what this rank computes */
};

/* One for each process and device. */
struct nccl_context {
    struct nccl_library library;
    struct cuda_context *device; /* borrowed */
    struct nccl_set set;
};

/* A message that was not fetched: its copy waits in the GPU's memory. */
struct nccl_posted {
    struct nccl_posted *next;
    struct nccl_pair *pair;
    struct comm_descriptor what;
    uint64_t number;
    int generation;
    void *copy;
    size_t bytes;
    enum nccl_posted_state { POSTED_TOLD = 0, POSTED_JOINING, POSTED_MOVING } state;
    double deadline; /* 0: it is not its turn yet */
};

/* What ranks tell each other about messages. */
struct nccl_note {
    enum nccl_note_kind {
        NOTE_POSTED = 1, /* a message is there to be fetched */
        NOTE_FETCH,      /* it is awaited, now: send it */
        NOTE_REFUSED,    /* it is not what was expected: forget it */
    } kind;
    int generation;
    uint64_t number; /* of the messages from this sender to this receiver */
    enum dtype dtype;
    int64_t elements;
    ncclUniqueId id; /* of the pair's communicator */
};

/* A NOTE_POSTED that was heard. */
struct nccl_heard {
    struct nccl_heard *next;
    int from;
    struct nccl_note note;
};

/* A communicator as comm.h knows it. */
struct nccl_mesh {
    struct nccl_context *context;
    struct comm_over over;
    struct nccl_group {
        int *members, count, rank; /* rank: this one's place among the members, -1 */
    } groups[COMM_GROUP_COUNT];
    int own; /* this rank, in the world */
    int generation;
    uint64_t *sent;             /* [world] messages of this generation */
    struct nccl_posted *posted; /* oldest first */
    struct nccl_heard *heard;   /* oldest first */
    struct nccl_spare {         /* memory of messages that have left, for the next ones */
        struct nccl_spare *next;
        void *memory;
        size_t bytes;
    } * spare;
    struct status failure; /* of a message that was on its way; the next call tells */
};

/* ---- library.c ---- */

/* Loads libnccl.so.2 and looks whether it will do. */
bool nccl_library_load(struct nccl_library *library, struct status *status);
/* Settings for several ranks on one GPU, which NCCL otherwise refuses: before anything else of it
 * is called. For tests. */
void nccl_allow_sharing(int rank);
/* NCCL's own words for a result; false. `comm` may be NULL. */
bool nccl_fail(const struct nccl_library *library, ncclComm_t comm, ncclResult_t result,
               const char *doing, struct status *status);

/* ---- wait.c ---- */

/* Called while a wait lasts; false ends it, with the status. May be NULL. */
typedef bool nccl_meanwhile(struct nccl_mesh *mesh, struct status *status);

/* After a call that gave `result` on `comm`: until the communicator has done what it was told to on
 * the host's side. */
bool nccl_settle(struct nccl_mesh *mesh, ncclComm_t comm, ncclResult_t result, const char *doing,
                 nccl_meanwhile *meanwhile, struct status *status);
/* The same, and until the device's stream has done all that is on it. */
bool nccl_finish(struct nccl_mesh *mesh, ncclComm_t comm, ncclResult_t result, const char *doing,
                 nccl_meanwhile *meanwhile, struct status *status);
/* Whether something that goes on in a communicator is still under way: false when it is done, or
 * has failed (then the status says so). `stream` may be NULL. */
bool nccl_goes_on(struct nccl_mesh *mesh, ncclComm_t comm, cudaStream_t stream, const char *doing,
                  struct status *status);

/* ---- set.c ---- */

/* The communicators of the mesh: those kept, if all ranks still have them, else new ones. */
bool nccl_set_open(struct nccl_mesh *mesh, struct status *status);
/* Gives up all communicators at once, and what they do on the GPU. Messages that use them are to be
 * dropped with them: nccl_give_up. */
void nccl_set_abort(struct nccl_context *context);
/* Begins to join a pair; nccl_goes_on tells when it is done. */
ncclResult_t nccl_pair_join(struct nccl_mesh *mesh, struct nccl_pair *pair);

/* ---- collectives.c, messages.c ---- */

bool nccl_collective(struct nccl_mesh *mesh, const struct op_call *call,
                     const struct comm_descriptor *what, struct status *status);
bool nccl_message(struct nccl_mesh *mesh, const struct op_call *call,
                  const struct comm_descriptor *what, struct status *status);
/* Once something has failed: no communicator can be trusted, and nothing is worth sending. */
void nccl_give_up(struct nccl_mesh *mesh);
/* Takes notes, and carries on with what was asked for. Whether anything waits to leave. */
bool nccl_messages_carry_on(struct nccl_mesh *mesh);
/* Forgets messages of other generations than the present one. */
void nccl_messages_forget(struct nccl_mesh *mesh);
void nccl_messages_close(struct nccl_mesh *mesh);

#endif
