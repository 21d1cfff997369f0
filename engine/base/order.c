#include "engine/base/order.h"

#include "engine/base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Digits of a key. With 11 bits all counters of a key fit into the first cache. */
enum { DIGIT_BITS = 11, DIGIT_SIZE = 1 << DIGIT_BITS, DIGITS = 6, FEW = 32 };

uint64_t order_key(double number)
{
    uint64_t bits;
    if (isnan(number))
        return UINT64_MAX;
    number += 0.0; /* -0 becomes 0 */
    memcpy(&bits, &number, sizeof(bits));
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static size_t digit_of(uint64_t key, int digit)
{
    return (size_t)(key >> (digit * DIGIT_BITS)) % DIGIT_SIZE;
}

/* Of all digits in one pass over the rows. */
static void count_digits(const struct order_row *rows, size_t count,
                         uint32_t counts[DIGITS][DIGIT_SIZE])
{
    memset(counts, 0, DIGITS * sizeof(*counts));
    for (size_t i = 0; i < count; i++)
        for (int digit = 0; digit < DIGITS; digit++)
            counts[digit][digit_of(rows[i].key, digit)]++;
}

/* Counts become the places where rows of that digit begin. False if all rows have the same. */
static bool begin_places(uint32_t counts[DIGIT_SIZE], size_t count)
{
    uint32_t before = 0;
    for (size_t i = 0; i < DIGIT_SIZE; i++) {
        uint32_t here = counts[i];
        if (here == count)
            return false;
        counts[i] = before;
        before += here;
    }
    return true;
}

static void insert_rows(struct order_row *rows, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct order_row row = rows[i];
        size_t k = i;
        for (; k > 0 && rows[k - 1].key > row.key; k--)
            rows[k] = rows[k - 1];
        rows[k] = row;
    }
}

void order_rows(struct order_row *rows, struct order_row *spare, size_t count)
{
    uint32_t counts[DIGITS][DIGIT_SIZE];
    struct order_row *from = rows, *to = spare;
    if (count < FEW) {
        insert_rows(rows, count);
        return;
    }
    count_digits(rows, count, counts);
    for (int digit = 0; digit < DIGITS; digit++) {
        if (!begin_places(counts[digit], count))
            continue;
        for (size_t i = 0; i < count; i++)
            to[counts[digit][digit_of(from[i].key, digit)]++] = from[i];
        struct order_row *other = from;
        from = to;
        to = other;
    }
    if (from != rows)
        memcpy(rows, from, count * sizeof(*rows));
}

/* ---- keys: what tells most of them apart first ---- */

/* 32 bits of a key above its index: half of what a row takes is half of what is moved. */
enum { SHORT_DIGITS = 3 };

static int index_of(uint64_t pair)
{
    return (int)(uint32_t)pair;
}

/* How far to shift keys so that 32 bits hold the highest in which any two differ. */
static int shift_of(const uint64_t *keys, size_t count)
{
    uint64_t different = 0;
    for (size_t i = 1; i < count; i++)
        different |= keys[i] ^ keys[0];
    int bits = different ? 64 - __builtin_clzll(different) : 0;
    return bits > 32 ? bits - 32 : 0;
}

static void make_pairs(const uint64_t *keys, int shift, uint64_t *pairs, size_t count,
                       uint32_t counts[SHORT_DIGITS][DIGIT_SIZE])
{
    memset(counts, 0, SHORT_DIGITS * sizeof(*counts));
    for (size_t i = 0; i < count; i++) {
        uint32_t part = (uint32_t)(keys[i] >> shift);
        pairs[i] = (uint64_t)part << 32 | (uint32_t)i;
        for (int digit = 0; digit < SHORT_DIGITS; digit++)
            counts[digit][digit_of(part, digit)]++;
    }
}

/* Sorts by the upper halves; gives back which of the two has the result. */
static uint64_t *sort_pairs(uint64_t *pairs, uint64_t *spare, size_t count,
                            uint32_t counts[SHORT_DIGITS][DIGIT_SIZE])
{
    for (int digit = 0; digit < SHORT_DIGITS; digit++) {
        if (!begin_places(counts[digit], count))
            continue;
        for (size_t i = 0; i < count; i++)
            spare[counts[digit][digit_of(pairs[i] >> 32, digit)]++] = pairs[i];
        uint64_t *other = pairs;
        pairs = spare;
        spare = other;
    }
    return pairs;
}

static int compare_rows(const void *left, const void *right)
{
    const struct order_row *a = left, *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->index - b->index;
}

/* A run of keys that were not told apart, whose indices grow. (Counting digits pays for many only.)
 */
static void sort_run(const uint64_t *keys, int *order, size_t count)
{
    struct order_row *rows = memory_zeroed(count * 2, sizeof(*rows));
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct order_row){keys[order[i]], order[i]};
    if (count < DIGIT_SIZE)
        qsort(rows, count, sizeof(*rows), compare_rows);
    else
        order_rows(rows, rows + count, count);
    for (size_t i = 0; i < count; i++)
        order[i] = rows[i].index;
    free(rows);
}

/* A few of them. */
static void insert_run(const uint64_t *keys, int *order, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int index = order[i];
        size_t k = i;
        for (; k > 0 && keys[order[k - 1]] > keys[index]; k--)
            order[k] = order[k - 1];
        order[k] = index;
    }
}

void order_keys(const uint64_t *keys, int *order, uint64_t *room, size_t count)
{
    uint32_t counts[SHORT_DIGITS][DIGIT_SIZE];
    int shift = shift_of(keys, count);
    make_pairs(keys, shift, room, count, counts);
    const uint64_t *sorted = sort_pairs(room, room + count, count, counts);
    for (size_t i = 0; i < count; i++)
        order[i] = index_of(sorted[i]);
    for (size_t first = 0, next; first < count && shift > 0; first = next) {
        bool equal = true;
        for (next = first + 1; next < count && sorted[next] >> 32 == sorted[first] >> 32; next++)
            equal = equal && keys[order[next]] == keys[order[first]];
        if (!equal)
            (next - first < FEW ? insert_run : sort_run)(keys, order + first, next - first);
    }
}

/* ---- texts: eight bytes at a time ---- */

/* The bytes from `depth` on as a number that sorts as they do; zeros behind the end. */
static uint64_t bytes_at(const char *text, size_t depth)
{
    uint64_t key = 0;
    text += depth;
    for (int i = 0; i < 8; i++) {
        key = key << 8 | (unsigned char)*text;
        text += *text != '\0';
    }
    return key;
}

static void insert_texts(const char *const *texts, struct order_row *rows, size_t count,
                         size_t depth)
{
    for (size_t i = 1; i < count; i++) {
        struct order_row row = rows[i];
        const char *text = texts[row.index] + depth;
        size_t k = i;
        for (; k > 0 && strcmp(texts[rows[k - 1].index] + depth, text) > 0; k--)
            rows[k] = rows[k - 1];
        rows[k] = row;
    }
}

/* Rows that are the same up to `depth`. Texts of the same key go on, unless they end in it. */
static void sort_texts(const char *const *texts, struct order_row *rows, struct order_row *spare,
                       size_t count, size_t depth)
{
    enum { AHEAD = 12 };
    for (;;) {
        if (count < FEW) {
            insert_texts(texts, rows, count, depth);
            return;
        }
        for (size_t i = 0; i < count; i++) {
            if (i + AHEAD < count)
                __builtin_prefetch(texts[rows[i + AHEAD].index] + depth);
            rows[i].key = bytes_at(texts[rows[i].index], depth);
        }
        order_rows(rows, spare, count);
        depth += 8;
        if (rows[0].key != rows[count - 1].key)
            break;
        if ((rows[0].key & 0xff) == 0)
            return; /* all of them end here */
    }
    for (size_t first = 0, next; first < count; first = next) {
        uint64_t key = rows[first].key;
        for (next = first + 1; next < count && rows[next].key == key; next++)
            continue;
        if (next - first > 1 && (key & 0xff) != 0)
            sort_texts(texts, rows + first, spare, next - first, depth);
    }
}

void order_texts(const char *const *texts, int *order, int count)
{
    struct order_row *rows = memory_zeroed((size_t)count * 2, sizeof(*rows));
    for (int i = 0; i < count; i++)
        rows[i].index = i;
    if (count > 0)
        sort_texts(texts, rows, rows + count, (size_t)count, 0);
    for (int i = 0; i < count; i++)
        order[i] = rows[i].index;
    free(rows);
}
