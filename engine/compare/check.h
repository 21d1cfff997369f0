/* Where an error comes from: running one instruction again in float64 on its actual inputs, and
 * walking from a divergent value back to the instruction that introduced the error. */
#ifndef ENGINE_COMPARE_CHECK_H
#define ENGINE_COMPARE_CHECK_H

#include "engine/compare/pair.h"

struct check {
    int step, instruction;
    bool supported;             /* collectives have no float64 reference */
    int output;                 /* the output whose error is the most times what rounding explains
                                   (test value id); the rest is said of it */
    struct metrics introduced;  /* float64 of the actual inputs against what was computed */
    double introduced_relative; /* rms of that difference over the rms of the float64 result; of
                                   integers the part that is different */
    double expected_relative;   /* what rounding explains, generously; 0 of integers */
    bool wrong;                 /* introduced_relative is more than rounding explains */
};

/* Checks instruction `instruction` of `step`, which must have been run. When its operands are no
 * longer at hand the pair goes back to the instruction and returns to where it was. Interrupted
 * (STATUS_CANCELLED, see pair.h), it may stand somewhere on the way. */
bool check_instruction(struct pair *pair, int step, int instruction, struct check *check,
                       struct status *status);

/* The error of a value against the reference, from the comparisons of the current step. */
struct value_error {
    bool known;      /* the value was compared */
    bool diverged;   /* and failed its limits */
    double relative; /* rms of the difference over the scale of the reference; NAN if unknown */
};
struct value_error value_error_of(const struct pair *pair, int value);

/* One link of the chain of instructions behind a value. */
struct blame_link {
    int step, instruction;
    int value;            /* its output that leads to the divergent value */
    double error;         /* of that output against the reference, relative; NAN when unknown */
    double input_error;   /* the largest of its inputs; NAN when none is known */
    bool diverged;        /* the output failed its limits */
    bool inputs_diverged; /* some input failed its limits: the error was inherited */
};

struct blame {
    struct blame_link *links; /* links[0] produced the value; owned, blame_free */
    int count, capacity;
    int guilty;         /* index of the link that introduced the error, -1 if none stands out */
    struct check check; /* of the guilty instruction: is the kernel wrong, or the program? */
    bool different;     /* the reference computes the same name by another instruction */
    bool sure;          /* not numbers alone accuse it: it is wrong, or not the reference's */
    int counterpart;    /* that instruction of the reference, -1 if there is none */
    /* Where the reference is a trace without what lies between the guilty one's value and the
     * values that were compared: all instructions between, in order, the guilty one among them.
     * float64 confirms each of their kernels; any may be wrong as a part of the program. */
    int *suspects;
    int suspect_count;
    /* Where the two sides compute in different precisions, or both in 16 bits: index of the link
     * whose result was the first beyond its limits, by rounding, as far as can be told: the
     * reference computes all that lies behind it in the same way, and float64 agrees. Then nobody
     * is guilty. -1: not so. */
    int rounding;
    int elsewhere; /* then: an instruction that the reference does not have like that, of which the
                      value does not depend, or -1; `counterpart` is the reference's */
};

/* Walks from `value`, which should have diverged in the current step (else only an instruction that
 * is wrong without doubt is guilty), back along the worst inputs, into
 * earlier steps if the error comes from a state, to the instruction whose inputs are within limits
 * and whose output is not. Returns to where the pair was, unless it is
 * interrupted. */
bool blame_walk(struct pair *pair, int value, struct blame *blame, struct status *status);
void blame_free(struct blame *blame);

/* The first value of the current step, in program order, that failed its limits; -1 if none. */
int first_divergence(const struct pair *pair);

#endif
