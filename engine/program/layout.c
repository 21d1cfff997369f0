#include "engine/program/layout.h"

#include <stdio.h>

int seat_size(const struct seat *seat, enum comm_group group)
{
    int size = mesh_members(&seat->mesh, seat->rank, group, NULL);
    return size > 0 ? size : 1;
}

static int at_least_one(int number)
{
    return number > 0 ? number : 1;
}

/* The number of a rank among data ranks. */
static int data_index(const struct seat *seat)
{
    return seat->rank / at_least_one(seat->mesh.tensors) % at_least_one(seat->mesh.datas);
}

int seat_batches(const struct seat *seat)
{
    return at_least_one(seat->mesh.datas) / at_least_one(seat->mesh.sequence_datas);
}

int seat_batch(const struct seat *seat)
{
    return data_index(seat) / at_least_one(seat->mesh.sequence_datas);
}

static int ranks_per_pipeline(const struct seat *seat)
{
    return at_least_one(seat->mesh.tensors) * at_least_one(seat->mesh.datas);
}

int seat_pipeline(const struct seat *seat)
{
    return seat->rank / ranks_per_pipeline(seat);
}

int seat_on_pipeline(const struct seat *seat, int pipeline)
{
    return seat->rank % ranks_per_pipeline(seat) + pipeline * ranks_per_pipeline(seat);
}

int seat_index(const struct seat *seat, enum comm_group group)
{
    int pipeline = seat_pipeline(seat), before = 0;
    switch (group) {
    case COMM_WORLD:
        return seat->rank;
    case COMM_DATA:
        return data_index(seat);
    case COMM_SEQUENCE_DATA:
        return data_index(seat) % at_least_one(seat->mesh.sequence_datas);
    case COMM_TENSOR:
        return seat->rank % at_least_one(seat->mesh.tensors);
    case COMM_PIPELINE:
        return pipeline;
    case COMM_TIED:
        for (int p = 0; p < pipeline && p < MESH_MAX_TIED; p++)
            before += (int)(seat->mesh.tied >> p & 1);
        return before;
    case COMM_GROUP_COUNT:
        break;
    }
    return 0;
}

void layout_cut(struct layout *layout, const struct seat *seat, int dimension, int parts,
                enum comm_group group)
{
    if (seat_size(seat, group) > 1 && layout->cut_count < SHARD_MAX_CUTS)
        layout->cuts[layout->cut_count++] = (struct layout_cut){dimension, parts, group};
}

bool layout_is_cut(const struct layout *layout, enum comm_group group)
{
    for (int i = 0; i < layout->cut_count; i++)
        if (layout->cuts[i].group == group)
            return true;
    return false;
}

unsigned layout_covers(enum comm_group group)
{
    if (group == COMM_WORLD)
        return ~0u;
    if (group == COMM_DATA)
        return 1u << COMM_DATA | 1u << COMM_SEQUENCE_DATA;
    return 1u << group;
}

bool layout_local_shape(const struct layout *layout, const struct seat *seat, struct shape *shape)
{
    struct shape local = *shape;
    for (int i = 0; i < layout->cut_count; i++) {
        const struct layout_cut *cut = &layout->cuts[i];
        int pieces = seat_size(seat, cut->group);
        if (local.dims[cut->dimension] % ((int64_t)cut->parts * pieces))
            return false;
        local.dims[cut->dimension] /= pieces;
    }
    *shape = local;
    return true;
}

struct shard layout_shard(const struct layout *layout, const struct seat *seat, struct shape local)
{
    struct shard shard = {0};
    if (layout->cut_count == 0)
        return shard;
    shard.global = local;
    for (int i = 0; i < layout->cut_count; i++) {
        const struct layout_cut *cut = &layout->cuts[i];
        int pieces = seat_size(seat, cut->group);
        shard.global.dims[cut->dimension] *= pieces;
        shard.cuts[shard.cut_count++] =
            (struct shard_cut){cut->dimension, cut->parts, pieces, seat_index(seat, cut->group)};
    }
    return shard;
}

const char *layout_text(const struct layout *layout, char buffer[160])
{
    int at = snprintf(buffer, 160, "%s", layout->cut_count ? "" : "whole");
    for (int i = 0; i < layout->cut_count && at < 120; i++) {
        const struct layout_cut *cut = &layout->cuts[i];
        at += snprintf(buffer + at, (size_t)(160 - at), "%s%s", i ? ", " : "",
                       cut->dimension ? "columns" : "rows");
        if (cut->parts > 1)
            at += snprintf(buffer + at, (size_t)(160 - at), " of %d parts", cut->parts);
        at += snprintf(buffer + at, (size_t)(160 - at), " / %s", comm_group_name(cut->group));
    }
    for (int group = 0; group < COMM_GROUP_COUNT && at < 140; group++)
        if (layout->partial >> group & 1)
            at += snprintf(buffer + at, (size_t)(160 - at), ", partial over %s",
                           comm_group_name((enum comm_group)group));
    return buffer;
}
