/* Groups of a mesh against the definition of a rank's coordinates, and the arithmetic of sums. */
#include "engine/comm/combine.h"
#include "engine/comm/mesh.h"

#include "tests/unit/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

struct place {
    int tensor, sequence_data, batch_data, pipeline;
};

/* Coordinates by counting ranks one by one, tensor fastest. */
static void place_all(const struct mesh *mesh, struct place *places)
{
    int rank = 0, batches = mesh->datas / mesh->sequence_datas;
    for (int p = 0; p < mesh->pipelines; p++)
        for (int b = 0; b < batches; b++)
            for (int s = 0; s < mesh->sequence_datas; s++)
                for (int t = 0; t < mesh->tensors; t++)
                    places[rank++] = (struct place){t, s, b, p};
}

static bool together(const struct mesh *mesh, struct place a, struct place b, enum comm_group group)
{
    bool tensor = a.tensor == b.tensor, sequence = a.sequence_data == b.sequence_data;
    bool batch = a.batch_data == b.batch_data, pipeline = a.pipeline == b.pipeline;
    switch (group) {
    case COMM_WORLD:
        return true;
    case COMM_DATA:
        return tensor && pipeline;
    case COMM_SEQUENCE_DATA:
        return tensor && batch && pipeline;
    case COMM_TENSOR:
        return sequence && batch && pipeline;
    case COMM_PIPELINE:
        return tensor && sequence && batch;
    default:
        return tensor && sequence && batch && (mesh->tied >> a.pipeline & 1) &&
               (mesh->tied >> b.pipeline & 1);
    }
}

static void test_groups(void **state)
{
    (void)state;
    struct random random = random_start("groups");
    for (int repeat = 0; repeat < 200; repeat++) {
        int sequences = (int)random_integer(&random, 1, 3);
        struct mesh mesh = {.tensors = (int)random_integer(&random, 1, 4),
                            .sequence_datas = sequences,
                            .datas = sequences * (int)random_integer(&random, 1, 3),
                            .pipelines = (int)random_integer(&random, 1, 4),
                            .tied = random_bits(&random) & 0xf};
        struct place places[4 * 9 * 4];
        int members[4 * 9 * 4], size = mesh_size(&mesh);
        assert_int_equal(size, mesh.tensors * mesh.datas * mesh.pipelines);
        place_all(&mesh, places);
        for (int rank = 0; rank < size; rank++)
            for (int group = 0; group < COMM_GROUP_COUNT; group++) {
                int count = mesh_members(&mesh, rank, (enum comm_group)group, members), found = 0;
                for (int other = 0; other < size; other++)
                    if (together(&mesh, places[rank], places[other], (enum comm_group)group)) {
                        assert_true(found < count);
                        assert_int_equal(members[found++], other);
                    }
                assert_int_equal(found, count);
            }
    }
}

/* Sums of 16-bit numbers are made in f32 and rounded once, in the order of the parts. */
static void test_order_of_sums(void **state)
{
    (void)state;
    uint16_t large = float_to_bf16(256), one = float_to_bf16(1), sum;
    const void *parts[3] = {&large, &one, &one};
    combine_sum(DTYPE_BF16, &sum, parts, 3, 1, false);
    assert_int_equal(sum, float_to_bf16(258)); /* rounded after each part it would stay 256 */
    float a = 1e8f, b = -1e8f, c = 1, total;
    const void *first[3] = {&a, &b, &c}, *last[3] = {&a, &c, &b};
    combine_sum(DTYPE_F32, &total, first, 3, 1, false);
    assert_true(total >= 1 && total <= 1);
    combine_sum(DTYPE_F32, &total, last, 3, 1, false);
    assert_true(total >= 0 && total <= 0);
    int32_t most = INT32_MAX, little = 1, wrapped;
    const void *integers[2] = {&most, &little};
    combine_sum(DTYPE_I32, &wrapped, integers, 2, 1, false);
    assert_int_equal(wrapped, INT32_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_order_of_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
