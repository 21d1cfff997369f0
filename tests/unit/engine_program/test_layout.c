/* Layouts follow from instruction to instruction, and programs whose ranks would compute something
 * else than one rank are refused with the instruction, the operand and both layouts in the text. */
#include "engine/program/builder.h"
#include "tests/unit/configs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rank 5 of 2 tensor x (2 sequence-data x 2 batch-data) ranks: the second of its tensor ranks, the
 * first of its sequence-data ranks, of the second batch. */
static const struct seat seat = {{.tensors = 2, .sequence_datas = 2, .datas = 4, .pipelines = 1},
                                 5};

struct fixture {
    struct config *config;
    struct builder builder;
};

static int setup(void **state)
{
    struct fixture *it = calloc(1, sizeof(*it));
    it->config = load_tiny_config("llama");
    struct program *program = program_create();
    program->seat = seat;
    builder_start(&it->builder, program, it->config);
    it->builder.origin.phase = PHASE_FORWARD;
    it->builder.origin.layer = "decoder.0";
    it->builder.origin.part = "mlp";
    *state = it;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *it = *state;
    program_free(it->builder.program);
    builder_finish(&it->builder);
    config_free(it->config);
    free(it);
    return 0;
}

static struct layout cut(int dimension, int parts, enum comm_group group)
{
    struct layout layout = {0};
    layout_cut(&layout, &seat, dimension, parts, group);
    return layout;
}

static struct layout summand(enum comm_group group)
{
    return (struct layout){.partial = 1u << group};
}

/* A matrix of that local shape. */
static int matrix(struct builder *builder, int64_t rows, int64_t columns, struct layout layout)
{
    int id = builder_input(builder, "x", DTYPE_F32, shape_of2(rows, columns));
    builder_set_layout(builder, id, &layout);
    return id;
}

static int vector(struct builder *builder, int64_t length, struct layout layout)
{
    int id = builder_input(builder, "v", DTYPE_F32, shape_of1(length));
    builder_set_layout(builder, id, &layout);
    return id;
}

static int indices(struct builder *builder, int64_t length, struct layout layout)
{
    int id = builder_input(builder, "i", DTYPE_I32, shape_of1(length));
    builder_set_layout(builder, id, &layout);
    return id;
}

static const struct layout none;

static void expect(const struct builder *builder, int value, const char *layout)
{
    char text[160];
    if (builder->status.code != STATUS_OK)
        fail_msg("refused: %s", builder->status.text);
    assert_string_equal(layout_text(&builder_value(builder, value)->layout, text), layout);
}

static void refused(struct builder *builder, const char *text)
{
    if (!strstr(builder->status.text, text) ||
        strncmp(builder->status.text, "decoder.0 mlp: ", 15) != 0)
        fail_msg("\"%s\" does not say \"%s\"", builder->status.text, text);
    builder->status = STATUS_NONE;
}

static void test_places(void **state)
{
    (void)state;
    assert_int_equal(seat_index(&seat, COMM_TENSOR), 1);
    assert_int_equal(seat_index(&seat, COMM_SEQUENCE_DATA), 0);
    assert_int_equal(seat_index(&seat, COMM_DATA), 2);
    assert_int_equal(seat_batch(&seat), 1);
    assert_int_equal(seat_batches(&seat), 2);
    assert_int_equal(seat_size(&seat, COMM_TIED), 1); /* not in it */
    struct seat last = {{.tensors = 2, .datas = 3, .pipelines = 4, .tied = 0xa}, 21};
    assert_int_equal(seat_pipeline(&last), 3);
    assert_int_equal(seat_on_pipeline(&last, 1), 9);
    assert_int_equal(seat_index(&last, COMM_TIED), 1);
    assert_int_equal(seat_size(&last, COMM_TIED), 2);
}

/* An MLP with sequence-tensor-parallel: [16,32] tokens of which this rank has 4 rows. */
static void test_layouts_follow(void **state)
{
    struct builder *builder = &((struct fixture *)*state)->builder;
    struct layout tokens = cut(0, 1, COMM_SEQUENCE_DATA);
    layout_cut(&tokens, &seat, 0, 1, COMM_TENSOR);
    int x = matrix(builder, 4, 32, tokens);
    int w1 = matrix(builder, 48, 32, cut(0, 2, COMM_TENSOR));
    int w2 = matrix(builder, 24, 32, cut(0, 1, COMM_TENSOR));
    int gathered = emit_all_gather(builder, x, COMM_TENSOR, NULL);
    expect(builder, gathered, "rows / sequence data");
    int hidden = emit_linear(builder, gathered, w1, -1, false, "hidden");
    expect(builder, hidden, "rows / sequence data, columns of 2 parts / tensor");
    int activated = emit_activation(builder, hidden, ACTIVATION_SILU, true, "activated");
    expect(builder, activated, "rows / sequence data, columns / tensor");
    int sum = emit_linear(builder, activated, w2, -1, true, "output");
    expect(builder, sum, "rows / sequence data, partial over tensor");
    assert_string_equal(builder_value(builder, sum)->name, ""); /* a summand has no name */
    int output = emit_reduce_scatter(builder, sum, COMM_TENSOR, "output");
    expect(builder, output, "rows / sequence data, rows / tensor");
    const struct value *value = builder_value(builder, output);
    assert_string_equal(value->name, "fw decoder.0.output");
    assert_int_equal(value->shard.global.dims[0], 16);
    /* the second half of the first half */
    assert_int_equal(shard_global_index(&value->shard, 0, 0), 4);
    expect(builder, emit_all_reduce(builder, sum, COMM_TENSOR, NULL), "rows / sequence data");
}

static void test_summands_are_refused(void **state)
{
    struct builder *builder = &((struct fixture *)*state)->builder;
    int x = matrix(builder, 8, 32, none), sum = matrix(builder, 8, 32, summand(COMM_TENSOR));
    int other = matrix(builder, 8, 32, summand(COMM_SEQUENCE_DATA));
    int weight = matrix(builder, 16, 32, none), norm = vector(builder, 32, none);
    emit_activation(builder, sum, ACTIVATION_SILU, false, NULL);
    refused(builder, "activation: operand 0 is whole, partial over tensor: a summand");
    emit_rms_norm(builder, sum, norm, 1e-5, NULL);
    refused(builder, "rms_norm: operand 0 is whole, partial over tensor: a summand");
    emit_add(builder, x, sum, NULL);
    refused(builder, "add: operand 0 is whole, operand 1 is whole, partial over tensor");
    emit_add(builder, sum, other, NULL);
    refused(builder, "add: operand 0 is whole, partial over tensor, operand 1 is whole, partial "
                     "over sequence data");
    emit_linear(builder, sum, weight, vector(builder, 16, none), false, NULL);
    refused(builder, "matmul: operand 0 is whole, partial over tensor, operand 2 is whole: the "
                     "bias would be added once for each summand");
    emit_linear(builder, sum, matrix(builder, 16, 32, summand(COMM_SEQUENCE_DATA)), -1, false,
                NULL);
    refused(builder, "matmul: ");
    emit_send(builder, sum, 1);
    refused(builder, "send: operand 0 is whole, partial over tensor");
    emit_all_reduce(builder, x, COMM_TENSOR, NULL);
    refused(builder, "all_reduce: operand 0 is whole: it is not a summand over that group");
    emit_all_reduce(builder, sum, COMM_SEQUENCE_DATA, NULL);
    refused(builder, "all_reduce: operand 0 is whole, partial over tensor: it is not");
    emit_all_gather(builder, x, COMM_TENSOR, NULL);
    refused(builder, "all_gather: operand 0 is whole: its rows were not cut last");
}

static void test_wrong_cuts_are_refused(void **state)
{
    struct builder *builder = &((struct fixture *)*state)->builder;
    int whole = matrix(builder, 8, 32, none),
        narrow = matrix(builder, 8, 16, cut(1, 1, COMM_TENSOR));
    int rows = matrix(builder, 4, 32, cut(0, 1, COMM_TENSOR));
    emit_linear(builder, narrow, matrix(builder, 8, 16, none), -1, false, NULL);
    refused(builder, "matmul: operand 0 is columns / tensor, operand 1 is whole: they are not cut");
    emit_linear(builder, rows, matrix(builder, 8, 32, cut(0, 1, COMM_TENSOR)), -1, false, NULL);
    refused(builder, "matmul: result 0 would be rows / tensor, columns / tensor: one group twice");
    emit_linear(builder, narrow, matrix(builder, 8, 16, cut(1, 2, COMM_TENSOR)), -1, false, NULL);
    refused(builder, "operand 1 is columns of 2 parts / tensor");
    emit_rms_norm(builder, narrow, vector(builder, 16, none), 1e-5, NULL);
    refused(builder, "rms_norm: operand 0 is columns / tensor: its columns are cut");
    emit_add(builder, whole, matrix(builder, 8, 32, cut(0, 1, COMM_TENSOR)), NULL);
    refused(builder, "add: operand 0 is whole, operand 1 is rows / tensor");
    emit_activation(builder, narrow, ACTIVATION_SILU, true, NULL);
    refused(builder, "gated_activation: operand 0 is columns / tensor: gate and up");
    int labels = indices(builder, 8, none);
    int count = builder_input(builder, "n", DTYPE_F64, shape_of1(1));
    emit_cross_entropy(builder, narrow, labels, count, 1, NULL);
    refused(builder, "cross_entropy: operand 0 is columns / tensor: its columns are cut");
    emit_embedding(builder, indices(builder, 8, cut(0, 1, COMM_TENSOR)),
                   matrix(builder, 8, 32, cut(0, 1, COMM_TENSOR)), NULL);
    refused(builder, "embedding: operand 0 is rows / tensor, operand 1 is rows / tensor");
    struct layout both = cut(0, 1, COMM_SEQUENCE_DATA);
    layout_cut(&both, &seat, 0, 1, COMM_TENSOR);
    emit_all_gather(builder, matrix(builder, 4, 32, both), COMM_SEQUENCE_DATA, NULL);
    refused(builder, "its rows were not cut last over that group");
    /* what has a name is named */
    int sum = emit_linear(builder, rows, matrix(builder, 16, 32, none), -1, false, "sum");
    emit_add(builder, whole, sum, NULL);
    refused(builder, "they are not cut in the same way (operand 0 is input x, operand 1 is fw "
                     "decoder.0.sum)");
}

/* Heads go with their keys; rows of keys are all needed. */
static void test_attention(void **state)
{
    struct builder *builder = &((struct fixture *)*state)->builder;
    struct op_parameters heads = {
        .heads = 2, .head_groups = 1, .head_size = 8, .scale = 1, .causal = true};
    struct op_parameters groups = heads;
    groups.head_groups = 2;
    struct layout queries = cut(0, 1, COMM_SEQUENCE_DATA);
    layout_cut(&queries, &seat, 1, 1, COMM_TENSOR);
    int q = matrix(builder, 8, 16, queries), documents = indices(builder, 16, none);
    int shared = matrix(builder, 16, 16, none),
        own = matrix(builder, 16, 32, cut(1, 2, COMM_TENSOR));
    expect(builder, emit_attention(builder, q, shared, documents, &heads, NULL),
           "rows / sequence data, columns / tensor");
    expect(builder, emit_attention(builder, q, own, documents, &groups, NULL),
           "rows / sequence data, columns / tensor");
    emit_attention(builder, q, matrix(builder, 16, 32, none), documents, &groups, NULL);
    refused(builder, "attention: operand 0 is rows / sequence data, columns / tensor, operand 1 is "
                     "whole: heads and their keys");
    emit_attention(builder, q, matrix(builder, 16, 32, cut(1, 1, COMM_TENSOR)), documents, &groups,
                   NULL);
    refused(builder, "heads and their keys");
    struct layout part = cut(0, 1, COMM_SEQUENCE_DATA);
    layout_cut(&part, &seat, 1, 2, COMM_TENSOR);
    emit_attention(builder, q, matrix(builder, 16, 32, part), documents, &groups, NULL);
    refused(builder, "attention: operand 1 is rows / sequence data, columns of 2 parts / tensor: "
                     "its rows are cut");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test_setup_teardown(test_layouts_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_summands_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_cuts_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attention, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
