/* Single elements followed through a run: the test's value, the reference's and their difference at
 * every step and micro-batch in which their tensor is produced, noted as the run goes on. Going
 * back forgets what lies ahead again, and running again notes it anew: one row for each time.
 * Belongs to the record of a run; engine thread. */
#ifndef ENGINE_SESSION_FOLLOW_H
#define ENGINE_SESSION_FOLLOW_H

#include "engine/base/text.h"
#include "engine/compare/pair.h"

enum {
    FOLLOW_ROWS = 10000, /* kept of one element, the newest */
    FOLLOW_MOST = 32,    /* elements followed at a time */
};

struct follow_row {
    int step, value;  /* value of the program: tells micro-batch and instruction */
    double test;      /* divided by the scale of the pair, as everywhere */
    double reference; /* NAN when there is none: see has_reference */
    bool has_reference;
    bool failed; /* its tensor was beyond its limits */
};

struct follow {
    int number; /* from 1 */
    int value;  /* that was named; others of the same tensor belong to it */
    char *name; /* of the tensor, without micro-batch, and the place: "gradient a.weight[3,4]" */
    int rank;
    int64_t place[TENSOR_MAX_RANK];
    struct follow_row *rows; /* in the order of the run */
    int row_count, row_capacity;
    int64_t dropped; /* rows that were the oldest */
};

struct follows {
    struct follow *list;
    int count, capacity, last_number;
};

/* Follows an element of the tensor that `value` belongs to, and notes what is at hand of it now.
 * Returns its number, that of the same element if it is followed already; -1 on failure: too many.
 * `place` must be inside the value's shape. */
int follow_add(struct follows *follows, struct pair *pair, int value, const int64_t *place,
               struct status *status);
bool follow_remove(struct follows *follows, int number); /* false: none of that number */
void follows_free(struct follows *follows);

/* After an instruction ran and was compared. */
void follow_note(struct follows *follows, struct pair *pair, const struct pair_event *event);
/* One value of the current step that was changed and judged again. */
void follow_note_value(struct follows *follows, struct pair *pair, int value);
/* Forgets what instruction `instruction` of `step` and all later ones wrote. */
void follow_forget(struct follows *follows, const struct program *program, int step,
                   int instruction);

/* "mb=1/4", "ms=2/4", "" of a row. Returns `buffer`. */
const char *follow_batch(const struct program *program, int value, char *buffer, int size);
/* A table for the prompt, with bars of |difference|. Appends. */
void follow_describe(const struct follow *follow, const struct program *program, struct text *out);

#endif
