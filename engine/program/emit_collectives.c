/* Collectives as instructions. A group of one rank needs none. */
#include "engine/program/builder.h"

#include <stdio.h>

static int emit_one(struct builder *builder, enum op op, enum comm_group group, int x,
                    struct shape shape, const char *name)
{
    struct output_spec output = {name, builder_value(builder, x)->dtype, shape, NULL};
    int index =
        builder_emit(builder, op, &(struct op_parameters){.group = (int)group}, &x, 1, &output, 1);
    return builder->program->instructions[index].outputs[0];
}

static int ranks(const struct builder *builder, enum comm_group group)
{
    return seat_size(&builder->program->seat, group);
}

int emit_all_reduce(struct builder *builder, int x, enum comm_group group, const char *name)
{
    if (ranks(builder, group) == 1)
        return x;
    return emit_one(builder, OP_ALL_REDUCE, group, x, builder_value(builder, x)->shape, name);
}

int emit_all_gather(struct builder *builder, int x, enum comm_group group, const char *name)
{
    struct shape shape = builder_value(builder, x)->shape;
    if (ranks(builder, group) == 1)
        return x;
    shape.dims[0] *= ranks(builder, group);
    return emit_one(builder, OP_ALL_GATHER, group, x, shape, name);
}

int emit_reduce_scatter(struct builder *builder, int x, enum comm_group group, const char *name)
{
    struct shape shape = builder_value(builder, x)->shape;
    if (ranks(builder, group) == 1)
        return x;
    if (shape.dims[0] % ranks(builder, group))
        builder_error(builder, "%d rows for %d %s ranks", (int)shape.dims[0], ranks(builder, group),
                      comm_group_name(group));
    shape.dims[0] /= ranks(builder, group);
    return emit_one(builder, OP_REDUCE_SCATTER, group, x, shape, name);
}

int emit_own_rows(struct builder *builder, int x, enum comm_group group, const char *name)
{
    const struct seat *seat = &builder->program->seat;
    struct layout layout = builder_value(builder, x)->layout;
    int64_t rows = builder_value(builder, x)->shape.dims[0] / ranks(builder, group);
    int own = emit_slice_rows(builder, x, rows * seat_index(seat, group), rows, name);
    layout_cut(&layout, seat, 0, 1, group);
    builder_set_layout(builder, own, &layout);
    return own;
}

int emit_complete_over(struct builder *builder, int x, unsigned groups, const char *name)
{
    for (int group = 0; group < COMM_GROUP_COUNT; group++) {
        unsigned left = builder_value(builder, x)->layout.partial & groups;
        bool last = !(left & ~layout_covers((enum comm_group)group));
        if (left >> group & 1)
            x = emit_all_reduce(builder, x, (enum comm_group)group, last ? name : NULL);
    }
    return x;
}

int emit_complete(struct builder *builder, int x, const char *name)
{
    return emit_complete_over(builder, x, ~0u, name);
}

int emit_cross_entropy_parallel(struct builder *builder, int logits, int labels, int count,
                                double factor, const char *name)
{
    const struct shard *shard = &builder_value(builder, logits)->shard;
    struct shape rows = shape_of1(builder_value(builder, logits)->shape.dims[0]);
    struct op_parameters parameters = {.factor = factor,
                                       .first_row = shard_global_index(shard, 1, 0),
                                       .window = shard->global.dims[1]};
    struct output_spec parts[] = {{NULL, DTYPE_F32, shape_of2(1, rows.dims[0]), NULL},
                                  {NULL, DTYPE_F32, rows, NULL}};
    char side[128];
    snprintf(side, sizeof(side), "%s.log_sum_exp", name ? name : "");
    struct output_spec outputs[] = {{name, DTYPE_F32, shape_of1(1), NULL},
                                    {name ? side : NULL, DTYPE_F32, rows, NULL}};
    int part = builder_emit(builder, OP_CROSS_ENTROPY_PART, &parameters, (int[]){logits, labels}, 2,
                            parts, 2);
    int target = builder->program->instructions[part].outputs[1];
    int sums = builder->program->instructions[part].outputs[0];
    sums = emit_all_gather(builder, sums, COMM_TENSOR, NULL);
    target = emit_all_reduce(builder, target, COMM_TENSOR, NULL);
    int index = builder_emit(builder, OP_CROSS_ENTROPY_PARALLEL, &parameters,
                             (int[]){logits, labels, count, sums, target}, 5, outputs, 2);
    return builder->program->instructions[index].outputs[0];
}

void emit_send(struct builder *builder, int x, int rank)
{
    builder_emit(builder, OP_SEND, &(struct op_parameters){.peer = rank}, &x, 1, NULL, 0);
}

int emit_receive(struct builder *builder, int rank, enum dtype dtype, struct shape shape,
                 const struct layout *layout, const char *name)
{
    struct output_spec output = {name, dtype, shape, layout};
    int index = builder_emit(builder, OP_RECEIVE, &(struct op_parameters){.peer = rank}, NULL, 0,
                             &output, 1);
    return builder->program->instructions[index].outputs[0];
}
