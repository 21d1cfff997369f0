/* Conditions of breakpoints: "rel_rms > 1e-3 and step == 2", "nan", "not (rank == 1)".
 *
 *   or      = and { ("or" | "||") and }
 *   and     = not { ("and" | "&&") not }
 *   not     = ("not" | "!") not | compare
 *   compare = sum [ ("<" | "<=" | ">" | ">=" | "==" | "=" | "!=") sum ]
 *   sum     = product { ("+" | "-") product }
 *   product = unary { ("*" | "/") unary }
 *   unary   = "-" unary | number | name | "(" or ")"
 *
 * A number stands for "true" when it is not 0. A comparison with a number that is unknown (NaN) is
 * false. Pure functions; any thread. */
#ifndef ENGINE_SESSION_CONDITIONS_H
#define ENGINE_SESSION_CONDITIONS_H

#include "engine/base/status.h"

/* What a name of a condition stands for. The first group comes from the comparison of a tensor. */
#define VARIABLE_LIST(X)                                                                           \
    X(REL_RMS, "rel_rms", "rms of the difference over the scale of the reference")                 \
    X(REL_MAX, "rel_max", "largest difference over the scale of the reference")                    \
    X(RMS, "rms", "rms of the difference")                                                         \
    X(MAX, "max", "largest difference")                                                            \
    X(COSINE, "cosine", "cosine of the two tensors")                                               \
    X(NORM_RATIO, "norm_ratio", "rms of the test over rms of the reference")                       \
    X(DIFFERENT, "different", "elements that are not bit-equal")                                   \
    X(ULP, "ulp", "largest distance in units of the last place")                                   \
    X(WORST, "worst", "largest metric over its limit: above 1 fails")                              \
    X(DIVERGED, "diverged", "1 when a limit was passed over")                                      \
    X(NAN, "nan", "NaN elements in the test")                                                      \
    X(INF, "inf", "infinite elements in the test")                                                 \
    X(STEP, "step", "training step, from 1")                                                       \
    X(RANK, "rank", "rank, from 0")                                                                \
    X(MB, "mb", "micro-batch, from 0")                                                             \
    X(MS, "ms", "micro-sequence, from 0")                                                          \
    X(STAGE, "stage", "pipeline stage, from 0")                                                    \
    X(INSTRUCTION, "instruction", "number of the instruction")

enum variable {
#define VARIABLE_ENUM(suffix, name, meaning) VARIABLE_##suffix,
    VARIABLE_LIST(VARIABLE_ENUM)
#undef VARIABLE_ENUM
        VARIABLE_COUNT
};

const char *variable_name(enum variable variable);    /* "rel_rms", ... static */
const char *variable_meaning(enum variable variable); /* static */

struct condition; /* a parsed expression */

/* NULL with a message that points at the place, for an expression that cannot be read. Free with
 * condition_free (NULL is fine). */
struct condition *condition_parse(const char *text, struct status *status);
void condition_free(struct condition *condition);

/* Whether the expression needs the comparison of a tensor (REL_RMS to DIVERGED), or its elements
 * (NAN, INF). */
bool condition_uses_tensor(const struct condition *condition);

/* The expression's value. `variables` has VARIABLE_COUNT numbers, NaN for unknown ones. */
double condition_value(const struct condition *condition, const double *variables);
/* Whether it holds: not 0 and not NaN. */
bool condition_holds(const struct condition *condition, const double *variables);

#endif
