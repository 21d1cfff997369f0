#include "engine/suite/references.h"

#include "engine/base/memory.h"

#include <stdlib.h>

static const int64_t LIMIT = (int64_t)REFERENCES_MEBIBYTES << 20;

const struct recording *references_find(struct references *references, uint64_t config_hash)
{
    for (struct reference **link = &references->newest; *link; link = &(*link)->next) {
        struct reference *found = *link;
        if (found->config->hash != config_hash)
            continue;
        *link = found->next;
        found->next = references->newest;
        references->newest = found;
        return found->recording;
    }
    return NULL;
}

bool references_fit(const struct program *program, int steps)
{
    return recording_bytes(program, steps) <= LIMIT;
}

static void drop(struct references *references, struct reference **link)
{
    struct reference *dropped = *link;
    *link = dropped->next;
    references->bytes -= dropped->recording->bytes;
    recording_recycle(dropped->recording, &references->spare);
    config_free(dropped->config);
    free(dropped);
}

static void drop_oldest(struct references *references)
{
    struct reference **link = &references->newest;
    while ((*link)->next)
        link = &(*link)->next;
    drop(references, link);
}

void references_release(struct references *references, uint64_t config_hash)
{
    struct reference **link = &references->newest;
    while (*link && (*link)->config->hash != config_hash)
        link = &(*link)->next;
    if (*link && --(*link)->users <= 0)
        drop(references, link);
}

void references_add(struct references *references, struct config *config,
                    struct recording *recording, int users)
{
    struct reference *reference = memory_zeroed(1, sizeof(*reference));
    *reference = (struct reference){config, recording, users, references->newest};
    references->newest = reference;
    references->bytes += recording->bytes;
    while (references->bytes > LIMIT && references->newest->next)
        drop_oldest(references);
    if (references->bytes + references->spare.reserved > LIMIT)
        recording_memory_free(&references->spare);
}

void references_free(struct references *references)
{
    while (references->newest)
        drop_oldest(references);
    recording_memory_free(&references->spare);
}
