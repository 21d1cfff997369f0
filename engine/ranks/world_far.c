/* Tensors of ranks whose memory the engine does not share. */
#include "engine/base/memory.h"
#include "engine/ranks/world_internal.h"

#include <stdlib.h>
#include <string.h>

bool world_is_far(const struct world *world, int rank)
{
    return world->ops->ask && !device_host_memory(world->ranks[rank].run->device);
}

bool world_hash_far(struct world *world, int rank, int value, uint64_t *hash, struct status *status)
{
    struct question question = {.value = value};
    struct text answer = {0};
    bool ok = world->ops->ask(world, rank, &question, &answer, status);
    if (ok && !hash_read(answer.data, answer.length, hash))
        ok = status_fail(status, STATUS_IO, "rank %d has sent what is no hash", rank);
    text_free(&answer);
    return ok;
}

bool world_summarize_far(struct world *world, int rank, int value, const struct sampling *sampling,
                         struct device_statistics *statistics, char *samples, struct status *status)
{
    const struct value *of = &world->ranks[rank].run->program->values[value];
    struct question question = {.value = value, .sampling = *sampling};
    struct text answer = {0};
    bool ok = world->ops->ask(world, rank, &question, &answer, status);
    if (ok && (!statistics_read(answer.data, answer.length, statistics) ||
               !summary_put(answer.data + STATISTICS_BYTES, answer.length - STATISTICS_BYTES,
                            &of->shard, of->dtype, sampling, samples)))
        ok = status_fail(status, STATUS_IO, "rank %d has sent what are no samples", rank);
    text_free(&answer);
    return ok;
}
