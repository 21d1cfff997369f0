/* Large blocks that were released are kept for the next run: the system clears every page that it
 * hands out anew, which took an eighth of a suite of short tests. */
#include "engine/device/cpu/arenas.h"

#include "engine/base/memory.h"

#include <sanitizer/asan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { HUGE_PAGE = MEMORY_HUGE_PAGE, LINE = 64 };

/* Addresses for a power of two of bytes, so that the next run's slightly different plan fits, too;
 * only what was ever asked for has memory behind it. */
struct arena {
    char *memory;
    size_t reserved, touched;
    bool free;
};

struct arenas {
    struct arena *list;
    int count, capacity;
    size_t held, used, most_used; /* bytes touched; asked for now; at most so far */
};

struct arenas *arenas_open(void)
{
    return memory_zeroed(1, sizeof(struct arenas));
}

static bool give_back_one(struct arenas *arenas)
{
    for (int i = 0; i < arenas->count; i++) {
        struct arena *arena = &arenas->list[i];
        if (!arena->free)
            continue;
        ASAN_UNPOISON_MEMORY_REGION(arena->memory, arena->touched);
        memory_unmap(arena->memory, arena->reserved);
        arenas->held -= arena->touched;
        *arena = arenas->list[--arenas->count];
        return true;
    }
    return false;
}

/* What is kept may make the process larger than it was by half: runs of two sizes that take turns
 * then find their blocks again. Without that each of them touched its memory anew, a tenth of a
 * suite's time. */
static void make_room(struct arenas *arenas, size_t bytes)
{
    while (arenas->held + bytes > arenas->most_used + arenas->most_used / 2 &&
           give_back_one(arenas))
        continue;
}

void arenas_close(struct arenas *arenas)
{
    if (!arenas)
        return;
    while (give_back_one(arenas))
        continue;
    free(arenas->list);
    free(arenas);
}

/* Whether one that was touched so far is better than another for the bytes: the least that was
 * touched far enough, or else what was touched farthest. */
static bool is_better(const struct arena *arena, const struct arena *than, size_t bytes)
{
    if (!than)
        return true;
    if (arena->touched >= bytes)
        return than->touched < bytes || arena->touched < than->touched;
    return arena->touched > than->touched;
}

/* Bytes touched of the blocks in use. */
static size_t touched_in_use(const struct arenas *arenas)
{
    size_t touched = 0;
    for (int i = 0; i < arenas->count; i++)
        touched += arenas->list[i].free ? 0 : arenas->list[i].touched;
    return touched;
}

/* One that the bytes fill less than half only where all that is in use then fits into what once
 * was: else the rest would be missing elsewhere. */
static struct arena *find_free(const struct arenas *arenas, size_t bytes)
{
    struct arena *best = NULL, *loose = NULL;
    size_t touched = touched_in_use(arenas);
    for (int i = 0; i < arenas->count; i++) {
        struct arena *arena = &arenas->list[i];
        if (!arena->free || arena->reserved < bytes)
            continue;
        if (arena->touched / 2 <= bytes)
            best = is_better(arena, best, bytes) ? arena : best;
        else if (touched + arena->touched <= arenas->most_used)
            loose = is_better(arena, loose, bytes) ? arena : loose;
    }
    return best ? best : loose;
}

static size_t power_of_two(size_t bytes)
{
    size_t power = HUGE_PAGE;
    while (power < bytes)
        power *= 2;
    return power;
}

static struct arena *add_new(struct arenas *arenas, size_t bytes)
{
    size_t least = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    struct arena arena = {.reserved = power_of_two(bytes), .free = true};
    make_room(arenas, bytes);
    while (!(arena.memory = memory_map(arena.reserved))) {
        if (arena.reserved == least && !give_back_one(arenas))
            return NULL;
        arena.reserved = least;
    }
    ARRAY_PUSH(arenas->list, arenas->count, arenas->capacity, arena);
    return &arenas->list[arenas->count - 1];
}

static void *take(struct arenas *arenas, struct arena *arena, size_t bytes)
{
    void *memory = arena->memory;
    arena->free = false;
    if (bytes > arena->touched) {
        arenas->held += bytes - arena->touched;
        arena->touched = bytes;
    }
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
    make_room(arenas, 0);
    return memory;
}

static void *allocate_large(struct arenas *arenas, size_t bytes)
{
    size_t most_used = arenas->most_used;
    arenas->used += bytes;
    arenas->most_used = arenas->used > most_used ? arenas->used : most_used;
    struct arena *arena = find_free(arenas, bytes);
    if (!arena)
        arena = add_new(arenas, bytes);
    if (arena)
        return take(arenas, arena, bytes);
    arenas->used -= bytes;
    arenas->most_used = most_used;
    return NULL;
}

void *arenas_allocate(struct arenas *arenas, size_t bytes)
{
    void *memory = NULL;
    if (bytes > SIZE_MAX / 4)
        return NULL;
    if (bytes >= HUGE_PAGE)
        return allocate_large(arenas, bytes);
    return posix_memalign(&memory, LINE, bytes ? bytes : 1) == 0 ? memory : NULL;
}

void arenas_release(struct arenas *arenas, void *memory, size_t bytes)
{
    if (bytes < HUGE_PAGE) {
        free(memory);
        return;
    }
    arenas->used -= bytes;
    for (int i = 0; i < arenas->count; i++)
        if (arenas->list[i].memory == memory) {
            arenas->list[i].free = true;
            ASAN_POISON_MEMORY_REGION(memory, arenas->list[i].touched);
        }
}

size_t arenas_held(const struct arenas *arenas)
{
    return arenas->held;
}
