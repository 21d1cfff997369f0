/* Dividing the workspace of a call, for every device. */
#ifndef ENGINE_DEVICE_COMMON_WORKSPACE_H
#define ENGINE_DEVICE_COMMON_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

enum { WORKSPACE_ALIGNMENT = 64 };

/* With base NULL it only counts, so one function both plans and divides. */
struct workspace {
    char *base;
    size_t used; /* bytes */
};

/* The next `count` elements of `size` bytes, aligned; NULL while it only counts. */
static inline void *workspace_take(struct workspace *workspace, int64_t count, size_t size)
{
    size_t offset = workspace->used, most = WORKSPACE_ALIGNMENT - 1;
    workspace->used += ((size_t)count * size + most) & ~most;
    return workspace->base ? workspace->base + offset : NULL;
}

static inline float *workspace_floats(struct workspace *workspace, int64_t count)
{
    return (float *)workspace_take(workspace, count, sizeof(float));
}

#endif
