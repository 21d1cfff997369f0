#include "engine/comm/mesh.h"

#include <stdbool.h>
#include <stddef.h>

const char *comm_group_name(enum comm_group group)
{
    static const char *const names[COMM_GROUP_COUNT] = {"world",  "data",     "sequence data",
                                                        "tensor", "pipeline", "tied"};
    return names[group];
}

static int at_least_one(int number)
{
    return number > 0 ? number : 1;
}

int mesh_size(const struct mesh *mesh)
{
    return at_least_one(mesh->tensors) * at_least_one(mesh->datas) * at_least_one(mesh->pipelines);
}

static bool has_tied(const struct mesh *mesh, int pipeline)
{
    return pipeline < MESH_MAX_TIED && (mesh->tied >> pipeline & 1);
}

/* Members of a group lie at even distances, all but those of COMM_TIED. */
struct line {
    int first, stride, count;
};

static struct line line_of(const struct mesh *mesh, int rank, enum comm_group group)
{
    int tensors = at_least_one(mesh->tensors), datas = at_least_one(mesh->datas);
    int plane = tensors * datas, sequence_datas = at_least_one(mesh->sequence_datas);
    int data = rank / tensors % datas;
    switch (group) {
    case COMM_WORLD:
        return (struct line){0, 1, mesh_size(mesh)};
    case COMM_DATA:
        return (struct line){rank - data * tensors, tensors, datas};
    case COMM_SEQUENCE_DATA:
        return (struct line){rank - data % sequence_datas * tensors, tensors, sequence_datas};
    case COMM_TENSOR:
        return (struct line){rank - rank % tensors, 1, tensors};
    case COMM_PIPELINE:
        return (struct line){rank % plane, plane, at_least_one(mesh->pipelines)};
    case COMM_TIED:
        if (has_tied(mesh, rank / plane))
            return (struct line){rank % plane, plane, at_least_one(mesh->pipelines)};
        break;
    case COMM_GROUP_COUNT:
        break;
    }
    return (struct line){0};
}

int mesh_members(const struct mesh *mesh, int rank, enum comm_group group, int *members)
{
    struct line line = line_of(mesh, rank, group);
    int found = 0;
    if (!members && group != COMM_TIED)
        return line.count;
    for (int i = 0; i < line.count; i++) {
        if (group == COMM_TIED && !has_tied(mesh, i))
            continue;
        if (members)
            members[found] = line.first + i * line.stride;
        found++;
    }
    return found;
}

int mesh_first(const struct mesh *mesh, int rank, enum comm_group group)
{
    struct line line = line_of(mesh, rank, group);
    for (int i = 0; i < line.count; i++)
        if (group != COMM_TIED || has_tied(mesh, i))
            return line.first + i * line.stride;
    return -1;
}
