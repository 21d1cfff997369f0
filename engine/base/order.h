/* Stable sorting of many rows, in a time that grows with their number only: lists of a million rows
 * are sorted while a user waits for a key. Pure functions; any thread. */
#ifndef ENGINE_BASE_ORDER_H
#define ENGINE_BASE_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct order_row {
    uint64_t key;
    int index; /* the caller's */
};

/* A key that grows with the number: -infinity first, infinity last, NaN behind it. -0 and 0 are the
 * same. */
uint64_t order_key(double number);

/* Sorts by key, the smallest first; rows of the same key stay in their order. `spare` has room for
 * as many rows. */
void order_rows(struct order_row *rows, struct order_row *spare, size_t count);

/* Fills order[count] with the indices of the keys, the smallest key first; equal ones stay in their
 * order. `room` has room for count * 2 more. Half the time of order_rows() where the upper 32 of
 * the bits in which keys differ tell most of them apart. */
void order_keys(const uint64_t *keys, int *order, uint64_t *room, size_t count);

/* Fills order[count] with the indices of the texts, sorted as strcmp() sorts; equal ones stay in
 * their order. */
void order_texts(const char *const *texts, int *order, int count);

#endif
