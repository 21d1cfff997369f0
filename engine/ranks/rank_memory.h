/* The memory of a rank that computes in another process, as a device: the twin of its run, in the
 * engine, is made on it, and everything that reads, writes, saves or restores tensors works on the
 * twin as on a run of this process. On one machine both map the same memory, which outlives the
 * rank; from another machine bytes come and go over the connection. One thread. Internal to
 * engine/ranks. */
#ifndef ENGINE_RANKS_RANK_MEMORY_H
#define ENGINE_RANKS_RANK_MEMORY_H

#include "engine/device/device.h"
#include "engine/ranks/protocol.h"

/* How bytes of another machine's rank are read and written. */
struct memory_link {
    bool (*read)(void *context, const struct extent *extent, void *bytes, struct status *status);
    bool (*write)(void *context, const struct extent *extent, const void *bytes,
                  struct status *status);
    void *context;
};

/* The first PROTOCOL_ARENAS allocations of a run (states and such; values of the step) are shared;
 * what comes after them (workspace) is the rank's own. */
struct rank_memory {
    struct device *inner; /* borrowed: answers for workspace and kernels, in the rank computes */
    struct memory_link link;
    int count;
    struct arena {
        char *address;
        size_t bytes;
        int fd; /* -1: not shared */
    } arenas[PROTOCOL_ARENAS];
};

/* The engine's side on one machine: allocating makes memory that can be handed over. The device is
 * closed before `memory` goes. */
struct device *rank_memory_make(struct rank_memory *memory, struct device *inner);
/* The engine's side for a rank elsewhere. */
struct device *rank_memory_far(struct rank_memory *memory, struct device *inner,
                               const struct memory_link *link);
/* The rank's side: allocating maps what was handed over, whose sizes must be those asked for; where
 * nothing was (arenas.fd -1), it is memory of `inner`. */
struct device *rank_memory_take(struct rank_memory *memory, struct device *inner);
/* Sizes of what is shared. */
struct arenas rank_memory_arenas(const struct rank_memory *memory);
/* Closes descriptors that were not used. */
void rank_memory_close(struct rank_memory *memory);

#endif
