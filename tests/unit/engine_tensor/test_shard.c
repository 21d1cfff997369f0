/* Shards against lists of indices that are cut one cut after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/tensor/shard.h"
#include "tests/unit/random.h"

#include <stdlib.h>
#include <string.h>

struct indices {
    int64_t count, *list;
};

static struct indices indices_all(int64_t count)
{
    struct indices all = {count, memory_zeroed((size_t)count, sizeof(int64_t))};
    for (int64_t i = 0; i < count; i++)
        all.list[i] = i;
    return all;
}

static void indices_cut(struct indices *of, int parts, int pieces, int index)
{
    int64_t block = of->count / parts, piece = block / pieces, kept = 0;
    for (int part = 0; part < parts; part++)
        for (int64_t i = 0; i < piece; i++)
            of->list[kept++] = of->list[part * block + index * piece + i];
    of->count = kept;
}

struct example {
    struct shard shard;
    struct indices indices[3];
};

static struct example example_make(struct random *random)
{
    static const int64_t sizes[] = {1, 3, 12, 48, 96};
    struct shape shape = {.rank = (int)random_integer(random, 1, 3)};
    struct example example = {0};
    for (int d = 0; d < shape.rank; d++) {
        shape.dims[d] = sizes[random_integer(random, 0, 4)];
        example.indices[d] = indices_all(shape.dims[d]);
    }
    example.shard = shard_whole(shape);
    for (int i = 0; i < 6; i++) {
        int d = (int)random_integer(random, 0, shape.rank > 1 ? 1 : 0);
        int parts = (int)random_integer(random, 1, 3), pieces = (int)random_integer(random, 1, 4);
        int index = (int)random_integer(random, 0, pieces - 1);
        if (shard_cut(&example.shard, d, parts, pieces, index) && pieces > 1)
            indices_cut(&example.indices[d], parts, pieces, index);
    }
    return example;
}

static void example_free(struct example *example)
{
    for (int d = 0; d < 3; d++)
        free(example->indices[d].list);
}

static void test_indices(void **state)
{
    (void)state;
    struct random random = random_start("indices");
    for (int round = 0; round < 500; round++) {
        struct example example = example_make(&random);
        struct shape local = shard_local_shape(&example.shard);
        for (int d = 0; d < local.rank; d++) {
            assert_int_equal(local.dims[d], example.indices[d].count);
            for (int64_t i = 0; i < local.dims[d]; i++)
                assert_int_equal(shard_global_index(&example.shard, d, i),
                                 example.indices[d].list[i]);
        }
        example_free(&example);
    }
}

static float *numbers(int64_t count, float first)
{
    float *out = memory_zeroed((size_t)count + 1, sizeof(*out));
    for (int64_t i = 0; i < count; i++)
        out[i] = first + (float)i;
    return out;
}

/* The global flat index of a local flat index, from the lists. */
static int64_t place(const struct example *example, int64_t flat)
{
    struct shape local = shard_local_shape(&example->shard);
    int64_t at[3] = {0}, global = 0;
    for (int d = local.rank - 1; d >= 0; d--) {
        at[d] = example->indices[d].list[flat % local.dims[d]];
        flat /= local.dims[d];
    }
    for (int d = 0; d < local.rank; d++)
        global = global * example->shard.global.dims[d] + at[d];
    return global;
}

static void test_copies(void **state)
{
    (void)state;
    struct random random = random_start("copies");
    for (int round = 0; round < 200; round++) {
        struct example example = example_make(&random);
        struct shape whole = example.shard.global, part = shard_local_shape(&example.shard);
        int64_t count = shape_elements(part);
        float *global = numbers(shape_elements(whole), 0), *local = numbers(count, -1e6f);
        struct tensor there = tensor_of(global, DTYPE_F32, whole);
        struct tensor here = tensor_of(local, DTYPE_F32, part), view;
        shard_copy_out(&example.shard, &there, &here);
        for (int64_t i = 0; i < count; i++)
            assert_true(local[i] == (float)place(&example, i));
        if (shard_view(&example.shard, &there, &view))
            for (int64_t i = 0; i < count; i++)
                assert_true(tensor_load(&view, i) == (double)local[i]);
        for (int64_t i = 0; i < count; i++)
            local[i] = -local[i] - 1;
        shard_copy_in(&example.shard, &here, &there);
        int64_t changed = 0;
        for (int64_t i = 0; i < shape_elements(whole); i++)
            changed += global[i] != (float)i;
        assert_int_equal(changed, count);
        for (int64_t i = 0; i < count; i++)
            assert_true(global[place(&example, i)] == local[i]);
        free(global);
        free(local);
        example_free(&example);
    }
}

static void test_flat_indices(void **state)
{
    (void)state;
    struct random random = random_start("flat indices");
    for (int round = 0; round < 100; round++) {
        struct example example = example_make(&random);
        const struct shard *shard = &example.shard;
        int64_t whole = shape_elements(shard->global), inside = 0;
        int64_t count = shape_elements(shard_local_shape(shard));
        for (int64_t i = 0; i < count; i++) {
            assert_int_equal(shard_global_flat(shard, i), place(&example, i));
            assert_int_equal(shard_local_flat(shard, place(&example, i)), i);
        }
        for (int64_t i = 0; i < whole; i++)
            inside += shard_local_flat(shard, i) >= 0;
        assert_int_equal(inside, count);
        example_free(&example);
    }
}

static void test_uneven_cuts_are_refused(void **state)
{
    (void)state;
    struct shard shard = shard_whole(shape_of2(9, 8));
    char text[160];
    assert_false(shard_cut(&shard, 0, 1, 2, 0));
    assert_false(shard_cut(&shard, 1, 3, 2, 0));
    assert_false(shard_cut(&shard, 2, 1, 2, 0));
    assert_true(shard_is_whole(&shard));
    assert_true(shard_cut(&shard, 1, 2, 2, 1));
    assert_string_equal(shard_text(&shard, text), "[0:9, 2:4, ...] of [9,8]");
    assert_true(shard_cut(&shard, 0, 1, 3, 2));
    assert_string_equal(shard_text(&shard, text), "[6:9, 2:4, ...] of [9,8]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_flat_indices),
        cmocka_unit_test(test_uneven_cuts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
