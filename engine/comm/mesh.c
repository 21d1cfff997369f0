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

int mesh_members(const struct mesh *mesh, int rank, enum comm_group group, int *members)
{
    int tensors = at_least_one(mesh->tensors), datas = at_least_one(mesh->datas);
    int plane = tensors * datas, sequence_datas = at_least_one(mesh->sequence_datas);
    int data = rank / tensors % datas;
    int first = 0, stride = 1, count = 0, found = 0;
    switch (group) {
    case COMM_WORLD:
        count = mesh_size(mesh);
        break;
    case COMM_DATA:
        first = rank - data * tensors, stride = tensors, count = datas;
        break;
    case COMM_SEQUENCE_DATA:
        first = rank - data % sequence_datas * tensors, stride = tensors, count = sequence_datas;
        break;
    case COMM_TENSOR:
        first = rank - rank % tensors, count = tensors;
        break;
    case COMM_PIPELINE:
    case COMM_TIED:
        first = rank % plane, stride = plane, count = at_least_one(mesh->pipelines);
        break;
    case COMM_GROUP_COUNT:
        break;
    }
    if (group == COMM_TIED && !has_tied(mesh, rank / plane))
        return 0;
    for (int i = 0; i < count; i++) {
        if (group == COMM_TIED && !has_tied(mesh, i))
            continue;
        if (members)
            members[found] = first + i * stride;
        found++;
    }
    return found;
}
