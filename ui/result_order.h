/* The order of lists of compared tensors: by what was measured, or by name; a million of them
 * between two frames. Pure: no terminal, no session. */
#ifndef UI_RESULT_ORDER_H
#define UI_RESULT_ORDER_H

#include "engine/session/pictures.h"

enum sorting { SORT_PROGRAM, SORT_WORST, SORT_ERROR, SORT_MAX, SORT_COSINE, SORT_NAME, SORT_COUNT };

/* A row of such a list. */
struct result_row {
    int result; /* of the state picture */
    int group;  /* rows of the same group stay together, in the order of these numbers */
};

/* Zero-initialise; free with result_order_free. */
struct result_order {
    enum sorting sorting; /* the largest first; names from a on */
    bool reversed;        /* inside of each group */
    /* internal: */
    int *name_places; /* [named]: the place of each value in the order of names */
    int named;
    uint64_t *keys, *room; /* [capacity], [2 * capacity] */
    int *places;
    struct result_row *sorted;
    int capacity;
};

/* Another program: its names are ordered now, before anybody waits for it. */
void result_order_program(struct result_order *order, const struct program_picture *program);
/* Before the rows of a state are added. `program` is the one that result_order_program was told of
 * last. */
void result_order_begin(struct result_order *order, const struct program_picture *program,
                        const struct state_picture *state);
/* Row number `row` is about this result, of `value`. Called for each row as the rows are made. (A
 * million results do not stay in a cache: the result itself is only looked at for its numbers.) */
void result_order_add(struct result_order *order, const struct picture_result *result, int value,
                      int row);
/* Sorts the rows that were added, which come in the order of the program; none is a heading. */
void result_order_sort(struct result_order *order, struct result_row *rows, int count);
void result_order_free(struct result_order *order);

#endif
