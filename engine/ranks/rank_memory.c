#include "engine/ranks/rank_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool fail(struct status *status, size_t bytes)
{
    return status_fail(status, STATUS_MEMORY, "%zu bytes of a rank's memory: %s", bytes,
                       strerror(errno));
}

static struct arena *find(struct rank_memory *memory, const void *address)
{
    for (int i = 0; i < memory->count && i < PROTOCOL_ARENAS; i++)
        if ((const char *)address >= memory->arenas[i].address &&
            (const char *)address < memory->arenas[i].address + memory->arenas[i].bytes)
            return &memory->arenas[i];
    return NULL;
}

static void *map(int fd, size_t bytes, int protection, int how)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    void *address = mmap(NULL, bytes, protection, flags | how, fd, 0);
    return address == MAP_FAILED ? NULL : address;
}

/* ---- what all sides have in common ---- */

static void memory_close(void *context)
{
    (void)context;
}

static bool memory_supports(void *context, const struct op_call *call)
{
    return device_supports(((struct rank_memory *)context)->inner, call);
}

static size_t memory_workspace(void *context, const struct op_call *call)
{
    return device_workspace(((struct rank_memory *)context)->inner, call);
}

static bool run_elsewhere(void *context, const struct op_call *call, struct status *status)
{
    (void)context;
    return status_fail(status, STATUS_INTERNAL, "%s runs in the rank's own process",
                       op_name(call->op));
}

static void release_mapped(void *context, void *address, size_t bytes)
{
    struct arena *arena = find(context, address);
    munmap(address, bytes);
    if (arena && arena->fd >= 0) {
        close(arena->fd);
        arena->fd = -1;
    }
}

static bool copy(void *context, void *to, const void *from, size_t bytes, struct status *status)
{
    (void)context, (void)status;
    memcpy(to, from, bytes);
    return true;
}

/* ---- the engine, on one machine ---- */

/* Memory is reserved in full at once: a rank that runs on must not find, by a signal, that there is
 * none. */
static bool make(void *context, size_t bytes, void **address, struct status *status)
{
    struct rank_memory *memory = context;
    bool shared = memory->count < PROTOCOL_ARENAS;
    int fd = -1;
    if (shared) {
        fd = memfd_create("lockstep rank", MFD_CLOEXEC);
        if (fd < 0 || (errno = posix_fallocate(fd, 0, (off_t)bytes)) != 0) {
            fail(status, bytes);
            if (fd >= 0)
                close(fd);
            return false;
        }
    }
    *address = map(fd, bytes, shared ? PROT_READ | PROT_WRITE : PROT_NONE, 0);
    if (!*address) {
        fail(status, bytes);
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (shared)
        memory->arenas[memory->count++] = (struct arena){*address, bytes, fd};
    return true;
}

static const struct device_ops near_ops = {
    .name = "rank",
    .close = memory_close,
    .supports = memory_supports,
    .workspace = memory_workspace,
    .run = run_elsewhere,
    .allocate = make,
    .release = release_mapped,
    .upload = copy,
    .download = copy,
    .host_memory = true,
};

struct device *rank_memory_make(struct rank_memory *memory, struct device *inner)
{
    *memory = (struct rank_memory){.inner = inner};
    return device_wrap(&near_ops, memory);
}

/* ---- the engine, from another machine ---- */

/* Addresses without memory, so that each value has one of its own. */
static bool reserve(void *context, size_t bytes, void **address, struct status *status)
{
    struct rank_memory *memory = context;
    *address = map(-1, bytes, PROT_NONE, 0);
    if (!*address)
        return fail(status, bytes);
    if (memory->count < PROTOCOL_ARENAS)
        memory->arenas[memory->count++] = (struct arena){*address, bytes, -1};
    return true;
}

/* The next piece that one frame can carry. */
static struct extent next_piece(const struct arena *arena, const struct rank_memory *memory,
                                const char *address, size_t left)
{
    return (struct extent){(uint32_t)(arena - memory->arenas), (uint64_t)(address - arena->address),
                           left < PROTOCOL_CHUNK ? left : PROTOCOL_CHUNK};
}

static bool upload_far(void *context, void *to, const void *host, size_t bytes,
                       struct status *status)
{
    struct rank_memory *memory = context;
    const struct arena *arena = find(memory, to);
    for (size_t done = 0; arena && done < bytes;) {
        struct extent piece = next_piece(arena, memory, (char *)to + done, bytes - done);
        if (!memory->link.write(memory->link.context, &piece, (const char *)host + done, status))
            return false;
        done += (size_t)piece.bytes;
    }
    return arena || status_fail(status, STATUS_INTERNAL, "no memory of the rank");
}

static bool download_far(void *context, void *host, const void *from, size_t bytes,
                         struct status *status)
{
    struct rank_memory *memory = context;
    const struct arena *arena = find(memory, from);
    for (size_t done = 0; arena && done < bytes;) {
        struct extent piece = next_piece(arena, memory, (const char *)from + done, bytes - done);
        if (!memory->link.read(memory->link.context, &piece, (char *)host + done, status))
            return false;
        done += (size_t)piece.bytes;
    }
    return arena || status_fail(status, STATUS_INTERNAL, "no memory of the rank");
}

static const struct device_ops far_ops = {
    .name = "rank",
    .close = memory_close,
    .supports = memory_supports,
    .workspace = memory_workspace,
    .run = run_elsewhere,
    .allocate = reserve,
    .release = release_mapped,
    .upload = upload_far,
    .download = download_far,
    .host_memory = false,
};

struct device *rank_memory_far(struct rank_memory *memory, struct device *inner,
                               const struct memory_link *link)
{
    *memory = (struct rank_memory){.inner = inner, .link = *link};
    return device_wrap(&far_ops, memory);
}

/* ---- the rank ---- */

/* The memory is there already: its pages are entered into the rank's tables at once, which costs a
 * sixth of doing so one by one, as each is written for the first time. */
static bool take_mapped(struct rank_memory *memory, size_t bytes, void **address,
                        struct status *status)
{
    struct arena *arena = &memory->arenas[memory->count];
    if (arena->bytes != bytes)
        return status_fail(status, STATUS_INTERNAL,
                           "this rank plans %zu bytes of memory, the engine %zu", bytes,
                           arena->bytes);
    arena->address = *address = map(arena->fd, bytes, PROT_READ | PROT_WRITE, MAP_POPULATE);
    if (!*address)
        return fail(status, bytes);
    memory->count++;
    return true;
}

static bool take(void *context, size_t bytes, void **address, struct status *status)
{
    struct rank_memory *memory = context;
    if (memory->count < PROTOCOL_ARENAS && memory->arenas[memory->count].fd >= 0)
        return take_mapped(memory, bytes, address, status);
    if (!device_allocate(memory->inner, MEMORY_WORKSPACE, bytes, address, status))
        return false;
    if (memory->count < PROTOCOL_ARENAS)
        memory->arenas[memory->count++] = (struct arena){*address, bytes, -1};
    return true;
}

static void give_back(void *context, void *address, size_t bytes)
{
    struct rank_memory *memory = context;
    const struct arena *arena = find(memory, address);
    if (arena && arena->fd >= 0)
        release_mapped(memory, address, bytes);
    else
        device_release(memory->inner, MEMORY_WORKSPACE, address, bytes);
}

static bool run_here(void *context, const struct op_call *call, struct status *status)
{
    return device_run(((struct rank_memory *)context)->inner, call, status);
}

static bool upload_here(void *context, void *to, const void *host, size_t bytes,
                        struct status *status)
{
    return device_upload(((struct rank_memory *)context)->inner, to, host, bytes, status);
}

static bool download_here(void *context, void *host, const void *from, size_t bytes,
                          struct status *status)
{
    return device_download(((struct rank_memory *)context)->inner, host, from, bytes, status);
}

static bool synchronize(void *context, struct status *status)
{
    return device_synchronize(((struct rank_memory *)context)->inner, status);
}

static bool lost(void *context, bool *last)
{
    struct device *inner = ((struct rank_memory *)context)->inner;
    *last = device_lost_by_last(inner);
    return device_lost(inner);
}

static const struct device_ops rank_ops = {
    .name = "rank",
    .close = memory_close,
    .supports = memory_supports,
    .workspace = memory_workspace,
    .run = run_here,
    .allocate = take,
    .release = give_back,
    .upload = upload_here,
    .download = download_here,
    .synchronize = synchronize,
    .lost = lost,
    .host_memory = true,
};

struct device *rank_memory_take(struct rank_memory *memory, struct device *inner)
{
    memory->inner = inner;
    memory->count = 0;
    return device_wrap(&rank_ops, memory);
}

struct arenas rank_memory_arenas(const struct rank_memory *memory)
{
    struct arenas arenas = {.count = memory->count};
    for (int i = 0; i < memory->count; i++)
        arenas.bytes[i] = memory->arenas[i].bytes;
    return arenas;
}

void rank_memory_close(struct rank_memory *memory)
{
    for (int i = 0; i < PROTOCOL_ARENAS; i++)
        if (memory->arenas[i].bytes && memory->arenas[i].fd >= 0)
            close(memory->arenas[i].fd);
    *memory = (struct rank_memory){0};
}
