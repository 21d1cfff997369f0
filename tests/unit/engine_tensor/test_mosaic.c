/* A tensor cut into parts by random chains of cuts, read where they lie, is the tensor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/base/memory.h"
#include "engine/tensor/mosaic.h"
#include "tests/unit/random.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 64, CUTS = 3, PADDING = 5 };

struct example {
    struct shape shape;
    float *whole;
    struct mosaic_part parts[MOST_PARTS];
    int count;
};

/* Another chain than the other parts of a tensor would be no partition: all have the same cuts, and
 * every combination of their pieces. */
static void add_parts(struct example *example, const struct shard_cut *cuts, int count,
                      struct shard shard)
{
    if (count == 0) {
        example->parts[example->count++].shard = shard;
        return;
    }
    for (int piece = 0; piece < cuts->pieces; piece++) {
        struct shard more = shard;
        assert_true(shard_cut(&more, cuts->dimension, cuts->parts, cuts->pieces, piece));
        add_parts(example, cuts + 1, count - 1, more);
    }
}

static void fill_part(struct example *example, struct mosaic_part *part, struct random *random)
{
    struct shape own = shard_local_shape(&part->shard);
    int64_t columns = shape_columns(own), stride = columns + random_integer(random, 0, PADDING);
    struct tensor whole = tensor_of(example->whole, DTYPE_F32, example->shape);
    float *data = memory_zeroed((size_t)(own.dims[0] * stride) + 1, sizeof(float));
    part->tensor = (struct tensor){data, DTYPE_F32, own, stride};
    shard_copy_out(&part->shard, &whole, &part->tensor);
    if (shard_is_whole(&part->shard) && random_integer(random, 0, 1))
        part->shard = (struct shard){0}; /* values that are whole say so in this way */
}

static struct example example_make(struct random *random)
{
    static const int64_t sizes[] = {1, 4, 12, 48};
    struct example example = {.shape.rank = (int)random_integer(random, 1, 4)};
    struct shard_cut cuts[CUTS];
    int count = 0;
    for (int d = 0; d < example.shape.rank; d++)
        example.shape.dims[d] =
            d < 2 ? sizes[random_integer(random, 0, 3)] : random_integer(random, 1, 3);
    struct shard trial = shard_whole(example.shape);
    for (int i = 0; i < CUTS; i++) {
        struct shard_cut cut = {.dimension =
                                    (int)random_integer(random, 0, example.shape.rank > 1 ? 1 : 0),
                                .parts = (int)random_integer(random, 1, 2),
                                .pieces = (int)random_integer(random, 1, 4)};
        if (cut.pieces > 1 && shard_cut(&trial, cut.dimension, cut.parts, cut.pieces, 0))
            cuts[count++] = cut;
    }
    int64_t elements = shape_elements(example.shape);
    example.whole = memory_zeroed((size_t)elements, sizeof(float));
    for (int64_t i = 0; i < elements; i++)
        example.whole[i] = (float)i;
    add_parts(&example, cuts, count, shard_whole(example.shape));
    for (int i = 0; i < example.count; i++)
        fill_part(&example, &example.parts[i], random);
    return example;
}

static void example_free(struct example *example)
{
    for (int i = 0; i < example->count; i++)
        free(example->parts[i].tensor.data);
    free(example->whole);
}

static void check_reading(const struct example *example, struct random *random)
{
    struct mosaic mosaic;
    int64_t elements = shape_elements(example->shape), run;
    assert_true(mosaic_make(&mosaic, example->shape, example->parts, example->count));
    for (int64_t i = 0; i < elements; i++) {
        const float *at = mosaic_run(&mosaic, i, &run);
        assert_true(run >= 1 && run <= elements - i);
        for (int64_t k = 0; k < run; k++)
            assert_true(at[k] == (float)(i + k));
    }
    int64_t first = random_integer(random, 0, elements - 1);
    int64_t count = random_integer(random, 0, elements - first);
    float *copy = memory_zeroed((size_t)count + 1, sizeof(float));
    copy[count] = -1;
    mosaic_copy(&mosaic, first, count, copy);
    assert_memory_equal(copy, example->whole + first, (size_t)count * sizeof(float));
    assert_true(copy[count] == -1);
    free(copy);
    mosaic_free(&mosaic);
}

static void test_parts_are_read_in_place(void **state)
{
    (void)state;
    struct random random = random_start("parts");
    for (int round = 0; round < 400; round++) {
        struct example example = example_make(&random);
        check_reading(&example, &random);
        example_free(&example);
    }
}

/* One that has all of it beside those who have parts: whoever comes first counts. */
static void test_overlaps(void **state)
{
    (void)state;
    struct random random = random_start("overlaps");
    for (int round = 0; round < 100; round++) {
        struct example example = example_make(&random);
        if (example.count < MOST_PARTS) {
            int other = (int)random_integer(&random, 0, example.count);
            struct mosaic_part *extra = &example.parts[example.count++];
            extra->shard = shard_whole(example.shape);
            fill_part(&example, extra, &random);
            struct mosaic_part moved = *extra;
            *extra = example.parts[other];
            example.parts[other] = moved;
            check_reading(&example, &random);
        }
        example_free(&example);
    }
}

static void test_holes_and_misfits(void **state)
{
    (void)state;
    struct random random = random_start("holes");
    struct mosaic mosaic;
    for (int round = 0; round < 200; round++) {
        struct example example = example_make(&random);
        int last = example.count - 1;
        struct mosaic_part *part = &example.parts[random_integer(&random, 0, last)], kept = *part;
        *part = example.parts[last]; /* in the place of the one that is missing */
        assert_false(mosaic_make(&mosaic, example.shape, example.parts, last));
        *part = kept;
        part->tensor.shape.dims[0]++;
        assert_false(mosaic_make(&mosaic, example.shape, example.parts, example.count));
        *part = kept;
        part->tensor.dtype = DTYPE_BF16;
        assert_true(last == 0 ||
                    !mosaic_make(&mosaic, example.shape, example.parts, example.count));
        *part = kept;
        example_free(&example);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_read_in_place),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_holes_and_misfits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
