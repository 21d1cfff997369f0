#include "engine/base/names.h"

#include "engine/base/memory.h"

#include <stdlib.h>
#include <string.h>

uint64_t hash_bytes(const void *bytes, size_t length)
{
    return hash_more(0xcbf29ce484222325u, bytes, length);
}

uint64_t hash_more(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

uint64_t hash_string(const char *text)
{
    return hash_bytes(text, strlen(text));
}

static int find_slot(const struct names *names, const char *name)
{
    int slot = (int)(hash_string(name) % (uint64_t)names->slot_count);
    while (names->slots[slot] && strcmp(names->names[names->slots[slot] - 1], name) != 0)
        slot = (slot + 1) % names->slot_count;
    return slot;
}

int names_find(const struct names *names, const char *name)
{
    if (!names->slot_count)
        return -1;
    int index = names->slots[find_slot(names, name)];
    return index ? names->values[index - 1] : -1;
}

static void grow(struct names *names)
{
    free(names->slots);
    names->slot_count = names->slot_count ? names->slot_count * 2 : 32;
    names->slots = memory_zeroed((size_t)names->slot_count, sizeof(int));
    for (int i = 0; i < names->count; i++)
        names->slots[find_slot(names, names->names[i])] = i + 1;
}

bool names_set(struct names *names, const char *name, int value)
{
    if (2 * (names->count + 1) > names->slot_count)
        grow(names);
    int slot = find_slot(names, name);
    if (names->slots[slot]) {
        names->values[names->slots[slot] - 1] = value;
        return false;
    }
    int capacity = names->capacity, count = names->count;
    ARRAY_PUSH(names->names, names->count, names->capacity, memory_string(name));
    ARRAY_PUSH(names->values, count, capacity, value);
    names->slots[slot] = names->count;
    return true;
}

void names_free(struct names *names)
{
    for (int i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    free(names->values);
    free(names->slots);
    *names = (struct names){0};
}

static int minimum(int a, int b)
{
    return a < b ? a : b;
}

int names_distance(const char *a, const char *b)
{
    enum { LIMIT = 64 };
    int rows[3][LIMIT + 1];
    int length_a = (int)strnlen(a, LIMIT), length_b = (int)strnlen(b, LIMIT);
    for (int j = 0; j <= length_b; j++)
        rows[0][j] = j;
    for (int i = 1; i <= length_a; i++) {
        int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= length_b; j++) {
            int change = a[i - 1] != b[j - 1];
            row[j] = minimum(minimum(above[j] + 1, row[j - 1] + 1), above[j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = minimum(row[j], above2[j - 2] + 1);
        }
    }
    return rows[length_a % 3][length_b];
}

const char *names_closest(const char *word, const char *const *candidates, int count)
{
    const char *best = NULL;
    for (int i = 0; i < count; i++) {
        /* Of the shorter one: a long word is not near to everything. */
        int limit = minimum((int)strlen(word), (int)strlen(candidates[i])) / 3 + 1;
        int distance = names_distance(word, candidates[i]);
        if (distance <= limit && (!best || distance < names_distance(word, best)))
            best = candidates[i];
    }
    return best;
}
