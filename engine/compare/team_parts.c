/* Whole tensors of a team that are not put together. */
#include "engine/base/memory.h"
#include "engine/compare/pair_internal.h"
#include "engine/compare/team.h"

#include <stdlib.h>

/* The part of a rank; *held is false when it is not at hand. */
static bool view_part(struct team *team, int rank, int number, struct team_parts *parts,
                      struct mosaic_part *part, bool *held, struct status *status)
{
    const struct run *run = team->pairs[rank]->test;
    const struct value *value = &run->program->values[number];
    *held = executor_holds(run->executor, number);
    part->shard = value->shard;
    if (!*held)
        return true;
    void **copy = &parts->copies[parts->count++];
    if (!executor_view(run->executor, number, copy, &part->tensor, status))
        return false;
    parts->copied += *copy ? value_bytes(value) : 0;
    return true;
}

bool team_view_parts(struct team *team, int index, struct team_parts *parts, bool *complete,
                     struct status *status)
{
    const struct team_tensor *tensor = &team->tensors[index];
    size_t most = (size_t)tensor->parts;
    struct mosaic_part *list = memory_zeroed(most, sizeof(*list));
    int count = 0;
    bool ok = true;
    *complete = true;
    *parts = (struct team_parts){.copies = memory_zeroed(most, sizeof(*parts->copies))};
    for (int rank = 0; ok && *complete && rank < team->world->size; rank++)
        if (tensor->values[rank] >= 0 && tensor->same_as[rank] == rank)
            ok = view_part(team, rank, tensor->values[rank], parts, &list[count++], complete,
                           status);
    if (ok && *complete)
        *complete = mosaic_make(&parts->whole, tensor->global, list, count);
    free(list);
    if (ok && *complete)
        return true;
    team_parts_free(parts);
    return ok;
}

/* Parts that are alike have one owner; those that overlap otherwise would count twice. */
static bool is_far_and_whole(const struct team *team, const struct team_tensor *tensor)
{
    int64_t elements = 0;
    for (int rank = 0; rank < team->world->size; rank++) {
        int value = tensor->values[rank];
        if (value < 0 || tensor->same_as[rank] != rank)
            continue;
        if (!world_is_far(team->world, rank) ||
            !executor_holds(team->pairs[rank]->test->executor, value))
            return false;
        elements += shape_elements(team_value(team, rank, value)->shape);
    }
    return elements == shape_elements(tensor->global);
}

bool team_summarize(struct team *team, int index, const struct sampling *sampling, bool *taken,
                    struct device_statistics *statistics, char *samples, struct status *status)
{
    const struct team_tensor *tensor = &team->tensors[index];
    bool ok = true, first = true;
    *taken = is_far_and_whole(team, tensor);
    for (int rank = 0; ok && *taken && rank < team->world->size; rank++) {
        struct device_statistics part;
        if (tensor->values[rank] < 0 || tensor->same_as[rank] != rank)
            continue;
        ok = world_summarize_far(team->world, rank, tensor->values[rank], sampling, &part, samples,
                                 status);
        if (ok && first)
            *statistics = part;
        else if (ok)
            summary_add(statistics, &part);
        first = false;
    }
    return ok;
}

void team_parts_free(struct team_parts *parts)
{
    mosaic_free(&parts->whole);
    for (int i = 0; i < parts->count; i++)
        free(parts->copies[i]);
    free(parts->copies);
    *parts = (struct team_parts){0};
}
