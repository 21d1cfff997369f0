/* A stand-in for libnccl.so.2: communicators between processes of one machine, over a file that all
 * of them map. The emulated GPU's memory is the host's, so it reads and writes it directly. What is
 * put on a stream goes on when the stream is asked whether it is done (struct CUstream_st).
 *
 * It is strict where NCCL leaves things open: a communicator that is still in progress takes no
 * other call, a handle that was aborted none at all, and a new communicator's handle comes late.
 *
 * LOCKSTEP_NCCL_DOUBLE in the environment makes it fail: words separated by commas, each for all
 * processes or, with "@2" at its end, for that rank of the launch.
 *   fail=N      the Nth collective or message of the process is refused (ncclSystemError)
 *   remote=N    the Nth fails while it is under way (ncclRemoteError)
 *   hang=N      the Nth never comes to its end
 *   join-hang   no communicator is ever ready
 *   slow=MS     making a communicator takes at least so long
 *   duplicates  ranks share a GPU: refused, as NCCL does, unless NCCL_HOSTID is set
 *   version=N   what ncclGetVersion gives
 *   no-id       ncclGetUniqueId fails */
#ifndef TESTS_NCCL_DOUBLE_DOUBLE_H
#define TESTS_NCCL_DOUBLE_DOUBLE_H

#include "tests/nccl_double/nccl.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { DOUBLE_RANKS = 16, DOUBLE_ALIVE = 0x6e63636c };

enum work_kind { ALL_REDUCE = 1, ALL_GATHER, REDUCE_SCATTER, BROADCAST, SEND, RECV };

/* What a member of a communicator shows to the others. */
struct member {
    _Atomic uint32_t present, split; /* split: how many splits it has come for */
    /* Of the last split and the one before: a fast member comes to the next one while others still
     * read. */
    _Atomic int32_t color[2], key[2];
    _Atomic uint64_t entered, left; /* numbers of works */
    _Atomic int32_t kind, root;
    _Atomic uint64_t bytes;
};

struct page {
    struct member members[DOUBLE_RANKS];
};

/* One collective or message on a stream. */
struct work {
    struct ncclComm *comm;
    enum work_kind kind;
    const void *in;
    void *out;
    size_t count; /* elements of ncclAllReduce's meaning: of the part, for scatters and gathers */
    ncclDataType_t type;
    bool average;
    int root; /* or the peer */
    cudaStream_t stream;
    uint64_t number;
    int calls; /* before it is on the stream */
    bool hangs, breaks, entered, done;
};

struct split {
    int color, key, members;
    ncclComm_t *handle;
    struct ncclComm *child;
    bool begun;
};

struct ncclComm {
    uint32_t alive; /* DOUBLE_ALIVE */
    char path[256];
    int fd, count, rank;
    struct page *page;
    ncclResult_t state;
    char error[256];
    double ready_at;
    bool ready;
    uint32_t splits;
    struct split split; /* under way if `handle` is set */
    struct work work;   /* the last one */
    uint64_t works;
};

/* ---- transport.c ---- */

/* Maps the file of a communicator; present from now on. */
bool double_join(struct ncclComm *comm);
bool double_all_present(const struct ncclComm *comm);
void double_leave(struct ncclComm *comm);
/* Carries on with the work of the communicator; sets its state to an error if it cannot be. */
void double_carry_on(struct work *work);

#endif
