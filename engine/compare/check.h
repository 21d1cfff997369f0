/* Running one instruction again in float64 on its actual inputs: tells the error that this
 * instruction introduced from the error that it inherited. */
#ifndef ENGINE_COMPARE_CHECK_H
#define ENGINE_COMPARE_CHECK_H

#include "engine/compare/pair.h"

struct check {
    int step, instruction;
    bool supported;             /* collectives and some kinds have no float64 reference */
    int output;                 /* the output with the largest introduced error (test value id) */
    struct metrics introduced;  /* float64 of the actual inputs against what was computed */
    double introduced_relative; /* rms of the difference over rms of the float64 result */
    double expected_relative;   /* what rounding of the dtypes involved explains (a bound) */
    bool suspicious;            /* introduced_relative is more than rounding explains */
    double inherited_relative;  /* largest relative rms error of the inputs against the reference;
                                   NAN if no input could be compared */
};

/* Checks instruction `instruction` of `step`, which must have been run. When its inputs are no
 * longer at hand the pair goes back to the instruction and returns to where it was. */
bool check_instruction(struct pair *pair, int step, int instruction, struct check *check,
                       struct status *status);

/* One link of the chain of instructions behind a value. */
struct blame_link {
    int instruction;
    int value;                    /* its output that leads to the divergent value */
    double introduced, inherited; /* relative errors, NAN when unknown */
    bool suspicious;
};

/* Walks from `value` (of the current step) back along the inputs with the largest error to the
 * instruction that introduced it: links[0] produced `value`. Returns the number of links (<=
 * capacity), 0 on failure; *guilty is the index of the instruction that introduced the error, -1 if
 * none stands out. */
int blame_walk(struct pair *pair, int value, struct blame_link *links, int capacity, int *guilty,
               struct status *status);

#endif
