/* Heat maps of tensors against the definition, element by element; and one bad element of very
 * many. */
#include "engine/base/memory.h"
#include "engine/session/picture_heat.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

static void free_map(struct tensor_picture *picture)
{
    free(picture->heat);
    free(picture->heat_sign);
}

/* What `picture_take_heat` promises, in the plainest way. */
static void assert_map(const struct tensor_picture *picture, const struct pair_sides *sides)
{
    int64_t total = picture->all_rows * picture->all_columns;
    int64_t columns = picture->heat_wrap ? picture->heat_wrap : picture->all_columns;
    int64_t rows = (total + columns - 1) / columns;
    int cells = picture->heat_rows * picture->heat_columns;
    double *most = memory_zeroed((size_t)cells, sizeof(*most)), all = 0;
    int *sign = memory_zeroed((size_t)cells, sizeof(*sign));
    for (int i = 0; i < cells; i++)
        most[i] = -1;
    for (int64_t i = 0; i < total; i++) {
        double test = tensor_load(&sides->test, picture->plane * total + i) / sides->scale;
        double reference =
            sides->has_reference ? tensor_load(&sides->reference, picture->plane * total + i) : 0;
        double value = picture->heat_side == HEAT_TEST        ? test
                       : picture->heat_side == HEAT_REFERENCE ? reference
                                                              : test - reference;
        int64_t cell = i / columns * picture->heat_rows / rows * picture->heat_columns +
                       i % columns * picture->heat_columns / columns;
        if (isfinite(value) && fabs(value) > all)
            all = fabs(value);
        if (!isfinite(value)) {
            most[cell] = NAN;
        } else if (fabs(value) > most[cell]) {
            most[cell] = fabs(value);
            sign[cell] = (value > 0) - (value < 0);
        }
    }
    for (int i = 0; i < cells; i++) {
        assert_true(isnan(most[i]) ? isnan(picture->heat[i]) : (float)most[i] == picture->heat[i]);
        assert_true(!(most[i] > 0) || sign[i] == picture->heat_sign[i]);
    }
    assert_true(all == picture->heat_most);
    free(most);
    free(sign);
}

static void fill(struct tensor *tensor, unsigned *seed)
{
    int64_t count = shape_elements(tensor->shape);
    for (int64_t i = 0; i < count; i++) {
        double number = (double)(rand_r(seed) % 2001 - 1000) / 64;
        int odd = rand_r(seed) % 500;
        tensor_store(tensor, i, odd == 0 ? NAN : odd == 1 ? -INFINITY : number);
    }
}

static void test_random(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    struct random random = random_start("heat 1");
    unsigned seed = (unsigned)random_bits(&random);
    (void)state;
    for (int round = 0; round < 300; round++) {
        int64_t rows = 1 + rand_r(&seed) % 40, columns = 1 + rand_r(&seed) % 300;
        int64_t planes = 1 + rand_r(&seed) % 3, gap = rand_r(&seed) % 2 * 7;
        if (round % 5 == 0)
            rows = planes = 1, columns = 1 + rand_r(&seed) % 20000; /* a vector, in chunks */
        size_t room = (size_t)(planes * rows * (columns + gap)) * 8;
        struct tensor_picture picture = {
            .planes = planes, .all_rows = rows, .all_columns = columns};
        struct pair_sides sides = {.scale = round % 3 ? 1 : 1024, .has_reference = round % 4 > 0};
        struct shape shape = {.rank = 2, .dims = {planes * rows, columns}};
        sides.test = tensor_of(memory_zeroed(room, 1), dtypes[rand_r(&seed) % 4], shape);
        sides.reference = tensor_of(memory_zeroed(room, 1), dtypes[rand_r(&seed) % 4], shape);
        sides.test.row_stride += gap;
        fill(&sides.test, &seed);
        fill(&sides.reference, &seed);
        picture.plane = rand_r(&seed) % planes;
        struct picture_request request = {.heat_rows = 1 + rand_r(&seed) % 50,
                                          .heat_columns = 1 + rand_r(&seed) % 300,
                                          .heat_side = (enum heat_side)(rand_r(&seed) % 3)};
        assert_true(picture_take_heat(&picture, &sides, &request, NULL));
        assert_true(sides.has_reference || picture.heat_side == HEAT_TEST);
        assert_true(picture.heat_rows <= request.heat_rows &&
                    picture.heat_columns <= request.heat_columns);
        assert_map(&picture, &sides);
        free_map(&picture);
        free(sides.test.data);
        free(sides.reference.data);
    }
}

/* Zeroed pages that take no memory until they are written. */
static void *lazy(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* 65536 x 4096, as large as embeddings are, on a map of 20 x 60. */
static void test_one_of_many(void **state)
{
    enum { ROWS = 65536, COLUMNS = 4096 };
    struct random random = random_start("heat 2");
    unsigned seed = (unsigned)random_bits(&random);
    size_t bytes = (size_t)ROWS * COLUMNS * 2;
    struct shape shape = {.rank = 2, .dims = {ROWS, COLUMNS}};
    struct tensor_picture picture = {.planes = 1, .all_rows = ROWS, .all_columns = COLUMNS};
    struct pair_sides sides = {.scale = 1, .has_reference = true};
    struct picture_request request = {.heat_rows = 20, .heat_columns = 60};
    (void)state;
    sides.test = tensor_of(lazy(bytes), DTYPE_BF16, shape);
    sides.reference = tensor_of(lazy(bytes), DTYPE_BF16, shape);
    int64_t row = rand_r(&seed) % ROWS, column = rand_r(&seed) % COLUMNS;
    tensor_store(&sides.test, row * COLUMNS + column, -0.25);
    assert_true(picture_take_heat(&picture, &sides, &request, NULL));
    for (int i = 0; i < 20 * 60; i++) {
        bool here = i == row * 20 / ROWS * 60 + column * 60 / COLUMNS;
        assert_true(picture.heat[i] == (here ? 0.25f : 0));
        assert_int_equal(picture.heat_sign[i], here ? -1 : 0);
    }
    free_map(&picture);
    munmap(sides.test.data, bytes);
    munmap(sides.reference.data, bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_one_of_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
