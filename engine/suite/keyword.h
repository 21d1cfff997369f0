/* Expressions that choose tests by parts of their ids, as pytest's -k: "ce4", "bf16 or fp16",
 * "llama and not (ms or df)".
 *
 *   or    = and { "or" and }
 *   and   = not { "and" not }
 *   not   = "not" not | "(" or ")" | word
 *
 * A word is anything without blanks and parentheses; it holds for the tests whose id contains it,
 * whatever the case. Pure functions; any thread. */
#ifndef ENGINE_SUITE_KEYWORD_H
#define ENGINE_SUITE_KEYWORD_H

#include "engine/base/status.h"

/* Whether it can be read; the message points at the place where not. */
bool keyword_check(const char *expression, struct status *status);
/* Whether it holds for the test called `id`. Only for one that can be read. */
bool keyword_matches(const char *expression, const char *id);

#endif
