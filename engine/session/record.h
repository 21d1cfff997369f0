/* What was compared so far, over all steps: the pair itself remembers the current step only.
 * Going back forgets what lies ahead again, so that nothing is counted twice. */
#ifndef ENGINE_SESSION_RECORD_H
#define ENGINE_SESSION_RECORD_H

#include "engine/compare/pair.h"
#include "engine/session/follow.h"

struct record_entry {
    bool compared, failed;
    int failure;      /* 1 + index into the failures, 0 = none kept */
    float worst;      /* largest metric over its limit */
    float error;      /* rms of the difference over the scale of the reference */
    int64_t elements; /* compared: samples only, with a sampled trace */
};

enum { RECORD_FAILURES_MOST = 100000 };

/* What is known of a tensor that failed, also after its step. */
struct record_failure {
    int step, value;
    struct metrics metrics;
    struct verdict verdict;
    struct limits limits;
    int worst_rank; /* 1 + the rank that has the worst element of a whole tensor; 0: not known */
};

struct record {
    struct record_entry *entries; /* [steps * values] */
    int steps, values;
    int compared, failed;            /* how many of the entries */
    int64_t elements;                /* compared */
    struct follows follows;          /* elements that the user follows */
    struct record_failure *failures; /* in no order; at most RECORD_FAILURES_MOST */
    int failure_count, failure_capacity;
};

void record_start(struct record *record, const struct pair *pair);
/* A record of something else than values of a program: `values` is how many there are. */
void record_start_of(struct record *record, int steps, int values);
void record_free(struct record *record);
/* Takes over the results of one instruction that ran. */
void record_note(struct record *record, struct pair *pair, const struct pair_event *event);
/* Takes over one result, of whatever the record is of; `worst_rank` as in record_failure. */
void record_note_result(struct record *record, int step, int value,
                        const struct pair_result *result, int worst_rank);
/* Takes over the result of one value of the current step that was judged again. */
void record_judge_again(struct record *record, struct pair *pair, int value);
/* Forgets what instruction `instruction` of `step` and all later ones wrote. */
void record_forget(struct record *record, const struct pair *pair, int step, int instruction);
/* Forgets all results of `step` and of later ones. */
void record_forget_steps(struct record *record, int step);
const struct record_entry *record_at(const struct record *record, int step, int value);
/* The failure of an entry, or NULL. */
const struct record_failure *record_failure_of(const struct record *record,
                                               const struct record_entry *entry);
/* The first failure in program order; false if there is none. */
bool record_first_failure(const struct record *record, const struct program *program, int *step,
                          int *value);

#endif
