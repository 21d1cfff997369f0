/* What the small random cases cannot reach on the CPU device: sizes beyond one tile, piece or block
 * of rows, other numbers of threads (the bits must not change), every instruction set this
 * processor has, and NaN that must stay in its document. */
#include "helper_op_cases.h"

#include "engine/base/memory.h"
#include "engine/device/cpu/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct op_case start_case(enum op op, enum dtype dtype, struct random *random)
{
    return (struct op_case){.call = {.op = op}, .dtype = dtype, .random = random};
}

static void indices(struct op_case *it, int64_t count, int64_t low, int64_t high)
{
    struct tensor *tensor = op_case_input(it, DTYPE_I32, shape_of1(count));
    for (int64_t i = 0; i < count; i++)
        tensor_store(tensor, i, (double)random_integer(it->random, low, high));
}

/* Outputs of the call with this many threads, as whole blocks. */
static void run_with(const struct op_case *it, int threads, unsigned char *blocks[OP_MAX_OUTPUTS])
{
    struct status status = STATUS_NONE;
    struct op_call call = it->call;
    void *context;
    assert_true(device_cpu.open(&context, &(struct device_options){.threads = threads}, &status));
    for (int o = 0; o < call.output_count; o++) {
        const struct op_block *block = &it->blocks[OP_MAX_INPUTS + o];
        blocks[o] = memory_zeroed(block->bytes, 1);
        memset(blocks[o], 0xff, block->bytes);
        call.outputs[o].data = blocks[o] + block->offset;
    }
    size_t bytes = device_cpu.workspace(context, &call);
    assert_true(device_cpu.allocate(context, bytes, &call.workspace, &status));
    memset(call.workspace, 0xff, bytes);
    if (!device_cpu.run(context, &call, &status))
        fail_msg("%s with %d threads: %s", op_name(call.op), threads, status.text);
    device_cpu.release(context, call.workspace, bytes);
    device_cpu.close(context);
}

static void check_threads(const struct op_case *it)
{
    static const int counts[] = {2, 3, 7};
    unsigned char *one[OP_MAX_OUTPUTS], *many[OP_MAX_OUTPUTS];
    run_with(it, 1, one);
    for (int i = 0; i < ARRAY_LENGTH(counts); i++) {
        run_with(it, counts[i], many);
        for (int o = 0; o < it->call.output_count; o++) {
            if (memcmp(one[o], many[o], it->blocks[OP_MAX_INPUTS + o].bytes) != 0)
                fail_msg("%s: output %d has other bits with %d threads", op_name(it->call.op), o,
                         counts[i]);
            free(many[o]);
        }
    }
    for (int o = 0; o < it->call.output_count; o++)
        free(one[o]);
}

static void check(struct op_case *it)
{
    struct status status = STATUS_NONE;
    char text[1024];
    void *context;
    assert_true(device_cpu.open(&context, &(struct device_options){.threads = 2}, &status));
    if (!op_case_check(it, &device_cpu, context, &status))
        fail_msg("%s: %s", op_case_text(it, text, sizeof(text)), status.text);
    device_cpu.close(context);
    check_threads(it);
    op_case_free(it);
}

/* Documents of 1 to 2*length tokens. */
static void documents(struct op_case *it, int64_t keys, int64_t length)
{
    struct tensor *starts = op_case_input(it, DTYPE_I32, shape_of1(keys));
    int64_t start = 0, next = 0;
    for (int64_t j = 0; j < keys; j++) {
        if (j == next) {
            start = j;
            next = j + random_integer(it->random, 1, 2 * length);
        }
        tensor_store(starts, j, (double)start);
    }
}

struct attention_shape {
    int64_t tokens, keys, first_row, document, window;
    int heads, groups, size;
    bool causal;
};

static const struct attention_shape attention_shapes[] = {
    {300, 300, 0, 25, 0, 4, 2, 32, true},   /* documents shorter than a tile */
    {257, 257, 0, 1000, 0, 2, 2, 64, true}, /* one document over many tiles */
    {200, 310, 95, 90, 70, 6, 2, 20, true}, /* a window, keys before and after the queries */
    {150, 200, 30, 80, 0, 20, 1, 16, true}, /* more heads in a group than a tile takes */
    {180, 180, 0, 100, 0, 3, 3, 33, false},
    {700, 700, 0, 1000000, 0, 2, 1, 16, true}, /* one document that is no island */
    {900, 900, 0, 1000000, 40, 2, 2, 8, true}, /* the same by a window */
};

static struct op_case attention_case(const struct attention_shape *shape, enum op op,
                                     enum dtype dtype, struct random *random)
{
    struct op_case it = start_case(op, dtype, random);
    struct shape q_shape = shape_of2(shape->tokens, shape->heads * shape->size);
    struct shape kv_shape = shape_of2(shape->keys, 2 * shape->groups * shape->size);
    struct shape lse_shape = shape_of2(shape->tokens, shape->heads);
    struct tensor results[OP_MAX_OUTPUTS];
    it.call.parameters = (struct op_parameters){.heads = shape->heads,
                                                .head_groups = shape->groups,
                                                .head_size = shape->size,
                                                .first_row = shape->first_row,
                                                .window = shape->window,
                                                .causal = shape->causal,
                                                .scale = 0.2};
    bool gradient = op == OP_ATTENTION_GRADIENT;
    if (gradient)
        op_case_normal_input(&it, DTYPE_COUNT, q_shape);
    struct tensor *q = op_case_normal_input(&it, DTYPE_COUNT, q_shape);
    op_case_normal_input(&it, DTYPE_COUNT, kv_shape);
    documents(&it, shape->keys, shape->document);
    if (gradient) {
        op_case_reference(&it, OP_ATTENTION, q, 3, (const struct shape[]){q_shape, lse_shape}, 2,
                          results);
        op_case_take(op_case_input(&it, DTYPE_COUNT, q_shape), &results[0]);
        op_case_take(op_case_input(&it, DTYPE_F32, lse_shape), &results[1]);
    }
    op_case_output(&it, DTYPE_COUNT, q_shape);
    if (gradient)
        op_case_output(&it, DTYPE_COUNT, kv_shape);
    else
        op_case_output(&it, DTYPE_F32, lse_shape);
    return it;
}

static void test_attention(void **state)
{
    (void)state;
    struct random random = random_start("attention");
    for (int i = 0; i < ARRAY_LENGTH(attention_shapes); i++)
        for (int gradient = 0; gradient < 2; gradient++) {
            struct op_case it = attention_case(&attention_shapes[i],
                                               gradient ? OP_ATTENTION_GRADIENT : OP_ATTENTION,
                                               i % 2 ? DTYPE_F32 : DTYPE_BF16, &random);
            check(&it);
        }
}

/* The first rows of an operand, as a smaller one. */
static struct tensor first_rows(const struct tensor *tensor, int64_t rows)
{
    struct tensor first = *tensor;
    first.shape.dims[0] = rows;
    return first;
}

/* A long document after short ones changes how theirs are made, but none of their bits. */
static void test_islands(void **state)
{
    (void)state;
    enum { SHORT = 330, ALL = 1100, HEADS = 4, GROUPS = 2, SIZE = 24 };
    struct random random = random_start("islands");
    struct attention_shape shape = {ALL, ALL, 0, 20, 0, HEADS, GROUPS, SIZE, true};
    struct op_case it = attention_case(&shape, OP_ATTENTION_GRADIENT, DTYPE_F32, &random);
    int32_t *starts = it.call.inputs[3].data;
    for (int64_t j = SHORT; j < ALL; j++)
        starts[j] = SHORT;
    struct op_case few = it;
    for (int i = 0; i < few.call.input_count; i++)
        few.call.inputs[i] = first_rows(&it.call.inputs[i], SHORT);
    unsigned char *whole[OP_MAX_OUTPUTS], *part[OP_MAX_OUTPUTS];
    run_with(&it, 2, whole);
    for (int i = 0; i < few.call.output_count; i++)
        few.call.outputs[i] = first_rows(&it.call.outputs[i], SHORT);
    run_with(&few, 2, part);
    for (int i = 0; i < it.call.output_count; i++) {
        const struct tensor *rows = &few.call.outputs[i];
        size_t offset = it.blocks[OP_MAX_INPUTS + i].offset;
        int64_t count = (SHORT - 1) * rows->row_stride + rows->shape.dims[1];
        assert_memory_equal(whole[i] + offset, part[i] + offset, (size_t)count * sizeof(float));
        free(whole[i]);
        free(part[i]);
    }
    op_case_free(&it);
}

static void test_norm_gradients(void **state)
{
    (void)state;
    struct random random = random_start("norm gradients");
    for (int layer = 0; layer < 2; layer++) {
        int64_t rows = random_integer(&random, 4200, 5000), columns = 37;
        struct shape shape = shape_of2(rows, columns), vector = shape_of1(columns);
        struct op_case it = start_case(layer ? OP_LAYER_NORM_GRADIENT : OP_RMS_NORM_GRADIENT,
                                       layer ? DTYPE_F32 : DTYPE_F16, &random);
        op_case_normal_input(&it, DTYPE_COUNT, shape);
        op_case_normal_input(&it, DTYPE_COUNT, shape);
        op_case_normal_input(&it, DTYPE_COUNT, vector);
        for (int i = 0; i <= layer; i++) { /* any statistics will do: they are inputs */
            struct tensor *statistics = op_case_input(&it, DTYPE_F32, shape_of1(rows));
            for (int64_t t = 0; t < rows; t++)
                tensor_store(statistics, t, random_uniform(&random, 0.5, 1.5));
        }
        op_case_output(&it, DTYPE_COUNT, shape);
        for (int i = 0; i <= layer; i++)
            op_case_output(&it, DTYPE_COUNT, vector);
        check(&it);
    }
}

static void test_long_rows(void **state)
{
    (void)state;
    struct random random = random_start("long rows");
    struct op_case gated = start_case(OP_GATED_ACTIVATION_GRADIENT, DTYPE_BF16, &random);
    op_case_normal_input(&gated, DTYPE_COUNT, shape_of2(9, 5003));
    op_case_normal_input(&gated, DTYPE_COUNT, shape_of2(9, 10006));
    op_case_output(&gated, DTYPE_COUNT, shape_of2(9, 10006));
    check(&gated);
    struct op_case loss = start_case(OP_CROSS_ENTROPY, DTYPE_F16, &random);
    loss.call.parameters.factor = 3; /* so that the maximum moves from piece to piece */
    op_case_normal_input(&loss, DTYPE_COUNT, shape_of2(40, 9001));
    indices(&loss, 40, -1, 9000);
    tensor_store(op_case_input(&loss, DTYPE_F64, shape_of1(1)), 0, 40);
    op_case_output(&loss, DTYPE_F32, shape_of1(1));
    op_case_output(&loss, DTYPE_F32, shape_of1(40));
    check(&loss);
    struct op_case words = start_case(OP_EMBEDDING_GRADIENT, DTYPE_BF16, &random);
    indices(&words, 700, -3, 33);
    op_case_normal_input(&words, DTYPE_COUNT, shape_of2(700, 2500));
    op_case_output(&words, DTYPE_COUNT, shape_of2(30, 2500));
    check(&words);
    struct op_case bias = start_case(OP_BIAS_GRADIENT, DTYPE_BF16, &random);
    op_case_normal_input(&bias, DTYPE_COUNT, shape_of2(1000, 2100));
    op_case_output(&bias, DTYPE_F32, shape_of1(2100));
    check(&bias);
    struct op_case squares = start_case(OP_SUM_SQUARES, DTYPE_F32, &random);
    tensor_store(op_case_input(&squares, DTYPE_F64, shape_of1(1)), 0, 7);
    op_case_normal_input(&squares, DTYPE_F32, shape_of2(513, 301));
    op_case_output(&squares, DTYPE_F64, shape_of1(1));
    check(&squares);
}

static void test_products(void **state)
{
    (void)state;
    struct random random = random_start("products");
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (int i = 0; i < ARRAY_LENGTH(dtypes); i++) {
        int64_t rows = random_integer(&random, 200, 900), depth = 330;
        int64_t columns = i == 0 ? 1100 : 211;
        bool transpose_a = i == 1, transpose_b = i != 1;
        struct op_case it = start_case(OP_MATMUL, dtypes[i], &random);
        it.call.parameters.transpose_a = transpose_a;
        it.call.parameters.transpose_b = transpose_b;
        op_case_normal_input(&it, DTYPE_COUNT,
                             transpose_a ? shape_of2(depth, rows) : shape_of2(rows, depth));
        op_case_normal_input(&it, DTYPE_COUNT,
                             transpose_b ? shape_of2(columns, depth) : shape_of2(depth, columns));
        op_case_normal_input(&it, DTYPE_COUNT, shape_of1(columns));
        op_case_output(&it, i == 1 ? DTYPE_F32 : DTYPE_COUNT, shape_of2(rows, columns));
        check(&it);
    }
}

/* Some rows of a, down to one, times some rows of b: the bits of the same elements of the whole.
 * Some wholes are of more than 4 MiB, which are stored past the caches. */
static void test_parts_of_products(void **state)
{
    (void)state;
    struct random random = random_start("parts of products");
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    static const char *const sets[] = {"generic", "avx2", "avx512", "amx"};
    for (int i = 0; i < 16; i++) {
        assert_int_equal(setenv("LOCKSTEP_CPU", sets[i / 4], 1), 0);
        bool large = i % 4 == 3;
        int64_t least = large ? 1030 : 1, most = large ? 1060 : 300;
        int64_t rows = random_integer(&random, least, most);
        int64_t columns = random_integer(&random, least, most);
        struct op_case it = start_case(OP_MATMUL, dtypes[i % 4], &random);
        it.call.parameters.transpose_b = true;
        int64_t depth = random_integer(&random, 1, large ? 40 : 1500);
        struct tensor *a = op_case_normal_input(&it, DTYPE_COUNT, shape_of2(rows, depth));
        struct tensor *b = op_case_normal_input(&it, DTYPE_COUNT, shape_of2(columns, depth));
        op_case_output(&it, DTYPE_F32, shape_of2(rows, columns));
        unsigned char *whole[OP_MAX_OUTPUTS], *part[OP_MAX_OUTPUTS];
        run_with(&it, 2, whole);
        int64_t row = random_integer(&random, 0, rows - 1);
        int64_t column = random_integer(&random, 0, columns - 1);
        int64_t some_rows = i % 4 == 1 ? 1 : random_integer(&random, 1, rows - row);
        int64_t some_columns = random_integer(&random, 1, columns - column);
        struct tensor *out = &it.call.outputs[0];
        int64_t stride = out->row_stride;
        a->data = (char *)a->data + (size_t)(row * a->row_stride) * dtype_size(a->dtype);
        b->data = (char *)b->data + (size_t)(column * b->row_stride) * dtype_size(b->dtype);
        a->shape.dims[0] = out->shape.dims[0] = some_rows;
        b->shape.dims[0] = out->shape.dims[1] = some_columns;
        run_with(&it, 3, part);
        const float *all = (const float *)(whole[0] + it.blocks[OP_MAX_INPUTS].offset);
        const float *some = (const float *)(part[0] + it.blocks[OP_MAX_INPUTS].offset);
        for (int64_t r = 0; r < some_rows; r++)
            assert_memory_equal(all + (row + r) * stride + column, some + r * stride,
                                (size_t)some_columns * sizeof(float));
        free(whole[0]);
        free(part[0]);
        op_case_free(&it);
    }
    assert_int_equal(unsetenv("LOCKSTEP_CPU"), 0);
}

/* NaN and infinity in the keys, values, queries and gradients of one document leave the bits of
 * all other documents alone. */
static void test_nan_stays_in_its_document(void **state)
{
    (void)state;
    enum { TOKENS = 160, FIRST = 37, END = 71 };
    struct random random = random_start("nan");
    const struct attention_shape shape = {TOKENS, TOKENS, 0, TOKENS, 0, 4, 2, 32, true};
    for (int gradient = 0; gradient < 2; gradient++) {
        struct op_case it = attention_case(&shape, gradient ? OP_ATTENTION_GRADIENT : OP_ATTENTION,
                                           DTYPE_F32, &random);
        struct tensor *starts = &it.call.inputs[gradient ? 3 : 2];
        unsigned char *clean[OP_MAX_OUTPUTS], *spoiled[OP_MAX_OUTPUTS];
        for (int64_t t = 0; t < TOKENS; t++)
            tensor_store(starts, t, t < FIRST ? 0 : t < END ? FIRST : END);
        run_with(&it, 2, clean);
        for (int i = 0; i < it.call.input_count; i++) {
            int64_t columns = shape_columns(it.call.inputs[i].shape);
            for (int64_t t = FIRST; dtype_is_float(it.call.inputs[i].dtype) && t < END; t++)
                tensor_store(&it.call.inputs[i], t * columns + t % columns, t % 2 ? NAN : INFINITY);
        }
        run_with(&it, 2, spoiled);
        for (int o = 0; o < it.call.output_count; o++) {
            struct tensor before = it.call.outputs[o], after = before;
            size_t offset = it.blocks[OP_MAX_INPUTS + o].offset;
            before.data = clean[o] + offset;
            after.data = spoiled[o] + offset;
            int64_t columns = shape_columns(before.shape);
            bool seen = false;
            for (int64_t i = 0; i < TOKENS * columns; i++) {
                double a = tensor_load(&before, i), b = tensor_load(&after, i);
                int64_t token = i / columns;
                seen = seen || isnan(b);
                if ((token < FIRST || token >= END) && a != b)
                    fail_msg("%s: output %d, token %d: %g became %g", op_name(it.call.op), o,
                             (int)token, a, b);
            }
            assert_true(seen);
            free(clean[o]);
            free(spoiled[o]);
        }
        op_case_free(&it);
    }
}

/* The small random cases with the kernels of each lower instruction set. */
static void test_instruction_sets(void **state)
{
    (void)state;
    struct random random = random_start("instruction sets");
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    static const char *const sets[] = {"generic", "avx2", "avx512"};
    struct status status = STATUS_NONE;
    for (int set = 0; set < ARRAY_LENGTH(sets); set++) {
        void *context;
        assert_int_equal(setenv("LOCKSTEP_CPU", sets[set], 1), 0);
        assert_true(device_cpu.open(&context, &(struct device_options){.threads = 2}, &status));
        assert_int_equal(unsetenv("LOCKSTEP_CPU"), 0);
        printf("%s\n", ((const struct cpu_context *)context)->kernels->name);
        for (int op = 0; op < OP_ALL_REDUCE; op++)
            for (int i = 0; i < ARRAY_LENGTH(dtypes); i++)
                if (op_case_has_dtype((enum op)op, dtypes[i]))
                    op_cases_run((enum op)op, dtypes[i], 6, &device_cpu, context, &random);
        device_cpu.close(context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_islands),
        cmocka_unit_test(test_norm_gradients),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_parts_of_products),
        cmocka_unit_test(test_nan_stays_in_its_document),
        cmocka_unit_test(test_instruction_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
