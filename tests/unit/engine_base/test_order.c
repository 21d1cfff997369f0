/* Orders against the C library's. */
#include "engine/base/order.h"

#include "engine/base/memory.h"
#include "tests/unit/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double any_number(struct random *random)
{
    static const double odd[] = {0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 5e-324, 1e308};
    int64_t kind = random_integer(random, 0, 3);
    uint64_t bits = random_bits(random);
    double number;
    memcpy(&number, &bits, sizeof(number));
    return kind == 0   ? odd[random_integer(random, 0, 8)]
           : kind == 1 ? (double)random_integer(random, -3, 3)
                       : number;
}

static void test_keys(void **state)
{
    struct random random = random_start("order keys");
    (void)state;
    for (int i = 0; i < 20000; i++) {
        double a = any_number(&random), b = any_number(&random);
        uint64_t one = order_key(a), two = order_key(b);
        if (isnan(a) || isnan(b))
            assert_true(isnan(a) ? one >= two : one < two);
        else
            assert_true((one < two) == (a < b) && (one == two) == (a == b));
    }
}

static void test_rows(void **state)
{
    struct random random = random_start("order rows");
    (void)state;
    for (int round = 0; round < 60; round++) {
        size_t count = (size_t)random_integer(&random, 0, round % 2 ? 70 : 3000);
        int64_t most = random_integer(&random, 0, 5000);
        int shift = (int)random_integer(&random, 0, 50);
        struct order_row *rows = memory_zeroed(count + 1, sizeof(*rows));
        struct order_row *spare = memory_zeroed(count + 1, sizeof(*rows));
        for (size_t i = 0; i < count; i++)
            rows[i] =
                (struct order_row){(uint64_t)random_integer(&random, 0, most) << shift, (int)i};
        if (count > 2)
            rows[count / 2].key = UINT64_MAX;
        uint64_t sum = 0;
        order_rows(rows, spare, count);
        for (size_t i = 0; i < count; i++) {
            sum += (uint64_t)rows[i].index;
            assert_true(i == 0 || rows[i - 1].key < rows[i].key ||
                        (rows[i - 1].key == rows[i].key && rows[i - 1].index < rows[i].index));
        }
        assert_true(sum == (uint64_t)count * (count - (count > 0)) / 2); /* each one once */
        free(rows);
        free(spare);
    }
}

/* Keys of which all, some or none are the same, or differ in their low bits only. */
static void test_keys_in_order(void **state)
{
    struct random random = random_start("order of keys");
    (void)state;
    for (int round = 0; round < 200; round++) {
        size_t count = (size_t)random_integer(&random, 0, round % 10 ? 300 : 20000);
        int bits = (int)random_integer(&random, 1, 63), shift = (int)random_integer(&random, 0, 40);
        uint64_t *keys = memory_zeroed(count + 1, sizeof(*keys));
        uint64_t *room = memory_zeroed(count * 2 + 1, sizeof(*room));
        int *order = memory_zeroed(count + 1, sizeof(*order));
        for (size_t i = 0; i < count; i++)
            keys[i] = (random_bits(&random) >> (64 - bits)) << shift;
        if (count > 2 && round % 3 == 0)
            keys[count / 2] = UINT64_MAX; /* takes the 32 bits away from the others */
        uint64_t sum = 0;
        order_keys(keys, order, room, count);
        for (size_t i = 0; i < count; i++) {
            sum += (uint64_t)order[i];
            assert_true(i == 0 || keys[order[i - 1]] < keys[order[i]] ||
                        (keys[order[i - 1]] == keys[order[i]] && order[i - 1] < order[i]));
        }
        assert_true(sum == (uint64_t)count * (count - (count > 0)) / 2); /* each one once */
        free(keys);
        free(room);
        free(order);
    }
}

/* Few letters and common beginnings, so that many are the same for a long way. */
static char *any_text(struct random *random)
{
    char text[80];
    size_t length = 0, most = (size_t)random_integer(random, 0, 60);
    if (random_integer(random, 0, 1))
        length = strlen(strcpy(text, "gradient decoder.1."));
    while (length < most)
        text[length++] = "ab\xff\x01"[random_integer(random, 0, random_integer(random, 0, 3))];
    text[length] = '\0';
    return memory_string(text);
}

static void test_texts(void **state)
{
    struct random random = random_start("order texts");
    (void)state;
    for (int round = 0; round < 60; round++) {
        int count = (int)random_integer(&random, 0, round % 2 ? 70 : 2000);
        char **texts = memory_zeroed((size_t)count + 1, sizeof(*texts));
        int *order = memory_zeroed((size_t)count + 1, sizeof(*order));
        bool *seen = memory_zeroed((size_t)count + 1, sizeof(*seen));
        for (int i = 0; i < count; i++)
            texts[i] = i > 0 && random_integer(&random, 0, 9) == 0 ? memory_string(texts[i - 1])
                                                                   : any_text(&random);
        order_texts((const char *const *)texts, order, count);
        for (int i = 0; i < count; i++) {
            int before = i > 0 ? strcmp(texts[order[i - 1]], texts[order[i]]) : -1;
            assert_true(before < 0 || (before == 0 && order[i - 1] < order[i]));
            assert_false(seen[order[i]]);
            seen[order[i]] = true;
        }
        for (int i = 0; i < count; i++)
            free(texts[i]);
        free(texts);
        free(order);
        free(seen);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_keys_in_order),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
