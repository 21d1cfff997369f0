/* How the processes of a communicator meet, and what they compute. */
#include "tests/nccl_double/double.h"

#include "engine/tensor/dtype.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Each member's data have a place in the (sparse) file. */
static off_t place_of(int rank)
{
    return (off_t)65536 + ((off_t)rank << 31);
}

bool double_join(struct ncclComm *comm)
{
    comm->fd = open(comm->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (comm->fd < 0 || ftruncate(comm->fd, place_of(comm->count)) != 0)
        return false;
    void *page = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, comm->fd, 0);
    if (page == MAP_FAILED)
        return false;
    comm->page = page;
    atomic_store(&comm->page->members[comm->rank].present, 1);
    return true;
}

bool double_all_present(const struct ncclComm *comm)
{
    for (int rank = 0; rank < comm->count; rank++)
        if (!atomic_load(&comm->page->members[rank].present))
            return false;
    unlink(comm->path); /* nobody else opens it */
    return true;
}

void double_leave(struct ncclComm *comm)
{
    if (comm->page)
        munmap(comm->page, sizeof(*comm->page));
    if (comm->fd >= 0)
        close(comm->fd);
    unlink(comm->path);
}

static enum dtype dtype_of(ncclDataType_t type)
{
    static const enum dtype dtypes[] = {
        [ncclInt8] = DTYPE_I8,      [ncclUint8] = DTYPE_U8,    [ncclInt32] = DTYPE_I32,
        [ncclUint32] = DTYPE_I32,   [ncclInt64] = DTYPE_I64,   [ncclUint64] = DTYPE_I64,
        [ncclFloat16] = DTYPE_F16,  [ncclFloat32] = DTYPE_F32, [ncclFloat64] = DTYPE_F64,
        [ncclBfloat16] = DTYPE_BF16};
    return dtypes[type];
}

static size_t bytes_of(const struct work *work)
{
    return work->count * dtype_size(dtype_of(work->type));
}

/* What this member puts in. */
static size_t bytes_in(const struct work *work)
{
    bool gives = work->kind == BROADCAST ? work->comm->rank == work->root : work->kind != RECV;
    size_t parts = work->kind == REDUCE_SCATTER ? (size_t)work->comm->count : 1;
    return gives ? parts * bytes_of(work) : 0;
}

static bool move(int fd, bool writes, void *memory, size_t bytes, off_t place)
{
    for (size_t done = 0; done < bytes;) {
        char *at = (char *)memory + done;
        off_t from = place + (off_t)done;
        ssize_t got =
            writes ? pwrite(fd, at, bytes - done, from) : pread(fd, at, bytes - done, from);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

/* As a ring does: each part of the tensor begins its way at another rank, and is rounded to its
 * type at each of them. An average is taken of the inputs, not of the sum. */
static void reduce(const struct work *work, char *const *inputs, size_t first, size_t whole)
{
    enum dtype dtype = dtype_of(work->type);
    size_t size = dtype_size(dtype), ranks = (size_t)work->comm->count;
    for (size_t i = 0; i < work->count; i++) {
        size_t start = (first + i) * ranks / whole + 1;
        char sum[8];
        for (size_t k = 0; k < ranks; k++) {
            double number = dtype_load(dtype, inputs[(start + k) % ranks], first + i);
            if (work->average)
                number /= (double)ranks;
            dtype_store(dtype, sum, 0, k ? dtype_load(dtype, sum, 0) + number : number);
        }
        memcpy((char *)work->out + i * size, sum, size);
    }
}

static bool fetch_and_reduce(const struct work *work)
{
    struct ncclComm *comm = work->comm;
    bool scatters = work->kind == REDUCE_SCATTER;
    size_t whole = scatters ? work->count * (size_t)comm->count : work->count;
    size_t bytes = whole * dtype_size(dtype_of(work->type));
    char *inputs[DOUBLE_RANKS] = {0};
    bool ok = true;
    for (int rank = 0; ok && rank < comm->count; rank++) {
        inputs[rank] = malloc(bytes);
        ok = inputs[rank] && move(comm->fd, false, inputs[rank], bytes, place_of(rank));
    }
    if (ok)
        reduce(work, inputs, scatters ? work->count * (size_t)comm->rank : 0, whole);
    for (int rank = 0; rank < comm->count; rank++)
        free(inputs[rank]);
    return ok;
}

static bool fetch(const struct work *work)
{
    struct ncclComm *comm = work->comm;
    size_t bytes = bytes_of(work);
    bool ok = true;
    switch (work->kind) {
    case SEND:
        return true;
    case RECV:
    case BROADCAST:
        return move(comm->fd, false, work->out, bytes, place_of(work->root));
    case ALL_GATHER:
        for (int rank = 0; ok && rank < comm->count; rank++)
            ok = move(comm->fd, false, (char *)work->out + (size_t)rank * bytes, bytes,
                      place_of(rank));
        return ok;
    default:
        return fetch_and_reduce(work);
    }
}

static bool all_have(const struct ncclComm *comm, bool left, uint64_t number)
{
    for (int rank = 0; rank < comm->count; rank++) {
        struct member *member = &comm->page->members[rank];
        if (atomic_load(left ? &member->left : &member->entered) < number)
            return false;
    }
    return true;
}

static bool enter(struct work *work)
{
    struct ncclComm *comm = work->comm;
    struct member *own = &comm->page->members[comm->rank];
    if (!move(comm->fd, true, (void *)work->in, bytes_in(work), place_of(comm->rank)))
        return false;
    atomic_store(&own->kind, (int32_t)work->kind);
    atomic_store(&own->root, work->root);
    atomic_store(&own->bytes, bytes_of(work));
    atomic_store(&own->entered, work->number);
    return true;
}

/* Whether the members have come for the same: NCCL would hang, or do something else. */
static bool all_agree(const struct work *work)
{
    const struct ncclComm *comm = work->comm;
    for (int rank = 0; rank < comm->count; rank++) {
        struct member *member = &comm->page->members[rank];
        int kind = atomic_load(&member->kind);
        bool pairs = kind == (int)(work->kind == SEND ? RECV : SEND) &&
                     atomic_load(&member->root) == comm->rank && work->root == rank;
        bool same = kind == (int)work->kind && atomic_load(&member->root) == work->root;
        bool message = work->kind == SEND || work->kind == RECV;
        if (rank != comm->rank &&
            (!(message ? pairs : same) || atomic_load(&member->bytes) != bytes_of(work)))
            return false;
    }
    return true;
}

void double_carry_on(struct work *work)
{
    struct ncclComm *comm = work->comm;
    if (work->done || work->hangs || comm->state != ncclSuccess)
        return;
    if (work->breaks) {
        comm->state = ncclRemoteError;
        snprintf(comm->error, sizeof(comm->error), "connection closed by remote peer");
        return;
    }
    if (!work->entered && !all_have(comm, true, work->number - 1))
        return; /* somebody still reads what is there */
    bool ok = work->entered || enter(work);
    work->entered = true;
    if (ok && !all_have(comm, false, work->number))
        return;
    if (!ok || !all_agree(work) || !fetch(work)) {
        comm->state = ok ? ncclInvalidUsage : ncclSystemError;
        snprintf(comm->error, sizeof(comm->error), "members came for different things");
        return;
    }
    work->done = true;
    atomic_store(&comm->page->members[comm->rank].left, work->number);
}
