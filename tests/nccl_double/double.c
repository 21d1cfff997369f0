/* The entry points. */
#include "tests/nccl_double/double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* Like NCCL's, per process; its calls come from one thread. */
static struct {
    int works, groups;
    char error[256];
} process;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The number of a switch, 1 if it has none; -1: it is not set for this process. */
static long chosen(const char *name)
{
    const char *at = getenv("LOCKSTEP_NCCL_DOUBLE"), *own = getenv("OMPI_COMM_WORLD_RANK");
    size_t length = strlen(name);
    for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, name, length) != 0 || !strchr("=@,", at[length]))
            continue;
        size_t end = strcspn(at, ",");
        const char *rank = memchr(at, '@', end);
        if (rank && (!own || atoi(rank + 1) != atoi(own)))
            continue;
        return at[length] == '=' ? strtol(at + length + 1, NULL, 10) : 1;
    }
    return -1;
}

static ncclResult_t fail(struct ncclComm *comm, ncclResult_t result, const char *text)
{
    snprintf(comm ? comm->error : process.error, sizeof(process.error), "%s", text);
    return result;
}

ncclResult_t ncclGetVersion(int *version)
{
    *version = chosen("version") > 0 ? (int)chosen("version") : NCCL_VERSION_CODE;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    unsigned char random[8];
    memset(id, 0, sizeof(*id));
    if (chosen("no-id") > 0 || getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return fail(NULL, ncclSystemError, "no interface to listen on");
    size_t used =
        (size_t)snprintf(id->internal, sizeof(id->internal), "lockstep-nccl-%d-", (int)getpid());
    for (size_t i = 0; i < sizeof(random); i++)
        used +=
            (size_t)snprintf(id->internal + used, sizeof(id->internal) - used, "%02x", random[i]);
    return ncclSuccess;
}

/* ---- joining ---- */

static struct ncclComm *new_comm(const char *path, int count, int rank)
{
    struct ncclComm *comm = calloc(1, sizeof(*comm));
    long slow = chosen("slow");
    comm->alive = DOUBLE_ALIVE;
    snprintf(comm->path, sizeof(comm->path), "%s", path);
    comm->count = count;
    comm->rank = rank;
    comm->state = ncclInProgress;
    comm->ready_at = now() + (slow > 0 ? (double)slow * 1e-3 : 0);
    if (!double_join(comm))
        comm->state = fail(comm, ncclSystemError, "no shared memory");
    else if (chosen("duplicates") > 0 && !getenv("NCCL_HOSTID"))
        comm->state = fail(comm, ncclInvalidUsage,
                           "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 65000");
    return comm;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int count, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    char path[256];
    const char *folder = getenv("TMPDIR");
    if (!config || config->magic != NCCL_DOUBLE_MAGIC || config->blocking != 0 || count < 1 ||
        count > DOUBLE_RANKS || rank < 0 || rank >= count ||
        strncmp(id.internal, "lockstep-nccl-", 14) != 0)
        return fail(NULL, ncclInvalidArgument, "a bad argument of ncclCommInitRankConfig");
    snprintf(path, sizeof(path), "%s/%s", folder && *folder ? folder : "/tmp", id.internal);
    *comm = new_comm(path, count, rank);
    return ncclInProgress;
}

/* Members of one colour, in the order of their keys, then ranks. */
static void begin_split(struct ncclComm *comm)
{
    struct split *split = &comm->split;
    char path[256];
    int rank = 0, count = 0;
    split->begun = true;
    for (int r = 0; r < comm->count; r++) {
        int color = atomic_load(&comm->page->members[r].color[comm->splits & 1]);
        int key = atomic_load(&comm->page->members[r].key[comm->splits & 1]);
        count += color == split->color;
        rank +=
            color == split->color && (key < split->key || (key == split->key && r < comm->rank));
    }
    if (split->color == NCCL_SPLIT_NOCOLOR)
        return;
    snprintf(path, sizeof(path), "%.200s-%u-%d", comm->path, comm->splits, split->color);
    split->child = new_comm(path, count, rank);
}

static void carry_on_joining(struct ncclComm *comm)
{
    if (chosen("join-hang") > 0 || now() < comm->ready_at || !double_all_present(comm))
        return;
    comm->ready = true;
    comm->state = ncclSuccess;
}

static void carry_on_splitting(struct ncclComm *comm)
{
    struct split *split = &comm->split;
    for (int rank = 0; rank < comm->count; rank++)
        if (atomic_load(&comm->page->members[rank].split) < comm->splits)
            return;
    if (!split->begun)
        begin_split(comm);
    if (split->child && split->child->state == ncclInProgress) {
        carry_on_joining(split->child);
        return;
    }
    *split->handle = split->child; /* not before the parent is done: as since 2.23 */
    split->handle = NULL;
    comm->state = ncclSuccess;
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *child,
                           ncclConfig_t *config)
{
    if (comm->alive != DOUBLE_ALIVE || comm->state != ncclSuccess)
        return fail(NULL, ncclInvalidUsage, "the communicator is in use");
    if (!config || config->blocking != 0)
        return fail(comm, ncclInvalidArgument, "a bad argument of ncclCommSplit");
    struct member *own = &comm->page->members[comm->rank];
    comm->split = (struct split){.color = color, .key = key, .handle = child};
    *child = NULL;
    comm->splits++;
    atomic_store(&own->color[comm->splits & 1], color);
    atomic_store(&own->key[comm->splits & 1], key);
    atomic_store(&own->split, comm->splits);
    comm->state = ncclInProgress;
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    if (!comm || comm->alive != DOUBLE_ALIVE)
        return fail(NULL, ncclInvalidArgument, "no communicator");
    if (comm->state == ncclInProgress && !comm->ready)
        carry_on_joining(comm);
    else if (comm->state == ncclInProgress && comm->split.handle)
        carry_on_splitting(comm);
    else if (comm->state == ncclInProgress && comm->work.calls-- <= 0)
        comm->state = ncclSuccess; /* what was called is on the stream now */
    else if (comm->work.comm)
        double_carry_on(&comm->work);
    *state = comm->state;
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    if (!comm || comm->alive != DOUBLE_ALIVE)
        return ncclInvalidArgument;
    if (comm->work.stream && comm->work.stream->work == &comm->work)
        comm->work.stream->busy = NULL;
    double_leave(comm);
    comm->alive = 0;
    free(comm);
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclSystemError:
        return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case ncclInvalidArgument:
        return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case ncclInvalidUsage:
        return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case ncclRemoteError:
        return "remote process exited or there was a network error";
    case ncclInProgress:
        return "NCCL operation in progress";
    default:
        return "unknown result code";
    }
}

const char *ncclGetLastError(ncclComm_t comm)
{
    return comm ? comm->error : process.error;
}

/* ---- collectives ---- */

/* Whether a stream is busy with a work. */
static int is_busy(void *memory)
{
    struct work *work = memory;
    if (work->comm->state == ncclInProgress)
        return 0; /* not on the stream yet */
    double_carry_on(work);
    return !work->done;
}

static ncclResult_t begin(struct work work)
{
    struct ncclComm *comm = work.comm;
    int number = ++process.works;
    if (!comm || comm->alive != DOUBLE_ALIVE)
        return fail(NULL, ncclInvalidArgument, "no communicator");
    if (comm->state != ncclSuccess || (comm->work.comm && !comm->work.done))
        return fail(comm, ncclInvalidUsage, "the communicator is in use");
    if (number == chosen("fail"))
        return fail(comm, ncclSystemError, "Call to ibv_create_qp failed");
    work.hangs = number == chosen("hang");
    work.breaks = number == chosen("remote");
    work.number = ++comm->works;
    work.calls = 2;
    comm->work = work;
    comm->state = ncclInProgress;
    work.stream->busy = is_busy;
    work.stream->work = &comm->work;
    return ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *in, void *out, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = ALL_REDUCE,
                               .in = in,
                               .out = out,
                               .count = count,
                               .type = type,
                               .average = op == ncclAvg,
                               .stream = stream});
}

ncclResult_t ncclAllGather(const void *in, void *out, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = ALL_GATHER,
                               .in = in,
                               .out = out,
                               .count = count,
                               .type = type,
                               .stream = stream});
}

ncclResult_t ncclReduceScatter(const void *in, void *out, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = REDUCE_SCATTER,
                               .in = in,
                               .out = out,
                               .count = count,
                               .type = type,
                               .average = op == ncclAvg,
                               .stream = stream});
}

ncclResult_t ncclBroadcast(const void *in, void *out, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = BROADCAST,
                               .in = in,
                               .out = out,
                               .count = count,
                               .type = type,
                               .root = root,
                               .stream = stream});
}

ncclResult_t ncclSend(const void *in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = SEND,
                               .in = in,
                               .count = count,
                               .type = type,
                               .root = peer,
                               .stream = stream});
}

ncclResult_t ncclRecv(void *out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    return begin((struct work){.comm = comm,
                               .kind = RECV,
                               .out = out,
                               .count = count,
                               .type = type,
                               .root = peer,
                               .stream = stream});
}

ncclResult_t ncclGroupStart(void)
{
    process.groups++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (process.groups-- <= 0)
        return fail(NULL, ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    return ncclInProgress;
}
