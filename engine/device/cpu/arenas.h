/* Memory of the CPU device. One thread. */
#ifndef ENGINE_DEVICE_CPU_ARENAS_H
#define ENGINE_DEVICE_CPU_ARENAS_H

#include <stddef.h>

struct arenas;

struct arenas *arenas_open(void);
/* Everything must have been released. NULL is legal. */
void arenas_close(struct arenas *arenas);

/* 64-byte aligned memory that holds anything, or NULL. Blocks of at least a huge page that were
 * released are kept for the next call; in all at most two and a half times what was once in use
 * is held, and what is unused is given back where that makes it more than one and a half. */
void *arenas_allocate(struct arenas *arenas, size_t bytes);
/* `bytes` as asked for. */
void arenas_release(struct arenas *arenas, void *memory, size_t bytes);

/* Bytes of the large blocks, in use or kept. */
size_t arenas_held(const struct arenas *arenas);

#endif
